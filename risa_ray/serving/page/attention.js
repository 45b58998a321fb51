// What is not well, and what to do about it.

import { count, duration, hourSaid, isLong, percent, reason, whole } from "./format.js";
import { placeKey } from "./model.js";

const QUIET_S = 5;
const SLOW_S = 2;
const DROPPED = 0.1;

const LEVELS = ["critical", "warning", "info"];

/** State of a camera -> how it is said, how bad it is, and what to do. */
const STATES = {
  connecting: { words: "connecting", level: "busy" },
  live: { words: "live", level: "ok" },
  reading: { words: "reading a file", level: "ok" },
  complete: { words: "file complete", level: "off" },
  stopped: { words: "stopped", level: "off" },
  stalled: { words: "no picture", level: "bad", todo: "It is connected but sends nothing. It is connected anew by itself; if that does not help, restart the camera." },
  backing_off: { words: "no connection", level: "bad", todo: "Check its power and network. It is tried again by itself." },
  broken: { words: "broken", level: "bad", todo: "It is not tried again. Mend what the note says and start it anew." },
};

export function stateOf(camera) {
  if (!camera) return { words: "not running", level: "off" };
  const state = STATES[camera.state] ?? { words: camera.state, level: "off" };
  const quiet = state.level === "ok" && camera.age_s !== null && camera.age_s > QUIET_S;
  return quiet ? { ...STATES.stalled, words: `no picture for ${whole(camera.age_s)}` } : state;
}

/** Frames dropped, and their share of all that should have been analysed in the window. */
export function drops(camera, windowS = 60) {
  const frames = Object.values(camera.dropped).reduce((total, n) => total + n, 0);
  const share = frames / Math.max(frames + camera.fps * windowS, 1);
  return { frames, share, why: Object.entries(camera.dropped).map(([cause, n]) => `${cause.replaceAll("_", " ")}: ${n}`).join(", ") };
}

/** Everything that wants somebody, worst first, then newest: `{id, level, title, detail, todo, store_id, camera_id, alert}`. */
export function attention(model) {
  const items = [...runs(model), ...tables(model), ...cameras(model), ...queues(model), ...alerts(model)];
  return items.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) || b.at - a.at);
}

function* runs({ live }) {
  for (const run of live.runs) {
    const about = { store_id: null, camera_id: null, at: Infinity };
    if (run.silent_s)
      yield { ...about, id: `silent/${run.run_id}`, level: "critical", title: `${run.chain}: the job does not answer`,
        detail: `Its figures are ${whole(run.silent_s)} old.`, todo: "If it stays so, look at its log and start it again." };
    if (run.trouble)
      yield { ...about, id: `store/${run.run_id}`, level: "critical", title: `${run.chain}: results cannot be stored`,
        detail: run.trouble, todo: "" };
  }
}

/** What they tell of waits is missed as well, so that nothing to see to would not mean that all is well. */
function* tables({ silentS }) {
  if (silentS)
    yield { store_id: null, camera_id: null, at: Infinity, id: "tables", level: "warning", title: "The tables do not answer",
      detail: `They have told nothing for ${whole(Math.floor(silentS / 60) * 60)}: the last hour and its waits are not known.`,
      todo: "If it stays so, look at the log of the server." };
}

function* cameras(model) {
  for (const camera of model.live.cameras) {
    const { store_id, camera_id } = camera;
    const name = () => model.placeName(store_id, camera_id); // for those few that are in trouble
    const about = { store_id, camera_id, zone_id: null, at: 0 };
    const state = stateOf(camera);
    if (state.level === "bad") {
      yield { ...about, id: `camera/${placeKey(store_id, camera_id)}`, level: "warning", title: `${name()}: ${state.words}`,
        detail: camera.note, todo: state.todo };
      continue;
    }
    const { frames, share, why } = drops(camera);
    if (share > DROPPED)
      yield { ...about, id: `drops/${placeKey(store_id, camera_id)}`, level: "warning",
        title: `${name()}: ${percent(share)} of its pictures are dropped`, detail: `${count(frames, "picture")} in the last minute (${why})`,
        todo: "The job cannot keep up: give it more analyzers, or lower sampling_fps." };
    else if (camera.delay_p95_s > SLOW_S)
      yield { ...about, id: `slow/${placeKey(store_id, camera_id)}`, level: "warning",
        title: `${name()}: figures come late`, detail: `Delay ${duration(camera.delay_p95_s)} (95 %)`,
        todo: "The job cannot keep up: give it more analyzers, or lower sampling_fps." };
  }
}

/** Who waits too long now; and where nobody does, whether half of them did in the hour. */
function* queues(model) {
  const now = new Set();
  for (const { store_id, camera_id, zone_id, longest_wait_s: waited } of model.live.figures) {
    const target = waited ? model.zone(store_id, camera_id, zone_id)?.target_wait_s : undefined;
    if (!(waited > target)) continue;
    now.add(placeKey(store_id, camera_id, zone_id)).add(placeKey(store_id, camera_id));
    yield { id: `wait/${placeKey(store_id, camera_id, zone_id)}`, level: "warning", at: 0, store_id, camera_id, zone_id,
      title: `${model.placeName(store_id, camera_id, zone_id)}: a long wait`,
      detail: `Who came first has been here for ${whole(waited)}; the target is ${whole(target)}.`,
      todo: "Open another till or counter." };
  }
  for (const hour of model.hour?.queues ?? []) {
    const { store_id, camera_id, zone_id } = hour;
    if (!isLong(hour) || !model.camera(store_id, camera_id) || now.has(placeKey(store_id, camera_id, zone_id))) continue;
    const when = hourSaid(hour.hour_local, model.hour.at, model.timezone(store_id));
    yield { id: `wait/${placeKey(store_id, camera_id, zone_id)}`, level: "warning", at: 0, store_id, camera_id, zone_id,
      title: `${model.placeName(store_id, camera_id, zone_id)}: long waits`,
      detail: `Half waited ${whole(hour.wait_p50_s)} or longer (${when}); the target is ${whole(hour.target_wait_s)}.`,
      todo: "Open another till or counter." };
  }
}

function* alerts({ live }) {
  for (const alert of live.alerts) {
    if (alert.acknowledged_at) continue;
    const { store_id, camera_id, zone_id } = alert;
    yield { id: `alert/${alert.alert_id}`, level: alert.severity, at: Date.parse(alert.fired_at), store_id, camera_id, zone_id,
      title: alert.text, detail: reason(alert), todo: "", alert };
  }
}

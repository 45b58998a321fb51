// The page: hears the stream, keeps the model, draws the view that the address names.

import { setToken, stores } from "./api.js";
import { attention } from "./attention.js";
import { attr, el, keyed, text } from "./dom.js";
import { filterBar } from "./filters.js";
import { clock, count, whole } from "./format.js";
import { Model } from "./model.js";
import { overview, totals } from "./overview.js";
import { attentionPanel } from "./panel.js";
import { href, parse } from "./route.js";
import { cameraView, storeView } from "./store.js";
import { Stream } from "./stream.js";

const OLD_MS = 3000;
// Figures say the last 60 s; after as long they say nothing any more.
const VOID_MS = 60000;
const $ = (id) => document.getElementById(id);

const model = new Model();
const views = { overview: overview(), store: storeView(), camera: cameraView() };
const panel = attentionPanel(() => askToken("This takes an operator's token."));
const bar = filterBar((filters) => {
  history.replaceState(null, "", href({ ...route(), filters }));
  draw();
});
let connection = { phase: "connecting", reason: "" };
let heard = null; // when the last figures came: {steady, wall}, of two clocks
let fetched; // revision of the stores that were asked for
let known = null; // alerts that were there before
let wanted = false;
let items = [];

// --- what comes ---------------------------------------------------------------------------------------------------

const stream = new Stream("/v1/events", take, (state) => {
  if (connection.phase === state.phase && connection.reason === state.reason) return;
  connection = state;
  if (state.phase === "token") askToken(state.reason);
  tick();
});

function take(type, value) {
  if (type === "live") takeLive(value);
  else if (type === "hour") model.setHour(value);
  else return;
  draw();
}

function takeLive(live) {
  model.setLive(live);
  heard = { steady: performance.now(), wall: Date.now() };
  if (fetched !== live.revision) fetchStores(live.revision);
  announceAlerts(live);
}

async function fetchStores(revision) {
  fetched = revision;
  try {
    model.setStores(await stores());
    draw();
  } catch {
    // The next event asks again, in a while: what failed may fail twice a second.
    setTimeout(() => (fetched = undefined), 2000);
  }
}

function announceAlerts({ alerts }) {
  const open = alerts.filter((alert) => !alert.acknowledged_at);
  const fresh = known === null ? [] : open.filter((alert) => !known.has(alert.alert_id));
  known = new Set(alerts.map((alert) => alert.alert_id));
  const worst = fresh.some((alert) => alert.severity === "critical");
  if (fresh.length) say(fresh.map((alert) => `Alert, ${alert.severity}: ${alert.text}`).join(". "), worst);
}

/** Tell those who listen. Figures that change are never told: nobody could listen to anything else. */
function say(words, urgent = false) {
  $(urgent ? "urgent" : "said").textContent = words;
}

// --- how old it is --------------------------------------------------------------------------------------------------

/** Milliseconds since the newest figures; null: there were none. One clock stops while the machine sleeps, one is set. */
function age() {
  if (!heard) return null;
  const connectionAge = Math.max(performance.now() - heard.steady, Date.now() - heard.wall);
  const silent = Math.min(...model.live.runs.map((run) => run.silent_s), Infinity);
  return connectionAge + (silent === Infinity ? 0 : silent * 1000);
}

/** Four times a second: whether what is shown still holds. */
function tick() {
  const old = age();
  const state = old === null ? "none" : old < OLD_MS ? "fresh" : old < VOID_MS ? "old" : "void";
  const before = document.documentElement.dataset.live;
  document.documentElement.dataset.live = state;
  text($("age"), ageText(old));
  text($("stale"), state === "fresh" ? "" : staleText(old));
  attr($("stale"), "hidden", state === "fresh");
  attr($("ask"), "hidden", connection.phase !== "token");
  if (before === state) return;
  if (state === "old") say("The figures are not live any more.", true);
  if (state === "fresh" && (before === "old" || before === "void")) say("The figures are live again.");
  head();
}

function ageText(old) {
  if (old === null) return connection.phase === "connecting" ? "connecting …" : "not connected";
  return old < OLD_MS ? "live" : `${whole(old / 1000)} old`;
}

function staleText(old) {
  const why = connection.reason ? `: ${connection.reason}` : "";
  if (connection.phase === "token") return `A token is needed${why}.`;
  const trying = connection.phase === "open" ? "" : " Trying again by itself.";
  if (old === null) return connection.phase === "waiting" ? `Not connected${why}.${trying}` : "Connecting …";
  const silent = connection.phase === "open" ? "no new figures come" : connection.reason || "the connection broke";
  const shown = old < VOID_MS ? "What you see below is old." : "Too old to be shown.";
  return `NOT LIVE for ${whole(old / 1000)}: ${silent}. ${shown}${trying}`;
}

// --- what is shown --------------------------------------------------------------------------------------------------

function route() {
  const { store, camera, filters } = parse(location.hash);
  // A single store is its own overview.
  const only = store === null && model.stores?.length === 1 ? model.stores[0].store_id : store;
  return { store: only, camera, filters };
}

/** Draw with the next picture; a page in the background draws nothing. */
function draw() {
  if (wanted) return;
  wanted = true;
  requestAnimationFrame(() => {
    wanted = false;
    drawNow();
  });
}

function drawNow() {
  tick();
  if (!model.live || !model.stores) return;
  const at = route();
  const store = at.store === null ? null : model.store(at.store);
  const camera = store?.cameras.find((c) => c.camera_id === at.camera);
  const lost = (at.store !== null && !store) || (at.camera !== null && !camera);
  items = attention(model);
  const here = items.filter((i) => i.store_id === null || ((!store || i.store_id === store.store_id) && (!camera || i.camera_id === camera.camera_id)));
  head();
  crumbs(at, store, camera);
  text($("empty"), lost ? "There is no such store or camera in what runs now." : emptyText(at));
  attr($("empty"), "hidden", !$("empty").textContent);
  panel.update(lost ? items : here, acknowledged(store, camera), model);
  const name = lost ? null : camera ? "camera" : store ? "store" : "overview";
  filterUpdate(at, store, camera, lost);
  if (name !== null) views[name].update(model, here, at.filters, store, camera);
  for (const [other, view] of Object.entries(views)) attr(view.node, "hidden", other !== name || !model.stores.length);
}

function acknowledged(store, camera) {
  return model.live.alerts.filter(
    (a) => a.acknowledged_at && (!store || a.store_id === store.store_id) && (!camera || a.camera_id === camera.camera_id),
  );
}

function filterUpdate(at, store, camera, lost) {
  const cameras = camera ? [camera] : (store?.cameras ?? []);
  bar.update(at.filters, [...new Set(cameras.flatMap((c) => c.zones.map((z) => z.kind)))], lost || Boolean(camera) || !model.stores.length);
}

function emptyText() {
  if (model.live.runs.length) return model.live.cameras.length ? "" : "The job has no cameras: add some to its config.";
  return "No job is running, so there are no figures of now. Start one: risa stream chain.yaml";
}

/** The state of it all, which is all that most looks are for. */
function head() {
  const bad = items.filter((item) => item.level !== "info");
  const [level, words] = headline(bad);
  attr($("state"), "data-level", level);
  text($("headline"), words);
  text($("totals"), model.live ? totals(model) : "");
  text($("chain"), model.live ? [...new Set(model.live.runs.map((run) => run.chain))].join(", ") : "");
  const mark = level === "ok" ? "" : level === "off" || level === "old" ? "(not live) " : `(${bad.length}) `;
  document.title = `${mark}RISA live`;
}

function headline(bad) {
  const live = document.documentElement.dataset.live;
  if (live !== "fresh") return live === "none" ? ["off", "Waiting for figures"] : ["old", "Not live"];
  if (!model.live.runs.length) return ["off", "No job is running"];
  const worst = bad.some((item) => item.level === "critical");
  if (bad.length) return [worst ? "critical" : "bad", `${count(bad.length, "thing")} ${bad.length === 1 ? "needs" : "need"} attention`];
  return ["ok", "All well"];
}

function crumbs(at, store, camera) {
  const several = model.stores.length > 1;
  const parts = [];
  if (several && at.store !== null) parts.push({ name: "All stores", to: href() });
  if (store) parts.push({ name: store.name || store.store_id, to: href({ store: store.store_id }) });
  if (camera) parts.push({ name: camera.name || camera.camera_id, to: href({ store: store.store_id, camera: camera.camera_id }) });
  const here = store ? parts.length - 1 : -1;
  keyed($("crumbs"), parts.map((part, i) => ({ ...part, here: i === here })), (part) => part.to, crumb);
  text($("clock"), store ? `${clock(model.live.at, store.timezone)} in ${store.timezone}` : "");
}

function crumb() {
  const link = el("a");
  const node = el("li", {}, link);
  return {
    node,
    update({ name, to, here }) {
      text(link, name);
      attr(link, "href", to);
      attr(link, "aria-current", here ? "page" : null);
    },
  };
}

// --- the token ------------------------------------------------------------------------------------------------------

function askToken(reason) {
  text($("why-token"), reason);
  if (!$("token-dialog").open) $("token-dialog").showModal();
}

$("token-dialog").addEventListener("close", () => {
  const given = $("token").value.trim();
  if ($("token-dialog").returnValue !== "use" || !given) return;
  setToken(given);
  $("token").value = "";
  fetched = undefined;
  stream.retry();
});
$("ask").addEventListener("click", () => askToken(connection.reason));

// --- begin ----------------------------------------------------------------------------------------------------------

$("main").append(panel.node, bar.node, ...Object.values(views).map((view) => view.node));
for (const part of [panel, bar, ...Object.values(views)]) attr(part.node, "hidden", true);
addEventListener("hashchange", () => {
  drawNow();
  scrollTo(0, 0);
  $("main").focus({ preventScroll: true });
});
// A fragment of its own would leave the place that the address names.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  $("main").focus();
});
setInterval(tick, 250);
tick();
stream.run();

// How figures are said. What cannot be shown says why in `why`, which becomes the tip and what is read aloud.

export const NONE = "–";

/** +0.31, −0.20, 0.00 */
export function signed(value) {
  const digits = Math.abs(value).toFixed(2);
  return digits === "0.00" ? digits : (value > 0 ? "+" : "−") + digits;
}

export function percent(share) {
  return `${Math.round(share * 100)} %`;
}

/** 0.18 s, 45 s, 2 min 10 s, 3 h 5 min */
export function duration(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(seconds < 0.995 ? 2 : 1)} s`;
  return whole(seconds);
}

/** The same without fractions. */
export function whole(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  const [big, bigName, small, smallName] =
    s < 3600 ? [Math.floor(s / 60), "min", s % 60, "s"] : [Math.floor(s / 3600), "h", Math.floor((s % 3600) / 60), "min"];
  return small ? `${big} ${bigName} ${small} ${smallName}` : `${big} ${bigName}`;
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

/** Net sentiment of a place: {text, why, value}. */
export function net(figures) {
  if (!figures) return { text: NONE, why: "no figures", value: null };
  if (figures.status === "ok" && figures.net_sentiment !== null) {
    const range = figures.ci ? `, 95 % interval ${signed(figures.ci[0])} to ${signed(figures.ci[1])}` : "";
    const people = figures.with_mood ?? figures.tracks;
    const why = `of ${count(people, "person", "people")} with a readable expression${range}`;
    return { text: signed(figures.net_sentiment), why, value: figures.net_sentiment };
  }
  return { ...hidden(figures.status, figures.k), value: null };
}

/** Share of people whose expression cannot be read. */
export function unknown(figures) {
  if (!figures) return { text: NONE, why: "no figures" };
  if (figures.unknown_share === null) return hidden(figures.status, figures.k);
  return { text: percent(figures.unknown_share), why: "share of people whose expression is unknown" };
}

export function hidden(status, k) {
  if (status === "suppressed") return { text: `< ${k}`, why: `fewer than ${k} people, so it is not shown` };
  if (status === "mood_suppressed")
    return { text: `< ${k}`, why: `fewer than ${k} people with a readable expression, so it is not shown` };
  if (status === "low_coverage") return { text: NONE, why: "the camera delivered less than half of the time" };
  return { text: NONE, why: "nobody with a readable expression" };
}

/** People in a queue zone; heads, which the floor does not hide. */
export function queue(figures) {
  const length = figures?.queue_length;
  if (length === null || length === undefined) return { text: NONE, why: "no pictures to count on" };
  return { text: length.toFixed(1), why: "people standing here at a time, mean of the last minute" };
}

/** How long whoever is first in a queue zone has been there; `late` where that is over its target. */
export function longest(figures, targetS) {
  const seconds = figures?.longest_wait_s;
  if (seconds === null || seconds === undefined) return { text: NONE, why: "no pictures to tell from", late: false };
  if (!seconds) return { text: whole(0), why: "nobody waits", late: false };
  const late = seconds > targetS;
  return marked(whole(seconds), late, `who came first has been here so long; the target is ${whole(targetS)}`);
}

/** Why nothing can be said of the last hour; empty where something can. */
export function missing({ hour, toldAt }, timezone) {
  if (hour) return "";
  return `nothing heard from the tables ${toldAt === null ? "yet" : `since ${clock(toldAt, timezone)}`}`;
}

/** Waits in a queue zone in an hour of the tables; `late` where the median is over the target. `lost`: see `missing`. */
export function wait(hour, k, lost) {
  if (!hour) return { text: NONE, why: lost || "no waits yet", late: false };
  if (hour.wait_p50_s === null) {
    const told = ["suppressed", "low_coverage"].includes(hour.status) ? hidden(hour.status, k) : { text: NONE, why: "no waits that ended" };
    return { ...told, late: false };
  }
  const all = hour.zone_id === null ? " in all queues of this camera" : "";
  const most = hour.wait_p95_s === null ? "" : `, 95 % within ${whole(hour.wait_p95_s)}`;
  const level =
    hour.service_level === null || hour.target_wait_s === null ? "" : `, ${percent(hour.service_level)} within the target of ${whole(hour.target_wait_s)}`;
  return marked(whole(hour.wait_p50_s), isLong(hour), `half waited no longer${all}${most}${level}`);
}

/** Whether half of the waits of an hour were over the target. */
export function isLong({ wait_p50_s: half, target_wait_s: target }) {
  return half !== null && target !== null && half > target;
}

/** "since 14:00", or "13:00 to 14:00" of an hour that is over at `now`. */
export function hourSaid(began, now, timezone) {
  const [from, hour] = [Date.parse(began), 3600000];
  const over = Date.parse(now) - from >= hour;
  return over ? `${clock(from, timezone)} to ${clock(from + hour, timezone)}` : `since ${clock(from, timezone)}`;
}

/** What is over its target has a sign, as colour alone tells too few. */
function marked(words, late, why) {
  return late ? { text: `${words} !`, why: `over the target: ${why}`, late } : { text: words, why, late };
}

const clocks = new Map();

/** The time of day at a store, 14:05 or 14:05:09. */
export function clock(at, timezone, seconds = false) {
  const key = `${timezone}/${seconds}`;
  if (!clocks.has(key)) clocks.set(key, clockOf(timezone, seconds));
  return clocks.get(key).format(new Date(at));
}

function clockOf(timeZone, seconds) {
  const options = { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, hourCycle: "h23" };
  try {
    return new Intl.DateTimeFormat("en-GB", { ...options, timeZone });
  } catch {
    return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC", timeZoneName: "short" });
  }
}

const FIGURES = {
  people: ["People now", (v) => String(Math.round(v))],
  net_sentiment: ["Net sentiment", signed],
  positive_share: ["Share with positive apparent expressions", percent],
  negative_share: ["Share with negative apparent expressions", percent],
  unknown_share: ["Share without a readable expression", percent],
  delay_p95_s: ["Delay (95 %)", duration],
  negative_s: ["Negative apparent expression per person", duration],
  queue_length: ["Queue length", (v) => v.toFixed(1)],
  longest_wait_s: ["Longest wait now", whole],
  camera_down_s: ["Nothing from the camera for", whole],
};

/** What an alert saw: "People now 9 (above 6)". */
export function reason(alert) {
  const [name, say] = FIGURES[alert.figure] ?? [alert.figure, (v) => String(Math.round(v * 100) / 100)];
  const people = alert.tracks === null ? "" : `, ${count(alert.tracks, "person", "people")} in ${whole(alert.window_s)}`;
  return `${name} ${say(alert.value)} (${alert.direction} ${say(alert.threshold)}${people})`;
}

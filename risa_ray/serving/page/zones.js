// The zones of a camera as a table: who is there, and how it goes.

import { chart } from "./chart.js";
import { attr, css, el, keyed, text } from "./dom.js";
import { hourSaid, longest, missing, net, queue, unknown, wait } from "./format.js";
import { trend } from "./model.js";

const QUEUES = ["queue", "checkout"];
// What is there is blacked out, or discarded before anything is read of it.
const UNSEEN = ["staff", "mask"];
const EMPTY = { text: "" };
const ARROWS = { up: ["▲", "rising"], down: ["▼", "falling"], steady: ["→", "steady"] };

/** A figure with its tip; what it means is also there for who cannot point at it. */
export function figure(props = {}) {
  const shown = el("span", { class: "figure" });
  const why = el("span", { class: "hidden" });
  const node = el("span", { class: "told", ...props }, shown, why);
  return {
    node,
    set({ text: words, why: reason = "", late = false }) {
      text(shown, words);
      text(why, reason ? ` ${reason}` : "");
      attr(node, "title", reason || null);
      attr(node, "data-late", late);
    },
  };
}

/** Net sentiment as a number, on a scale with its interval, and where it goes. */
export function mood() {
  const range = el("span", { class: "range" });
  const mark = el("span", { class: "mark" });
  const meter = el("span", { class: "meter", "aria-hidden": "true" }, range, mark);
  const arrow = figure({ class: "arrow" });
  const number = figure({ class: "number" });
  const node = el("span", { class: "mood" }, number.node, arrow.node, meter);
  return {
    node,
    set(figures, hour, now) {
      const told = net(figures);
      number.set(told);
      attr(node, "data-mood", told.value === null ? null : told.value < 0 ? "low" : "high");
      attr(meter, "hidden", told.value === null);
      attr(range, "hidden", !figures?.ci);
      if (told.value !== null) css(mark, "left", place(told.value));
      if (told.value !== null && figures.ci) {
        css(range, "left", place(figures.ci[0]));
        css(range, "right", `${(50 - figures.ci[1] * 50).toFixed(1)}%`);
      }
      const way = trend(figures, hour, now);
      const [sign, word] = way ? ARROWS[way.way] : ["", ""];
      arrow.set({ text: sign, why: way ? `${word}, against the 15 minutes before` : "" });
      attr(arrow.node, "data-way", way?.way ?? null);
    },
  };
}

const place = (value) => `${(50 + value * 50).toFixed(1)}%`;

const COLUMNS = [
  ["People", "in view now"],
  ["Net sentiment", "of the apparent expressions of the last 60 s, from -1 to +1"],
  ["Last hour", "net sentiment by minute"],
  ["Queue", "people standing there at a time, mean of the last 60 s"],
  ["Longest wait", "how long whoever is first in the queue has been there"],
  ["Median wait", "half of the people waited no longer, in the hour that it says"],
  ["Unknown", "share of people whose expression cannot be read"],
];

/** @returns {{node, update(store, camera, model, zones)}} `zones`: those to show, of the camera's */
export function zoneTable() {
  const body = el("tbody", { role: "rowgroup" });
  const heads = COLUMNS.map(([name, title]) => el("th", { scope: "col", role: "columnheader", title, text: name }));
  const caption = el("caption", { class: "hidden" });
  const node = el(
    "table",
    { class: "zones", role: "table" },
    caption,
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, el("th", { scope: "col", role: "columnheader", text: "Zone" }), ...heads)),
    body,
  );
  return {
    node,
    update(store, camera, model, zones) {
      text(caption, `Zones of ${camera.name || camera.camera_id}`);
      attr(node, "data-queues", camera.zones.some((zone) => QUEUES.includes(zone.kind)) ? "some" : "none");
      const rows = zones.map((zone) => ({ zone, store, camera, model }));
      keyed(body, rows, ({ zone }) => zone.zone_id, zoneRow);
    },
  };
}

function zoneRow() {
  const name = el("span", { class: "name" });
  const kind = el("span", { class: "kind" });
  const [people, queued, first, waited, hidden] = [figure(), figure(), figure(), figure(), figure()];
  const when = el("span", { class: "kind" });
  const feeling = mood();
  const hour = chart();
  const cells = [[people.node], [feeling.node], [hour.node], [queued.node], [first.node], [waited.node, when], [hidden.node]].map(
    (children, i) => el("td", { role: "cell", "data-label": COLUMNS[i][0] }, ...children),
  );
  const node = el("tr", { role: "row" }, el("th", { scope: "row", role: "rowheader" }, name, kind), ...cells);
  return {
    node,
    update({ zone, store, camera, model }) {
      const ids = [store.store_id, camera.camera_id, zone.zone_id];
      const figures = model.figures(...ids);
      const lastHour = model.lastHour(...ids);
      const lost = missing(model, store.timezone);
      text(name, zone.name || zone.zone_id);
      text(kind, zone.tags.length ? `${zone.kind}: ${zone.tags.join(", ")}` : zone.kind);
      attr(node, "data-zone", zone.zone_id);
      people.set(UNSEEN.includes(zone.kind) ? { text: "not looked at", why: "" } : { text: figures ? String(figures.people_now) : "–" });
      feeling.set(figures, lastHour, model.live.at);
      hour.update(lastHour, store.timezone, lost);
      queued.set(QUEUES.includes(zone.kind) ? queue(figures) : EMPTY);
      const waits = zone.kind === "queue";
      const told = waits ? model.queue(...ids) : null;
      first.set(waits ? longest(figures, zone.target_wait_s) : EMPTY);
      waited.set(waits ? wait(told, figures?.k ?? 0, lost) : EMPTY);
      text(when, told ? hourSaid(told.hour_local, model.hour.at, store.timezone) : "");
      hidden.set(unknown(figures));
    },
  };
}

/** "neutral 5, happiness 3": what the dots of a camera say, in words. */
export function expressions(figures) {
  const found = Object.entries(figures?.expressions ?? {}).filter(([, n]) => n);
  if (found.length) return found.sort((a, b) => b[1] - a[1]).map(([name, n]) => `${name} ${n}`).join(", ");
  if (!figures?.people_now) return "";
  return figures.people_now < figures.k ? `not told of fewer than ${figures.k} people` : "none can be read";
}


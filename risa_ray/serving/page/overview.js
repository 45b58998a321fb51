// All stores: one row each.

import { stateOf } from "./attention.js";
import { badge } from "./card.js";
import { chart } from "./chart.js";
import { attr, el, keyed, text } from "./dom.js";
import { count, longest, missing, queue } from "./format.js";
import { grouped, pooled, pooledHour } from "./model.js";
import { href } from "./route.js";
import { figure, mood } from "./zones.js";

const COLUMNS = [
  ["State", "of its cameras and alerts"],
  ["Cameras", "that deliver pictures"],
  ["In view", "faces in view now, of all cameras; a person two cameras see counts twice"],
  ["Net sentiment", "of the apparent expressions of the last 60 s, over all its cameras, from -1 to +1"],
  ["Last hour", "mean of its cameras' net sentiment by minute, weighted by people followed"],
  ["Longest queue", "people standing in its longest queue, mean of the last 60 s"],
  ["Longest wait", "how long whoever is first in a queue has been there; the longest of its queues"],
];

/** @returns {{node, update(model, items, filters)}} */
export function overview() {
  const body = el("tbody", { role: "rowgroup" });
  const heads = COLUMNS.map(([name, title]) => el("th", { scope: "col", role: "columnheader", title, text: name }));
  const none = el("p", { class: "muted" });
  const table = el(
    "table",
    { class: "stores", role: "table" },
    el("caption", { class: "hidden", text: "Stores" }),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, el("th", { scope: "col", role: "columnheader", text: "Store" }), ...heads)),
    body,
  );
  const node = el("section", { "aria-label": "Stores" }, table, none);
  return {
    node,
    update(model, items, filters) {
      const troubles = grouped(items.filter((i) => i.level !== "info"), (item) => item.store_id);
      const rows = model.stores
        .filter((store) => matches(store, filters.find) && (!filters.only || troubles.has(store.store_id)))
        .map((store) => ({ store, model, troubles: troubles.get(store.store_id) ?? [] }));
      keyed(body, rows, ({ store }) => store.store_id, storeRow);
      attr(table, "hidden", !rows.length);
      text(none, rows.length || !model.stores.length ? "" : "No store matches the filters.");
    },
  };
}

/** Whether a store, or one of its cameras, has these words in its name or id. */
export function matches(store, words = "") {
  const names = [store.name, store.store_id, ...store.cameras.flatMap((c) => [c.name, c.camera_id])];
  return names.some((name) => name.toLowerCase().includes(words.trim().toLowerCase()));
}

function storeRow() {
  const link = el("a");
  const id = el("span", { class: "kind" });
  const state = badge();
  const [cameras, people, queued, waited] = [figure(), figure(), figure(), figure()];
  const feeling = mood();
  const hour = chart();
  let drawnOf;
  const cells = [state.node, cameras.node, people.node, feeling.node, hour.node, queued.node, waited.node].map((child, i) =>
    el("td", { role: "cell", "data-label": COLUMNS[i][0] }, child),
  );
  const node = el("tr", { role: "row" }, el("th", { scope: "row", role: "rowheader" }, link, id), ...cells);
  return {
    node,
    update({ store, model, troubles }) {
      const { store_id } = store;
      text(link, store.name || store_id);
      attr(link, "href", href({ store: store_id }));
      text(id, store.name ? store_id : "");
      attr(node, "data-store", store_id);
      const found = store.cameras.map((c) => model.figures(store_id, c.camera_id));
      const delivering = store.cameras.filter((c) => stateOf(model.camera(store_id, c.camera_id)).level === "ok").length;
      state.set(...stateOfStore(store, model, troubles));
      cameras.set({ text: `${delivering} of ${store.cameras.length}` });
      const all = pooled(found);
      people.set({ text: found.some(Boolean) ? String(all.people_now) : "–" });
      if (drawnOf !== model.hour) {
        drawnOf = model.hour;
        const hours = store.cameras.map((c) => model.lastHour(store_id, c.camera_id));
        hour.update(pooledHour(hours), store.timezone, missing(model, store.timezone));
      }
      feeling.set(found.some(Boolean) ? all : undefined, null, model.live.at);
      queued.set(longestQueue(store, model));
      waited.set(longestWait(store, model));
    },
  };
}

function stateOfStore(store, model, troubles) {
  if (troubles.some((t) => t.level === "critical")) return ["critical", `${troubles.length} to see to`];
  if (troubles.length) return ["bad", `${troubles.length} to see to`];
  const running = store.cameras.some((c) => model.camera(store.store_id, c.camera_id));
  return running ? ["ok", "all well"] : ["off", "not running"];
}

export function longestQueue(store, model) {
  const [figures, zone] = most(store, model, "queue_length") ?? [];
  if (!zone) return { text: "–", why: "no queue to tell of" };
  return { text: queue(figures).text, why: `people at ${zone.name || zone.zone_id}, mean of the last minute` };
}

export function longestWait(store, model) {
  const [figures, zone] = most(store, model, "longest_wait_s") ?? [];
  if (!zone) return { text: "–", why: "no queue to tell of" };
  const told = longest(figures, zone.target_wait_s);
  return { ...told, why: `${zone.name || zone.zone_id}: ${told.why}` };
}

/** `[figures, zone]` of the store's zone with the most of a figure; null where no zone has it. */
function most({ store_id, cameras }, model, name) {
  let found = null;
  for (const figures of model.live.figures) {
    const value = figures[name];
    if (value !== null && figures.store_id === store_id && (!found || value > found[name])) found = figures;
  }
  const camera = found && cameras.find((c) => c.camera_id === found.camera_id);
  const zone = camera?.zones.find((z) => z.zone_id === found.zone_id);
  return zone ? [found, zone] : null;
}

/** "3 stores · 11 of 12 cameras deliver · 41 in view" */
export function totals(model) {
  const cameras = model.live.cameras;
  const delivering = cameras.filter((camera) => stateOf(camera).level === "ok").length;
  const people = model.live.figures.reduce((sum, f) => sum + (f.zone_id === null ? f.people_now : 0), 0);
  const parts = [`${delivering} of ${count(cameras.length, "camera")} ${delivering === 1 ? "delivers" : "deliver"}`, `${people} in view`];
  return [count(model.stores?.length ?? 0, "store"), ...parts].join(" · ");
}

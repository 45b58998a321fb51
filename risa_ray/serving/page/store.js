// One store with its cameras, or one of its cameras alone.

import { cameraCard, largeCard } from "./card.js";
import { chart } from "./chart.js";
import { attr, el, keyed, text } from "./dom.js";
import { missing, unknown } from "./format.js";
import { pooled, pooledHour } from "./model.js";
import { longestQueue, longestWait } from "./overview.js";
import { legend } from "./scene.js";
import { figure, mood } from "./zones.js";

/** @returns {{node, update(model, items, filters, store)}} */
export function storeView() {
  const [people, hidden, longest, waited] = [figure({ class: "big" }), figure({ class: "big" }), figure({ class: "big" }), figure({ class: "big" })];
  const feeling = mood();
  const tiles = el(
    "dl",
    { class: "tiles" },
    ...[
      ["In view now", people.node],
      ["Net sentiment, 60 s", feeling.node],
      ["Longest queue", longest.node],
      ["Longest wait", waited.node],
      ["Unknown", hidden.node],
    ].map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", {}, value))),
  );
  const hour = chart({ large: true });
  const note = el("figcaption", { class: "muted" });
  const figureOfHour = el("figure", { class: "panel" }, el("h2", { text: "Net sentiment, last hour" }), hour.node, note);
  const cards = el("div", { class: "cameras" });
  const none = el("p", { class: "muted" });
  const node = el("section", { "aria-label": "Store" }, tiles, figureOfHour, el("h2", { text: "Cameras" }), legend(), cards, none);
  let drawnOf, drawnFor;
  return {
    node,
    update(model, items, filters, store) {
      const { store_id, cameras } = store;
      const found = cameras.map((c) => model.figures(store_id, c.camera_id));
      const all = found.some(Boolean) ? pooled(found) : undefined;
      people.set({ text: all ? String(all.people_now) : "–" });
      feeling.set(all, null, model.live.at);
      hidden.set(unknown(all));
      longest.set(longestQueue(store, model));
      waited.set(longestWait(store, model));
      if (drawnOf !== model.hour || drawnFor !== store) {
        [drawnOf, drawnFor] = [model.hour, store];
        const hours = cameras.map((c) => model.lastHour(store_id, c.camera_id));
        hour.update(pooledHour(hours), store.timezone, missing(model, store.timezone));
        text(note, model.hour ? noteOf(store) : "");
      }
      const troubled = new Set(items.filter((i) => i.level !== "info").map((i) => i.camera_id));
      const entries = cameras
        .filter((camera) => named(camera, filters.find) && (!filters.only || troubled.has(camera.camera_id)))
        .map((camera) => ({ store, camera, model, zones: camera.zones.filter((z) => !filters.kind || z.kind === filters.kind) }))
        .filter(({ zones }) => !filters.kind || zones.length);
      keyed(cards, entries, ({ camera }) => `${store_id}/${camera.camera_id}`, cameraCard);
      text(none, entries.length ? "" : cameras.length ? "No camera matches the filters." : "This store has no cameras.");
    },
  };
}

function noteOf(store) {
  const mean = store.cameras.length > 1 ? "Mean of its cameras by minute, weighted by people followed. " : "";
  return `${mean}A grey mark below is a minute of too few people to be shown. Times of ${store.timezone}.`;
}

function named(camera, words = "") {
  const zones = camera.zones.flatMap((z) => [z.name, z.zone_id]);
  return [camera.name, camera.camera_id, ...zones].some((name) => name.toLowerCase().includes(words.trim().toLowerCase()));
}

/** @returns {{node, update(model, items, filters, store, camera)}} */
export function cameraView() {
  const place = el("div");
  const node = el("section", { "aria-label": "Camera" }, place, legend());
  return {
    node,
    update(model, items, filters, store, camera) {
      const zones = camera.zones.filter((z) => !filters.kind || z.kind === filters.kind);
      keyed(place, [{ store, camera, model, zones }], () => `${store.store_id}/${camera.camera_id}`, largeCard);
    },
  };
}

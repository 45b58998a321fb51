// A camera: how it is, its schematic view and its zones.

import { drops, stateOf } from "./attention.js";
import { chart } from "./chart.js";
import { attr, css, el, text } from "./dom.js";
import { count, duration, missing, percent, unknown } from "./format.js";
import { blurredPicture } from "./picture.js";
import { href } from "./route.js";
import { scene } from "./scene.js";
import { expressions, figure, mood, zoneTable } from "./zones.js";

/** A camera's state as a badge: a sign, a word and a colour. */
export function badge() {
  const words = el("span");
  const node = el("span", { class: "badge" }, el("span", { class: "sign", "aria-hidden": "true" }), words);
  return {
    node,
    set(level, said) {
      attr(node, "data-level", level);
      text(words, said);
    },
  };
}

// Of 200 cameras a few are in sight, and only those are drawn.
const sight = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting, boundingClientRect } of entries) target.comes(isIntersecting, boundingClientRect.height);
  },
  { rootMargin: "600px 0px" },
);

/**
 * One camera of many: its name and state always, the rest while it is in sight or nearly.
 * @returns {{node, update({store, camera, model, zones}), end()}}
 */
export function cameraCard() {
  const link = el("a");
  const head = header(el("h3", {}, link));
  const node = el("article", { class: "camera" }, head.node);
  let body = null;
  let given = null;
  node.comes = (near, height) => {
    if (near === (body !== null)) return;
    // Out of sight it keeps its height, so that nothing jumps.
    css(node, "min-height", near || !height ? "" : `${height}px`);
    body?.parts.forEach((part) => part.remove());
    body = near ? bodyOf(false) : null;
    if (near) {
      node.append(...body.parts);
      if (given) body.update(given);
    }
  };
  sight.observe(node);
  return {
    node,
    update(now) {
      given = now;
      const { store, camera } = now;
      text(link, camera.name || camera.camera_id);
      attr(link, "href", href({ store: store.store_id, camera: camera.camera_id }));
      attr(node, "data-camera", camera.camera_id);
      attr(node, "aria-label", camera.name || camera.camera_id);
      head.update(now);
      body?.update(now);
    },
    end: () => sight.unobserve(node),
  };
}

/** One camera alone on its page. */
export function largeCard() {
  const head = header(el("h2", { text: "Now" }));
  const body = bodyOf(true);
  const node = el("article", { class: "camera large" }, head.node, ...body.parts);
  return {
    node,
    update(now) {
      attr(node, "data-camera", now.camera.camera_id);
      head.update(now);
      body.update(now);
    },
  };
}

function header(title) {
  const state = badge();
  const health = el("p", { class: "health" });
  return {
    node: el("header", {}, title, state.node, health),
    update({ store, camera, model }) {
      const now = model.camera(store.store_id, camera.camera_id);
      const { level, words } = stateOf(now);
      state.set(level, words);
      text(health, healthOf(now));
    },
  };
}

function bodyOf(large) {
  const picture = large ? blurredPicture() : null;
  const view = scene(...(picture ? [picture.canvas] : []));
  const [people, hidden] = [figure({ class: "big" }), figure()];
  const feeling = mood();
  const said = el("p", { class: "said" });
  const hour = chart({ large });
  const facts = el(
    "dl",
    { class: "facts" },
    ...[
      ["In view", people.node],
      ["Net sentiment, 60 s", feeling.node],
      ["Unknown", hidden.node],
      ...(large ? [] : [["Last hour", hour.node]]),
    ].map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", {}, value))),
  );
  const table = zoneTable();
  const none = el("p", { class: "muted", text: "It has no zones." });
  return {
    parts: [
      el("div", { class: "sight" }, view.node, said, ...(picture ? [picture.control] : [])),
      el("div", { class: "told-of" }, facts, ...(large ? [el("h3", { text: "Net sentiment, last hour" }), hour.node] : [])),
      el("div", { class: "zones-of" }, table.node, none),
    ],
    update({ store, camera, model, zones }) {
      const figures = model.figures(store.store_id, camera.camera_id);
      const lastHour = model.lastHour(store.store_id, camera.camera_id);
      view.update(store.store_id, camera, model);
      picture?.update(store, camera, model.camera(store.store_id, camera.camera_id));
      people.set({ text: figures ? String(figures.people_now) : "–" });
      feeling.set(figures, lastHour, model.live.at);
      hidden.set(unknown(figures));
      const faces = expressions(figures);
      text(said, faces ? `Apparent expressions: ${faces}` : "");
      hour.update(lastHour, store.timezone, missing(model, store.timezone));
      attr(table.node, "hidden", !zones.length);
      attr(none, "hidden", camera.zones.length > 0);
      table.update(store, camera, model, zones);
    },
  };
}

/** "delay 0.21 s (95 %: 0.40 s) · 4.9 pictures/s · 3 dropped (1 %)" */
export function healthOf(camera) {
  if (!camera) return "";
  const parts = [];
  if (camera.delay_p50_s !== null) {
    const most = camera.delay_p95_s === null ? "" : ` (95 %: ${duration(camera.delay_p95_s)})`;
    parts.push(`delay ${duration(camera.delay_p50_s)}${most}`);
  }
  if (camera.fps) parts.push(`${camera.fps.toFixed(1)} pictures/s`);
  const { frames, share } = drops(camera);
  parts.push(frames ? `${frames} dropped (${percent(share)})` : "none dropped");
  if (camera.connections > 1) parts.push(count(camera.connections, "connection"));
  if (camera.note) parts.push(camera.note);
  return parts.join(" · ");
}

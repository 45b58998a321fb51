// A camera's picture without the picture: its zones, and a dot for each face.

import { attr, css, el, keyed, svg, text } from "./dom.js";
import { placeKey } from "./model.js";

/** Apparent expression -> the letters on its dot, since colour alone tells too few. */
const LETTERS = {
  neutral: "Ne",
  happiness: "Ha",
  surprise: "Su",
  sadness: "Sa",
  anger: "An",
  disgust: "Di",
  fear: "Fe",
  contempt: "Co",
};

const USUAL_ASPECT = 16 / 9; // until the first frame tells

/**
 * The schematic view of a camera. It is hidden from screen readers, for whom the figures beside it say the same.
 * @param under elements beneath the zones and dots, which are not hidden
 * @returns {{node, update(storeId, camera, model)}}
 */
export function scene(...under) {
  const shapes = svg("svg", { viewBox: "0 0 1 1", preserveAspectRatio: "none" });
  const labels = el("div");
  const dots = el("div");
  const nobody = el("p", { class: "nobody" });
  const node = el("div", { class: "scene" }, ...under, el("div", { "aria-hidden": "true" }, shapes, labels, dots, nobody));
  return {
    node,
    update(storeId, camera, model) {
      keyed(shapes, camera.zones, (zone) => zone.zone_id, shape);
      keyed(labels, camera.zones, (zone) => zone.zone_id, label);
      const people = model.people(storeId, camera.camera_id);
      keyed(dots, people, (person) => placeKey(storeId, camera.camera_id, person.number), dot);
      const now = model.camera(storeId, camera.camera_id);
      text(nobody, people.length ? "" : now ? "nobody in view" : "not running");
      css(node, "--aspect", String(now?.aspect ?? USUAL_ASPECT));
    },
  };
}

function shape() {
  const node = svg("polygon");
  return {
    node,
    update(zone) {
      attr(node, "points", zone.polygon.map(([x, y]) => `${x},${y}`).join(" "));
      attr(node, "class", `zone ${zone.kind}`);
    },
  };
}

function label() {
  const node = el("span", { class: "zone-name" });
  return {
    node,
    update(zone) {
      text(node, zone.name || zone.zone_id);
      const left = Math.min(...zone.polygon.map(([x]) => x)) * 100;
      css(node, "left", `${left}%`);
      css(node, "max-width", `${100 - left}%`);
      css(node, "top", `${Math.min(...zone.polygon.map(([, y]) => y)) * 100}%`);
    },
  };
}

function dot() {
  const node = el("span");
  return {
    node,
    update({ x, y, size, expression }) {
      attr(node, "class", `dot ${expression ?? "unknown"}`);
      text(node, LETTERS[expression] ?? "?");
      const scale = Math.min(Math.max(size * 6, 0.9), 1.7);
      css(node, "transform", `translate(${(x * 100).toFixed(2)}cqw, ${(y * 100).toFixed(2)}cqh) translate(-50%, -50%) scale(${scale.toFixed(2)})`);
    },
  };
}

/** What the letters and colours mean. */
export function legend() {
  const entries = [...Object.entries(LETTERS), ["unknown", "?"]].map(([expression, letters]) =>
    el("li", {}, el("span", { class: `dot ${expression}`, text: letters, "aria-hidden": "true" }), expression),
  );
  return el("ul", { class: "legend", "aria-label": "Apparent expressions" }, ...entries);
}

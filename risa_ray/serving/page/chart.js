// Net sentiment over the last hour, as a line from -1 to +1.

import { attr, el, svg, text } from "./dom.js";
import { clock, count, signed } from "./format.js";

const MINUTES = 60;

/**
 * A chart; `large` ones have axes. Minutes without a figure are gaps, those of too few people have a mark below.
 * The viewBox is an hour wide and net sentiment high, so the colours above and below 0 need no clipping.
 * @returns {{node, update(minutes, now, timezone)}} `now`: when the hour ends
 */
export function chart({ large = false } = {}) {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const few = svg("path", { class: "few" });
  const zero = svg("path", { class: "zero", d: `M0 1H${MINUTES}` });
  const plot = svg("svg", { viewBox: `0 0 ${MINUTES} 2`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, zero, few, line);
  const words = el("span", { class: "hidden" });
  const times = large ? el("div", { class: "times", "aria-hidden": "true" }, el("span"), el("span"), el("span")) : null;
  const values = large ? el("div", { class: "values", "aria-hidden": "true" }, ...["+1", "0", "−1"].map((t) => el("span", { text: t }))) : null;
  const nothing = el("p", { class: "nothing", "aria-hidden": "true" });
  const node = el("div", { class: large ? "chart large" : "chart" }, ...(large ? [values, plot, nothing, times, words] : [plot, words]));
  let drawn;
  return {
    node,
    update(minutes, now, timezone) {
      if (drawn === minutes) return;
      drawn = minutes;
      const end = Math.ceil(Date.parse(now) / 60000) * 60000;
      const points = placed(minutes, end);
      attr(line, "d", runs(points).map(stroke).join(""));
      attr(area, "d", runs(points).map(fill).join(""));
      attr(few, "d", points.filter((p) => p.few).map((p) => `M${p.x - 0.4} 1.94h.8`).join(""));
      text(words, summary(points));
      text(nothing, points.some((p) => p.net !== null) ? "" : "no figures in the last hour");
      if (large) [60, 30, 0].forEach((ago, i) => text(times.children[i], clock(end - ago * 60000, timezone)));
    },
  };
}

/** Each minute's place, oldest first. */
function placed(minutes, end) {
  return minutes
    .map(({ minute, net_sentiment: net, status }) => ({
      x: MINUTES + 0.5 - (end - Date.parse(minute)) / 60000,
      net,
      few: net === null && status.endsWith("suppressed"),
    }))
    .filter(({ x }) => x >= 0 && x <= MINUTES)
    .sort((a, b) => a.x - b.x);
}

/** Minutes that follow each other and have a figure. */
function runs(points) {
  const found = [];
  let last = null;
  for (const point of points) {
    if (point.net === null) continue;
    if (last && point.x - last.x < 1.5) found.at(-1).push(point);
    else found.push([point]);
    last = point;
  }
  return found;
}

const at = ({ x, net }) => `${x.toFixed(1)} ${(1 - net).toFixed(3)}`;

const stroke = (points) => `M${points.map(at).join("L")}${points.length === 1 ? "h0" : ""}`;

const fill = (points) => `M${points[0].x.toFixed(1)} 1L${points.map(at).join("L")}V1Z`;

function summary(points) {
  const known = points.filter((p) => p.net !== null);
  if (!known.length) return "no figures in the last hour";
  const nets = known.map((p) => p.net);
  const range = `lowest ${signed(Math.min(...nets))}, highest ${signed(Math.max(...nets))}, latest ${signed(nets.at(-1))}`;
  return `${count(known.length, "minute")} of the last hour: ${range}`;
}

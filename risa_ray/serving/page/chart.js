// Net sentiment over the last hour, as a line from -1 to +1.

import { attr, el, svg, text } from "./dom.js";
import { NONE, clock, count, signed } from "./format.js";
import { few } from "./model.js";

const MINUTES = 60;
const NOTHING = "no figures in the last hour";

/**
 * A chart; `large` ones have axes. Minutes without a figure are gaps, those of too few people have a mark below.
 * The viewBox is an hour wide and net sentiment high, so the colours above and below 0 need no clipping.
 * @returns {{node, update(hour, timezone, lost)}} `hour`: as `Model.lastHour` gives it; `lost`: why there is none, see `missing`
 */
export function chart({ large = false } = {}) {
  const area = svg("path", { class: "area" });
  const line = svg("path", { class: "line" });
  const marks = svg("path", { class: "few" });
  const zero = svg("path", { class: "zero", d: `M0 1H${MINUTES}` });
  const plot = svg("svg", { viewBox: `0 0 ${MINUTES} 2`, preserveAspectRatio: "none", "aria-hidden": "true" }, area, zero, marks, line);
  const words = el("span", { class: "hidden" });
  const times = large ? el("div", { class: "times", "aria-hidden": "true" }, el("span"), el("span"), el("span")) : null;
  const values = large ? el("div", { class: "values", "aria-hidden": "true" }, ...["+1", "0", "−1"].map((t) => el("span", { text: t }))) : null;
  const nothing = el("p", { class: "nothing", "aria-hidden": "true" });
  const node = el("div", { class: large ? "chart large" : "chart" }, ...(large ? [values, plot, nothing, times, words] : [plot, nothing, words]));
  let [drawn, why] = [null, ""];
  return {
    node,
    update(hour, timezone, lost = "") {
      if (drawn === hour && why === lost) return;
      [drawn, why] = [hour, lost];
      const nets = hour?.net_sentiment ?? [];
      const found = runs(nets);
      attr(line, "d", found.map(stroke).join(""));
      attr(area, "d", found.map(fill).join(""));
      attr(marks, "d", hour ? few(hour).map((i) => `M${(i + 0.1).toFixed(1)} 1.94h.8`).join("") : "");
      text(words, lost || summary(nets.filter((net) => net !== null)));
      // A small one has room for a sign, and its tip says why; its line at 0 could be taken for a figure.
      text(nothing, large ? lost || (found.length ? "" : NOTHING) : lost && NONE);
      attr(node, "title", lost || null);
      attr(plot, "hidden", Boolean(lost) && !large);
      if (large) [0, 30, 60].forEach((minute, i) => text(times.children[i], hour ? clock(hour.since + minute * 60000, timezone) : ""));
    },
  };
}

/** Minutes that follow each other and have a figure, as lists of `{x, net}`. */
function runs(nets) {
  const found = [];
  let run = null;
  nets.forEach((net, i) => {
    if (net === null) run = null;
    else if (run) run.push({ x: i + 0.5, net });
    else found.push((run = [{ x: i + 0.5, net }]));
  });
  return found;
}

const at = ({ x, net }) => `${x.toFixed(1)} ${(1 - net).toFixed(3)}`;

const stroke = (points) => `M${points.map(at).join("L")}${points.length === 1 ? "h0" : ""}`;

const fill = (points) => `M${points[0].x.toFixed(1)} 1L${points.map(at).join("L")}V1Z`;

function summary(nets) {
  if (!nets.length) return NOTHING;
  const range = `lowest ${signed(Math.min(...nets))}, highest ${signed(Math.max(...nets))}, latest ${signed(nets.at(-1))}`;
  return `${count(nets.length, "minute")} of the last hour: ${range}`;
}

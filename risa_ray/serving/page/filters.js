// What is shown of a list; kept in the address, so that a link shows the same.

import { attr, el, keyed, text } from "./dom.js";

/** @param {(filters: object) => void} changed hears of every change */
export function filterBar(changed) {
  const find = el("input", { type: "search", id: "find", autocomplete: "off", placeholder: "name or id" });
  const only = el("input", { type: "checkbox", id: "only" });
  const kind = el("select", { id: "kind" });
  const findLabel = el("label", { for: "find", text: "Find" });
  const kindBox = el("span", {}, el("label", { for: "kind", text: "Zones" }), kind);
  const findBox = el("span", {}, findLabel, find);
  const onlyBox = el("label", { class: "check" }, only, " only what needs attention");
  const node = el("form", { class: "filters", role: "search", "aria-label": "Filters" }, findBox, kindBox, onlyBox);
  const tell = () => changed({ find: find.value, only: only.checked ? "trouble" : "", kind: kind.value });
  node.addEventListener("input", tell);
  node.addEventListener("submit", (event) => event.preventDefault());
  return {
    node,
    /** `kinds`: of zones to choose from; none, and there is nothing to choose. `alone`: there is one thing to show. */
    update(filters, kinds, alone) {
      if (find !== document.activeElement) find.value = filters.find ?? "";
      only.checked = filters.only === "trouble";
      const names = ["", ...new Set([...kinds, filters.kind].filter(Boolean))];
      keyed(kind, names, (name) => name, kindOption);
      // Not while it is open and being chosen from, unless it changed.
      if (kind.value !== (filters.kind ?? "")) kind.value = filters.kind ?? "";
      attr(kindBox, "hidden", kinds.length < 2 && !filters.kind);
      attr(findBox, "hidden", alone);
      attr(onlyBox, "hidden", alone);
      attr(node, "hidden", alone && kinds.length < 2 && !filters.kind);
    },
  };
}

function kindOption(name) {
  const node = el("option", { value: name });
  return { node, update: () => text(node, name || "all kinds") };
}

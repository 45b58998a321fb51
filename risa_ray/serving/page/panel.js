// What needs attention, with its buttons, and the alerts that were seen to.

import { acknowledge } from "./api.js";
import { attr, el, keyed, text } from "./dom.js";
import { clock, reason, whole } from "./format.js";
import { href } from "./route.js";

const SHOWN = 4;

/** @param {() => void} askToken opens the dialog for a token */
export function attentionPanel(askToken) {
  const list = el("ul", { class: "items" });
  const more = el("ul", { class: "items" });
  const moreCount = el("summary");
  const rest = el("details", { class: "rest" }, moreCount, more);
  const done = el("ul", { class: "items" });
  const doneCount = el("summary");
  const seen = el("details", { class: "rest" }, doneCount, done);
  const heading = el("h2", { text: "Needs attention" });
  const node = el("section", { class: "attention", "aria-label": "Needs attention" }, heading, list, rest, seen);
  // An item may change lists, and what was said about it goes with it.
  const answers = new Map();
  const make = () => itemPart(answers, askToken, heading);
  return {
    node,
    /** `items`: as `attention` gives them; `alerts`: that were acknowledged. */
    update(items, alerts, model) {
      const open = new Set(items.map(({ alert }) => alert?.alert_id));
      for (const id of answers.keys()) if (!open.has(id)) answers.delete(id);
      const given = items.map((item) => ({ ...item, model }));
      keyed(list, given.slice(0, SHOWN), ({ id }) => id, make);
      keyed(more, given.slice(SHOWN), ({ id }) => id, make);
      text(moreCount, `${items.length - SHOWN} more`);
      attr(rest, "hidden", items.length <= SHOWN);
      const old = alerts.map((alert) => ({ alert, model }));
      keyed(done, old, ({ alert }) => alert.alert_id, donePart);
      text(doneCount, `${alerts.length} acknowledged in the last 24 hours`);
      attr(seen, "hidden", !alerts.length);
      attr(heading, "hidden", !items.length);
      attr(node, "hidden", !items.length && !alerts.length);
    },
  };
}

function itemPart(answers, askToken, heading) {
  const level = el("span", { class: "level" });
  const title = el("a", { class: "title" });
  const detail = el("p", { class: "detail" });
  const todo = el("p", { class: "todo" });
  const place = el("p", { class: "place" });
  const answer = el("p", { class: "answer", role: "status" });
  const button = el("button", { type: "button", text: "Acknowledge" });
  const token = el("button", { type: "button", class: "plain", text: "Enter a token", on: { click: askToken } });
  const node = el("li", {}, level, el("div", {}, title, detail, place, todo, answer), el("div", { class: "do" }, button, token));
  let shown;
  button.addEventListener("click", async () => {
    const id = shown.alert.alert_id;
    answers.set(id, { text: "Sending …", busy: true });
    draw();
    try {
      await acknowledge(id);
      answers.set(id, { text: "Acknowledged", busy: true });
    } catch (error) {
      answers.set(id, refusal(error));
    }
    draw();
  });

  function draw() {
    const said = answers.get(shown.alert?.alert_id);
    text(answer, said?.text ?? "");
    attr(button, "hidden", !shown.alert);
    // Not `disabled`, which would take the focus from the button.
    attr(button, "aria-disabled", said?.busy ? "true" : null);
    attr(token, "hidden", !said?.token);
  }

  return {
    node,
    update(item) {
      shown = item;
      attr(node, "data-level", item.level);
      text(level, item.level);
      text(title, item.title);
      attr(title, "href", item.store_id === null ? null : href({ store: item.store_id, camera: item.camera_id }));
      text(detail, item.detail);
      text(todo, item.todo ? `To do: ${item.todo}` : "");
      text(place, item.alert ? placed(item.alert, item.model) : "");
      attr(button, "aria-label", item.alert ? `Acknowledge: ${item.title}` : null);
      draw();
    },
    end() {
      if (node.contains(document.activeElement)) nextButton(node, heading).focus();
    },
  };
}

function refusal(error) {
  if (error.status === 403) return { text: "Not acknowledged: an operator's token is needed.", token: true };
  if (error.status === 401) return { text: "Not acknowledged: a token is needed.", token: true };
  const why = error.status ? error.message : "the server cannot be reached";
  return { text: `Not acknowledged: ${why}. Try again.` };
}

/** Who acknowledges by keyboard goes on with the next one. */
function nextButton(node, heading) {
  const all = heading.parentElement.querySelectorAll("button[aria-label]:not([hidden])");
  const buttons = [...all].filter((button) => !node.contains(button));
  const next = buttons.find((b) => node.compareDocumentPosition(b) & Node.DOCUMENT_POSITION_FOLLOWING);
  return next ?? buttons[0] ?? document.querySelector("main");
}

function donePart() {
  const level = el("span", { class: "level" });
  const title = el("span", { class: "title" });
  const detail = el("p", { class: "detail" });
  const place = el("p", { class: "place" });
  const node = el("li", {}, level, el("div", {}, title, detail, place));
  return {
    node,
    update({ alert, model }) {
      attr(node, "data-level", alert.severity);
      text(level, alert.severity);
      text(title, alert.text);
      text(detail, reason(alert));
      const by = alert.acknowledged_by ? ` by ${alert.acknowledged_by}` : "";
      const at = clock(alert.acknowledged_at, model.timezone(alert.store_id));
      text(place, `${placed(alert, model)} · acknowledged ${at}${by}`);
    },
  };
}

/** "14:05, 3 min ago · Till · Airport · webhook: failed (no answer)" */
function placed(alert, model) {
  const at = clock(alert.fired_at, model.timezone(alert.store_id));
  const ago = Math.max(0, (Date.parse(model.live.at) - Date.parse(alert.fired_at)) / 1000);
  const age = ago < 60 ? "just now" : `${whole(Math.floor(ago / 60) * 60)} ago`;
  const failed = alert.deliveries.filter((d) => d.state === "failed").map((d) => `${d.channel}: not delivered (${d.error || "failed"})`);
  return [`${at}, ${age}`, model.placeName(alert.store_id, alert.camera_id, alert.zone_id), ...failed].join(" · ");
}

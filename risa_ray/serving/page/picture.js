// What a camera sees now, faces blurred: only of cameras whose config allows it, and only while somebody wants to see it.

import { picture } from "./api.js";
import { attr, el, text } from "./dom.js";
import { clock } from "./format.js";

// Of two events a second every other one asks.
const EVERY_MS = 900;
// Without an answer for so long, what is shown is from before somebody looked away. How old one may be that comes is for the server.
const OLD_MS = 5000;

/**
 * It is drawn on a canvas, since pictures come with a token in a header, and no policy has to allow addresses of blobs.
 * @returns {{canvas, control, update(store, camera, now)}} `control` turns it on; `update` is called while it is in sight
 */
export function blurredPicture() {
  const canvas = el("canvas", { class: "picture", role: "img", "aria-label": "Live picture with blurred faces", hidden: true });
  const box = el("input", { type: "checkbox" });
  const about = el("p", { class: "muted" });
  const trouble = el("p", { class: "trouble", role: "status" });
  const control = el("div", { class: "look", hidden: true }, el("label", { class: "check" }, box, " Blurred picture"), about, trouble);
  let [place, asking, askedAt, shownAt] = [null, false, -Infinity, -Infinity];

  function show(words, problem = "") {
    attr(canvas, "hidden", shownAt === -Infinity);
    text(about, words);
    text(trouble, problem);
  }

  function clear(words = "", problem = "") {
    shownAt = -Infinity;
    show(words, problem);
  }

  async function ask() {
    const { store, camera } = place;
    [asking, askedAt] = [true, performance.now()];
    try {
      const { image, capturedAt } = await picture(store.store_id, camera.camera_id);
      if (!box.checked) return image.close();
      [canvas.width, canvas.height] = [image.width, image.height];
      canvas.getContext("2d").drawImage(image, 0, 0);
      image.close();
      shownAt = performance.now();
      show(`Of ${clock(capturedAt, store.timezone, true)}. The faces that are found in it are blurred.`);
    } catch (error) {
      if (box.checked) clear("", `No picture: ${reasonOf(error)}. Trying again by itself.`);
    } finally {
      asking = false;
    }
  }

  box.addEventListener("change", () => {
    clear(box.checked ? "Waiting for the picture …" : "");
    if (box.checked && !asking) ask();
  });

  return {
    canvas,
    control,
    update(store, camera, now) {
      place = { store, camera };
      const offered = now?.picture ?? false;
      attr(control, "hidden", !offered);
      if (!offered) box.checked = false;
      if (!box.checked) return clear();
      const at = performance.now();
      if (shownAt !== -Infinity && at - shownAt > OLD_MS) clear("Waiting for the picture …");
      if (!asking && at - askedAt >= EVERY_MS) ask();
    },
  };
}

function reasonOf(error) {
  if (error.status) return error.message;
  if (error instanceof TypeError || error.name === "TimeoutError") return "the server does not answer";
  return "what came cannot be shown";
}

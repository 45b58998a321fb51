// The stream of events, connected again whenever it breaks.

import { Refused, call } from "./api.js";
import { Parser } from "./sse.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 8000;
// The server says something twice a second; a connection that is silent for so long is dead, though nobody closed it.
const SILENCE_MS = 6000;

export class Stream {
  #wait = FIRST_WAIT_MS;
  #least = FIRST_WAIT_MS;
  #wake = () => {};
  #forToken = false;
  #abort = null;

  /** `onEvent(type, value)`, `onState({phase: "connecting" | "open" | "waiting" | "token", reason})`. */
  constructor(url, onEvent, onState) {
    Object.assign(this, { url, onEvent, onState });
    const again = () => this.#forToken || document.hidden || this.retry();
    addEventListener("online", again);
    document.addEventListener("visibilitychange", again);
  }

  /** Stay connected for ever. */
  async run() {
    for (;;) {
      this.onState({ phase: "connecting", reason: "" });
      let state;
      try {
        await this.#follow();
        state = { phase: "waiting", reason: "the server ended the connection" };
      } catch (error) {
        const closed = error instanceof Refused && (error.status === 401 || error.status === 403);
        const reason = error instanceof Refused ? error.message : "the server cannot be reached";
        const away = error instanceof Refused || error instanceof TypeError || error.name === "AbortError";
        if (!away) console.error(error);
        state = { phase: closed ? "token" : "waiting", reason };
      }
      this.onState(state);
      this.#forToken = state.phase === "token";
      await this.#pause();
    }
  }

  /** Try now, if a try is being waited for. */
  retry() {
    this.#wake();
  }

  async #follow() {
    this.#abort = new AbortController();
    let watch = this.#watch();
    try {
      const answer = await call(this.url, { signal: this.#abort.signal, headers: { Accept: "text/event-stream" } });
      const parser = new Parser((ms) => (this.#least = Math.min(ms, LONGEST_WAIT_MS)));
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        clearTimeout(watch);
        if (done) return;
        watch = this.#watch();
        for (const { type, data } of parser.push(value)) this.#take(type, data);
      }
    } finally {
      clearTimeout(watch);
    }
  }

  #take(type, data) {
    this.#wait = this.#least;
    this.onState({ phase: "open", reason: "" });
    this.onEvent(type, JSON.parse(data));
  }

  #watch() {
    return setTimeout(() => this.#abort.abort(), SILENCE_MS);
  }

  /** Wait longer each time, and not all pages in step; for a token as long as it takes. */
  #pause() {
    const wait = this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
    return new Promise((resolve) => {
      const timer = this.#forToken ? null : setTimeout(resolve, wait);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

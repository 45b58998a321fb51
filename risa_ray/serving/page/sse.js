// Server-sent events from a fetch() body: EventSource cannot send an Authorization header.

/**
 * Takes text in pieces of any size and gives `{type, data}` per event, as the HTML standard has it:
 * lines end with LF, CR LF or CR; lines with a colon first are comments; an event without data is none.
 */
export class Parser {
  #rest = [];
  #type = "";
  #data = [];
  #afterCr = false;

  /** `onRetry(ms)` hears of the server's wish how long to wait before a new connection. */
  constructor(onRetry = () => {}) {
    this.onRetry = onRetry;
  }

  /** The events that this piece completes. */
  push(piece) {
    const events = [];
    let from = 0;
    if (this.#afterCr && piece.startsWith("\n")) from = 1;
    if (piece.length) this.#afterCr = piece.endsWith("\r");
    // A large event comes in many pieces: only the new one is searched for the end of its line.
    const ends = /\r\n|\n|\r/g;
    ends.lastIndex = from;
    for (let end; (end = ends.exec(piece)); from = ends.lastIndex) {
      this.#rest.push(piece.slice(from, end.index));
      const line = this.#rest.length === 1 ? this.#rest[0] : this.#rest.join("");
      this.#rest = [];
      const event = line ? this.#field(line) : this.#dispatch();
      if (event) events.push(event);
    }
    if (from < piece.length) this.#rest.push(piece.slice(from));
    return events;
  }

  #field(line) {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "event") this.#type = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "retry" && /^\d+$/.test(value)) this.onRetry(Number(value));
  }

  #dispatch() {
    const [type, data] = [this.#type || "message", this.#data];
    this.#type = "";
    this.#data = [];
    return data.length ? { type, data: data.join("\n") } : null;
  }
}

// Requests for what takes long or changes something: the index, copies and jobs. And the events of the running job.

import { address, json } from "./api.js";

const STREAM_S = 600;
const AGAIN_MS = 3000;

const post = (path, options) => json(path, options, { method: "POST" });

export const index = (signal) => json("/index", {}, { signal });
export const skipped = (options, signal) => json("/skipped", options, { signal });
export const update = (retry) => post("/update", { retry });
export const cancel = (id) => post("/job/cancel", { id });
export const find = (options) => post("/copies/find", options);
export const plans = (signal) => json("/copies", {}, { signal });
export const groups = (plan, options, signal) => json(`/copies/${plan}/groups`, options, { signal });
export const decide = (plan, options) => post(`/copies/${plan}/decide`, options);
export const part = (plan, options) => post(`/copies/${plan}/part`, options);
export const offer = (plan, action) => post(`/copies/${plan}/offer`, { action });
export const apply = (plan, nonce) => post(`/copies/${plan}/apply`, { nonce });
export const undo = (plan) => post(`/copies/${plan}/undo`, {});
export const fileAt = (plan) => address(`/copies/${plan}/file`);

// Listens while it is wanted and the page is seen: a browser has few connections to one server.
export class Events {
  // `told(job)` is called with the running or last job, at once and after each change; `lost()` if nobody answers.
  constructor({ told, lost }) {
    Object.assign(this, { told, lost, wanted: false, source: null });
    document.addEventListener("visibilitychange", () => this.#follow());
  }

  want(wanted) {
    this.wanted = wanted;
    this.#follow();
  }

  #follow() {
    const listens = this.wanted && !document.hidden;
    if (listens === (this.source !== null)) return;
    if (listens) this.#open();
    else this.#close();
  }

  #open() {
    const source = (this.source = new EventSource(address("/events", { seconds: STREAM_S })));
    source.addEventListener("job", (event) => {
      clearTimeout(this.waiting);
      this.told(JSON.parse(event.data).job);
    });
    source.addEventListener("error", () => {
      clearTimeout(this.waiting);
      this.waiting = setTimeout(() => this.#again(source), AGAIN_MS); // a stream that ended is opened again before that
    });
  }

  #again(source) {
    if (this.source !== source) return;
    this.lost();
    if (source.readyState !== EventSource.CLOSED) return;
    this.#close();
    this.#follow();
  }

  #close() {
    clearTimeout(this.waiting);
    this.source.close();
    this.source = null;
  }
}

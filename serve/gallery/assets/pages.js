// Fills a grid page by page, as far as it is scrolled.

import * as api from "./api.js";

const AHEAD = "800px";

export class Pages {
  // `load(offset, signal)` answers {items, done}; `told(pages)` is called after each change.
  constructor({ grid, more, load, told, failed }) {
    Object.assign(this, { grid, more, load, told, failed, done: true, loading: false });
    this.received = 0;
    this.watcher = new IntersectionObserver((entries) => entries.at(-1).isIntersecting && this.next(), { rootMargin: AHEAD });
    this.watched = more.parentElement;
    more.addEventListener("click", () => this.next());
  }

  // Begin anew, with pages that are known already, if any.
  async start(known = null) {
    this.stop();
    this.grid.clear();
    this.received = 0;
    this.done = false;
    if (known === null) return void (await this.next());
    this.#take(known);
    this.#watch();
  }

  stop() {
    this.running?.abort();
    this.watcher.disconnect();
    this.loading = false;
    this.more.hidden = true;
  }

  async next() {
    if (this.loading || this.done) return false;
    const running = (this.running = new AbortController());
    this.loading = true;
    this.grid.list.setAttribute("aria-busy", "true");
    this.told(this);
    try {
      const page = await this.load(this.received, running.signal);
      if (running.signal.aborted) return false;
      this.loading = false;
      this.#take(page);
    } catch (error) {
      if (error.name === "AbortError" || running.signal.aborted) return false;
      this.loading = false;
      this.watcher.disconnect(); // who wants more after an error clicks
      this.more.hidden = this.received === 0;
      this.grid.list.removeAttribute("aria-busy");
      this.failed(error);
      return false;
    }
    this.#watch(); // anew, so that the browser says again whether the end is near
    return true;
  }

  #take({ items, done, received = items.length }) {
    this.received += received;
    const known = new Set(this.grid.items.map((item) => item.id));
    this.grid.add(items.filter((item) => !known.has(item.id))); // the index may have grown between two pages
    this.done = done;
    this.more.hidden = done;
    this.grid.list.removeAttribute("aria-busy");
    this.told(this);
  }

  #watch() {
    this.watcher.disconnect();
    if (!this.done) this.watcher.observe(this.watched);
  }
}

// A page of the newest pictures that have all words of a text, as `load` answers.
export async function newest(text, limit, offset, signal) {
  const { items, total } = await api.items({ text, order: "newest", limit, offset }, signal);
  return { items, done: items.length === 0 || offset + items.length >= total };
}

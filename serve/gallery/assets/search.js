// The list of pictures: hits of a question, or the newest of the index.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { Grid, pictureTile } from "./grid.js";
import { Pages } from "./pages.js";
import { asks, filterOf, listKey } from "./question.js";
import * as trouble from "./trouble.js";
import { count, say } from "./words.js";

const REMEMBERED = 8; // lists, for going back
const MOST_HITS = 10_000; // nobody scrolls farther, and each page asks for all before it

export class Search {
  constructor({ open, ask, answered, refused, changed }) {
    Object.assign(this, { answered, refused, changed, question: null, info: null });
    this.known = new Map();
    this.grid = new Grid(byId("grid"), { tile: pictureTile, open, ask });
    this.pages = new Pages({
      grid: this.grid,
      more: byId("more"),
      load: (offset, signal) => this.#load(offset, signal),
      told: () => this.#told(),
      failed: (error) => this.#failed(error),
    });
  }

  get items() {
    return this.grid.items;
  }

  // Show the list of a question. `restore`: as far down as when it was left.
  async show(question, { restore = false, again = false } = {}) {
    const key = listKey(question);
    if (!again && this.question !== null && listKey(this.question) === key) return;
    this.#leave();
    this.question = question;
    this.info = null;
    this.refused(null);
    trouble.clear();
    byId("end").hidden = true;
    const known = again ? null : (this.known.get(key) ?? null);
    if (known !== null) this.#inform(known.info);
    else if (asks(question)) this.answered(null);
    const filled = this.pages.start(known);
    scrollTo(0, restore && known !== null ? known.scroll : 0);
    await filled;
  }

  // Ask by the bytes of a picture; the answer's code stands for it from then on.
  async upload(picture, question, signal) {
    const page = pageOf(await api.nearestTo(picture, { ...optionsOf(question), k: question.k }, signal));
    const asked = { ...question, id: null, code: page.info.code, like: [], unlike: [] };
    this.#remember(listKey(asked), { ...page, scroll: 0 });
    return asked;
  }

  // The next page, for the large view; false if there is none.
  more() {
    return this.pages.next();
  }

  // The index has changed: no list is as it was. One that is shown stays until something is asked.
  forget(isShown) {
    this.known.clear();
    if (isShown) return;
    this.pages.stop();
    this.grid.clear();
    this.question = null;
  }

  #leave() {
    if (this.question === null || this.items.length === 0) return;
    const { received, done } = this.pages;
    const { items, info } = this;
    this.#remember(listKey(this.question), { items: [...items], received, done, info, scroll: scrollY });
  }

  #remember(key, list) {
    this.known.delete(key);
    this.known.set(key, list);
    if (this.known.size > REMEMBERED) this.known.delete(this.known.keys().next().value);
  }

  async #load(offset, signal) {
    const question = this.question;
    const options = optionsOf(question);
    if (!asks(question)) {
      const list = { where: options.where, text: options.text, order: "newest", limit: question.k, offset };
      const { items, total } = await api.items(list, signal);
      if (offset === 0) this.#inform({ total });
      return { items, done: offset + items.length >= total || items.length === 0 };
    }
    const page = pageOf(await api.nearest({ ...options, k: question.k, offset }, signal), offset);
    if (offset === 0 && !signal.aborted) this.#inform(page.info);
    return page;
  }

  #inform(info) {
    this.info = info;
    this.answered(info);
  }

  #told() {
    byId("summary").textContent = this.#summary();
    const ended = this.pages.done && this.items.length > 0;
    byId("end").hidden = !ended;
    byId("end").textContent = ended ? say("end") : "";
    this.changed();
  }

  #summary() {
    const number = this.items.length;
    if (number === 0 && this.pages.loading) return say("loading");
    if (number === 0) return this.info?.total === 0 && isBare(this.question) ? say("none_indexed") : say("none");
    if (!asks(this.question)) {
      return this.info.total === 1 ? say("newest_one") : say("newest", { count: count(this.info.total) });
    }
    if (!this.pages.done) return say("hits_so_far", { count: count(number) });
    return number === 1 ? say("hits_one") : say("hits", { count: count(number) });
  }

  #failed(error) {
    byId("summary").textContent = "";
    const column = /at column (\d+) of /.exec(error.message);
    if ((error.status === 400 || error.status === 422) && column !== null) {
      const { shift } = filterOf(this.question);
      const message = error.message.slice(0, column.index).replace(/,\s*$/, "");
      this.refused({ column: Math.max(1, Number(column[1]) - shift), message, text: this.question.where });
    } else {
      trouble.tell(error);
    }
  }
}

function pageOf({ hits, code, novelty }, offset = 0) {
  return { items: hits, done: hits.length === 0 || offset + hits.length >= MOST_HITS, info: { code: api.forAddress(code), novelty } };
}

function optionsOf(question) {
  const { id, code, metric, text, copies, like, unlike } = question;
  return { id, code, metric, text, copies, where: filterOf(question).text, like: like.join(","), unlike: unlike.join(",") };
}

function isBare(question) {
  return filterOf(question).text === "" && question.text === "";
}

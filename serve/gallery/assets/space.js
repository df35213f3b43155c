// Walks through the space: between two pictures, and round sampled codes.

import * as api from "./api.js";
import { byId, make, modal, showPicture } from "./dom.js";
import { Grid, pictureTile } from "./grid.js";
import { Pages } from "./pages.js";
import * as trouble from "./trouble.js";
import { count, percent, say } from "./words.js";

const WALL = 24;
const LEAST_WAIT_MS = 40;
const MOST_WAIT_MS = 300;
const PICKED = 48;

export class Space {
  constructor({ go }) {
    this.go = go;
    this.names = new Map();
    this.between = new Between(go);
    this.wall = new Wall(go);
    this.picker = new Picker();
    for (const slot of ["a", "b"]) byId(`slot-${slot}`).addEventListener("click", () => this.#choose(slot));
    byId("swap").addEventListener("click", () => {
      const { a, b, t } = this.question;
      go({ a: b, b: a, t: Number((1 - t).toFixed(2)) });
    });
  }

  show(question) {
    this.question = question;
    for (const slot of ["a", "b"]) this.#showSlot(slot, question[slot]);
    byId("swap").disabled = question.a === null && question.b === null;
    this.between.show(question);
    this.wall.show(question);
  }

  leave() {
    this.between.stop();
    this.wall.stop();
  }

  #choose(slot) {
    this.picker.open((item) => {
      this.names.set(item.id, item.name);
      this.go({ [slot]: item.id });
      byId(`slot-${slot}`).focus();
    });
  }

  #showSlot(slot, id) {
    const button = byId(`slot-${slot}`);
    const letter = slot.toUpperCase();
    if (id === null) {
      button.removeAttribute("aria-label");
      button.replaceChildren(make("span", {}, say("slot_empty", { slot: letter })));
      return;
    }
    const image = make("img");
    const label = (name) => {
      const words = say("slot_filled", { slot: letter, name });
      button.setAttribute("aria-label", words);
      button.title = words;
    };
    showPicture(image, api.thumbnailAt(id, 256), "");
    button.replaceChildren(image, make("span", { className: "badge" }, letter));
    label(this.names.get(id) ?? say("picture_number", { id }));
    if (this.names.has(id)) return;
    this.names.set(id, say("picture_number", { id }));
    api.item(id).then(({ name }) => {
      this.names.set(id, name);
      if (this.question[slot] === id) label(name);
    }, trouble.tell);
  }
}

// The slider. It paints while it moves: the newest place at most as often as the server can, and drops what is outdated.
class Between {
  constructor(go) {
    Object.assign(this, { pair: undefined, code: null, painted: null, timer: null, took_ms: LEAST_WAIT_MS });
    this.slider = byId("t");
    this.slider.addEventListener("input", () => {
      this.#showShare();
      this.timer ??= setTimeout(() => this.#paint(), Math.min(MOST_WAIT_MS, Math.max(LEAST_WAIT_MS, this.took_ms)));
    });
    this.slider.addEventListener("change", () => go({ t: Number(this.slider.value) }, { replace: true }));
    byId("between-search").addEventListener("click", () => go(searchBy(this.code)));
    byId("between-round").addEventListener("click", () => go({ near: this.code, seed: anySeed(), scale: null }));
  }

  show({ a, b, t }) {
    const pair = a === null || b === null ? null : `${a} ${b}`;
    if (pair === this.pair && pair !== null && this.at === t) return;
    this.slider.value = String(t);
    this.slider.disabled = pair === null;
    this.#showShare();
    if (pair !== this.pair) this.#lose();
    Object.assign(this, { pair, a, b });
    if (pair === null) byId("between-state").textContent = say("between_need");
    else this.#paint();
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.running?.abort();
    this.at = null;
  }

  #lose() {
    this.stop();
    this.code = null;
    byId("between-painting").hidden = true;
    byId("between-search").disabled = byId("between-round").disabled = true;
  }

  #showShare() {
    byId("t-value").textContent = percent(Number(this.slider.value));
  }

  async #paint() {
    clearTimeout(this.timer);
    this.timer = null;
    this.running?.abort();
    const running = (this.running = new AbortController());
    const share = (this.at = Number(this.slider.value));
    const started = performance.now();
    if (this.code === null) byId("between-state").textContent = say("painting_now");
    try {
      const { code } = await api.between(this.a, this.b, share, running.signal);
      const blob = await api.painted(api.forAddress(code), running.signal);
      if (running.signal.aborted) return;
      this.took_ms = performance.now() - started;
      this.#showPainted(api.forAddress(code), blob, share);
    } catch (error) {
      if (error.name === "AbortError") return;
      byId("between-state").textContent = trouble.wordsOf(error);
      this.at = null;
    }
  }

  #showPainted(code, blob, share) {
    const before = this.painted;
    this.painted = URL.createObjectURL(blob);
    this.code = code;
    const words = say("between_at", { share: percent(share) });
    const image = byId("between-painting");
    image.hidden = false;
    showPicture(image, this.painted, words);
    image.decode().catch(() => {}).then(() => before !== null && URL.revokeObjectURL(before));
    byId("between-state").textContent = words;
    byId("between-search").disabled = byId("between-round").disabled = false;
  }
}

class Wall {
  constructor(go) {
    Object.assign(this, { key: null, near: null });
    this.grid = new Grid(byId("wall-grid"), {
      tile: paintedTile,
      open: ({ code, scale }) => go({ near: code, seed: anySeed(), scale }),
    });
    byId("wall-new").addEventListener("click", () => go({ near: null, seed: anySeed(), scale: null }));
    byId("wall-again").addEventListener("click", () => go({ seed: anySeed() }));
    byId("chosen-search").addEventListener("click", () => go(searchBy(this.near, this.scale)));
    byId("spread").addEventListener("input", () => this.#showSpread());
    byId("spread").addEventListener("change", () => go({ spread: Number(byId("spread").value) }, { replace: true }));
  }

  async show({ near, seed, spread, scale: asked }) {
    const scale = near === null ? 1 : asked; // the prior's own codes are painted as they are
    byId("spread").value = String(spread);
    byId("spread").disabled = near === null;
    this.#showSpread();
    byId("chosen").hidden = byId("wall-again").hidden = near === null;
    if (near !== null) showPicture(byId("chosen-painting"), api.paintedAt(near, scale), say("chosen"));
    const key = JSON.stringify([near, scale, seed, near === null ? 0 : spread]);
    if (key === this.key) return;
    Object.assign(this, { key, near, scale });
    this.running?.abort();
    const running = (this.running = new AbortController());
    const options = near === null ? { seed, count: WALL } : { seed, count: WALL, near, spread };
    const state = byId("wall-state");
    state.textContent = say("painting_now");
    try {
      const { codes } = await api.sample(options, running.signal);
      const hadFocus = this.grid.list.contains(document.activeElement);
      this.grid.clear();
      this.grid.add(codes.map((code) => ({ code: api.forAddress(code), scale })));
      if (hadFocus) this.grid.focus(0);
      state.textContent = say(near === null ? "wall_state" : "wall_state_near", { count: count(codes.length) });
    } catch (error) {
      if (error.name === "AbortError") return;
      this.key = null;
      state.textContent = "";
      trouble.tell(error);
    }
  }

  stop() {
    this.running?.abort();
    if (this.grid.items.length === 0) this.key = null;
  }

  #showSpread() {
    byId("spread-value").textContent = Number(byId("spread").value).toFixed(1);
  }
}

// Chooses one picture of the collection.
class Picker {
  constructor() {
    const grid = new Grid(byId("picker-grid"), { tile: pictureTile, open: (item) => this.#picked(item) });
    this.pages = new Pages({
      grid,
      more: byId("picker-more"),
      load: (offset, signal) => this.#load(offset, signal),
      told: (pages) => this.#told(grid.items.length, pages.loading),
      failed: (error) => (byId("picker-state").textContent = trouble.wordsOf(error)),
    });
    this.modal = modal(byId("picker"), () => this.pages.stop());
    byId("picker-close").addEventListener("click", () => this.modal.close());
    byId("picker-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.pages.start();
    });
  }

  open(picked) {
    this.picked = picked;
    this.modal.open(byId("picker-text"));
    this.pages.start();
  }

  #picked(item) {
    this.modal.close();
    this.picked(item);
  }

  #told(number, loading) {
    byId("picker-state").textContent = number > 0 ? "" : say(loading ? "loading" : "none");
  }

  async #load(offset, signal) {
    const text = byId("picker-text").value.trim();
    const { items, total } = await api.items({ text, order: "newest", limit: PICKED, offset }, signal);
    return { items, done: items.length === 0 || offset + items.length >= total };
  }
}

function paintedTile(button, { code, scale }, index) {
  const image = make("img", { loading: "lazy", decoding: "async", draggable: false });
  showPicture(image, api.paintedAt(code, scale), say("tile_painted", { number: index + 1 }));
  button.append(image);
}

function searchBy(code, scale = null) {
  return { view: "search", id: null, code, scale, like: [], unlike: [], show: null };
}

function anySeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % 2 ** 31;
}

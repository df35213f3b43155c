// Walks through the space: between two pictures, along sums, and round sampled codes.

import * as api from "./api.js";
import { byId, make, modal, showPicture } from "./dom.js";
import { Grid, pictureTile } from "./grid.js";
import { Live } from "./live.js";
import { Pages, newest } from "./pages.js";
import { anySeed, searchBy } from "./question.js";
import { Sums } from "./sums.js";
import * as trouble from "./trouble.js";
import { count, percent, say } from "./words.js";

const WALL = 24;
const PICKED = 48;

export class Space {
  constructor({ go }) {
    this.go = go;
    this.names = new Map();
    this.between = new Between(go);
    this.wall = new Wall(go);
    this.picker = new Picker();
    this.sums = new Sums({ go, names: this.names, choose: (picked) => this.picker.open(picked) });
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
    this.sums.show(question);
    this.wall.show(question);
  }

  leave() {
    this.between.stop();
    this.sums.leave();
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

class Between {
  constructor(go) {
    Object.assign(this, { pair: undefined, at: null });
    this.slider = byId("t");
    this.live = new Live({
      image: byId("between-painting"),
      state: byId("between-state"),
      wanted: () => this.#wanted(),
      told: () => (byId("between-search").disabled = byId("between-round").disabled = this.live.code === null),
    });
    this.slider.addEventListener("input", () => {
      this.#showShare();
      this.live.soon();
    });
    this.slider.addEventListener("change", () => go({ t: Number(this.slider.value) }, { replace: true }));
    byId("between-search").addEventListener("click", () => go(searchBy(this.live.code)));
    byId("between-round").addEventListener("click", () => go({ near: this.live.code, seed: anySeed(), scale: null }));
  }

  async show({ a, b, t }) {
    const pair = a === null || b === null ? null : `${a} ${b}`;
    if (pair === this.pair && pair !== null && this.at === t) return;
    this.slider.value = String(t);
    this.slider.disabled = pair === null;
    this.#showShare();
    if (pair !== this.pair) this.live.lose(say("between_need"));
    Object.assign(this, { pair, a, b });
    if (pair !== null && !(await this.live.now())) this.at = null;
  }

  stop() {
    this.live.stop();
    this.at = null;
  }

  #wanted() {
    const share = (this.at = Number(this.slider.value));
    const find = (signal) => api.between(this.a, this.b, share, signal);
    return { find, words: say("between_at", { share: percent(share) }) };
  }

  #showShare() {
    byId("t-value").textContent = percent(Number(this.slider.value));
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
      load: (offset, signal) => newest(byId("picker-text").value.trim(), PICKED, offset, signal),
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
}

function paintedTile(button, { code, scale }, index) {
  const image = make("img", { loading: "lazy", decoding: "async", draggable: false });
  showPicture(image, api.paintedAt(code, scale), say("tile_painted", { number: index + 1 }));
  button.append(image);
}

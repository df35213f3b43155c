// A list of tiles with one tab stop: the arrows go from tile to tile.

import { make, showPicture } from "./dom.js";
import { count, has, say } from "./words.js";
import { thumbnailAt } from "./api.js";

const DENSE = globalThis.devicePixelRatio > 1.5;

export class Grid {
  // `tile(item, index)` makes a button's content; `open(item, index)` follows a click, Enter or Space, and `ask(item)` a
  // click on the corner or its key.
  constructor(list, { tile, open, ask = null, corner = { word: "ask_tile", sign: "≈", key: "s" } }) {
    Object.assign(this, { list, tile, open, ask, corner, items: [], current: 0 });
    list.addEventListener("click", (event) => this.#clicked(event));
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => this.#makeCurrent(this.#indexOf(event.target)));
  }

  clear() {
    this.list.replaceChildren();
    this.items = [];
    this.current = 0;
  }

  add(items) {
    const start = this.items.length;
    this.items.push(...items);
    this.list.append(...items.map((item, number) => this.#entry(item, start + number)));
  }

  focus(index) {
    this.tileAt(index)?.focus();
  }

  indexOfId(id) {
    return this.items.findIndex((item) => item.id === id);
  }

  #entry(item, index) {
    const button = make("button", { type: "button", className: "tile", tabIndex: index === this.current ? 0 : -1 });
    this.tile(button, item, index);
    const entry = make("li", {}, button);
    entry.dataset.index = String(index);
    if (this.ask !== null && !item.gone) {
      const words = say(this.corner.word, { name: item.name });
      const facts = { type: "button", className: "tile-ask", tabIndex: -1, title: words, ariaLabel: words };
      entry.append(make("button", facts, this.corner.sign));
    }
    return entry;
  }

  #clicked(event) {
    const button = event.target.closest("button");
    if (button === null) return;
    const index = this.#indexOf(button);
    if (button.className === "tile-ask") this.ask(this.items[index]);
    else this.open(this.items[index], index);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.#indexOf(event.target);
    if (event.key === this.corner.key && this.ask !== null && index >= 0) {
      event.preventDefault();
      this.ask(this.items[index]);
      return;
    }
    const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: this.items.length - 1 }[event.key];
    const target = to ?? this.#lineFrom(index, event.key);
    if (target === null) return;
    event.preventDefault();
    this.focus(target);
  }

  #lineFrom(index, key) {
    if (key !== "ArrowUp" && key !== "ArrowDown") return null;
    const columns = getComputedStyle(this.list).gridTemplateColumns.split(" ").length;
    if (key === "ArrowUp") return index - columns;
    const last = this.items.length - 1;
    return index + columns <= last ? index + columns : last;
  }

  #makeCurrent(index) {
    if (index < 0 || index === this.current) return;
    const before = this.tileAt(this.current);
    if (before) before.tabIndex = -1;
    this.tileAt(index).tabIndex = 0;
    this.current = index;
  }

  #indexOf(element) {
    return Number(element.closest("li")?.dataset.index ?? -1);
  }

  tileAt(index) {
    return this.list.children[index]?.querySelector(".tile") ?? null;
  }
}

// The tile of an indexed picture.
export function pictureTile(button, item) {
  const image = make("img", { loading: "lazy", decoding: "async", draggable: false });
  if (item.gone) showGone(button, image, item);
  else showPicture(image, thumbnailAt(item.id, DENSE ? 512 : 256), "", () => showGone(button, image, item)); // its name follows
  const about = make("span", { className: "tile-about" }, make("span", { className: "tile-name" }, item.name));
  if (item.similarity !== undefined) about.append(similarity(item));
  button.prepend(image);
  if (item.copies > 0) button.append(badge(item));
  button.append(about);
}

// A small picture that a click takes out of where it is.
export function chip(id, words, takeOut) {
  const button = make("button", { type: "button", className: "mark", title: words, ariaLabel: words });
  button.append(make("img", { src: thumbnailAt(id, 128), alt: "" }), make("span", { ariaHidden: "true" }, "×"));
  button.addEventListener("click", takeOut);
  return button;
}

function similarity(item) {
  const words = say("similarity", { value: item.similarity.toFixed(2) });
  return make("span", { className: "tile-figure", title: words }, item.similarity.toFixed(2));
}

function badge(item) {
  const words = say("copies_said", { count: count(item.copies) });
  return make("span", { className: "badge", title: words }, say("copies", { count: count(item.copies) }));
}

function showGone(button, image, item) {
  image.remove();
  button.classList.add("is-gone");
  button.prepend(make("span", { className: "gone" }, say("gone")));
  button.title = item.name;
}

// A fact's name as people read it.
export function factName(key) {
  return has(`fact_${key}`) ? say(`fact_${key}`) : key.replaceAll("_", " ");
}

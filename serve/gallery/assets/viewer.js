// The large view of one picture, with its facts, its painting and the difference to the query.

import * as api from "./api.js";
import { byId, isTyping, make, modal, showPicture } from "./dom.js";
import { factName } from "./grid.js";
import { asks } from "./question.js";
import { mention, wordsOf } from "./trouble.js";
import { bytes, count, exposure, percent, say } from "./words.js";

export class Viewer {
  constructor({ go, step, closed, mark }) {
    Object.assign(this, { go, step, mark, shown: null, canPaint: true, canReveal: false });
    this.dialog = byId("viewer");
    this.modal = modal(this.dialog, () => {
      const { id } = this.shown;
      this.loading?.abort();
      this.shown = null;
      closed(id);
    });
    this.acts = {
      ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => step(-1), ArrowDown: () => step(1),
      Enter: () => this.#ask(), " ": () => this.modal.close(), s: () => this.#ask(),
      "+": () => mark("like", this.shown.id), "=": () => mark("like", this.shown.id),
      "-": () => mark("unlike", this.shown.id), "−": () => mark("unlike", this.shown.id),
      c: () => this.#copy(), o: () => this.#reveal(), a: () => this.#use("a"), b: () => this.#use("b"),
    };
    this.dialog.addEventListener("keydown", (event) => this.#key(event));
    const clicks = {
      close: " ", previous: "ArrowLeft", next: "ArrowRight", "ask-this": "Enter", like: "+", unlike: "-", copy: "c", reveal: "o", "to-a": "a", "to-b": "b",
    };
    for (const [id, key] of Object.entries(clicks)) byId(id).addEventListener("click", this.acts[key]);
    for (const side of ["plus", "minus"]) byId(`to-${side}`).addEventListener("click", () => this.#addTo(side));
  }

  // `hit` is what the list knows of the picture, if it is in the list; `code` is that of the query.
  show(id, { hit, question, code, position }) {
    this.question = question;
    const isNew = this.shown?.id !== id;
    this.shown = { id, name: this.shown?.id === id ? this.shown.name : (hit?.name ?? say("picture_number", { id })) };
    this.#showMarks(question);
    this.#showDifference(code);
    byId("previous").disabled = !position.before;
    byId("next").disabled = !position.after;
    this.position = position;
    this.#showName();
    if (isNew) this.#showNew(id, hit);
    this.modal.open(byId("stage"));
    if (document.activeElement?.disabled) byId("stage").focus();
  }

  close() {
    this.modal.close();
  }

  returnTo(element) {
    this.modal.returnTo(element);
  }

  #showNew(id, hit) {
    byId("stage").focus();
    byId("large-gone").hidden = true;
    if (hit?.gone) this.#showGone();
    else showPicture(byId("large"), api.thumbnailAt(id, 1024), this.shown.name, () => this.#showGone());
    byId("large").hidden = hit?.gone ?? false;
    byId("painting").parentElement.hidden = !this.canPaint;
    for (const one of ["to-a", "to-b", "to-plus", "to-minus"]) byId(one).hidden = !this.canPaint;
    byId("reveal").hidden = !this.canReveal;
    if (this.canPaint) showPicture(byId("painting"), api.paintingAt(id), say("seen_of", this.shown));
    byId("facts").replaceChildren(...entries(factsOf(hit ?? {})));
    this.#load(id, hit);
  }

  #showGone() {
    byId("large").hidden = true;
    byId("large-gone").hidden = false;
    byId("large-gone").textContent = say("gone");
  }

  async #load(id, hit) {
    this.loading?.abort();
    const loading = (this.loading = new AbortController());
    try {
      const item = await api.item(id, loading.signal);
      this.shown.name = item.name;
      this.shown.place = item.folder === "" ? item.name : `${item.folder}/${item.name}`;
      this.#showName();
      byId("large").alt = item.name;
      byId("facts").replaceChildren(...entries(factsOf({ ...hit, ...item })));
    } catch (error) {
      if (error.name !== "AbortError") byId("facts").append(make("dd", { className: "wrong" }, wordsOf(error)));
    }
  }

  #showName() {
    byId("viewer-name").textContent = this.shown.name;
    const { index, count: most } = this.position;
    byId("viewer-place").textContent = index < 0 ? "" : say("position", { position: count(index + 1), count: count(most) });
  }

  #showMarks(question) {
    for (const kind of ["like", "unlike"]) {
      byId(kind).setAttribute("aria-pressed", String(question[kind].includes(this.shown.id)));
      byId(kind).hidden = !asks(question);
    }
  }

  #showDifference(code) {
    const canDiffer = this.canPaint && code !== null;
    byId("difference-figure").hidden = !canDiffer;
    byId("pair").hidden = !this.canPaint;
    if (!canDiffer) return;
    const source = api.differenceAt(this.shown.id, code);
    showPicture(byId("difference"), source, say("difference_of", this.shown));
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const presses = event.key === "Enter" || event.key === " ";
    if (presses && event.target.closest("button") !== null) return;
    const act = this.acts[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  #ask() {
    this.go({ view: "search", id: this.shown.id, code: null, like: [], unlike: [], show: null });
  }

  #use(slot) {
    if (this.canPaint) this.go({ view: "space", [slot]: this.shown.id, show: null });
  }

  #addTo(side) {
    const { id } = this.shown;
    const other = side === "plus" ? "minus" : "plus";
    const others = (which) => this.question[which].filter((one) => one !== id);
    this.go({ view: "space", [side]: [...others(side), id], [other]: others(other), show: null });
  }

  // The path of the file, if this machine holds it; else its folder and name.
  async #copy() {
    const { id } = this.shown;
    try {
      const { path } = this.canReveal ? await api.place(id) : { path: this.shown.place };
      await navigator.clipboard.writeText(path).then(
        () => mention(say("copied", { path })),
        () => mention(say("copy_failed", { path })),
      );
    } catch (error) {
      mention(wordsOf(error));
    }
  }

  async #reveal() {
    if (!this.canReveal) return;
    try {
      await api.reveal(this.shown.id);
      mention(say("revealed"));
    } catch (error) {
      mention(error.code === "no_screen" ? say("no_screen") : wordsOf(error));
    }
  }
}

// Pairs of a name and a text, of all that is known.
function factsOf(known) {
  const facts = [];
  const add = (key, text) => facts.push([factName(key), text]);
  if (known.rank !== undefined) add("rank", count(known.rank));
  if (known.similarity !== undefined) add("similarity", known.similarity.toFixed(3));
  if (known.distance !== undefined) add("distance", known.distance.toFixed(2));
  if (known.copies > 0) add("copies", count(known.copies));
  if (known.folder) add("folder", known.folder);
  if (known.width > 0) add("size", sizeOf(known));
  if (known.taken) add("taken", known.taken.slice(0, 16).replace("T", " "));
  const { latitude, longitude, taken_us: ignored, taken_offset_s: alsoIgnored, ...others } = known.facts ?? {};
  for (const [key, value] of Object.entries(others)) {
    const text = textOf(key, value);
    if (text !== null) add(key, text);
  }
  if (typeof latitude === "number" && typeof longitude === "number") add("place", `${latitude.toFixed(4)}, ${longitude.toFixed(4)}`);
  if (typeof known.realism === "number") add("realism", known.realism.toFixed(2));
  if (typeof known.novelty === "number") add("novelty", percent(known.novelty));
  if (known.status && known.status !== "found") add("status", known.status);
  return facts;
}

function sizeOf({ width, height, size_bytes: size }) {
  return `${count(width)} × ${count(height)} px${size === undefined ? "" : `, ${bytes(size)}`}`;
}

function textOf(key, value) {
  if (value === null || value === false || value === "" || (key === "frames" && value === 1)) return null;
  if (value === true) return say("yes");
  if (Array.isArray(value)) return value.length > 0 ? value.join(", ") : null;
  if (key === "exposure_s") return exposure(value);
  if (key === "focal_mm") return `${Number(value.toFixed(1))} mm`;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

function entries(facts) {
  return facts.map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text)));
}

// The question's form: the asked picture, words, filters and marks.

import * as api from "./api.js";
import { byId, make, showPicture } from "./dom.js";
import { chip } from "./grid.js";
import { METRICS, MOST_K, PLACE, UNFILTERED, asks, filtersSet } from "./question.js";
import { percent, say } from "./words.js";

const NOVEL = 0.99;
const AROUND = 30; // characters of a filter that are shown on each side of its error

export class Form {
  constructor({ go, upload }) {
    Object.assign(this, { go, given: new Map(), question: null, canPaint: true });
    for (const metric of METRICS) byId("metric").append(make("option", { value: metric }, say(`metric_${metric}`)));
    byId("question").addEventListener("submit", (event) => {
      event.preventDefault();
      go(this.read(), { again: true });
    });
    for (const id of ["from", "to", "folder", "least", "where", "metric", "k", "copies"]) {
      byId(id).addEventListener("change", () => go(this.read()));
    }
    byId("place").addEventListener("change", () => this.#readPlace() && go(this.read()));
    byId("text").addEventListener("search", (event) => event.target.value === "" && go(this.read())); // its cross
    byId("clear").addEventListener("click", () => go({ ...UNFILTERED }));
    byId("forget").addEventListener("click", () => go({ id: null, code: null, like: [], unlike: [] }));
    for (const id of ["file", "camera"]) {
      byId(id).addEventListener("change", (event) => {
        const [file] = event.target.files;
        if (file) upload(file);
        event.target.value = "";
      });
    }
  }

  read() {
    const k = Math.round(Number(byId("k").value));
    return {
      text: byId("text").value.trim(),
      from: byId("from").value,
      to: byId("to").value,
      folder: byId("folder").value,
      place: byId("place").value.replaceAll(" ", ""),
      least: Number(byId("least").value) || 0,
      where: byId("where").value,
      metric: byId("metric").value,
      k: k >= 1 ? Math.min(k, MOST_K) : UNFILTERED.k,
      copies: byId("copies").checked ? "collapse" : "show",
    };
  }

  show(question) {
    this.question = question;
    for (const name of ["text", "from", "to", "folder", "place", "where", "metric", "k"]) byId(name).value = question[name];
    byId("least").value = question.least > 0 ? question.least : "";
    this.#readPlace();
    byId("copies").checked = question.copies === "collapse";
    const set = filtersSet(question);
    byId("filters-on").textContent = set > 0 ? say("filters_on", { count: set }) : "";
    byId("clear").disabled = set === 0;
    this.#showAsked(question);
    this.#showMarks(question);
  }

  // The picture of a code, which this browser has seen; the server keeps none.
  remember(code, picture) {
    for (const [old, address] of this.given) {
      if (this.given.size < 8) break;
      URL.revokeObjectURL(address);
      this.given.delete(old);
    }
    this.given.set(code, URL.createObjectURL(picture));
  }

  warn(info) {
    const novel = info?.novelty >= NOVEL;
    byId("asked-warning").hidden = !novel;
    byId("asked-warning").textContent = novel ? say("asked_novel", { share: percent(info.novelty) }) : "";
  }

  // What is wrong with the filter, and where; null if nothing is.
  refuse(wrong) {
    byId("where-wrong").hidden = wrong === null;
    byId("where").setAttribute("aria-invalid", String(wrong !== null));
    if (wrong === null) return;
    byId("filters").open = true;
    const at = Math.min(wrong.column - 1, wrong.text.length);
    const start = Math.max(0, at - AROUND);
    byId("where-place").textContent = `${wrong.text.slice(start, at + AROUND)}\n${" ".repeat(at - start)}^`;
    byId("where-text").textContent = say("where_column", wrong);
  }

  // Whether the place can be read; if not, the field says so.
  #readPlace() {
    const { place } = this.read();
    const isRight = place === "" || PLACE.test(place);
    byId("place").setAttribute("aria-invalid", String(!isRight));
    byId("place-wrong").hidden = isRight;
    return isRight;
  }

  #showAsked(question) {
    byId("asked").hidden = !asks(question);
    byId("drop-hint").hidden = asks(question);
    if (!asks(question)) return;
    const { id, code, scale } = question;
    const given = this.given.get(code) ?? null;
    const name = id === null ? null : (this.names?.(id) ?? say("picture_number", { id }));
    const words = id !== null ? say("asked_about_id", { name }) : say(given === null ? "asked_about_code" : "asked_about_upload");
    byId("asked-about").textContent = words;
    const picture = byId("asked-picture");
    picture.parentElement.hidden = id === null && given === null;
    if (id !== null) showPicture(picture, api.thumbnailAt(id, 256), say("asked_indexed", { name }));
    else if (given !== null) showPicture(picture, given, say("asked_uploaded"));
    byId("asked-seen").hidden = !this.canPaint;
    if (!this.canPaint) return;
    showPicture(byId("asked-painting"), id !== null ? api.paintingAt(id) : api.paintedAt(code, scale), say("seen"));
  }

  #showMarks(question) {
    const rows = ["like", "unlike"].filter((kind) => question[kind].length > 0).map((kind) => this.#marked(kind, question[kind]));
    byId("marks").hidden = rows.length === 0;
    byId("marks").replaceChildren(...rows);
  }

  #marked(kind, ids) {
    const row = make("div", { className: "marked" }, make("span", {}, say(`marks_${kind}`)));
    for (const id of ids) {
      const words = say("unmark", { name: this.names?.(id) ?? say("picture_number", { id }) });
      row.append(chip(id, words, () => this.go({ [kind]: ids.filter((one) => one !== id) })));
    }
    return row;
  }
}

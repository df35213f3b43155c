// Sums: pictures that are added and subtracted, moved along directions. Pictures with and without something teach one.

import * as api from "./api.js";
import { byId, make } from "./dom.js";
import { Grid, chip, pictureTile } from "./grid.js";
import { Live } from "./live.js";
import { Pages, newest } from "./pages.js";
import { alongOf, anySeed, searchBy, stepsOf } from "./question.js";
import * as trouble from "./trouble.js";
import { count, percent, say } from "./words.js";

const KIND = "application/x-latent-picture";
const SHELF = 48;
const SIDES = ["plus", "minus"];

export class Sums {
  constructor({ go, names, choose }) {
    Object.assign(this, { go, names, key: null, directions: null });
    this.live = new Live({
      image: byId("sum-painting"),
      state: byId("sum-state"),
      wanted: () => ({ find: (signal) => api.sum(this.#terms(), signal), words: say("sum_at") }),
      told: () => this.#showActs(),
    });
    byId("sum-search").addEventListener("click", () => go(searchBy(this.live.code)));
    byId("sum-round").addEventListener("click", () => go({ near: this.live.code, seed: anySeed(), scale: null }));
    byId("sum-clear").addEventListener("click", () => go({ plus: [], minus: [], along: [] }));
    for (const side of SIDES) this.#takeDrops(side, choose);
    this.shelf = new Shelf({ add: (side, item) => this.add(side, item) });
    byId("teach").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#teach();
    });
  }

  async show(question) {
    this.question = question;
    for (const side of SIDES) this.#showSide(side, question[side]);
    if (this.directions === null) await this.#load();
    if (this.question !== question) return; // another one came meanwhile
    this.#showWays();
    this.#showActs();
    const key = JSON.stringify([question.plus, question.minus, question.along]);
    if (key === this.key) return;
    this.key = key;
    if (this.#terms() === "") this.live.lose(say("sum_need"));
    else if (!(await this.live.now())) this.key = null;
  }

  leave() {
    this.live.stop();
    this.key = null;
  }

  add(side, item) {
    if (item.name !== undefined) this.names.set(item.id, item.name);
    const other = SIDES.find((one) => one !== side);
    const ids = this.question[side].filter((id) => id !== item.id);
    this.go({ [side]: [...ids, item.id], [other]: this.question[other].filter((id) => id !== item.id) });
  }

  #terms() {
    const steps = stepsOf(this.question.along);
    const signed = [["1", this.question.plus], ["-1", this.question.minus]];
    const pictures = signed.flatMap(([weight, ids]) => ids.map((id) => `${weight}*${id}`));
    return [...pictures, ...[...steps].map(([name, step]) => `${step}*${name}`)].join(",");
  }

  async #load() {
    try {
      ({ directions: this.directions } = await api.directions());
    } catch (error) {
      trouble.tell(error);
    }
  }

  #showSide(side, ids) {
    const chips = ids.map((id) => {
      const words = say("sum_forget", { name: this.names.get(id) ?? say("picture_number", { id }) });
      return make("li", {}, chip(id, words, () => this.go({ [side]: this.question[side].filter((one) => one !== id) })));
    });
    byId(side).replaceChildren(...chips);
  }

  #showWays() {
    const steps = stepsOf(this.question.along);
    const known = this.directions ?? [];
    const shown = new Set([...byId("ways").querySelectorAll("input")].map((one) => one.name));
    byId("ways-none").hidden = known.length > 0;
    if (shown.size !== known.length || known.some(({ name }) => !shown.has(name))) {
      byId("ways").replaceChildren(...known.map((one) => this.#way(one)));
    }
    for (const slider of byId("ways").querySelectorAll("input")) {
      slider.value = String(steps.get(slider.name) ?? 0);
      slider.nextElementSibling.textContent = slider.value;
    }
  }

  #way({ name, accuracy }) {
    const slider = make("input", { type: "range", min: "-3", max: "3", step: "0.1", name });
    const output = make("output");
    const title = accuracy === null ? "" : say("way_accuracy", { share: percent(accuracy) });
    slider.addEventListener("input", () => {
      output.textContent = slider.value;
      this.question = { ...this.question, along: alongOf(stepsOf(this.question.along).set(name, Number(slider.value))) };
      if (this.#terms() !== "") this.live.soon();
    });
    slider.addEventListener("change", () => this.go({ along: this.question.along }, { replace: true }));
    const words = say("way_forget", { name });
    const forget = make("button", { type: "button", className: "quiet round", title: words, ariaLabel: words }, "×");
    forget.addEventListener("click", () => this.#forget(name));
    const label = make("label", { className: "slider", title }, make("span", {}, name), slider, output);
    return make("div", { className: "way" }, label, forget);
  }

  #showActs() {
    const { plus, minus, along } = this.question;
    byId("sum-search").disabled = byId("sum-round").disabled = this.live.code === null;
    byId("sum-clear").disabled = plus.length + minus.length + along.length === 0;
    byId("teach-go").disabled = plus.length === 0 || minus.length === 0;
  }

  #takeDrops(side, choose) {
    const zone = byId(`zone-${side}`);
    byId(`add-${side}`).addEventListener("click", () => choose((item) => {
      this.add(side, item);
      byId(`add-${side}`).focus();
    }));
    const hold = (event) => {
      if (!event.dataTransfer.types.includes(KIND)) return;
      event.preventDefault();
      zone.classList.add("over");
    };
    zone.addEventListener("dragenter", hold);
    zone.addEventListener("dragover", hold);
    zone.addEventListener("dragleave", (event) => zone.contains(event.relatedTarget) || zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      const given = event.dataTransfer.getData(KIND);
      zone.classList.remove("over");
      if (given === "") return;
      event.preventDefault();
      this.add(side, JSON.parse(given));
    });
  }

  async #teach() {
    const name = byId("teach-name").value.trim();
    if (name === "") return byId("teach-name").focus();
    const { plus: having, minus: lacking } = this.question;
    try {
      const learnt = await api.teach({ name, having, lacking });
      byId("taught").textContent = say(learnt.accuracy === null ? "taught_few" : "taught", {
        name, having: count(having.length), lacking: count(lacking.length), share: percent(learnt.accuracy ?? 0),
      });
      byId("teach-name").value = "";
      await this.#load();
      this.#showWays();
    } catch (error) {
      byId("taught").textContent = trouble.wordsOf(error);
    }
  }

  async #forget(name) {
    try {
      await api.forgetDirection(name);
      await this.#load();
      this.go({ along: alongOf(stepsOf(this.question.along).set(name, 0)) }, { replace: true });
      this.#showWays();
      byId("teach-name").focus();
    } catch (error) {
      trouble.tell(error);
    }
  }
}

// Pictures of the collection beside the sum, to be dropped into it; a click adds one, its corner subtracts it.
class Shelf {
  constructor({ add }) {
    const list = byId("shelf-grid");
    const grid = new Grid(list, {
      tile: (button, item, index) => {
        pictureTile(button, item, index);
        button.draggable = true;
        button.title = say("shelf_add", { name: item.name });
      },
      open: (item) => add("plus", item),
      ask: (item) => add("minus", item),
      corner: { word: "shelf_subtract", sign: "−", key: "-" },
    });
    list.addEventListener("dragstart", (event) => {
      const index = Number(event.target.closest("li")?.dataset.index ?? -1);
      if (index < 0) return;
      const { id, name } = grid.items[index];
      event.dataTransfer.setData(KIND, JSON.stringify({ id, name }));
      event.dataTransfer.effectAllowed = "copy";
    });
    this.pages = new Pages({
      grid,
      more: byId("shelf-more"),
      load: (offset, signal) => newest(byId("shelf-text").value.trim(), SHELF, offset, signal),
      told: (pages) => (byId("shelf-state").textContent = grid.items.length > 0 ? "" : say(pages.loading ? "loading" : "none")),
      failed: (error) => (byId("shelf-state").textContent = trouble.wordsOf(error)),
    });
    byId("shelf").addEventListener("toggle", () => byId("shelf").open && grid.items.length === 0 && this.pages.start());
    byId("shelf-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.pages.start();
    });
  }
}

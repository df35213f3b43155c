// Copies: a plan is made, its groups are decided one by one, and what was decided is carried out.

import * as acts from "./acts.js";
import { thumbnailAt } from "./api.js";
import { byId, isTyping, make, modal, showPicture } from "./dom.js";
import { Pages } from "./pages.js";
import * as trouble from "./trouble.js";
import { bytes, count, percent, say, some } from "./words.js";

const KINDS = ["bytes", "pixels", "scaled", "edited", "frame", "series", "variant"];
const PROPOSED = ["bytes", "pixels", "scaled"];
const SHOWN = ["open", "keep", "skip", "apart", "done", ""];
const PAGE = 20;
const SIDE_PX = 512;

export class Copies {
  constructor({ job }) {
    Object.assign(this, { job, plan: null, plans: [], actions: [] });
    this.groups = new Groups(byId("groups"), { decide: (...given) => this.#decide(...given), apart: (...given) => this.#part(...given) });
    this.pages = new Pages({
      grid: this.groups,
      more: byId("groups-more"),
      load: (_, signal) => this.#load(signal),
      told: () => this.#told(),
      failed: (error) => trouble.tell(error),
    });
    this.confirm = new Confirm({ job });
    byId("kinds").append(...KINDS.map(kindBox));
    byId("shown").append(...SHOWN.map((word) => make("option", { value: word }, say(`shown_${word || "all"}`))));
    byId("shown").addEventListener("change", () => this.pages.start());
    byId("plan-of").addEventListener("change", (event) => this.#choose(event.target.value));
    byId("find-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find();
    });
    byId("keep-open").addEventListener("click", () => this.#decide(null, "keep"));
    byId("apply").addEventListener("click", () => this.confirm.ask(this.plan.id, this.actions));
    byId("undo").addEventListener("click", () => job.begin(acts.undo(this.plan.id)));
    addEventListener("keydown", (event) => this.#key(event));
  }

  async show() {
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    byId("groups-state").textContent = say("loading_plans");
    try {
      const { plans, actions, may_download: mayDownload } = await acts.plans(signal);
      Object.assign(this, { plans, actions, mayDownload });
      this.#choose((plans.find(({ id }) => id === this.plan?.id) ?? plans[0])?.id ?? null);
    } catch (error) {
      if (error.name === "AbortError") return;
      byId("groups-state").textContent = "";
      trouble.tell(error);
    }
  }

  leave() {
    this.loading?.abort();
    this.pages.stop();
  }

  // A plan was made: it is shown when it is loaded.
  made(id) {
    this.plan = { id };
    byId("shown").value = "open";
    byId("find").open = false;
  }

  #choose(id) {
    const plan = this.plans.find((one) => one.id === id) ?? null;
    this.plan = plan;
    byId("find").open = plan === null;
    byId("plan").hidden = plan === null;
    this.pages.stop();
    this.groups.clear();
    if (plan === null) {
      byId("groups-state").textContent = say("no_plan");
      return;
    }
    this.#showPlan(plan);
    this.pages.start();
  }

  #find() {
    const kinds = [...byId("kinds").querySelectorAll("input:checked")].map((one) => one.value);
    if (kinds.length === 0) return trouble.mention(say("no_kinds"));
    this.job.begin(acts.find({ kinds: kinds.join(","), mirrored: byId("mirrored").checked }));
  }

  #showPlan(plan) {
    this.plan = plan;
    this.plans = this.plans.map((one) => (one.id === plan.id ? plan : one));
    const { decided } = plan;
    byId("plan-title").textContent = some("plan_title", plan.groups, { open: count(decided.open) });
    byId("plan-about").textContent = plan.registered ? plan.wrong_pairs : `${plan.wrong_pairs} ${say("not_registered")}`;
    byId("plan-kinds").replaceChildren(...plan.kinds.map(kindFacts));
    byId("plan-of").replaceChildren(...this.plans.map((one) => make("option", { value: one.id, selected: one.id === plan.id }, dated(one))));
    byId("plan-of").parentElement.hidden = this.plans.length < 2;
    byId("keep-open").hidden = decided.open === 0;
    byId("keep-open").textContent = some("keep_open", decided.open);
    byId("plan-file").hidden = !this.mayDownload;
    byId("plan-file").href = acts.fileAt(plan.id);
    byId("undo").hidden = !plan.can_undo;
    byId("apply").hidden = this.actions.length === 0;
    byId("apply").disabled = decided.keep === 0;
    byId("apply").textContent = decided.keep === 0 ? say("apply_nothing") : some("apply", plan.files, { bytes: bytes(plan.bytes) });
    byId("apply-not").hidden = this.actions.length > 0;
    byId("apply-not").textContent = say("apply_not");
  }

  async #load(signal) {
    const start = (this.groups.items.at(-1)?.number ?? -1) + 1;
    const asked = { limit: PAGE, start, decision: byId("shown").value };
    const { groups, next } = await acts.groups(this.plan.id, asked, signal);
    return { items: groups.map((group) => ({ ...group, id: group.number })), done: next === null };
  }

  #told() {
    const number = this.groups.items.length;
    const words = this.pages.loading && number === 0 ? "loading_groups" : number > 0 ? "groups_shown" : this.plan.groups === 0 ? "no_copies" : "no_groups";
    byId("groups-state").textContent = some(words, number);
  }

  // Of one group, or of all that are open; the next group is then the current one.
  async #decide(group, decision) {
    try {
      this.#showPlan(await acts.decide(this.plan.id, { group, decision }));
      if (group === null) return void this.pages.start();
      this.groups.decided(group, decision);
    } catch (error) {
      trouble.tell(error);
    }
  }

  async #part(group, copy) {
    try {
      this.#showPlan(await acts.part(this.plan.id, { group, copy }));
      this.groups.parted(group, copy);
      trouble.mention(say("parted"));
    } catch (error) {
      if (error.code === "same_bytes") trouble.mention(say("same_bytes"));
      else trouble.tell(error);
    }
  }

  #key(event) {
    const isHere = !byId("copies-view").hidden && event.target === document.body && document.querySelector("dialog:modal") === null;
    if (!isHere || !event.key.startsWith("Arrow") || event.ctrlKey || event.metaKey || event.altKey || this.groups.items.length === 0) return;
    event.preventDefault();
    this.groups.focus(this.groups.current);
  }
}

// The groups as a feed with one tab stop: arrows go from group to group, and from copy to copy in it.
class Groups {
  constructor(list, { decide, apart }) {
    Object.assign(this, { list, decide, apart, items: [], current: 0 });
    this.acts = {
      ArrowDown: () => this.focus(this.current + 1), ArrowUp: () => this.focus(this.current - 1),
      ArrowRight: () => this.#pick(1), ArrowLeft: () => this.#pick(-1),
      Home: () => this.focus(0), End: () => this.focus(this.items.length - 1),
      k: () => this.#say("keep"), Enter: () => this.#say("keep"), s: () => this.#say("skip"), o: () => this.#say("open"), n: () => this.#part(),
    };
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("focusin", (event) => this.#makeCurrent(this.#indexOf(event.target)));
    list.addEventListener("click", (event) => this.#clicked(event));
  }

  clear() {
    this.list.replaceChildren();
    this.items = [];
    this.current = 0;
  }

  add(groups) {
    this.items.push(...groups.map((group) => ({ ...group, picked: Math.max(0, group.copies.findIndex((one) => !one.apart)) })));
    this.list.append(...this.items.slice(this.list.children.length).map((group) => this.#card(group)));
  }

  focus(index) {
    this.list.children[index]?.focus();
  }

  decided(number, decision) {
    const index = this.items.findIndex((group) => group.number === number);
    const held = this.list.children[index]?.contains(document.activeElement);
    this.#redraw(index, { decision });
    if (held) this.focus(decision === "open" || index + 1 >= this.items.length ? index : index + 1);
  }

  parted(number, copy) {
    const index = this.items.findIndex((group) => group.number === number);
    const held = this.list.children[index]?.contains(document.activeElement);
    const { copies, decision } = this.items[index];
    const marked = copies.map((one, place) => (place === copy ? { ...one, apart: true } : one));
    const all = marked.every((one) => one.apart);
    const picked = Math.max(0, marked.findIndex((one) => !one.apart));
    this.#redraw(index, { copies: marked, decision: all ? "apart" : decision, picked });
    if (held) this.focus(all && index + 1 < this.items.length ? index + 1 : index);
  }

  #redraw(index, changes) {
    if (index < 0) return;
    Object.assign(this.items[index], changes);
    this.list.children[index].replaceWith(this.#card(this.items[index]));
  }

  #card(group) {
    const index = this.items.indexOf(group);
    const heading = make("h3", {}, say("group", { number: count(group.number + 1) }));
    const state = make("span", { className: "decision" }, say(`decision_${group.decision}`));
    const card = make("article", { className: "group", tabIndex: index === this.current ? 0 : -1 });
    card.dataset.index = String(index);
    card.dataset.decision = group.decision;
    card.setAttribute("aria-label", say("group_label", { number: count(group.number + 1), decision: say(`decision_${group.decision}`), name: group.kept.name, copies: some("copies_of", group.copies.length) }));
    const sides = make("div", { className: "sides" }, keptSide(group), ...group.copies.map((copy, place) => copySide(group, copy, place)));
    card.append(make("div", { className: "group-head" }, heading, state), sides, this.#buttons(group));
    return card;
  }

  #buttons(group) {
    const row = make("div", { className: "row" });
    if (group.decision === "done" || group.decision === "apart") return row;
    const button = (act, word) => make("button", { type: "button", value: act, ariaKeyShortcuts: word[1] }, say(word[0]));
    row.append(button("keep", ["keep_this", "k"]), button("apart", ["not_a_copy", "n"]), button("skip", ["skip_this", "s"]));
    if (group.decision !== "open") row.append(button("open", ["decide_later", "o"]));
    row.querySelector(`[value=${group.decision}]`)?.setAttribute("aria-pressed", "true");
    return row;
  }

  #clicked(event) {
    const index = this.#indexOf(event.target);
    if (index < 0) return;
    this.#makeCurrent(index);
    const side = event.target.closest("[data-copy]");
    if (side !== null) return this.#pickAt(Number(side.dataset.copy));
    const act = event.target.closest("button")?.value;
    if (act === "apart") this.#part();
    else if (act !== undefined) this.#say(act);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "Enter" && event.target.closest("button") !== null) return;
    const act = this.acts[event.key];
    if (act === undefined) return;
    event.preventDefault();
    act();
  }

  #say(decision) {
    const group = this.items[this.current];
    if (group.decision === "done" || group.decision === "apart") return;
    this.decide(group.number, decision);
  }

  #part() {
    const group = this.items[this.current];
    if (group.decision === "done" || group.copies[group.picked].apart) return;
    this.apart(group.number, group.picked);
  }

  #pick(by) {
    const { copies, picked } = this.items[this.current];
    this.#pickAt(Math.min(copies.length - 1, Math.max(0, picked + by)));
  }

  #pickAt(copy) {
    const card = this.list.children[this.current];
    this.items[this.current].picked = copy;
    for (const side of card.querySelectorAll("[data-copy]")) side.classList.toggle("current", Number(side.dataset.copy) === copy);
    card.querySelector(`[data-copy="${copy}"]`).scrollIntoView({ block: "nearest" });
  }

  #makeCurrent(index) {
    if (index < 0 || index === this.current) return;
    const before = this.list.children[this.current];
    if (before) before.tabIndex = -1;
    this.list.children[index].tabIndex = 0;
    this.current = index;
  }

  #indexOf(element) {
    return Number(element.closest("article")?.dataset.index ?? -1);
  }
}

// The last question before files go: how many, and how large.
class Confirm {
  constructor({ job }) {
    this.job = job;
    this.modal = modal(byId("confirm"), () => (this.offer = null));
    byId("confirm-no").addEventListener("click", () => this.modal.close());
    byId("confirm-move").addEventListener("change", () => this.#offer());
    byId("confirm-yes").addEventListener("click", () => {
      const { nonce } = this.offer;
      this.modal.close();
      this.job.begin(acts.apply(this.plan, nonce));
    });
  }

  async ask(plan, actions) {
    this.plan = plan;
    byId("confirm-move").checked = false;
    byId("confirm-action-label").hidden = !actions.includes("move");
    if (await this.#offer()) this.modal.open(byId("confirm-no"));
  }

  async #offer() {
    byId("confirm-yes").disabled = true;
    const action = byId("confirm-move").checked ? "move" : "trash";
    try {
      this.offer = await acts.offer(this.plan, action);
    } catch (error) {
      this.modal.close();
      trouble.tell(error);
      return false;
    }
    const { files, groups, bytes: size } = this.offer;
    byId("confirm-title").textContent = some(`confirm_${action}`, files);
    byId("confirm-text").textContent = say("confirm_text", { files: some("files", files), groups: some("of_groups", groups), bytes: bytes(size) });
    byId("confirm-yes").textContent = some(`confirm_${action}_yes`, files);
    byId("confirm-yes").disabled = false;
    return true;
  }
}

function kindBox(kind) {
  const box = make("input", { type: "checkbox", value: kind, checked: PROPOSED.includes(kind) });
  return make("label", { className: "check" }, box, make("span", {}, say(`kind_${kind}`)));
}

function kindFacts({ title, means, count: number, only_listed: onlyListed }) {
  const words = onlyListed ? `${means} ${say("only_listed")}` : means;
  return make("div", {}, make("dt", {}, `${count(number)} ${title}`), make("dd", {}, words));
}

function dated({ made, groups }) {
  return some("plan_option", groups, { made: new Date(made).toLocaleString() });
}

function keptSide({ kept, copies }) {
  const side = make("figure", { className: "side-of kept" }, frame(kept, marksOf(kept, copies)));
  side.append(make("figcaption", {}, make("span", { className: "role" }, say("kept")), ...fileWords(kept)));
  return side;
}

function copySide({ picked, decision, copies }, copy, place) {
  const isPicked = copies.length > 1 && place === picked && decision !== "done" && decision !== "apart";
  const side = make("figure", { className: `side-of${isPicked ? " current" : ""}` }, frame(copy, null));
  side.dataset.copy = String(place);
  const alike = copy.kind === "bytes" || copy.kind === "pixels" ? "" : say("alike", { share: percent(copy.alike) });
  const why = [copy.why, alike].filter((word) => word !== "").join(", ");
  const words = make("figcaption", {}, make("span", { className: "role" }, say("copy", { number: place + 1 })), make("span", {}, why));
  words.append(make("span", {}, say("because", { because: copy.because })), ...fileWords(copy));
  if (copy.apart) words.append(make("span", { className: "no-copy" }, say("no_copy")));
  if (copy.left !== "") words.append(make("span", { className: "left" }, say("left_alone", { reason: copy.left })));
  side.append(words);
  return side;
}

function fileWords({ name, folder, width, height, size_bytes: size, changed }) {
  const facts = [width === null ? "" : `${count(width)} × ${count(height)} px`, bytes(size), changed === null ? "" : changed.slice(0, 10)];
  return [make("span", {}, folder === "" ? name : `${folder}/${name}`), make("span", { className: "facts" }, facts.filter((one) => one !== "").join(", "))];
}

function frame({ id, name }, marks) {
  const box = make("div", { className: "frame" });
  const showGone = () => box.replaceChildren(make("span", { className: "gone" }, say("gone")));
  if (id === null) {
    showGone();
    return box;
  }
  const image = make("img", { loading: "lazy", decoding: "async" });
  showPicture(image, thumbnailAt(id, SIDE_PX), name, showGone);
  box.append(image, ...(marks === null ? [] : [marks]));
  return box;
}

// What differs, as boxes on the kept picture; they fit into it as the picture fits into its frame.
function marksOf({ width, height }, copies) {
  const places = copies.flatMap((copy) => copy.places);
  if (places.length === 0 || width === null) return null;
  const drawing = byId("mark-boxes").content.firstElementChild.cloneNode(true);
  const pair = [...drawing.children];
  set(drawing, { viewBox: `0 0 ${width} ${height}`, "aria-label": some("marked", places.length) });
  drawing.replaceChildren();
  for (const [left, top, right, bottom] of places) {
    const box = { x: left * width, y: top * height, width: (right - left) * width, height: (bottom - top) * height };
    drawing.append(...pair.map((one) => set(one.cloneNode(), box)));
  }
  return drawing;
}

function set(element, facts) {
  for (const [name, value] of Object.entries(facts)) element.setAttribute(name, value);
  return element;
}

// Ties the views to the address: `go` changes the question, `show` draws it.

import * as api from "./api.js";
import { Copies } from "./copies.js";
import { byId, isTyping, make, modal } from "./dom.js";
import { Form } from "./form.js";
import { Indexing } from "./indexing.js";
import { JobBox } from "./job.js";
import { CollectionMap } from "./map.js";
import { VIEWS, asks, format, parse } from "./question.js";
import { Search } from "./search.js";
import { Space } from "./space.js";
import * as trouble from "./trouble.js";
import { KEYS, bytes, count, fill, say } from "./words.js";
import { Viewer } from "./viewer.js";

fill(document);
let question = parse(location.search);
history.scrollRestoration = "manual";

const form = new Form({ go, upload });
const search = new Search({
  open: (item) => go({ show: item.id }, { state: { from: format(question) } }),
  ask: (item) => go({ id: item.id, code: null, like: [], unlike: [] }),
  answered: (info) => form.warn(info),
  changed: () => question.show !== null && question.view === "search" && showViewer(),
  refused: (wrong) => form.refuse(wrong),
});
const space = new Space({ go });
const job = new JobBox({ ended: jobEnded });
const map = new CollectionMap({ go, open: (item) => go({ show: item.id }, { state: { from: format(question) } }) });
const others = { space, map, copies: new Copies({ job }), index: new Indexing({ job }) }; // views beside the search
const viewer = new Viewer({ go, step, mark, closed: viewerClosed });
const help = modal(byId("help"));
let searchScroll = 0;
const list = () => (question.view === "map" ? map : search); // what the large view steps through
const names = (id) => list().items.find((item) => item.id === id)?.name ?? known.get(id);
const known = new Map(); // names of pictures that were asked for
form.names = names;

function go(changes, { replace = false, state = null, again = false } = {}) {
  if (changes.id) known.set(changes.id, names(changes.id));
  for (const id of [...(changes.like ?? []), ...(changes.unlike ?? [])]) known.set(id, names(id));
  const next = { ...question, ...changes };
  const address = format(next);
  const isSame = address === format(question);
  if (replace) history.replaceState(history.state, "", address);
  else if (!isSame) history.pushState(state, "", address);
  show(parse(location.search), { again: again && isSame && !search.pages.loading });
}

function show(next, { restore = false, again = false } = {}) {
  question = next;
  const { view } = question;
  const inSearch = view === "search";
  const before = VIEWS.find((one) => !byId(`${one}-view`).hidden);
  const changesView = before !== view;
  if (changesView && before === "search") searchScroll = scrollY;
  for (const one of VIEWS) {
    byId(`${one}-view`).hidden = one !== view;
    if (one === view) byId(`to-${one}`).setAttribute("aria-current", "page");
    else byId(`to-${one}`).removeAttribute("aria-current");
    if (one !== view) others[one]?.leave();
  }
  job.want(view === "copies" || view === "index");
  byId("heading").textContent = byId(`to-${view}`).textContent;
  document.title = say(inSearch ? (asks(question) ? "title_search" : "title") : `title_${view}`);
  if (question.show === null) viewer.close();
  if (!inSearch) {
    others[view].show(question);
    if (changesView) scrollTo(0, 0);
  } else {
    nameAsked(question.id);
    form.show(question);
    if (changesView) scrollTo(0, searchScroll);
    search.show(question, { restore, again });
  }
  if (question.show !== null && (inSearch || view === "map")) showViewer();
}

// The index is another one now, or there is a plan: what is shown follows.
function jobEnded({ kind, state, result }) {
  if (kind === "find" && state === "done") others.copies.made(result.plan);
  if (kind !== "find") {
    showStatus();
    search.forget(question.view === "search");
  }
  if (question.view === "copies" || question.view === "index") others[question.view].show(question);
}

// A bookmark knows the asked picture by its id alone.
function nameAsked(id) {
  if (id === null || names(id) !== undefined) return;
  known.set(id, undefined);
  api.item(id).then(({ name }) => {
    known.set(id, name);
    if (question.id === id) form.show({ ...question, ...form.read() });
  }, () => {}); // the search itself says what is wrong
}

function showViewer() {
  const index = list().grid.indexOfId(question.show);
  const { items } = list();
  const after = index + 1 < items.length || (index >= 0 && !list().pages.done);
  const position = { index, count: items.length, before: index > 0, after };
  const code = asks(question) && question.view === "search" ? (search.info?.code ?? null) : null;
  const asked = question.view === "search" ? question : { ...question, id: null, code: null };
  const hit = items[index] ?? list().itemWithId?.(question.show);
  viewer.show(question.show, { hit, question: asked, code, position });
}

// To the next picture of the list. One that was marked is no hit any more: the first hit comes after it.
async function step(by) {
  const { grid, items } = list();
  const index = grid.indexOfId(question.show);
  if (index < 0 && list() === map) return; // a point that is in no list
  if (index + by < 0) return;
  if (index + by >= items.length && !(await list().more())) return;
  const item = items[index + by];
  if (item !== undefined) go({ show: item.id }, { replace: true });
}

// Mark a picture as right or wrong, or take the mark back: the list is searched again, and the large view stays.
function mark(kind, id) {
  if (!asks(question) || question.view !== "search") return;
  const other = kind === "like" ? "unlike" : "like";
  const isMarked = question[kind].includes(id);
  const marked = isMarked ? question[kind].filter((one) => one !== id) : [...question[kind], id];
  go({ [kind]: marked, [other]: question[other].filter((one) => one !== id) });
}

function viewerClosed(id) {
  const { grid } = list();
  const index = grid.indexOfId(id);
  if (index >= 0 || list() !== map) viewer.returnTo(grid.tileAt(Math.max(0, index)));
  if (question.show === null) return;
  const without = { ...question, show: null };
  if (history.state?.from !== format(without)) return go({ show: null });
  question = without; // until the browser is there
  history.back();
}

async function upload(picture) {
  if (picture.size > api.MOST_BYTES) return trouble.mention(say("too_large", { size: bytes(picture.size) }));
  if (picture.type !== "" && !picture.type.startsWith("image/")) return trouble.mention(say("not_a_picture"));
  trouble.clear();
  byId("search-view").setAttribute("aria-busy", "true");
  uploading?.abort();
  uploading = new AbortController();
  try {
    trouble.mention(say("reading"));
    const asked = await search.upload(picture, question, uploading.signal);
    form.remember(asked.code, picture);
    go({ ...asked, view: "search", show: null });
    trouble.mention("");
  } catch (error) {
    if (error.name === "AbortError") return;
    if (error.status === 413 || error.status === 415 || error.status === 422) trouble.mention(say("unreadable"));
    else trouble.tell(error);
  } finally {
    byId("search-view").removeAttribute("aria-busy");
  }
}
let uploading = null;

function holdsFiles(event) {
  return event.dataTransfer?.types.includes("Files") ?? false;
}

function takeDrops() {
  let depth = 0;
  const over = (by) => (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + by);
    byId("drop").hidden = depth === 0;
  };
  addEventListener("dragenter", over(1));
  addEventListener("dragleave", over(-1));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    byId("drop").hidden = true;
    if (event.dataTransfer.files.length > 0) upload(event.dataTransfer.files[0]);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file === undefined) return;
    event.preventDefault();
    upload(file);
  });
}

function takeKeys() {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.key === "Escape" && event.target === byId("text")) return byId("text").blur();
    if (isTyping(event.target)) return;
    if (event.key === "?") {
      event.preventDefault();
      help.open(byId("help-close"));
    } else if (event.key === "/" && document.querySelector("dialog:modal") === null) {
      event.preventDefault();
      if (question.view !== "search") go({ view: "search" });
      byId("text").focus();
      byId("text").select();
    } else if (event.key.startsWith("Arrow") && event.target === document.body && question.view === "search") {
      event.preventDefault();
      search.grid.focus(search.grid.current);
    }
  });
}

// What was put into the space stays there.
function kept({ a, b, plus, minus, along }) {
  return { a, b, plus, minus, along };
}

function takeLinks() {
  const changes = {
    home: () => ({ ...parse(""), ...kept(question) }),
    "to-search": () => ({ view: "search" }),
    "to-map": () => ({ view: "map", show: null }),
    "to-space": () => ({ view: "space" }),
    "to-copies": () => ({ view: "copies" }),
    "to-index": () => ({ view: "index" }),
  };
  for (const [id, change] of Object.entries(changes)) {
    byId(id).addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      go(change());
    });
  }
  byId("to-help").addEventListener("click", () => help.open(byId("help-close")));
  byId("help-close").addEventListener("click", () => help.close());
  byId("keys").append(...KEYS.map(([key, words]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, words))));
}

async function showStatus() {
  try {
    const { pictures, model, has_generator: canPaint, reveals } = await api.status();
    viewer.canReveal = reveals;
    byId("about-index").textContent = say("about_index", { pictures: count(pictures), model });
    form.canPaint = viewer.canPaint = canPaint;
    byId("to-space").hidden = !canPaint;
    if (!canPaint && question.view === "space") trouble.mention(say("no_generator"));
  } catch (error) {
    trouble.tell(error);
  }
}

async function start() {
  const told = showStatus();
  if (question.view === "space" || asks(question) || question.show !== null) await told; // can the model paint?
  show(question);
}

addEventListener("popstate", () => {
  if (byId("picker").open) byId("picker").close();
  show(parse(location.search), { restore: true });
});
byId("retry").addEventListener("click", async () => {
  trouble.clear();
  await showStatus();
  show(question, { again: true });
});
takeDrops();
takeKeys();
takeLinks();
start();

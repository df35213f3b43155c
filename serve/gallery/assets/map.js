// The map: the collection on a plane, its clusters, and lists of what is marked on it.

import * as api from "./api.js";
import { KINDS, channels, coloured, dayOf, mixed, packed, paletteOf } from "./colours.js";
import { byId, make, showPicture } from "./dom.js";
import { Grid, pictureTile } from "./grid.js";
import { Hand } from "./hand.js";
import { Pages } from "./pages.js";
import { Camera, Plane, boundsOf, paint } from "./plane.js";
import { COLOURINGS } from "./question.js";
import * as trouble from "./trouble.js";
import { count, percent, say } from "./words.js";

const POLL_MS = 400;
const FADED = 0.8; // of what is not chosen, towards the ground
const REACH_PX = 14; // from the pointer to a point
const LOOK_PX = 90; // from the middle, where the keyboard looks
const MOST_PIXELS = 5_000_000;
const MOST_PICTURES = 48; // that are shown on the map at once
const PICTURE_PX = 64;
const SETTLED_MS = 160;
const FLIGHT_MS = 300;
const LISTED = 60;

export class CollectionMap {
  constructor({ go, open }) {
    Object.assign(this, { go, open, map: null, listed: [], focused: -1, camera: new Camera(), info: null });
    this.stage = byId("map-stage");
    this.points = byId("map-points");
    this.over = byId("map-over");
    this.hand = new Hand(this.stage, this.camera, {
      moved: () => this.#moved(),
      pointed: (place) => this.#point(place),
      tapped: (place) => this.#tap(place),
      drew: (outline) => this.#choose(this.map.plane.inside(outline)),
      act: (key) => this.#act(key),
    });
    this.grid = new Grid(byId("map-grid"), { tile: pictureTile, open: (item) => open(item), ask: (item) => go(askedBy(item.id)) });
    this.pages = new Pages({
      grid: this.grid,
      more: byId("map-more"),
      load: async (offset) => this.#page(offset),
      told: () => {},
      failed: trouble.tell,
    });
    this.#takeControls();
    new ResizeObserver(() => this.#resize()).observe(this.stage);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#recolour());
  }

  get items() {
    return this.grid.items;
  }

  // The next page of the list, for the large view.
  more() {
    return this.pages.next();
  }

  itemWithId(id) {
    const point = this.indexOf?.get(id);
    return point === undefined ? undefined : this.#itemOf(point);
  }

  async show(question) {
    this.question = question;
    byId("map-by").value = question.by;
    if (this.map !== null) this.#recolour();
    if (this.loading) return;
    const loading = (this.loading = new AbortController());
    try {
      if (this.map === null || (await api.status(loading.signal)).generation !== this.map.generation) await this.#load(loading.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.#failed(error);
    } finally {
      if (this.loading === loading) this.loading = null;
    }
  }

  leave() {
    this.loading?.abort();
    this.loading = null;
    clearTimeout(this.settling);
  }

  async #load(signal) {
    byId("map-state").textContent = this.map === null ? say("map_loading") : "";
    let told = await api.map(signal);
    while (told.stage !== undefined) {
      if (this.map === null) this.#tellProgress(told);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      signal.throwIfAborted();
      told = await api.map(signal);
    }
    byId("map-progress").hidden = true;
    this.#take(told);
  }

  #tellProgress({ stage, done, total }) {
    byId("map-state").textContent = say(`map_${stage}`, { done: count(done), total: count(total) });
    const bar = byId("map-progress");
    bar.hidden = false;
    if (stage === "reading" && total > 0) Object.assign(bar, { max: total, value: done });
    else bar.removeAttribute("value");
  }

  #failed(error) {
    byId("map-progress").hidden = true;
    byId("map-state").textContent = "";
    if (error.code === "too_few") byId("map-state").textContent = say("map_too_few");
    else trouble.tell(error);
  }

  #take(told) {
    this.map = { ...told, ...columnsOf(told) };
    this.map.plane = new Plane(this.map.positions);
    const { ids, total } = this.map;
    this.indexOf = new Map(Array.from(ids, (id, point) => [id, point]));
    byId("map-state").textContent = ids.length < total ? say("map_part", { count: count(ids.length), total: count(total) }) : say("map_all", { count: count(total) });
    byId("map-tools").hidden = byId("map-frame").hidden = false;
    this.#showClusters();
    this.#choose(null);
    this.#recolour();
    this.#resize();
  }

  // Colours

  #recolour() {
    if (this.map === null) return;
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const ground = channels(getComputedStyle(this.stage).getPropertyValue("--map-ground").trim());
    const { colours, legend, isRamp } = coloured(this.map, this.question.by);
    const palette = paletteOf(isRamp, isDark);
    this.look = {
      colours, palette: Uint32Array.from(palette, packed), ground: packed(ground),
      faint: Uint32Array.from(palette, (colour) => packed(mixed(colour, ground, FADED))),
    };
    this.#ink();
    this.ink = getComputedStyle(this.stage).color;
    const inWords = ({ place, text }) => make("li", {}, swatch(palette[place]), make("span", {}, text));
    byId("map-legend").replaceChildren(...legend.map(inWords));
    byId("map-legend").hidden = legend.length === 0;
    for (const [number, one] of [...byId("map-clusters").children].entries()) {
      one.querySelector(".swatch").hidden = this.question.by !== "cluster";
      const colour = this.question.by === "cluster" ? `rgb(${palette[number % KINDS]})` : "";
      one.querySelector(".swatch").style.backgroundColor = this.prototypes[number].style.borderColor = colour;
    }
  }

  // What is not chosen is faint, and below.
  #ink() {
    if (!this.look) return;
    const { colours, palette, faint } = this.look;
    this.look.above = this.listed;
    this.look.inks = Uint32Array.from(colours, this.listed.length === 0 ? (place) => palette[place] : (place) => faint[place]);
    for (const point of this.listed) this.look.inks[point] = palette[colours[point]];
    this.#draw();
  }

  // Clusters

  #showClusters() {
    const { clusters } = this.map;
    byId("map-clusters").replaceChildren(...clusters.map((cluster, number) => this.#clusterEntry(cluster, number)));
    this.prototypes = clusters.map((cluster, number) => {
      const mark = make("button", { type: "button", className: "prototype", tabIndex: -1 });
      mark.append(this.#prototype(cluster), make("span", {}, String(number + 1)));
      mark.addEventListener("click", () => this.#chooseCluster(number));
      return mark;
    });
    byId("map-marks").replaceChildren(...this.prototypes);
  }

  #clusterEntry(cluster, number) {
    const name = this.map.names[this.indexOf.get(cluster.typical)];
    const words = say("cluster_words", { number: number + 1, count: count(cluster.count), name });
    const button = make("button", { type: "button", className: "cluster", ariaLabel: words, title: words });
    const typical = make("img", { loading: "lazy" });
    showPicture(typical, api.thumbnailAt(cluster.typical, 128), "");
    const about = make("span", {}, make("span", { className: "swatch" }), say("cluster", { number: number + 1, count: count(cluster.count) }));
    button.append(this.#prototype(cluster), typical, about);
    button.addEventListener("click", () => this.#chooseCluster(number));
    return make("li", {}, button);
  }

  #prototype({ typical, code, scale }) {
    const image = make("img", { draggable: false });
    showPicture(image, scale === null ? api.thumbnailAt(typical, 128) : api.paintedAt(api.forAddress(code), scale), "");
    return image;
  }

  #chooseCluster(number) {
    const points = [...this.map.cluster.keys()].filter((point) => this.map.cluster[point] === number);
    this.#choose(points, say("list_cluster", { number: number + 1, count: count(points.length) }));
    this.#fly(this.camera.around(boundsOf(this.map.plane, points)));
  }

  // Lists

  // Mark points, and list them; null takes the marks away.
  #choose(points, words = null) {
    const none = points === null || points.length === 0;
    this.listed = none ? [] : points;
    this.#ink();
    byId("map-list").hidden = none;
    byId("map-clear").disabled = none;
    const title = words ?? say(this.listed.length === 1 ? "list_one" : "list_title", { count: count(this.listed.length) });
    byId("map-list-title").textContent = none ? "" : title;
    byId("map-said").textContent = points === null ? "" : none ? say("list_none") : say("list_said", { title });
    if (none) this.pages.stop();
    else this.pages.start();
  }

  #showListed() {
    this.stage.scrollIntoView({ block: "nearest" });
    this.#fly(this.camera.around(boundsOf(this.map.plane, this.listed)));
  }

  #page(offset) {
    const points = this.listed.slice(offset, offset + LISTED);
    const items = points.map((point) => this.#itemOf(point));
    return { items, done: offset + points.length >= this.listed.length };
  }

  #itemOf(point) {
    const { ids, names, folder, folders } = this.map;
    return { id: Number(ids[point]), name: names[point], folder: folders[folder[point]], gone: false };
  }

  #save(lineOf, name) {
    const text = this.listed.map((point) => `${lineOf(this.#itemOf(point))}\n`).join("");
    const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "text/plain" })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // Drawing

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.stage;
    if (this.map === null || width === 0 || height === 0) return;
    this.ratio = Math.min(devicePixelRatio, Math.sqrt(MOST_PIXELS / (width * height)));
    Object.assign(this.camera, { width, height });
    for (const canvas of [this.points, this.over]) {
      canvas.width = Math.round(width * this.ratio);
      canvas.height = Math.round(height * this.ratio);
    }
    this.overIsEmpty = true;
    this.image = new ImageData(this.points.width, this.points.height);
    this.#moved();
  }

  #moved() {
    byId("map-out").disabled = byId("map-whole").disabled = this.camera.zoom <= 1;
    if (this.hand.isByKeyboard) this.#lookAtMiddle();
    this.#draw();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.#showPictures(), SETTLED_MS);
  }

  #draw() {
    this.drawing ??= requestAnimationFrame(() => {
      this.drawing = null;
      if (!this.image || !this.look) return;
      const { plane } = this.map;
      const size = Math.min(10, Math.max(1.6, 2.6 * (20_000 / plane.count) ** 0.28 * this.camera.zoom ** 0.3));
      this.look.sizePx = Math.max(2, Math.round(size * this.ratio));
      paint(this.image, plane, this.camera, this.look);
      this.points.getContext("2d", { alpha: false }).putImageData(this.image, 0, 0);
      this.#drawOver();
      this.#placeMarks();
      this.stage.removeAttribute("aria-busy");
    });
  }

  #drawOver() {
    const isEmpty = this.hand.outline.length < 2 && !this.hand.isByKeyboard && this.focused < 0;
    if (isEmpty && this.overIsEmpty) return; // to show a canvas again takes time, even if nothing is on it
    this.overIsEmpty = isEmpty;
    const pen = this.over.getContext("2d");
    pen.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    pen.clearRect(0, 0, this.camera.width, this.camera.height);
    pen.strokeStyle = this.ink;
    pen.lineWidth = 2;
    if (this.hand.outline.length > 1) drawOutline(pen, this.hand.outline);
    if (this.hand.isByKeyboard) drawCross(pen, this.camera);
    if (this.focused < 0) return;
    const [left, top] = this.#placeOf(this.focused);
    pen.beginPath();
    pen.arc(left, top, 8, 0, 2 * Math.PI);
    pen.stroke();
  }

  #placeOf(point) {
    const { positions } = this.map;
    return this.camera.toScreen(positions[2 * point], positions[2 * point + 1]);
  }

  // Prototypes lie where their clusters do, moved apart; pictures where their points are.
  #placeMarks() {
    const shown = byId("map-prototypes").checked;
    const size = this.camera.width < 560 ? 34 : 46;
    const places = this.map.clusters.map(({ x, y }) => this.camera.toScreen(x, y));
    if (shown) moveApart(places, size + 4, this.camera);
    for (const [number, mark] of this.prototypes.entries()) place(mark, places[number], shown, this.camera);
    for (const image of byId("map-pictures").children) place(image, this.#placeOf(Number(image.dataset.point)), true, this.camera);
  }

  // When the map rests and few points are in sight, they are shown as pictures.
  #showPictures() {
    const { camera } = this;
    const [left, top] = camera.toPlane(0, 0);
    const [right, bottom] = camera.toPlane(camera.width, camera.height);
    const seen = camera.zoom > 1 ? this.map.plane.within({ left, top, right, bottom }) : [];
    const wanted = seen.length <= MOST_PICTURES ? new Set(seen) : new Set();
    for (const image of [...byId("map-pictures").children]) {
      if (!wanted.delete(Number(image.dataset.point))) image.remove();
    }
    for (const point of wanted) {
      const image = make("img", { width: PICTURE_PX, height: PICTURE_PX, draggable: false });
      image.dataset.point = String(point);
      showPicture(image, api.thumbnailAt(this.map.ids[point], 128), "", () => image.remove());
      byId("map-pictures").append(image);
    }
    this.#draw();
  }

  // Move to another part of the plane; at once if motion is to be reduced.
  #fly(to) {
    const { x, y, zoom } = this.camera;
    const from = { x, y, zoom: Math.log(zoom) };
    const began = performance.now();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const step = (now) => {
      const share = still ? 1 : Math.min(1, Math.max(0, (now - began) / FLIGHT_MS));
      const eased = share * share * (3 - 2 * share);
      const part = (one, other) => one + eased * (other - one);
      this.camera.set({ x: part(from.x, to.x), y: part(from.y, to.y), zoom: Math.exp(part(from.zoom, Math.log(to.zoom))) });
      this.#moved();
      if (share < 1) requestAnimationFrame(step);
    };
    step(began);
  }

  // Pointing

  #nearest([left, top], reachPx) {
    const [x, y] = this.camera.toPlane(left, top);
    return this.map.plane.nearest(x, y, reachPx / this.camera.scaleX, reachPx / this.camera.scaleY);
  }

  #point(place) {
    const point = place === null ? -1 : this.#nearest(place, REACH_PX);
    if (point !== this.focused) this.#focus(point);
  }

  #tap(place) {
    const point = this.#nearest(place, REACH_PX);
    if (point >= 0) this.open(this.#itemOf(point));
  }

  #lookAtMiddle() {
    if (this.map === null) return;
    const point = this.#nearest([this.camera.width / 2, this.camera.height / 2], LOOK_PX);
    if (point === this.focused) return;
    this.#focus(point);
    byId("map-said").textContent = point < 0 ? say("map_nothing_here") : this.#wordsOf(point);
  }

  #wordsOf(point) {
    const { name, folder } = this.#itemOf(point);
    const novelty = this.map.novelty[point];
    const facts = [name, folder, dayOf(this.map.taken_s[point]), say("cluster_short", { number: this.map.cluster[point] + 1 })];
    if (!Number.isNaN(novelty)) facts.push(say("novelty_short", { share: percent(novelty) }));
    return facts.filter((fact) => fact !== "").join(" · ");
  }

  // Show the picture of a point beside it; -1 hides it.
  #focus(point) {
    this.focused = point;
    const card = byId("map-card");
    card.hidden = point < 0;
    this.#draw();
    if (point < 0) return;
    showPicture(byId("map-card-picture"), api.thumbnailAt(this.map.ids[point], 256), "");
    byId("map-card-words").textContent = this.#wordsOf(point);
    const [left, top] = this.#placeOf(point);
    const isRight = left < this.camera.width / 2;
    card.style.left = `${isRight ? Math.min(left + 16, this.camera.width - card.offsetWidth) : Math.max(0, left - 16 - card.offsetWidth)}px`;
    card.style.top = `${Math.max(0, Math.min(top - card.offsetHeight / 2, this.camera.height - card.offsetHeight))}px`;
  }

  // Controls

  #act(key) {
    const acts = {
      Enter: () => this.focused >= 0 && this.open(this.#itemOf(this.focused)),
      Home: () => this.#fly({ x: 0.5, y: 0.5, zoom: 1 }),
      "+": () => this.#zoom(1.5),
      "-": () => this.#zoom(1 / 1.5),
      v: () => this.#listView(),
      l: () => this.#setLasso(!this.hand.drawsLasso),
      Escape: () => (this.focused >= 0 ? this.#focus(-1) : this.#choose(null)),
      focus: () => this.#lookAtMiddle(),
      blur: () => this.#focus(-1),
    };
    if (this.map !== null) acts[key]();
  }

  #zoom(factor) {
    const { x, y, zoom } = this.camera;
    this.#fly({ x, y, zoom: zoom * factor });
  }

  #listView() {
    const [left, top] = this.camera.toPlane(0, 0);
    const [right, bottom] = this.camera.toPlane(this.camera.width, this.camera.height);
    this.#choose(this.map.plane.within({ left, top, right, bottom }));
  }

  #setLasso(draws) {
    this.hand.drawsLasso = draws;
    this.stage.classList.toggle("draws", draws);
    byId("map-lasso").setAttribute("aria-pressed", String(draws));
  }

  #takeControls() {
    for (const by of COLOURINGS) byId("map-by").append(make("option", { value: by }, say(`by_${by}`)));
    byId("map-by").addEventListener("change", (event) => this.go({ by: event.target.value }, { replace: true }));
    byId("map-prototypes").addEventListener("change", () => this.#draw());
    const clicks = {
      "map-lasso": () => this.#act("l"), "map-in": () => this.#act("+"), "map-out": () => this.#act("-"),
      "map-whole": () => this.#act("Home"), "map-view-list": () => this.#act("v"), "map-clear": () => this.#choose(null),
      "map-save-paths": () => this.#save(({ folder, name }) => (folder === "" ? name : `${folder}/${name}`), "pictures.txt"),
      "map-save-ids": () => this.#save(({ id }) => id, "ids.txt"),
      "map-fit": () => this.#showListed(),
    };
    for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  }
}

function askedBy(id) {
  return { view: "search", id, code: null, like: [], unlike: [], show: null };
}

function columnsOf(told) {
  const kinds = { ids: BigInt64Array, positions: Float32Array, cluster: Uint16Array, folder: Uint32Array, taken_s: Float64Array, novelty: Float32Array };
  const columns = Object.entries(kinds).map(([name, Kind]) => [name, new Kind(bytesOf(told[name]).buffer)]);
  const all = Object.fromEntries(columns);
  return { ...all, ids: Float64Array.from(all.ids, Number) };
}

function bytesOf(text) {
  return Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function swatch(colour) {
  const one = make("span", { className: "swatch" });
  one.style.backgroundColor = `rgb(${colour})`;
  return one;
}

function place(element, [left, top], shown, { width, height }) {
  const isSeen = shown && left >= 0 && top >= 0 && left <= width && top <= height;
  element.hidden = !isSeen;
  if (isSeen) element.style.transform = `translate(-50%, -50%) translate(${left.toFixed(1)}px, ${top.toFixed(1)}px)`;
}

// Push places that are nearer to each other than `apart` away from each other.
function moveApart(places, apart, { width, height }) {
  for (let round = 0; round < 30; round++) {
    for (let one = 0; one < places.length; one++) {
      for (let other = 0; other < one; other++) push(places[one], places[other], apart);
    }
  }
  const inside = (value, most) => (value < 0 || value > most ? value : Math.min(most - apart / 2, Math.max(apart / 2, value)));
  for (const spot of places) Object.assign(spot, [inside(spot[0], width), inside(spot[1], height)]);
}

function push(one, other, apart) {
  const [x, y] = [one[0] - other[0] || 0.01, one[1] - other[1]];
  const away = Math.hypot(x, y);
  if (away >= apart) return;
  const by = (apart - away) / 2 / away;
  Object.assign(one, [one[0] + x * by, one[1] + y * by]);
  Object.assign(other, [other[0] - x * by, other[1] - y * by]);
}

function drawOutline(pen, outline) {
  pen.beginPath();
  for (const [left, top] of outline) pen.lineTo(left, top);
  pen.setLineDash([6, 4]);
  pen.closePath();
  pen.stroke();
  pen.setLineDash([]);
}

function drawCross(pen, { width, height }) {
  pen.beginPath();
  for (const [x, y] of [[1, 0], [0, 1]]) {
    pen.moveTo(width / 2 - 12 * x, height / 2 - 12 * y);
    pen.lineTo(width / 2 + 12 * x, height / 2 + 12 * y);
  }
  pen.stroke();
}

// Mouse, touch and keyboard on the map: moving, zooming, pointing, and drawing an outline.

const TAP_PX = 5;
const STEP = 0.15; // of the screen, by an arrow
const WHEEL = 0.0016; // of the zoom, by a pixel of the wheel
const LINE_PX = 16;
const OUTLINE_PX = 4; // between two corners of an outline
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const KEYS = { Enter: "Enter", " ": "Enter", Home: "Home", 0: "Home", "+": "+", "=": "+", "-": "-", "−": "-", v: "v", l: "l", Escape: "Escape" };

export class Hand {
  // `moved()` follows a change of the camera, `pointed(place)` a hovering mouse (null: it left), `tapped(place)` a click,
  // `drew(outline)` a drawn outline on the plane, `act(key)` a key, "focus" and "blur".
  constructor(stage, camera, told) {
    Object.assign(this, { stage, camera, ...told, fingers: new Map(), outline: [], drawsLasso: false, isByKeyboard: false });
    stage.addEventListener("pointerdown", (event) => this.#down(event));
    stage.addEventListener("pointermove", (event) => this.#move(event));
    stage.addEventListener("pointerup", (event) => this.#up(event));
    stage.addEventListener("pointercancel", (event) => this.#lose(event));
    stage.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && this.pointed(null));
    stage.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("focus", () => stage.matches(":focus-visible") && this.#useKeyboard());
    stage.addEventListener("blur", () => {
      this.isByKeyboard = false;
      this.act("blur");
    });
  }

  #useKeyboard() {
    if (this.isByKeyboard) return;
    this.isByKeyboard = true;
    this.act("focus");
  }

  #placeOf(event) {
    const box = this.stage.getBoundingClientRect();
    return [event.clientX - box.left - this.stage.clientLeft, event.clientY - box.top - this.stage.clientTop];
  }

  #down(event) {
    if (event.button !== 0 || event.target.closest("button") !== null) return;
    this.isByKeyboard = false;
    this.stage.setPointerCapture(event.pointerId);
    const place = this.#placeOf(event);
    this.fingers.set(event.pointerId, place);
    this.began = this.fingers.size === 1 ? place : null; // two fingers tap nothing
    this.outline = this.fingers.size === 1 && (this.drawsLasso || event.shiftKey) ? [place] : [];
    this.pointed(null);
  }

  #move(event) {
    const place = this.#placeOf(event);
    const before = this.fingers.get(event.pointerId);
    if (before === undefined) {
      if (event.pointerType === "mouse" && event.target.closest("button") === null) this.pointed(place);
      return;
    }
    if (this.began !== null && away(place, this.began) <= TAP_PX) return;
    this.began = null;
    if (this.outline.length > 0) return this.#draw(place);
    const others = [...this.fingers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    this.fingers.set(event.pointerId, place);
    if (others.length > 0) this.#pinch(before, place, others[0]);
    else this.camera.move(place[0] - before[0], place[1] - before[1]);
    this.moved();
  }

  #draw(place) {
    if (away(place, this.outline.at(-1)) < OUTLINE_PX) return;
    this.outline.push(place);
    this.moved();
  }

  // Half of a finger's way moves the map, since the other finger stands for the other half.
  #pinch(before, place, other) {
    this.camera.move((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    const factor = away(place, other) / Math.max(1, away(before, other));
    this.camera.zoomAt(factor, (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
  }

  #up(event) {
    if (!this.fingers.has(event.pointerId)) return;
    const { outline, began } = this;
    this.#lose(event);
    if (began !== null) this.tapped(began);
    else if (outline.length > 2) this.drew(outline.map(([left, top]) => this.camera.toPlane(left, top)));
  }

  #lose(event) {
    this.fingers.delete(event.pointerId);
    this.outline = [];
    this.began = null;
    this.moved();
  }

  // At the widest view the wheel scrolls the page.
  #wheel(event) {
    if (event.deltaY > 0 && this.camera.zoom <= 1) return;
    event.preventDefault();
    const pixels = event.deltaY * (event.deltaMode === 1 ? LINE_PX : 1) * (event.ctrlKey ? 4 : 1);
    this.camera.zoomAt(Math.exp(-WHEEL * pixels), ...this.#placeOf(event));
    this.pointed(null);
    this.moved();
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== this.stage) return;
    const arrow = ARROWS[event.key];
    const key = KEYS[event.key];
    if (arrow === undefined && key === undefined) return;
    event.preventDefault();
    this.#useKeyboard();
    if (arrow === undefined) return this.act(key);
    this.camera.move(arrow[0] * STEP * this.camera.width, arrow[1] * STEP * this.camera.height);
    this.moved();
  }
}

function away(one, other) {
  return Math.hypot(one[0] - other[0], one[1] - other[1]);
}

// Points on a plane: where they lie on the screen, which is nearest, which are inside an outline, and their pixels.

const FILLED = 0.9; // of the screen, by the whole plane
const WIDEST = 1.8; // the axes have no common unit, so the plane is stretched, but not more than this
const MOST_ZOOM = 400;
const PER_CELL = 4;
const GOLDEN = 0.618;

// What part of the plane is seen: (x, y) is in the middle of width x height pixels.
export class Camera {
  constructor() {
    Object.assign(this, { x: 0.5, y: 0.5, zoom: 1, width: 1, height: 1 });
  }

  get scaleX() {
    return Math.min(this.width, WIDEST * this.height) * FILLED * this.zoom;
  }

  get scaleY() {
    return Math.min(this.height, WIDEST * this.width) * FILLED * this.zoom;
  }

  toScreen(x, y) {
    return [this.width / 2 + (x - this.x) * this.scaleX, this.height / 2 + (y - this.y) * this.scaleY];
  }

  toPlane(left, top) {
    return [this.x + (left - this.width / 2) / this.scaleX, this.y + (top - this.height / 2) / this.scaleY];
  }

  move(byX, byY) {
    this.#set(this.x - byX / this.scaleX, this.y - byY / this.scaleY, this.zoom);
  }

  // Zoom so that what is under a pixel stays there.
  zoomAt(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.toPlane(left, top);
    this.zoom = Math.min(MOST_ZOOM, Math.max(1, this.zoom * factor));
    const [newX, newY] = this.toPlane(left, top);
    this.#set(this.x + x - newX, this.y + y - newY, this.zoom);
  }

  // The place and zoom from which a part of the plane fills the screen.
  around({ left, top, right, bottom }) {
    const zoom = Math.min(0.8 / Math.max(right - left, 1e-6), 0.8 / Math.max(bottom - top, 1e-6), MOST_ZOOM / 8);
    return { x: (left + right) / 2, y: (top + bottom) / 2, zoom: Math.max(1, zoom) };
  }

  set({ x, y, zoom }) {
    this.#set(x, y, Math.min(MOST_ZOOM, Math.max(1, zoom)));
  }

  #set(x, y, zoom) {
    const free = 0.5 / zoom ** 2; // the whole plane does not move; farther in, its border may come to the middle
    const bound = (value) => Math.min(1 - free, Math.max(free, value));
    Object.assign(this, { x: bound(x), y: bound(y), zoom });
  }
}

// Points (x, y), from 0 to 1, sorted into square cells.
export class Plane {
  constructor(positions) {
    this.positions = positions;
    this.count = positions.length / 2;
    this.shuffled = shuffledTo(this.count);
    this.side = Math.max(1, Math.min(256, Math.floor(Math.sqrt(this.count / PER_CELL))));
    const cells = Uint32Array.from({ length: this.count }, (_, point) => this.#line(positions[2 * point + 1]) * this.side + this.#line(positions[2 * point]));
    this.starts = new Uint32Array(this.side * this.side + 1);
    for (const cell of cells) this.starts[cell + 1] += 1;
    for (let cell = 0; cell < this.side * this.side; cell++) this.starts[cell + 1] += this.starts[cell];
    const free = this.starts.slice();
    this.sorted = new Uint32Array(this.count);
    for (let point = 0; point < this.count; point++) this.sorted[free[cells[point]]++] = point;
  }

  // The points of a rectangle.
  within({ left, top, right, bottom }) {
    const found = [];
    for (const point of this.#near(left, top, right, bottom)) {
      const x = this.positions[2 * point];
      const y = this.positions[2 * point + 1];
      if (x >= left && x <= right && y >= top && y <= bottom) found.push(point);
    }
    return found;
  }

  // The point nearest to (x, y), at most as far away as an ellipse reaches; -1 if there is none.
  nearest(x, y, reachX, reachY) {
    let best = -1;
    let least = 1;
    for (const point of this.#near(x - reachX, y - reachY, x + reachX, y + reachY)) {
      const away = ((this.positions[2 * point] - x) / reachX) ** 2 + ((this.positions[2 * point + 1] - y) / reachY) ** 2;
      if (away <= least) [best, least] = [point, away];
    }
    return best;
  }

  // The points inside an outline [[x, y], ...] (even-odd rule).
  inside(outline) {
    const [xs, ys] = [outline.map(([x]) => x), outline.map(([, y]) => y)];
    const box = { left: Math.min(...xs), top: Math.min(...ys), right: Math.max(...xs), bottom: Math.max(...ys) };
    return this.within(box).filter((point) => isInside(outline, this.positions[2 * point], this.positions[2 * point + 1]));
  }

  *#near(left, top, right, bottom) {
    if (right < 0 || left > 1 || bottom < 0 || top > 1) return;
    const [first, last] = [this.#line(left), this.#line(right)];
    for (let line = this.#line(top); line <= this.#line(bottom); line++) {
      const row = line * this.side;
      for (let at = this.starts[row + first]; at < this.starts[row + last + 1]; at++) yield this.sorted[at];
    }
  }

  #line(value) {
    return Math.min(this.side - 1, Math.max(0, Math.floor(value * this.side)));
  }
}

function isInside(outline, x, y) {
  let inside = false;
  for (let one = 0, before = outline.length - 1; one < outline.length; before = one++) {
    const [x1, y1] = outline[one];
    const [x2, y2] = outline[before];
    if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) inside = !inside;
  }
  return inside;
}

export function boundsOf(plane, points) {
  const box = { left: 1, top: 1, right: 0, bottom: 0 };
  for (const point of points) {
    const [x, y] = [plane.positions[2 * point], plane.positions[2 * point + 1]];
    box.left = Math.min(box.left, x);
    box.right = Math.max(box.right, x);
    box.top = Math.min(box.top, y);
    box.bottom = Math.max(box.bottom, y);
  }
  return box;
}

// Write all points as discs into the pixels of an image, then those `above` again. `inks` are their colours, packed as
// the image holds them.
export function paint(image, plane, camera, { inks, ground, sizePx, above }) {
  const pixels = new Uint32Array(image.data.buffer);
  pixels.fill(ground);
  const disc = discOf(sizePx, image.width);
  stamp(pixels, image, plane, camera, disc, inks, plane.shuffled);
  stamp(pixels, image, plane, camera, disc, inks, above);
}

function stamp(pixels, { width, height }, { positions }, camera, { offsets, reach }, inks, points) {
  const ratio = width / camera.width;
  const [scaleX, scaleY] = [camera.scaleX * ratio, camera.scaleY * ratio];
  const [left, top] = [width / 2 - camera.x * scaleX, height / 2 - camera.y * scaleY];
  for (let number = 0; number < points.length; number++) {
    const point = points[number];
    const x = (left + positions[2 * point] * scaleX) | 0;
    const y = (top + positions[2 * point + 1] * scaleY) | 0;
    if (x < reach || y < reach || x >= width - reach || y >= height - reach) continue;
    const middle = y * width + x;
    for (let pixel = 0; pixel < offsets.length; pixel++) pixels[middle + offsets[pixel]] = inks[point];
  }
}

function discOf(sizePx, width) {
  const offsets = [];
  const radius = sizePx / 2;
  const reach = Math.ceil(radius);
  const shift = sizePx % 2 === 0 ? 0.5 : 0; // of an even size the middle is between pixels
  for (let y = -reach; y <= reach; y++) {
    for (let x = -reach; x <= reach; x++) {
      if ((x + shift) ** 2 + (y + shift) ** 2 <= radius ** 2) offsets.push(y * width + x);
    }
  }
  return { offsets: Int32Array.from(offsets), reach: reach + 1 };
}

// All numbers below `count`, neighbours far from each other: in their own order the newest would hide the others.
function shuffledTo(count) {
  let step = Math.max(1, Math.floor(GOLDEN * count));
  while (divisor(step, count) !== 1) step += 1;
  return Uint32Array.from({ length: count }, (_, number) => (number * step) % count);
}

function divisor(a, b) {
  return b === 0 ? a : divisor(b, a % b);
}

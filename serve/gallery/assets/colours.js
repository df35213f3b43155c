// The colours of the map's points: by cluster, date, folder or novelty.

import { count, percent, say } from "./words.js";

const UNKNOWN = 255; // the place of points without a value
export const KINDS = 12;
const STEPS = 64;
const SHARES = [0, 0.25, 0.5, 0.75, 1];
const DISTINCT = [
  "#4c7df0", "#e8711a", "#2f9e44", "#e03131", "#9c51c9", "#0f9fb5", "#e46fb0", "#94a01c", "#a0673a", "#0b7a65", "#d0a215", "#868e96",
];
const RAMPS = { light: ["#cf9a00", "#c2326f", "#2b1a8f"], dark: ["#5b6cff", "#f0569b", "#ffd95a"] };
const UNKNOWN_HEX = "#868e96";

// The place of each point in the palette, and what the places mean: {colours, legend: [{place, text}]}.
export function coloured(map, by) {
  if (by === "folder") return byFolder(map);
  if (by === "taken") return ranked(map.taken_s, dayOf);
  if (by === "novelty") return ranked(map.novelty, percent);
  const colours = Uint8Array.from(map.cluster, (number) => number % KINDS);
  return { colours, legend: [], isRamp: false };
}

function byFolder({ folder, folders }) {
  const sizes = new Uint32Array(folders.length);
  for (const number of folder) sizes[number] += 1;
  const largest = [...sizes.keys()].sort((a, b) => sizes[b] - sizes[a]).slice(0, folders.length > KINDS ? KINDS - 1 : KINDS);
  const places = new Uint8Array(folders.length).fill(KINDS - 1);
  largest.forEach((number, place) => (places[number] = place));
  const told = (number) => say("legend_folder", { name: folders[number] || say("top_folder"), count: count(sizes[number]) });
  const legend = largest.map((number, place) => ({ place, text: told(number) }));
  if (folders.length > KINDS) legend.push({ place: KINDS - 1, text: say("other_folders", { count: count(folders.length - largest.length) }) });
  return { colours: Uint8Array.from(folder, (number) => places[number]), legend, isRamp: false };
}

// By rank, so that every colour stands for as many pictures.
function ranked(values, tell) {
  const known = values.filter((value) => !Number.isNaN(value)).sort();
  const colours = new Uint8Array(values.length).fill(UNKNOWN);
  values.forEach((value, point) => {
    if (!Number.isNaN(value)) colours[point] = Math.min(STEPS - 1, Math.floor((STEPS * firstAt(known, value)) / known.length));
  });
  const legend = known.length === 0 ? [] : SHARES.map((share) => ({
    place: Math.round(share * (STEPS - 1)), text: tell(known[Math.round(share * (known.length - 1))]),
  }));
  if (known.length < values.length) legend.push({ place: UNKNOWN, text: say("not_known") });
  return { colours, legend, isRamp: true };
}

function firstAt(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function dayOf(seconds) {
  return Number.isNaN(seconds) ? "" : new Date(1000 * seconds).toISOString().slice(0, 10);
}

// The palette's colours as [red, green, blue].
export function paletteOf(isRamp, isDark) {
  const stops = (isRamp ? RAMPS[isDark ? "dark" : "light"] : DISTINCT).map(channels);
  const steps = isRamp ? STEPS : KINDS;
  const palette = new Array(UNKNOWN + 1).fill(channels(UNKNOWN_HEX));
  for (let place = 0; place < steps; place++) {
    palette[place] = isRamp ? between(stops, place / (STEPS - 1)) : stops[place];
  }
  return palette;
}

function between(stops, share) {
  const at = Math.min(stops.length - 2, Math.floor(share * (stops.length - 1)));
  return mixed(stops[at], stops[at + 1], share * (stops.length - 1) - at);
}

export function mixed(one, other, share) {
  return one.map((value, channel) => Math.round(value + share * (other[channel] - value)));
}

export function channels(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

// As the pixels of an image hold it (little-endian).
export function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

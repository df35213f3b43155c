// The question that the page's address holds: the same address, the same question.

export const METRICS = ["euclidean", "cosine"];
export const MOST_K = 200;
export const VIEWS = ["search", "map", "space", "copies", "index"];
export const COLOURINGS = ["cluster", "taken", "folder", "novelty"];
const PLAIN = {
  view: "search", by: "cluster", k: 24, least: 0, metric: "euclidean", copies: "collapse", t: 0.5, spread: 0.6, seed: 0,
};
const TEXTS = { text: 1000, where: 1500, folder: 300 };
export const PLACE = /^-?\d{1,2}(\.\d+)?,-?\d{1,3}(\.\d+)?,\d+(\.\d+)?(m|km|mi)$/;
const STEP = /^([\p{L}_][\p{L}\p{N}_-]{0,99}):(-?[0-3](?:\.\d)?)$/u; // a direction, and how far along it
const NUMBERS = { k: [1, MOST_K, 1], t: [0, 1, 0.01], spread: [0.1, 2, 0.1], seed: [0, 2 ** 31 - 1, 1] };
const IDS = ["id", "show", "a", "b"];
const CODES = ["code", "near"];
const ORDER = [
  "view", "id", "code", "like", "unlike", "text", "from", "to", "folder", "place", "least", "where", "k", "metric", "copies",
  "a", "b", "t", "plus", "minus", "along", "near", "seed", "spread", "scale", "by", "show",
];

export function parse(search) {
  const given = new URLSearchParams(search);
  const question = { ...PLAIN, like: [], unlike: [] };
  if (VIEWS.includes(given.get("view"))) question.view = given.get("view");
  if (COLOURINGS.includes(given.get("by"))) question.by = given.get("by");
  if (METRICS.includes(given.get("metric"))) question.metric = given.get("metric");
  if (given.get("copies") === "show") question.copies = "show";
  for (const [name, most] of Object.entries(TEXTS)) question[name] = (given.get(name) ?? "").slice(0, most);
  for (const name of ["from", "to"]) question[name] = date(given.get(name));
  question.place = PLACE.test(given.get("place") ?? "") ? given.get("place") : "";
  question.least = number(given.get("least"), 0, 1000, 0.1, 0);
  question.scale = given.get("scale") === "1" ? 1 : null;
  for (const name of IDS) question[name] = id(given.get(name));
  for (const name of CODES) question[name] = code(given.get(name));
  for (const [name, [least, most, step]] of Object.entries(NUMBERS)) {
    question[name] = number(given.get(name), least, most, step, PLAIN[name]);
  }
  for (const name of ["like", "unlike", "plus", "minus"]) question[name] = ids(given.get(name));
  question.minus = question.minus.filter((one) => !question.plus.includes(one));
  question.along = alongOf(stepsOf((given.get("along") ?? "").split(",")));
  if (question.id !== null) question.code = null;
  if (!asks(question)) question.like = question.unlike = [];
  return question;
}

// The part of an address that `parse` reads; what is usual is left out.
export function format(question) {
  const out = new URLSearchParams();
  for (const name of ORDER) {
    const value = question[name];
    if (value === null || value === "" || value === PLAIN[name] || (Array.isArray(value) && value.length === 0)) continue;
    out.set(name, Array.isArray(value) ? value.join(",") : String(value));
  }
  const text = out.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":");
  return text === "" ? "/" : `/?${text}`;
}

// Whether something is looked for by its looks.
export function asks(question) {
  return question.id !== null || question.code !== null;
}

// What decides the list of pictures: two questions with the same list have the same key.
export function listKey(question) {
  const { view, by, a, b, t, plus, minus, along, near, seed, spread, scale, show, ...list } = question;
  return JSON.stringify(list);
}

// The filter as the API takes it: the free text first, so that its columns stay (but for a parenthesis).
export function filterOf(question) {
  const more = [];
  if (question.from !== "") more.push(`taken >= ${question.from}`);
  if (question.to !== "") more.push(`taken <= ${question.to}`);
  if (question.folder.trim() !== "") more.push(`folder = ${quoted(folderPattern(question.folder.trim()))}`);
  if (question.place !== "") more.push(`place near ${question.place}`);
  if (question.least > 0) more.push(`pixels >= ${question.least}MP`);
  const free = question.where.trim() === "" ? "" : question.where;
  if (free === "") return { text: more.join(" and "), shift: 0 };
  if (more.length === 0) return { text: free, shift: 0 };
  return { text: [`(${free})`, ...more].join(" and "), shift: 1 };
}

// How many filters and settings are not the usual ones.
export function filtersSet(question) {
  const names = ["from", "to", "folder", "place", "least", "where", "k", "metric", "copies"];
  return names.filter((name) => question[name] !== (PLAIN[name] ?? "")).length;
}

export const UNFILTERED = {
  from: "", to: "", folder: "", place: "", least: 0, where: "", k: PLAIN.k, metric: PLAIN.metric, copies: PLAIN.copies,
};

// Steps along directions, by name, of "smile:1.5" and the like; those of 0 are left out.
export function stepsOf(along) {
  const read = along.map((text) => STEP.exec(text)).filter((one) => one !== null);
  return new Map(read.map(([, name, step]) => [name, Math.min(3, Math.max(-3, Number(step)))]));
}

export function alongOf(steps) {
  return [...steps].filter(([, step]) => step !== 0).slice(0, 20).map(([name, step]) => `${name}:${step}`);
}

// The question for pictures that look like a painted code.
export function searchBy(code, scale = null) {
  return { view: "search", id: null, code, scale, like: [], unlike: [], show: null };
}

export function anySeed() {
  return crypto.getRandomValues(new Uint32Array(1))[0] % 2 ** 31;
}

function folderPattern(folder) {
  return folder.includes("*") ? folder : `${folder.replace(/\/+$/, "")}/*`;
}

function quoted(value) {
  if (!value.includes("'")) return `'${value}'`;
  return `"${value.replaceAll('"', "?")}"`; // a pattern: ? stands for any character
}

function id(text) {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

function ids(text) {
  return [...new Set((text ?? "").split(",").map(id).filter((one) => one !== null))].slice(0, 50);
}

function code(text) {
  return text !== null && /^[A-Za-z0-9_-]{4,30000}$/.test(text) ? text : null;
}

function date(text) {
  const day = new Date(`${/^\d{4}-\d\d-\d\d$/.test(text ?? "") ? text : "none"}T00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text) ? text : "";
}

function number(text, least, most, step, usual) {
  if (text === null || !/^\d+(\.\d+)?$/.test(text)) return usual;
  const value = Math.min(most, Math.max(least, Number(text)));
  return Number((Math.round(value / step) * step).toFixed(2));
}

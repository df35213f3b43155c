// Requests to /api/v1. Whatever fails is an ApiError; its status is 0 if the server did not answer.

const ROOT = "/api/v1";
export const MOST_BYTES = 32_000_000;

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// base64 as JSON holds it, to base64url as an address holds it.
export function forAddress(code) {
  return code.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

export const status = (signal) => json("/status", {}, { signal });
export const item = (id, signal) => json(`/items/${id}`, {}, { signal });
export const items = (options, signal) => json("/items", options, { signal });
export const nearest = (options, signal) => json("/query", options, { signal });
export const between = (a, b, t, signal) => json("/interpolate", { a, b, t }, { signal });
export const sum = (terms, signal) => json("/sum", { terms }, { signal });
export const directions = (signal) => json("/directions", {}, { signal });
export const teach = (taught) => json("/directions", {}, asJson(taught));
export const forgetDirection = (name) => answer(address(`/directions/${encodeURIComponent(name)}`), { method: "DELETE" });
export const place = (id) => json(`/items/${id}/path`, {}, {});
export const reveal = (id) => answer(address(`/items/${id}/reveal`), { method: "POST" });
export const map = (signal) => json("/map", {}, { signal }); // or, with a stage, how far it is
export const sample = (options, signal) => json("/sample", options, { signal });

export function nearestTo(picture, options, signal) {
  const kind = /^image\//.test(picture.type) ? picture.type : "application/octet-stream";
  return json("/query", options, { signal, method: "POST", body: picture, headers: { "Content-Type": kind } });
}

export const thumbnailAt = (id, sidePx) => address(`/items/${id}/thumbnail`, { size: sidePx });
export const paintingAt = (id) => address(`/items/${id}/painting`);
export const differenceAt = (id, code) => address(`/items/${id}/difference`, { code });
// With scale 1 a code that was drawn from the prior is painted as it is.
export const paintedAt = (code, scale = null) => address("/paint", { code, scale });

// The bytes of a painted code, so that a request that is outdated can be cancelled.
export async function painted(code, signal) {
  return (await answer(paintedAt(code), { signal })).blob();
}

function asJson(body) {
  return { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
}

export async function json(path, options, how) {
  const response = await answer(address(path, options), how);
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(response.status, "not_json", error.message);
  }
}

async function answer(where, how) {
  let response;
  try {
    response = await fetch(where, { credentials: "same-origin", ...how });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "no_answer", error.message);
  }
  if (response.ok) return response;
  const said = await response.json().catch(() => ({}));
  throw new ApiError(response.status, said.error?.code ?? "", said.error?.message ?? response.statusText);
}

export function address(path, options = {}) {
  const given = Object.entries(options).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return ROOT + path + (text === "" ? "" : `?${text}`);
}

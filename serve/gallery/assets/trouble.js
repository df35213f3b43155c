// What went wrong, in one place of the page.

import { byId } from "./dom.js";
import { say } from "./words.js";

export function tell(error) {
  if (error.name === "AbortError") return;
  byId("trouble-text").textContent = wordsOf(error);
  byId("trouble").hidden = false;
}

export function clear() {
  byId("trouble").hidden = true;
}

export function wordsOf(error) {
  if (error.status === 0) return say("trouble_gone");
  if (error.code === "no_key") return say("trouble_locked");
  if (error.status === 429 || error.status === 503) return say("trouble_busy");
  return say("trouble_other", { message: error.message });
}

let fading = null;

// A word that passes by.
export function mention(text) {
  const said = byId("said");
  (document.querySelector("dialog:modal") ?? document.body).append(said); // what is outside a dialog is not read out
  said.textContent = text;
  said.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => said.classList.remove("shown"), 4000);
}

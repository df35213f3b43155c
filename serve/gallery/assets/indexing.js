// The index: what it holds, what was skipped and why, and its update.

import * as acts from "./acts.js";
import { byId, make } from "./dom.js";
import * as trouble from "./trouble.js";
import { bytes, count, say } from "./words.js";

const PAGE = 50;

export class Indexing {
  constructor({ job }) {
    Object.assign(this, { job, shown: 0 });
    byId("update-form").addEventListener("submit", (event) => {
      event.preventDefault();
      job.begin(acts.update(byId("again").checked));
    });
    byId("skipped-more").addEventListener("click", () => this.#more());
  }

  async show() {
    this.loading?.abort();
    const { signal } = (this.loading = new AbortController());
    byId("index-title").textContent = say("loading_index");
    try {
      const index = await acts.index(signal);
      this.#showFacts(index);
      byId("skipped").replaceChildren();
      this.shown = 0;
      await this.#more(signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      byId("index-title").textContent = say("index_view");
      trouble.tell(error);
    }
  }

  leave() {
    this.loading?.abort();
  }

  #showFacts(index) {
    byId("index-title").textContent = say("index_holds", { count: count(index.pictures) });
    byId("index-facts").replaceChildren(...factsOf(index).map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))));
    byId("update-form").hidden = index.read_only;
    byId("update-not").hidden = !index.read_only;
    byId("reasons").replaceChildren(
      ...index.reasons.map(({ reason, count: number }) => make("li", {}, say("reason", { count: count(number), reason }))),
    );
  }

  async #more(signal = this.loading.signal) {
    byId("skipped-more").hidden = true;
    try {
      const { files, total } = await acts.skipped({ limit: PAGE, offset: this.shown }, signal);
      this.shown += files.length;
      byId("skipped").append(...files.map(skippedFile));
      byId("skipped-state").textContent = total === 0 ? say("skipped_none") : say("skipped_shown", { shown: count(this.shown), count: count(total) });
      byId("skipped-more").hidden = this.shown >= total || files.length === 0;
    } catch (error) {
      if (error.name === "AbortError") return;
      byId("skipped-more").hidden = false;
      trouble.tell(error);
    }
  }
}

function skippedFile({ name, folder, reason }) {
  const path = folder === "" ? name : `${folder}/${name}`;
  return make("li", {}, make("span", {}, path), " ", make("span", { className: "why" }, reason));
}

function factsOf(index) {
  const facts = index.roots.map(({ name, there }) => [say("root"), there ? name : say("root_missing", { name })]);
  const add = (key, number) => number > 0 && facts.push([say(key), count(number)]);
  add("skipped", index.skipped);
  add("vanished", index.vanished);
  add("removed", index.removed);
  const kinds = Object.entries(index.other_kinds).map(([kind, number]) => `${count(number)} ${kind}`);
  if (kinds.length > 0) facts.push([say("other_files"), kinds.join(", ")]);
  if (index.excluded.length > 0) facts.push([say("excluded"), index.excluded.join("  ")]);
  facts.push([say("on_disk"), bytes(index.catalog_bytes + index.caches_bytes + index.model_bytes)]);
  facts.push([say("searching"), index.search]);
  return facts;
}

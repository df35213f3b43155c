// A painting that follows a slider: the newest place at most as often as the server can, and nothing that is outdated.

import * as api from "./api.js";
import { showPicture } from "./dom.js";
import * as trouble from "./trouble.js";
import { say } from "./words.js";

const LEAST_WAIT_MS = 40;
const MOST_WAIT_MS = 300;

export class Live {
  // `wanted()` answers {find, words}: `find(signal)` gets the code, `words` say what is painted. `told` follows each change.
  constructor({ image, state, wanted, told }) {
    Object.assign(this, { image, state, wanted, told, code: null, painted: null, timer: null, took_ms: LEAST_WAIT_MS });
  }

  soon() {
    this.timer ??= setTimeout(() => this.now(), Math.min(MOST_WAIT_MS, Math.max(LEAST_WAIT_MS, this.took_ms)));
  }

  // Whether it was painted.
  async now() {
    this.stop();
    const { find, words } = this.wanted();
    const running = (this.running = new AbortController());
    const started = performance.now();
    if (this.code === null) this.state.textContent = say("painting_now");
    try {
      const { code } = await find(running.signal);
      const blob = await api.painted(api.forAddress(code), running.signal);
      if (running.signal.aborted) return false;
      this.took_ms = performance.now() - started;
      this.#show(api.forAddress(code), blob, words);
      return true;
    } catch (error) {
      if (error.name !== "AbortError") this.state.textContent = trouble.wordsOf(error);
      return error.name === "AbortError";
    }
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = null;
    this.running?.abort();
  }

  lose(words) {
    this.stop();
    this.code = null;
    this.image.hidden = true;
    this.state.textContent = words;
    this.told();
  }

  #show(code, blob, words) {
    const before = this.painted;
    this.painted = URL.createObjectURL(blob);
    this.code = code;
    this.image.hidden = false;
    showPicture(this.image, this.painted, words);
    this.image.decode().catch(() => {}).then(() => before !== null && URL.revokeObjectURL(before));
    this.state.textContent = words;
    this.told();
  }
}

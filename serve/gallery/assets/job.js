// The running job, in whatever view: how far it is, and what came of it.

import * as acts from "./acts.js";
import { byId } from "./dom.js";
import * as trouble from "./trouble.js";
import { bytes, count, say } from "./words.js";

export class JobBox {
  // `ended(job)` is called when a job ends that this page saw or began.
  constructor({ ended }) {
    Object.assign(this, { ended, job: null, known: false, isLost: false });
    this.events = new acts.Events({ told: (job) => this.tell(job), lost: () => this.#lost() });
    byId("job-cancel").addEventListener("click", () => this.#cancel());
    byId("job-close").addEventListener("click", () => this.#hide());
  }

  get runs() {
    return this.job?.state === "running";
  }

  // Views in which jobs are begun listen always, others as long as one runs.
  want(always) {
    this.always = always;
    this.events.want(always || this.runs);
  }

  tell(job) {
    if (this.isLost) trouble.clear();
    this.isLost = false;
    const isNews = this.known && job !== null && (this.job?.id !== job.id || this.job.state !== job.state);
    this.known = true;
    this.job = job;
    if (this.runs) this.#showRunning(job);
    else if (isNews) this.#showEnded(job);
    this.events.want(this.always || this.runs);
    if (isNews && !this.runs) this.ended(job);
  }

  // Begin a job by a request; what is wrong is told.
  async begin(request) {
    try {
      const job = await request;
      this.known = true;
      if (job.id !== this.job?.id) this.tell(job); // else an event was faster
    } catch (error) {
      trouble.tell(error);
    }
  }

  #lost() {
    this.isLost = true;
    trouble.tell({ status: 0 });
  }

  #showRunning({ kind, done, total }) {
    const progress = byId("job-progress");
    if (total > 0 && done < total) Object.assign(progress, { max: total, value: done });
    else progress.removeAttribute("value");
    const words = { done: count(done), total: count(total) };
    this.#show(say(total > 0 ? (done < total ? `job_${kind}_at` : `job_${kind}_last`) : `job_${kind}`, words), true);
  }

  #showEnded(job) {
    this.#show(wordsOf(job), false);
  }

  #show(text, isRunning) {
    if (byId("job-text").textContent !== text) byId("job-text").textContent = text;
    byId("job").hidden = false;
    byId("job-progress").hidden = byId("job-cancel").hidden = !isRunning;
    byId("job-close").hidden = isRunning;
    if (isRunning) byId("job-cancel").disabled = false;
  }

  #hide() {
    byId("job").hidden = true;
    byId("main").focus({ preventScroll: true });
  }

  async #cancel() {
    byId("job-cancel").disabled = true;
    try {
      await acts.cancel(this.job.id);
      byId("job-text").textContent = say("job_cancelling");
    } catch (error) {
      if (error.code !== "no_job") trouble.tell(error); // it has ended meanwhile
    }
  }
}

function wordsOf({ kind, state, result, error }) {
  if (state === "failed") return say("job_failed", { message: error.message });
  if (state === "cancelled") return say(`job_${kind}_cancelled`);
  const values = Object.entries(result).map(([name, value]) => [name, name === "bytes" ? bytes(value) : count(value)]);
  const words = say(`job_${kind}_done`, Object.fromEntries(values.filter(([name]) => name !== "plan")));
  return result.left > 0 ? `${words} ${say("job_left", { left: count(result.left) })}` : words;
}

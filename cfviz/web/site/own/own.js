// The reader's own photos: a worker runs the model on them, and the page shows what comes back like a photo
// of the gallery. No byte of them leaves the page.

import { percent, softmax } from "../../shared/maths.js";

const CONTROLLED = 3000; // milliseconds that the service worker gets to keep what is now loaded

export class OwnPhotos {
  /** @param about addresses, numbers and words, see `cfviz/site/own.py` */
  constructor(about) {
    const entries = Object.entries(about.files);
    const files = Object.fromEntries(entries.map(([k, v]) => [k, new URL(v, document.baseURI).href]));
    this.about = { ...about, files };
    this.known = new Map(); // id -> what the worker answered
    this.count = 0;
    this.waiting = new Map(); // id -> what takes the answer
  }

  has(id) {
    return this.known.has(id);
  }

  /** The bytes of one of the files that a photo has. */
  of(id, file) {
    return this.known.get(id).files.get(file);
  }

  /**
   * Run the model on a photo.
   *
   * @param step called with the name of what is done next: "load", "wait"
   * @returns the photo's id
   * @throws an error whose message is a sentence for the reader
   */
  async add(file, step) {
    const id = `own-${(this.count += 1)}`;
    step(this.known.size ? "wait" : "load");
    await Promise.race([navigator.serviceWorker?.ready, new Promise((done) => setTimeout(done, CONTROLLED))]);
    const answer = await this.ask(id, file, step);
    if (answer.error) throw new Error(this.sentence(answer), { cause: answer.text });
    answer.files.set("input.png", answer.png).set("original.jpg", answer.sharp);
    this.known.set(id, answer);
    return id;
  }

  ask(id, file, step) {
    this.worker ??= this.started();
    const { files, input, limits } = this.about;
    return new Promise((done) => {
      this.waiting.set(id, { done, step });
      this.worker.postMessage({ id, file, about: { files, input, limits } });
    });
  }

  started() {
    const worker = new Worker(this.about.files.worker, { type: "module" });
    worker.addEventListener("message", ({ data }) => {
      const { done, step } = this.waiting.get(data.id);
      if (data.step) return step(data.step);
      this.waiting.delete(data.id);
      done(data);
    });
    worker.addEventListener("error", (event) => {
      worker.terminate(); // the next photo starts another
      this.worker = null;
      for (const { done } of this.waiting.values()) done({ error: "failed", text: event.message });
      this.waiting.clear();
    });
    return worker;
  }

  /** Why a photo is not shown. */
  sentence({ error, fields = {} }) {
    const { words } = this.about;
    return (words[error] ?? words.failed).replace(/\{(\w+)\}/g, (whole, name) => fields[name] ?? whole);
  }

  /** The model's answer in words. */
  answer(id) {
    const { labels, top, words } = this.about;
    const { logits } = this.known.get(id);
    const probs = new Float64Array(labels.length);
    softmax(probs, 0, logits, null, new Uint8Array(labels.length).fill(1));
    const order = [...probs.keys()].sort((a, b) => probs[b] - probs[a]).slice(0, top);
    const named = order.map((n) => `${labels[n]} ${percent(probs[n])}`).join(words.comma);
    return words.answer.replace("{classes}", () => named);
  }
}

// The reader's own photos: a worker runs the model on them, and the page shows what comes back like a photo
// of the gallery. No byte of them leaves the page.

import { percent, softmax } from "../../shared/maths.js";
import { decode } from "../../shared/payload.js";

const CONTROLLED = 3000; // milliseconds that the service worker gets to keep what is now loaded

export class OwnPhotos {
  /** @param about addresses, numbers and words, see `cfviz/site/own.py` */
  constructor(about) {
    const entries = Object.entries(about.files);
    const files = Object.fromEntries(entries.map(([k, v]) => [k, new URL(v, document.baseURI).href]));
    this.about = { ...about, files };
    this.known = new Map(); // id -> title, what the worker answered, the photo's address and its files
    this.count = 0;
    this.open = false; // whether the model is here
    this.asked = 0;
    this.waiting = new Map(); // number of a message to the worker -> what takes the answer
  }

  has(id) {
    return this.known.has(id);
  }

  title(id) {
    return this.known.get(id).title;
  }

  /** A picture of the input's pixels. */
  picture(id) {
    return this.known.get(id).src;
  }

  /** The bytes of one of the files that a photo has, made when they are first asked for. */
  of(id, file) {
    const { files } = this.known.get(id);
    if (!files.has(file)) files.set(file, file.startsWith("home-") ? this.home(id) : this.made(id, file));
    return files.get(file);
  }

  async made(id, file) {
    const answer = await this.ask({ id, make: file });
    if (answer.error) throw new Error(`${file}: ${answer.text}`);
    return answer.made;
  }

  /** What the figure of the whole model draws, as JSON; see `home` in `cfviz/site/own.py`. */
  async home(id) {
    const { header, array } = decode(await this.made(id, "home.bin"));
    const { lines, ...shared } = this.about.home;
    const top = this.top(id, shared.top.length);
    const [[, p]] = top;
    const row = lines.find(({ from, to }) => from <= p && (p < to || (p === 1 && to === 1)));
    const pictures = header.pictures.map((one) => address(array(one)));
    const data = {
      ...shared,
      id,
      of: id,
      photo: this.picture(id),
      photo_alt: shared.photo_alt.replace("{name}", () => this.title(id)),
      stages: shared.stages.map((stage, s) => ({ ...stage, picture: pictures[s] })),
      top,
      line: row ? row.text : shared.line,
    };
    return new TextEncoder().encode(JSON.stringify(data));
  }

  /** Fetch the model before a photo is there: the reader is about to choose one. */
  async warm() {
    if (this.warming) return;
    this.warming = true;
    await this.controlled();
    const { error } = await this.ask({ about: this.told() });
    if (error) this.warming = false; // the photo asks again, and then the reader is told
    else this.open = true;
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
    step(this.open ? "wait" : "load");
    await this.controlled();
    const answer = await this.ask({ id, file, about: this.told() }, step);
    if (answer.error) throw new Error(this.sentence(answer), { cause: answer.text });
    this.open = true;
    const title = this.about.words.yours.replace("{name}", () => file.name);
    this.known.set(id, { ...answer, title, src: address(answer.png), files: new Map() });
    return id;
  }

  /** Wait, once, until the service worker keeps what is loaded, if there is one. */
  controlled() {
    return (this.kept ??= Promise.race([
      navigator.serviceWorker?.ready,
      new Promise((done) => setTimeout(done, CONTROLLED)),
    ]));
  }

  told() {
    const { files, input, limits } = this.about;
    return { files, input, limits };
  }

  ask(message, step) {
    this.worker ??= this.started();
    const n = (this.asked += 1);
    return new Promise((done) => {
      this.waiting.set(n, { done, step });
      this.worker.postMessage({ n, ...message });
    });
  }

  started() {
    const worker = new Worker(this.about.files.worker, { type: "module" });
    worker.addEventListener("message", ({ data }) => {
      const { done, step } = this.waiting.get(data.n);
      if (data.step) return step(data.step);
      this.waiting.delete(data.n);
      done(data);
    });
    worker.addEventListener("error", (event) => {
      worker.terminate(); // the next photo starts another
      this.worker = null;
      this.open = false;
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

  /** The likeliest classes: names and probabilities. */
  top(id, count) {
    const { labels } = this.about;
    const { logits } = this.known.get(id);
    const probs = new Float64Array(labels.length);
    softmax(probs, 0, logits, null, new Uint8Array(labels.length).fill(1));
    const order = [...probs.keys()].sort((a, b) => probs[b] - probs[a]).slice(0, count);
    return order.map((n) => [labels[n], probs[n]]);
  }

  /** The model's answer in words. */
  answer(id) {
    const { top, words } = this.about;
    const named = this.top(id, top).map(([name, p]) => `${name} ${percent(p)}`);
    return words.answer.replace("{classes}", () => named.join(words.comma));
  }
}

/** An address of a PNG, which lasts as long as the page. */
function address(png) {
  return URL.createObjectURL(new Blob([png], { type: "image/png" }));
}

// The reader's own photos: a worker runs the model on them, and the page shows what comes back like a photo
// of the gallery. No byte of them leaves the page.

import { percent, softmax } from "../../shared/maths.js";
import { decode } from "../../shared/payload.js";
import { together } from "../../shared/text.js";
import { Kept } from "./kept.js";

const CONTROLLED = 3000; // milliseconds that the service worker gets to keep what is now loaded
const GRAPHICS = "cfviz.graphics"; // in session storage: a build whose graphics processor was no better

export class OwnPhotos {
  /** @param about addresses, numbers and words, see `cfviz/site/own.py` */
  constructor(about) {
    const whole = (files) =>
      Object.fromEntries(Object.entries(files).map(([k, v]) => [k, new URL(v, document.baseURI).href]));
    this.about = { ...about, files: whole(about.files), graphics: whole(about.graphics) };
    this.kept = new Kept(about.most);
    this.offered = new Map(); // id -> title, the photo's address, and whether this browser keeps it
    this.known = new Map(); // id -> what the worker answered, and the photo's files
    this.running = new Map(); // id -> promise that the model has run on it
    this.count = 0;
    this.open = false; // whether the model is here
    this.asked = 0;
    this.waiting = new Map(); // number of a message to the worker -> what takes the answer
  }

  /** The photos that this browser keeps, the newest first, for the strip. */
  async recall() {
    const found = await this.kept.list();
    for (const { id, name, png } of found) this.offer(id, name, png, true);
    return found.map(({ id }) => ({ id, ...this.offered.get(id) }));
  }

  offer(id, name, png, kept) {
    const title = this.about.words.yours.replace("{name}", () => name);
    this.offered.set(id, { title, src: address(png), kept });
  }

  has(id) {
    return this.offered.has(id);
  }

  title(id) {
    return this.offered.get(id).title;
  }

  /** A picture of the input's pixels. */
  picture(id) {
    return this.offered.get(id).src;
  }

  /** Whether the model still has to run on a photo. */
  waits(id) {
    return !this.known.has(id);
  }

  /**
   * Run the model on a photo that an earlier page has kept.
   *
   * @param step, throws as for `add`
   */
  async ready(id, step) {
    if (!this.waits(id)) return;
    if (!this.running.has(id)) {
      const promise = this.again(id, step);
      promise.catch(() => {}).then(() => this.running.delete(id));
      this.running.set(id, promise);
    }
    await this.running.get(id);
  }

  async again(id, step) {
    const file = await this.kept.file(id);
    if (!file) throw new Error(this.about.words.lost);
    await this.run(id, file, step);
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
   * Run the model on a photo, and keep the photo in this browser if it lets the page.
   *
   * @param step called with the name of what is done next: "load", "wait"
   * @returns the photo's id
   * @throws an error whose message is a sentence for the reader
   */
  async add(file, step) {
    this.count = Math.max(this.count + 1, Date.now()); // newer ones come after those of earlier pages
    const id = `own-${this.count}`;
    await this.run(id, file, step);
    const { png } = this.known.get(id);
    this.offer(id, file.name, png, await this.kept.add(id, file, png));
    return id;
  }

  async run(id, file, step) {
    step(this.open ? "wait" : "load");
    await this.controlled();
    const answer = await this.ask({ id, file, about: this.told() }, step);
    if (answer.error) throw new Error(this.sentence(answer), { cause: answer.text });
    this.open = true;
    this.known.set(id, { ...answer, files: new Map() });
  }

  /** Let go of all photos, here and, unless another tab has done that, in this browser. */
  async forget(everywhere = true) {
    const all = [...this.offered.values()];
    if (this.worker) await this.ask({ forget: true });
    for (const known of [this.offered, this.known]) known.clear();
    for (const { src } of all) URL.revokeObjectURL(src);
    if (everywhere) await this.kept.forget();
    else this.kept.chosen = null;
  }

  /** Wait, once, until the service worker keeps what is loaded, if there is one. */
  controlled() {
    return (this.controlling ??= Promise.race([
      navigator.serviceWorker?.ready,
      new Promise((done) => setTimeout(done, CONTROLLED)),
    ]));
  }

  told() {
    const { files, input, limits, within } = this.about;
    return { files, input, limits, within, graphics: this.mayTry() ? this.about.graphics : null };
  }

  /** Whether to try the graphics processor: not where it was no better, or data are to be saved. */
  mayTry() {
    try {
      if (sessionStorage.getItem(GRAPHICS) === this.about.files.worker) return false;
    } catch {
      // withheld: then every page tries
    }
    return !navigator.connection?.saveData;
  }

  /** Do not try again in this tab, unless it was faster. */
  compared(found) {
    document.documentElement.dataset.graphics = found;
    try {
      if (found !== "faster") sessionStorage.setItem(GRAPHICS, this.about.files.worker);
    } catch {
      // withheld
    }
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
      if (data.graphics) return this.compared(data.graphics);
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

  /** The model's answer in words, where and how long it ran, and what becomes of the photo. */
  answer(id) {
    const { top, words } = this.about;
    const { on, ms } = this.known.get(id);
    const named = this.top(id, top).map(([name, p]) => `${name} ${percent(p)}`);
    return together(
      words.answer.replace("{classes}", () => named.join(words.comma)),
      words[on].replace("{ms}", Math.round(ms)),
      this.offered.get(id).kept ? words.there : words.there_unkept,
    );
  }
}

/** An address of a PNG, which lasts as long as the page or until it is revoked. */
function address(png) {
  return URL.createObjectURL(new Blob([png], { type: "image/png" }));
}

// The model on the graphics processor, in a worker of its own: what goes wrong there ends that worker alone.

import { opened } from "./model.js";

const LIMIT = 30_000; // milliseconds for one run: then something is stuck, or imitated
const IMITATED = /swiftshader|llvmpipe|lavapipe|software|basic render/i;

/** Whether the browser has a graphics processor, none that software imitates, and can wait for it (JSPI). */
export async function hasGraphics(navigator = self.navigator, assembly = WebAssembly) {
  if (!navigator.gpu || !("Suspending" in assembly)) return false;
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (!adapter) return false;
  const { info } = adapter;
  const named = [info?.vendor, info?.architecture, info?.device, info?.description].join(" ");
  return (info?.isFallbackAdapter ?? adapter.isFallbackAdapter) === false && !IMITATED.test(named);
}

/** What the worker that asked for this one sees of it. */
export class Graphics {
  /**
   * @param script address of the worker's code
   * @param about `files` and `size` of the model, see `model.js`
   */
  constructor(script, about) {
    this.waiting = new Map(); // number of a run -> what takes its end
    this.asked = 0;
    this.over = null; // why it ended
    this.worker = new Worker(script, { type: "module" });
    this.worker.addEventListener("error", ({ message }) => this.end(message || "the worker failed"));
    this.worker.addEventListener("message", ({ data: { n, out, error } }) => {
      if (error) return this.end(error);
      const { done, timer } = this.waiting.get(n);
      this.waiting.delete(n);
      clearTimeout(timer);
      done(out);
    });
    this.worker.postMessage({ graphics: about });
  }

  /** Run the model; fails if anything is wrong, and then this one never runs again. */
  run(values) {
    if (this.over) return Promise.reject(new Error(this.over));
    const n = (this.asked += 1);
    return new Promise((done, failed) => {
      const timer = setTimeout(() => this.end("no answer"), LIMIT);
      this.waiting.set(n, { done, failed, timer });
      this.worker.postMessage({ n, values });
    });
  }

  end(why = "no longer used") {
    this.over ??= why;
    this.worker.terminate();
    for (const { failed, timer } of this.waiting.values()) {
      clearTimeout(timer);
      failed(new Error(this.over));
    }
    this.waiting.clear();
  }
}

/** The same inside that worker: runs the model whenever it is sent numbers. */
export function onGraphics(worker, { files, size }) {
  let wrong = null;
  const failed = (n, error) => worker.postMessage({ n, error: String(error?.message ?? error) });
  const opening = opened(files, size, "webgpu").then(async (model) => {
    const device = await model.ort.env.webgpu.device;
    // What the device reports here makes no run fail, and would be a wrong picture.
    device.addEventListener("uncapturederror", ({ error }) => (wrong ??= error.message));
    device.lost.then(({ message }) => failed(0, (wrong = message || "the device is lost")));
    return model;
  });
  opening.catch((error) => failed(0, error));
  worker.addEventListener("message", async ({ data: { n, values } }) => {
    try {
      const { run } = await opening;
      const out = await run(values);
      if (wrong) throw new Error(wrong);
      for (const [name, found] of Object.entries(out))
        if (!found.every(Number.isFinite)) throw new Error(`${name} has what is no number`);
      worker.postMessage({ n, out }, [...new Set(Object.values(out).map(({ buffer }) => buffer))]);
    } catch (error) {
      failed(n, error);
    }
  });
}

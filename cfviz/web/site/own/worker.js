// The worker that runs the model on the reader's own photo, so that the page stays alive meanwhile.
// It fetches the runtime and the model, and sends nothing anywhere but to the page.

import { once } from "../files.js";
import { Messages } from "./messages.js";
import { cropped, framed, normalised } from "./resize.js";
import { statedSize } from "./sizes.js";
import { Arrays } from "../../shared/payload.js";

const HEAD = 2 ** 20; // bytes in which a picture states its size
const THREADS = 4; // more do not make a small model faster

/**
 * The page's messages all have a number `n`, which the answer has, too:
 *
 *     about               open the model, since a photo may follow
 *     about, id, file     run it on a photo; answered by logits, ms, threads and png, the input's pixels
 *     id, make            one of the photo's files; answered by `made`
 */
export default function (worker) {
  const model = new Model();
  const seen = new Map(); // id -> a photo and what the model made of it
  const add = async ({ n, about, id, file }) => {
    for (const one of seen.values()) one.sharp(); // so that only the last photo is kept decoded
    model.asked = true;
    const opening = model.open(about); // meanwhile the photo is decoded
    opening.catch(() => {}); // awaited below, unless the photo is refused
    const bitmap = await decoded(file, about.limits);
    const { size, keep, mean, std, longest } = about.input;
    const input = cropped(pixels(bitmap), size, keep);
    const { threads, template } = await opening;
    worker.postMessage({ n, step: "wait" });
    const { out, ms } = await model.run(normalised(input, mean, std));
    const picture = await png(input);
    const { logits } = out;
    let drawn = null; // the sharp picture is wanted last, when the figure is there
    const sharp = () => (drawn ??= original(bitmap, size, keep, longest).finally(() => bitmap.close()));
    seen.set(id, { sharp, messages: new Messages(id, input, picture, out, template) });
    return { logits, ms, threads, png: picture };
  };
  const make = async ({ id, make: file }) => {
    const { sharp, messages } = seen.get(id);
    if (file === "original.jpg") return { made: await sharp() };
    return { made: file === "home.bin" ? await pictures(messages) : messages.make(file) };
  };
  worker.addEventListener("message", async ({ data }) => {
    const { n } = data;
    try {
      const answer = await (data.make ? make(data) : data.file ? add(data) : model.warm(data.about));
      worker.postMessage({ n, ...answer }, answer.made ? [answer.made.buffer] : []);
    } catch (error) {
      worker.postMessage({ n, error: error.code ?? "failed", fields: error.fields, text: String(error) });
    }
  });
}

/** The model, opened once; it runs on one photo at a time. */
class Model {
  constructor() {
    this.session = null; // a promise
    this.last = Promise.resolve(); // the run before
    this.asked = false; // whether a photo was given to run
  }

  open({ files, input }) {
    this.session ??= opened(files, input.size);
    this.session.catch(() => (this.session = null)); // so that the next photo asks again
    return this.session;
  }

  /** Open it and run it once on nothing, since the first run is slow; not if a photo is there already. */
  async warm(about) {
    await this.open(about);
    const { size } = about.input;
    if (!this.asked) await this.run(new Float32Array(3 * size * size));
    return {};
  }

  async run(values) {
    const before = this.last;
    const mine = before
      .catch(() => {})
      .then(async () => {
        const { run } = await this.session;
        const begun = performance.now();
        const out = await run(values);
        return { out, ms: performance.now() - begun };
      });
    this.last = mine;
    return mine;
  }
}

/** What each stage made of a photo, as pictures: a message with one PNG for each. */
async function pictures(messages) {
  const arrays = new Arrays();
  const found = [];
  for (const one of messages.pictures()) found.push(arrays.add(await png(one), "image/png"));
  return arrays.packed({ pictures: found, start: {} });
}

async function opened({ runtime, module, wasm, model, template }, size) {
  const [ort, ...files] = await Promise.all([import(runtime), ...[wasm, model, template].map(once)]);
  ort.env.wasm.wasmBinary = files[0].buffer;
  ort.env.wasm.wasmPaths = { mjs: module };
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(THREADS, navigator.hardwareConcurrency) : 1;
  const session = await ort.InferenceSession.create(files[1], { executionProviders: ["wasm"] });
  ort.env.wasm.wasmBinary = undefined; // compiled by now
  const run = async (values) => {
    const found = await session.run({ pixels: new ort.Tensor("float32", values, [1, 3, size, size]) });
    return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, tensor.data]));
  };
  return { run, threads: ort.env.wasm.numThreads, template: files[2] };
}

function refused(code, fields = {}) {
  return Object.assign(new Error(code), { code, fields });
}

function check(width, height, { pixels: most, ratio }) {
  // Rounded up, so that a picture just over the limit is not reported as exactly the limit.
  if (width * height > most)
    throw refused("too_many_pixels", { megapixels: Math.ceil((width * height) / 1e5) / 10 });
  if (Math.max(width, height) > ratio * Math.min(width, height))
    throw refused("too_narrow", { width, height });
}

/** The photo, upright, or a reason why it is refused: what is too large is not decoded. */
async function decoded(file, limits) {
  if (!file.size) throw refused("empty");
  if (file.size > limits.bytes)
    throw refused("too_many_bytes", { megabytes: Math.ceil(file.size / 2 ** 20) });
  const head = await file.slice(0, HEAD).arrayBuffer();
  const stated = statedSize(new Uint8Array(head));
  if (stated) check(...stated, limits);
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw refused("unreadable");
  });
  check(bitmap.width, bitmap.height, limits);
  return bitmap;
}

/** The pixels of a picture on white, some rows at a time. */
function pixels(bitmap) {
  const { width, height } = bitmap;
  let [canvas, pen] = [null, null];
  const rows = (top, count) => {
    if (canvas?.height !== count) {
      canvas = new OffscreenCanvas(width, count);
      pen = canvas.getContext("2d", { willReadFrequently: true });
    }
    pen.fillStyle = "#fff";
    pen.fillRect(0, 0, width, count);
    pen.drawImage(bitmap, 0, -top);
    return colours(pen.getImageData(0, 0, width, count).data);
  };
  return { width, height, rows };
}

/** Without the fourth channel. */
function colours(rgba) {
  const rgb = new Uint8Array((3 * rgba.length) / 4);
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    rgb[j++] = rgba[i];
    rgb[j++] = rgba[i + 1];
    rgb[j++] = rgba[i + 2];
  }
  return rgb;
}

/** What the input shows, with as many pixels as the photo has there: to be drawn, not computed with. */
async function original(bitmap, size, keep, longest) {
  const { wide, left, top } = framed(bitmap, size, keep);
  const scale = wide / bitmap.width;
  const side = size * Math.max(1, Math.min(Math.floor(longest / size), Math.ceil(1 / scale)));
  const canvas = new OffscreenCanvas(side, side);
  const pen = canvas.getContext("2d");
  [pen.imageSmoothingQuality, pen.fillStyle] = ["high", "#fff"];
  pen.fillRect(0, 0, side, side);
  pen.drawImage(bitmap, left / scale, top / scale, size / scale, size / scale, 0, 0, side, side);
  return taken(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.9 }));
}

async function png({ width, height, rgb }) {
  const canvas = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    image.data.set(rgb.subarray(3 * i, 3 * i + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return taken(await canvas.convertToBlob({ type: "image/png" }));
}

async function taken(blob) {
  return new Uint8Array(await blob.arrayBuffer());
}

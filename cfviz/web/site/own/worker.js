// The worker that runs the model on the reader's own photo, so that the page stays alive meanwhile.
// It fetches the runtime and the model, and sends nothing anywhere but to the page and to a worker of its
// own, which runs the model on the graphics processor (`graphics.js`).

import { once } from "../files.js";
import { Choice } from "./choice.js";
import { Graphics, hasGraphics, onGraphics } from "./graphics.js";
import { Messages } from "./messages.js";
import { opened } from "./model.js";
import { cropped, framed, normalised } from "./resize.js";
import { differences } from "./same.js";
import { statedSize } from "./sizes.js";
import { Arrays, decode } from "../../shared/payload.js";

const HEAD = 2 ** 20; // bytes in which a picture states its size
const QUIET = 1500; // milliseconds without a message, after which a comparison keeps no reader waiting

/**
 * The page's messages all have a number `n`, which the answer has, too:
 *
 *     about               open the model, since a photo may follow
 *     about, id, file     run it on a photo; answered by logits, ms, on, threads and png, the input's pixels
 *     id, make            one of the photo's files; answered by `made`
 *     forget              forget all photos
 *
 * Once the first photo has its figures and if `about` has `graphics`, the model runs on that photo on the
 * graphics processor, too, and the page gets a message with `graphics`: how that compares.
 */
export default function (worker) {
  const first = ({ data }) => {
    if (data.graphics) onGraphics(worker, data.graphics);
    else photos(worker, data);
  };
  worker.addEventListener("message", first, { once: true });
}

function photos(worker, message) {
  const model = new Model();
  const seen = new Map(); // id -> a photo and what the model made of it
  let quiet = null; // ends in a comparison
  let known = null; // what a comparison needs, until it has begun
  const add = async ({ about, id, file }, step) => {
    for (const one of seen.values()) one.sharp(); // so that only the last photo is kept decoded
    model.asked = true;
    const opening = model.open(about); // meanwhile the photo is decoded
    opening.catch(() => {}); // awaited below, unless the photo is refused
    const bitmap = await decoded(file, about.limits);
    const { size, keep, mean, std, longest } = about.input;
    const input = cropped(pixels(bitmap), size, keep);
    const { threads, template } = await opening;
    step("wait");
    const values = normalised(input, mean, std);
    const { out, ms, on } = await model.run(values);
    const picture = await png(input);
    const { logits } = out;
    let drawn = null; // the sharp picture is wanted last, when the figure is there
    const sharp = () => (drawn ??= original(bitmap, size, keep, longest).finally(() => bitmap.close()));
    const error = on === "webgpu" ? about.within.attention : 0;
    seen.set(id, { sharp, messages: new Messages(id, input, picture, out, template, error) });
    if (!model.compared && about.graphics) known = { about, values, out };
    return { logits, ms, on, threads, png: picture };
  };
  const make = async ({ id, make: file }) => {
    const { sharp, messages } = seen.get(id);
    if (file === "original.jpg") return { made: await sharp() };
    return { made: file === "home.bin" ? await pictures(messages) : messages.make(file) };
  };
  const forget = () => {
    for (const { sharp } of seen.values()) sharp(); // closes the photo
    seen.clear();
    known = null;
    return {};
  };
  const answer = (data) => {
    if (data.forget) return forget();
    if (data.make) return make(data);
    return data.file ? add(data, (step) => worker.postMessage({ n: data.n, step })) : model.warm(data.about);
  };
  const compare = async () => {
    if (!known || model.compared) return;
    const given = known;
    known = null;
    const found = await model.compare(given);
    worker.postMessage({ graphics: found });
  };
  const take = async (data) => {
    const { n } = data;
    clearTimeout(quiet);
    try {
      const found = await answer(data);
      worker.postMessage({ n, ...found }, found.made ? [found.made.buffer] : []);
    } catch (error) {
      worker.postMessage({ n, error: error.code ?? "failed", fields: error.fields, text: String(error) });
    }
    clearTimeout(quiet);
    quiet = setTimeout(compare, QUIET);
  };
  worker.addEventListener("message", ({ data }) => take(data));
  take(message);
}

/** The model, opened once. */
class Model {
  constructor() {
    this.session = null; // a promise of the model, its template, and the choice where it runs
    this.asked = false; // whether a photo was given to run
    this.compared = false; // whether the graphics processor was tried
  }

  open({ files, input }) {
    this.session ??= Promise.all([opened(files, input.size, "wasm"), once(files.template)]).then(
      ([{ run, threads }, template]) => ({ choice: new Choice(run), threads, template: decode(template) }),
    );
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
    const { choice } = await this.session;
    return choice.run(values);
  }

  /** Try the graphics processor on a photo, see `Choice.compare`; "none" if there is none. */
  async compare({ about, values, out }) {
    this.compared = true;
    if (!(await hasGraphics())) return "none";
    const { choice, template } = await this.session;
    const files = { ...about.files, ...about.graphics };
    const started = () => new Graphics(self.location.href, { files, size: about.input.size });
    const same = (there, here) => {
      const found = differences(there, here, about.within, template);
      if (found.length) console.warn("WebGPU", found);
      return !found.length;
    };
    return choice.compare(started, values, out, same);
  }
}

/** What each stage made of a photo, as pictures: a message with one PNG for each. */
async function pictures(messages) {
  const arrays = new Arrays();
  const found = [];
  for (const one of messages.pictures()) found.push(arrays.add(await png(one), "image/png"));
  return arrays.packed({ pictures: found, start: {} });
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

// The photo and the zeros around it, a map on top, and the squares that one token's kernels read.

import { clip } from "../shared/maths.js";
import { STEPS } from "../shared/near.js";
import { hatch, outline, shade } from "../shared/paint.js";
import { drawPhoto } from "../shared/photo.js";
import { WHOLE } from "../zoom/zoom.js";

const DIM = "rgba(13,16,20,0.5)";

/** The square that a layer's kernel reads for one token: [top, left, side] in pixels of the photo. */
export function square(cel, k, row, col) {
  const side = k * cel.unit;
  const back = (side - cel.stride) / 2;
  return [row * cel.stride - back, col * cel.stride - back, side];
}

export class Plane {
  constructor(base, over) {
    Object.assign(this, { base, over, small: document.createElement("canvas") });
  }

  /**
   * Fit photo and padding into a box of CSS pixels.
   *
   * @param shown how many times as large they are, and which shares are beyond the left and upper edge
   */
  layout(box, cel, input, shown) {
    const widest = Math.max(...cel.kernels.map((kernel) => kernel.k)) * cel.unit;
    this.margin = (widest - cel.stride) / 2;
    const [wide, high] = [input.w + 2 * this.margin, input.h + 2 * this.margin];
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    this.scale = Math.min(box.width / wide, box.height / high);
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(wide * this.scale * this.ratio);
      canvas.height = Math.round(high * this.scale * this.ratio);
      canvas.style.width = `${canvas.width / this.ratio}px`;
      canvas.style.height = `${canvas.height / this.ratio}px`;
    }
    this.zoom = (shown.times * this.base.width) / wide; // canvas pixels per pixel of the photo
    this.corner = { left: shown.left * wide, top: shown.top * high }; // in pixels of the photo
    Object.assign(this, { cel, input });
    this.pen = this.over.getContext("2d");
  }

  /** Where a column of the photo's pixels is on the canvas. */
  across(pixels) {
    return (pixels + this.margin - this.corner.left) * this.zoom;
  }

  down(pixels) {
    return (pixels + this.margin - this.corner.top) * this.zoom;
  }

  /** Draw the photo and, unless `values` is null, a map of the layer's tokens over it. */
  drawBackground(photo, theme, values, table, low, high, strength) {
    const pen = this.base.getContext("2d");
    const { zoom, input, cel } = this;
    const [x, y, w, h] = [this.across(0), this.down(0), input.w * zoom, input.h * zoom];
    pen.globalAlpha = 1;
    pen.clearRect(0, 0, this.base.width, this.base.height);
    if (this.margin) {
      pen.fillStyle = hatch(pen, theme.padding, this.ratio);
      pen.fillRect(0, 0, this.base.width, this.base.height);
    }
    if (photo) drawPhoto(pen, photo, x, y, w, h);
    if (!values) return;
    pen.fillStyle = DIM;
    pen.fillRect(x, y, w, h);
    this.tint(this.small, values, table, low, high);
    pen.imageSmoothingEnabled = false;
    pen.globalAlpha = strength;
    pen.drawImage(this.small, x, y, cel.W * cel.stride * zoom, cel.H * cel.stride * zoom);
    pen.globalAlpha = 1;
  }

  tint(canvas, values, table, low, high) {
    const { H, W } = this.cel;
    [canvas.width, canvas.height] = [W, H];
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(W, H);
    const cells = new Uint32Array(image.data.buffer);
    for (let i = 0; i < cells.length; i++) cells[i] = table[shade(values[i] - low, high - low)];
    pen.putImageData(image, 0, 0);
  }

  /** Draw one token's squares, largest first, each in its kernel's colour, and a ring at the token. */
  paint(row, col, colours, chosen) {
    const { pen, cel, zoom, ratio } = this;
    pen.clearRect(0, 0, this.over.width, this.over.height);
    for (let i = cel.kernels.length - 1; i >= 0; i--) {
      const [top, left, side] = square(cel, cel.kernels[i].k, row, col);
      const frame = [this.across(left), this.down(top), side * zoom, side * zoom];
      pen.lineWidth = (chosen === i ? 6 : 4.5) * ratio;
      pen.strokeStyle = "rgba(20,23,27,0.75)";
      pen.strokeRect(...frame);
      pen.lineWidth = (chosen === i ? 4 : 2.5) * ratio;
      pen.strokeStyle = colours[i];
      pen.strokeRect(...frame);
    }
    const middle = (n) => (n + 0.5) * cel.stride;
    const [x, y] = [this.across(middle(col)), this.down(middle(row))];
    outline(pen, ratio, [4.5, 2.25], () => pen.arc(x, y, 4 * ratio, 0, 2 * Math.PI));
  }

  // ---- a layer without kernels: the whole photo, and a frame around one token ----------------------------

  /** Fit the photo and an H x W map of tokens, `stride` pixels each, into a column and into the window. */
  fit({ H, W, stride }, input, width) {
    const height = Math.max(240, Math.min(520, window.innerHeight * 0.62));
    this.layout({ width, height }, { H, W, stride, unit: stride, kernels: [{ k: 1 }] }, input, WHOLE);
  }

  /**
   * Tell `point` the token, {row, col}, that the pointer or the arrow keys are at, and null when they leave.
   *
   * @param map the element that the keys are pressed in
   * @param now gives the token that the keys go on from; null: the one in the middle
   */
  follow(map, now, point) {
    this.over.addEventListener("pointermove", (e) => point(this.token(e.offsetX, e.offsetY)));
    this.over.addEventListener("pointerleave", () => point(null));
    map.addEventListener("keydown", (e) => {
      const step = STEPS[e.key];
      if (e.key === "Escape") point(null);
      if (!step) return;
      e.preventDefault();
      const { H, W } = this.cel;
      const { row, col } = now() ?? { row: H >> 1, col: W >> 1 };
      point({ row: clip(row + step[0], H), col: clip(col + step[1], W) });
    });
  }

  /** Frame one token; null: none. */
  frame(at) {
    const { pen, cel, zoom, ratio } = this;
    pen.clearRect(0, 0, this.over.width, this.over.height);
    if (!at) return;
    const [x, y] = [this.across(at.col * cel.stride), this.down(at.row * cel.stride)];
    outline(pen, ratio, [4, 2], () => pen.rect(x, y, cel.stride * zoom, cel.stride * zoom));
  }

  token(x, y) {
    const cell = (v, from, n) =>
      clip(Math.floor(((v * this.ratio) / this.zoom + from - this.margin) / this.cel.stride), n);
    return { row: cell(y, this.corner.top, this.cel.H), col: cell(x, this.corner.left, this.cel.W) };
  }
}

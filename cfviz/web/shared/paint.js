// Pixels: colour tables, heat in small tiles, and the photo with its tokens.

import { luminance } from "./maths.js";
import { drawPhoto } from "./photo.js";

/** 256 colours from evenly spaced hex stops, packed as little-endian RGBA. */
export function colours(stops) {
  const rgb = stops.map((s) => [1, 3, 5].map((i) => parseInt(s.slice(i, i + 2), 16)));
  const table = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    const t = (i / 255) * (rgb.length - 1);
    const a = Math.min(Math.floor(t), rgb.length - 2);
    const [r, g, b] = [0, 1, 2].map((c) => Math.round(rgb[a][c] + (rgb[a + 1][c] - rgb[a][c]) * (t - a)));
    table[i] = (255 << 24) | (b << 16) | (g << 8) | r;
  }
  return table;
}

/** The colours of signed values in a theme, as hex stops with zero in the middle; in CSS, --diverging. */
export function diverging(theme) {
  return theme.diverging.split(",");
}

/** The same colours as CSS strings, for canvas fills. */
export function css(table) {
  return Array.from(table, (c) => `rgb(${c & 255},${(c >> 8) & 255},${(c >> 16) & 255})`);
}

export function shade(x, top) {
  return top > 0 ? Math.max(0, Math.min(255, Math.round((255 * x) / top))) : 0;
}

/** A canvas with one pixel per cell, which the style sheet enlarges without smoothing. */
export class Tile {
  constructor(canvas) {
    this.canvas = canvas;
    this.pen = canvas.getContext("2d");
  }

  size(width, height) {
    if (this.image && this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.image = this.pen.createImageData(width, height);
    this.cells = new Uint32Array(this.image.data.buffer);
  }

  show() {
    this.pen.putImageData(this.image, 0, 0);
  }
}

/**
 * The picture of one group, at the size it is shown: square cells, the query's ring, the key's frame.
 * All in one canvas: with the marks as elements on top, a frame took the browser twice as long.
 */
export class Picture extends Tile {
  constructor(canvas) {
    super(document.createElement("canvas"));
    this.shown = canvas;
    this.over = canvas.getContext("2d");
    this.wide = this.high = 0;
  }

  /** Take the size that the page gives the picture; whether it changed. */
  fit() {
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const wide = Math.round(this.shown.clientWidth * this.ratio);
    const high = Math.round((wide * this.canvas.height) / this.canvas.width);
    if (!wide || (wide === this.wide && high === this.high)) return false;
    this.wide = this.shown.width = wide;
    this.high = this.shown.height = high;
    return true;
  }

  show(slot, key) {
    super.show();
    const { over, wide, high, canvas } = this;
    if (!wide) return;
    over.imageSmoothingEnabled = false;
    over.clearRect(0, 0, wide, high);
    over.drawImage(canvas, 0, 0, wide, high);
    if (key !== null) this.stroke(key, false);
    this.stroke(slot, true);
  }

  /** A ring for the query or a frame for the key, white on dark, just inside the cell. */
  stroke(slot, round) {
    const { over, canvas, wide, ratio } = this;
    const [Gw, cell] = [canvas.width, wide / canvas.width];
    const [x, y] = [(slot % Gw) * cell, Math.floor(slot / Gw) * cell];
    for (const [ink, width] of [
      ["#14171B", 3.5 * ratio],
      ["#FFFFFF", 1.5 * ratio],
    ]) {
      over.beginPath();
      if (round) over.arc(x + cell / 2, y + cell / 2, cell / 2 - 0.75 * ratio, 0, 2 * Math.PI);
      else over.rect(x + 0.75 * ratio, y + 0.75 * ratio, cell - 1.5 * ratio, cell - 1.5 * ratio);
      over.strokeStyle = ink;
      over.lineWidth = width;
      over.stroke();
    }
  }
}

export const VEIL = "rgba(13,16,20,0.44)";

/**
 * The dimmed photo, with the query's group at full brightness. `base` is never shown: each frame begins as a
 * copy of it, because one opaque canvas costs the browser less than blending two.
 */
export class PhotoMap {
  constructor(base, over) {
    this.base = base;
    this.over = over;
    this.bright = document.createElement("canvas");
  }

  /**
   * Fit the padded map into a box of CSS pixels and draw all that does not follow the pointer.
   *
   * @param zoom how many times as large the map is, and which shares of it are at the left and upper edge
   */
  layout(box, groups, stride, input, photo, theme, zoom) {
    this.groups = groups;
    const [wide, high] = [groups.Wp * stride, groups.Hp * stride];
    const scale = Math.min(box.width / wide, box.height / high);
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.ratio = ratio;
    this.fitted = stride * scale; // CSS pixels per token where the whole map is shown
    this.cell = this.fitted * zoom.times;
    const [w, h] = [Math.round(wide * scale * ratio), Math.round(high * scale * ratio)];
    for (const canvas of [this.base, this.over, this.bright]) {
      canvas.width = w;
      canvas.height = h;
    }
    for (const canvas of [this.base, this.over]) {
      canvas.style.width = `${w / ratio}px`;
      canvas.style.height = `${h / ratio}px`;
    }
    this.whole = [w * zoom.times, h * zoom.times]; // pixels of the canvas, as are the edges
    this.corner = [Math.round(zoom.left * this.whole[0]), Math.round(zoom.top * this.whole[1])];
    this.edgeX = edges(groups.Wp, this.whole[0], this.corner[0]);
    this.edgeY = edges(groups.Hp, this.whole[1], this.corner[1]);
    this.drawBackground(input, stride, photo, theme);
    this.pen = this.over.getContext("2d", { alpha: false }); // base covers it all: padding, photo, panel
  }

  drawBackground(input, stride, photo, theme) {
    const [left, top] = [-this.corner[0], -this.corner[1]];
    const [w, h] = [
      (input.w / stride / this.groups.Wp) * this.whole[0],
      (input.h / stride / this.groups.Hp) * this.whole[1],
    ];
    const bright = this.bright.getContext("2d");
    bright.fillStyle = theme.panel;
    bright.fillRect(left, top, w, h);
    if (photo) drawPhoto(bright, photo, left, top, w, h);
    const pen = this.base.getContext("2d");
    pen.fillStyle = hatch(pen, theme.padding, this.ratio);
    pen.fillRect(0, 0, this.base.width, this.base.height);
    pen.clearRect(left, top, w, h);
    pen.drawImage(this.bright, 0, 0);
    if (photo) {
      pen.fillStyle = VEIL;
      pen.fillRect(left, top, w, h);
    }
    if (this.cell < 5) return;
    pen.strokeStyle = photo ? `rgba(255,255,255,${this.cell > 24 ? 0.34 : 0.11})` : theme.line;
    pen.lineWidth = 1;
    pen.beginPath();
    const [right, bottom] = [left + w, top + h];
    for (let c = 1; c < this.groups.W; c++) line(pen, this.edgeX[c] + 0.5, top, this.edgeX[c] + 0.5, bottom);
    for (let r = 1; r < this.groups.H; r++) line(pen, left, this.edgeY[r] + 0.5, right, this.edgeY[r] + 0.5);
    pen.stroke();
  }

  /**
   * Paint the group of one query. `heat(slot)` gives a colour, 0 to 255, or null where there is no attention.
   * Weak attention covers the photo less than strong; at full strength the scale's own colours are shown.
   */
  paint({ group, slot, row, col, key, shown, heat, scale, strength, colour, blank }) {
    const { pen, groups, edgeX, edgeY } = this;
    pen.drawImage(this.base, 0, 0);
    if (blank) return this.mark(row, col, true); // a lesson asks which tokens are in the group
    for (let k = 0; k < groups.N; k++) {
      if (!groups.valid(group, k) || !shown[k]) continue;
      const [r, c] = [groups.row(group, k), groups.col(group, k)];
      const [x, y] = [edgeX[c], edgeY[r]];
      const [w, h] = [edgeX[c + groups.side] - x, edgeY[r + groups.side] - y];
      pen.globalAlpha = 1;
      pen.drawImage(this.bright, x, y, w, h, x, y, w, h);
      const level = heat ? heat(k) : 0;
      pen.globalAlpha = heat ? strength ** (4 - level / 85) : 0.42;
      pen.fillStyle = heat ? scale[level] : colour;
      pen.fillRect(x, y, w, h);
    }
    pen.globalAlpha = 1;
    this.outline(group, slot, colour);
    if (key !== null && groups.valid(group, key) && (key !== slot || groups.side > 1))
      this.mark(groups.row(group, key), groups.col(group, key), false, groups.side);
    this.mark(row, col, true);
  }

  /** Solid around the keys that the token scores, dashed around those that the mask hides from it. */
  edges(group, slot, colour) {
    const { pen, groups, edgeX, edgeY, ratio } = this;
    const draw = (lines, ink, width, dash) => {
      pen.beginPath();
      for (const [x0, y0, x1, y1] of lines) line(pen, edgeX[x0], edgeY[y0], edgeX[x1], edgeY[y1]);
      pen.setLineDash(dash);
      pen.strokeStyle = ink;
      pen.lineWidth = width * ratio;
      pen.stroke();
      pen.setLineDash([]);
    };
    const thick = groups.side > 1 ? 1.5 : 3;
    const hidden = groups.edges(group, slot, false);
    draw(hidden, "rgba(255,255,255,0.8)", thick + 1, []);
    draw(hidden, colour, thick, [5 * ratio, 4 * ratio]);
    const scored = groups.edges(group, slot, true);
    draw(scored, "rgba(255,255,255,0.8)", thick + 2, []);
    draw(scored, colour, thick, []);
  }

  outline(group, slot, colour) {
    const { pen, groups, edgeX, edgeY, ratio } = this;
    if (groups.keys) return this.edges(group, slot, colour);
    const wide = (groups.I === 1 ? 3 : Math.max(1.5, Math.min(2.5, this.cell / 6))) * ratio;
    const box = (from, to, out) => {
      const [x, y] = [edgeX[groups.col(group, from)] - out, edgeY[groups.row(group, from)] - out];
      pen.rect(x, y, edgeX[groups.col(group, to) + 1] + out - x, edgeY[groups.row(group, to) + 1] + out - y);
    };
    for (const [ink, out, width] of [
      ["rgba(255,255,255,0.8)", wide + ratio / 2, ratio],
      [colour, wide / 2, wide],
    ]) {
      pen.beginPath(); // outside the cells, to leave their colours whole
      if (groups.I === 1) box(0, groups.N - 1, out);
      else for (let k = 0; k < groups.N; k++) box(k, k, out);
      pen.strokeStyle = ink;
      pen.lineWidth = width;
      pen.stroke();
    }
  }

  /** Draw the query as a white ring with a dark outline, the key under the pointer as a white square. */
  mark(r, c, query, side = 1) {
    const { pen, edgeX, edgeY, ratio } = this;
    const [x, y] = [(edgeX[c] + edgeX[c + side]) / 2, (edgeY[r] + edgeY[r + side]) / 2];
    const half = (edgeX[c + side] - edgeX[c]) / 2;
    pen.beginPath();
    if (query) pen.arc(x, y, Math.max(6 * ratio, Math.min(half, 11 * ratio)), 0, 2 * Math.PI);
    else pen.rect(x - half, y - half, 2 * half, 2 * half);
    pen.strokeStyle = "#14171B";
    pen.lineWidth = (query ? 5 : 4) * ratio;
    pen.stroke();
    pen.strokeStyle = "#FFFFFF";
    pen.lineWidth = (query ? 2.5 : 1.75) * ratio;
    pen.stroke();
  }

  /** Number rows and columns along the edges, if the cells are large enough to count. */
  ruler() {
    const { pen, edgeX, edgeY, ratio, groups } = this;
    if (this.cell < 24) return;
    pen.font = `600 ${11.5 * ratio}px sans-serif`;
    [pen.textAlign, pen.textBaseline, pen.lineJoin] = ["center", "middle", "round"];
    pen.lineWidth = 3 * ratio;
    const write = (text, x, y) => {
      pen.strokeStyle = "rgba(20,23,27,0.8)";
      pen.strokeText(text, x, y);
      pen.fillStyle = "#FFFFFF";
      pen.fillText(text, x, y);
    };
    for (let c = 0; c < groups.W; c++) write(`${c}`, (edgeX[c] + edgeX[c + 1]) / 2, 9 * ratio);
    for (let r = 1; r < groups.H; r++) write(`${r}`, 9 * ratio, (edgeY[r] + edgeY[r + 1]) / 2);
  }

  /** Mark a token for a lesson (picked, cursor, right, wrong, missed, reached) by shape as well as colour. */
  tag(token, how) {
    const { pen, edgeX, edgeY, ratio } = this;
    const [row, col] = token.split(".").map(Number);
    if (!(col + 1 < edgeX.length && row + 1 < edgeY.length)) return;
    const inset = (how === "cursor" ? 1 : 2.5) * ratio;
    const [x, y] = [edgeX[col] + inset, edgeY[row] + inset];
    const [w, h] = [edgeX[col + 1] - inset - x, edgeY[row + 1] - inset - y];
    if (how === "reached" || how === "picked") {
      pen.fillStyle = how === "picked" ? "rgba(255,255,255,0.42)" : "rgba(255,255,255,0.3)";
      pen.fillRect(x, y, w, h);
      if (how === "reached") return;
    }
    pen.setLineDash(how === "missed" ? [5 * ratio, 4 * ratio] : []);
    for (const [ink, width] of [
      ["#14171B", how === "cursor" ? 3 : 5],
      ["#FFFFFF", how === "cursor" ? 1.25 : 2.5],
    ]) {
      pen.strokeStyle = ink;
      pen.lineWidth = width * ratio;
      pen.strokeRect(x, y, w, h);
    }
    pen.setLineDash([]);
    const sign = { right: "✓", wrong: "✕" }[how];
    if (!sign) return;
    const size = Math.max(11 * ratio, Math.min(w * 0.6, 26 * ratio));
    pen.font = `700 ${size}px sans-serif`;
    [pen.textAlign, pen.textBaseline, pen.lineJoin] = ["center", "middle", "round"];
    pen.lineWidth = size / 4;
    pen.strokeStyle = "#14171B";
    pen.strokeText(sign, x + w / 2, y + h / 2);
    pen.fillStyle = "#FFFFFF";
    pen.fillText(sign, x + w / 2, y + h / 2);
  }

  /** Row and column of the padded map under a point in CSS pixels, or null. */
  token(x, y) {
    const { groups } = this;
    if (!groups) return null;
    const row = Math.floor(((y * this.ratio + this.corner[1]) * groups.Hp) / this.whole[1]);
    const col = Math.floor(((x * this.ratio + this.corner[0]) * groups.Wp) / this.whole[0]);
    return row >= 0 && col >= 0 && row < groups.Hp && col < groups.Wp ? { row, col } : null;
  }
}

function edges(n, length, from) {
  return Float64Array.from({ length: n + 1 }, (_, i) => Math.round((i * length) / n) - from);
}

/**
 * The sides of squares that border on no other of them, as [x, y, x, y].
 *
 * @param squares left and upper edge of each; all are multiples of the side
 */
export function rim(squares, side) {
  const number = (x, y) => 65536 * y + x;
  const there = new Set(squares.map(([x, y]) => number(x, y)));
  const lines = [];
  for (const [x, y] of squares) {
    const [right, down] = [x + side, y + side];
    if (!there.has(number(x, y - side))) lines.push([x, y, right, y]);
    if (!there.has(number(x, down))) lines.push([x, down, right, down]);
    if (!there.has(number(x - side, y))) lines.push([x, y, x, down]);
    if (!there.has(number(right, y))) lines.push([right, y, right, down]);
  }
  return lines;
}

function line(pen, x0, y0, x1, y1) {
  pen.moveTo(x0, y0);
  pen.lineTo(x1, y1);
}

export function hatch(pen, colour, ratio) {
  const side = 8 * ratio;
  const stamp = document.createElement("canvas");
  stamp.width = stamp.height = side;
  const ink = stamp.getContext("2d");
  ink.fillStyle = colour;
  ink.globalAlpha = 0.28;
  ink.fillRect(0, 0, side, side);
  ink.globalAlpha = 1;
  ink.strokeStyle = colour;
  ink.lineWidth = 1.25 * ratio;
  ink.beginPath();
  for (const shift of [-side, 0, side]) line(ink, shift, side, shift + side, 0);
  ink.stroke();
  return pen.createPattern(stamp, "repeat");
}

/** "dark" or "light": the page behind an element or, outside Streamlit, what the reader's system prefers. */
function themeAround(element) {
  const paper = getComputedStyle(element).getPropertyValue("--st-background-color").trim();
  const dark = paper
    ? inkOn(rgbOf(paper)) === WHITE
    : window.matchMedia("(prefers-color-scheme: dark)").matches;
  return dark ? "dark" : "light";
}

/**
 * Give a figure's root the colours of the theme around it: `theme` of the figure, and properties in CSS.
 *
 * @param figure one with `parent`
 * @param palette has "light" and "dark"
 * @returns whether they are new to this root, so that what was drawn has to be drawn again
 */
export function wear(figure, root, palette = figure.header.palette) {
  const mode = themeAround(figure.parent);
  if (figure.mode === mode && figure.worn === root) return false;
  Object.assign(figure, { mode, worn: root, theme: palette[mode] });
  root.dataset.theme = mode;
  for (const [name, value] of Object.entries(figure.theme)) root.style.setProperty(`--${name}`, value);
  return true;
}

/** Stroke what `trace` adds to the path white on dark, which shows on any photo. */
export function outline(pen, ratio, [dark, white], trace) {
  pen.beginPath();
  trace();
  for (const [ink, width] of [
    ["#14171B", dark],
    ["#FFFFFF", white],
  ]) {
    pen.strokeStyle = ink;
    pen.lineWidth = width * ratio;
    pen.stroke();
  }
}

const [BLACK, WHITE] = ["#14171B", "#FFFFFF"];

/** Any CSS colour as [r, g, b]. */
function rgbOf(colour) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  return pen.getImageData(0, 0, 1, 1).data.subarray(0, 3);
}

/** Black or white, whichever is easier to read on [r, g, b]. */
export function inkOn(rgb) {
  return luminance(Array.from(rgb)) > 0.2 ? BLACK : WHITE;
}

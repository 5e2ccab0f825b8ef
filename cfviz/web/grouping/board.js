// A map of tokens: where each cell lies, and a board to point at with a mouse, a finger or the keys.

import { el } from "../shared/markup.js";
import { STEPS } from "../shared/near.js";
import { CanvasPen } from "../shared/pen.js";
import { Zoom } from "../zoom/zoom.js";

export const RULER = 14; // pixels for the numbers of rows and columns
const MARGIN = 8; // pixels around a map
export const EDGES = RULER + 2 * MARGIN; // pixels above and below a map with numbers

/** The cells of an H x W map, padded to Hp x Wp and fitted into a box, in whole pixels if there is room. */
export class Lattice {
  constructor(H, W, Hp, Wp, width, height) {
    Object.assign(this, { H, W, Hp, Wp, left: 0, top: 0, enlarged: false });
    const side = Math.min(width / Wp, height / Hp);
    this.cell = side >= 3 ? Math.floor(side) : side;
    [this.width, this.height] = [this.cell * Wp, this.cell * Hp];
  }

  /** Show a part of the map in its place: so many times as large, from these shares of its sides on. */
  enlarge({ times, left, top }) {
    this.enlarged = times > 1;
    this.cell *= times;
    [this.left, this.top] = [-left * times * this.width, -top * times * this.height];
  }

  x(col) {
    return this.left + Math.round(col * this.cell); // whole pixels: no seams between neighbours
  }

  y(row) {
    return this.top + Math.round(row * this.cell);
  }

  at(x, y) {
    if (this.enlarged && !(x >= 0 && y >= 0 && x < this.width && y < this.height)) return null;
    const [row, col] = [Math.floor((y - this.top) / this.cell), Math.floor((x - this.left) / this.cell)];
    return row >= 0 && col >= 0 && row < this.H && col < this.W ? { row, col } : null;
  }

  /** Fill all tokens of one value, neighbours in a row as one rectangle. */
  runs(pen, values, value, fill, alpha) {
    for (let row = 0; row < this.H; row++) {
      for (let col = 0; col < this.W; col++) {
        if (values[row * this.W + col] !== value) continue;
        let end = col + 1;
        while (end < this.W && values[row * this.W + end] === value) end++;
        const [x, y] = [this.x(col), this.y(row)];
        pen.rect(x, y, this.x(end) - x, this.y(row + 1) - y, fill, alpha);
        col = end;
      }
    }
  }

  /** Fill one token, at least 4 pixels wide, so that a lattice still shows on a large map. */
  dot(pen, row, col, fill) {
    const grow = Math.max(0, 4 - this.cell) / 2;
    const [x, y] = [this.x(col) - grow, this.y(row) - grow];
    pen.rect(x, y, this.x(col + 1) + grow - x, this.y(row + 1) + grow - y, fill);
  }

  /** Hairlines between the cells, if they are large enough. */
  grid(pen, colour) {
    if (this.cell < 4) return;
    const list = [];
    for (let c = 1; c < this.Wp; c++) list.push([this.x(c), this.top, this.x(c), this.y(this.Hp)]);
    for (let r = 1; r < this.Hp; r++) list.push([this.left, this.y(r), this.x(this.Wp), this.y(r)]);
    pen.lines(list, colour, this.cell < 9 ? 0.6 : 1, this.cell < 9 ? 0.7 : 1);
  }

  padding(pen, colour) {
    const [right, bottom] = [this.x(this.W), this.y(this.H)];
    if (this.Wp > this.W)
      pen.hatch(right, this.top, (this.Wp - this.W) * this.cell, this.Hp * this.cell, colour);
    if (this.Hp > this.H)
      pen.hatch(this.left, bottom, this.W * this.cell, (this.Hp - this.H) * this.cell, colour);
  }

  /** Numbers of rows and columns at the left and upper edge, as many as there is room for. */
  rulers(pen, fill) {
    const step = [1, 2, 5, 10, 20, 50, 100].find((n) => n * this.cell >= 22) ?? 200;
    const style = { size: 10, fill };
    const [left, top] = this.enlarged ? [0, 0] : [this.left, this.top];
    const seen = (at, size) => !this.enlarged || (at >= 0 && at <= size);
    for (let row = 0; row < this.H; row += step) {
      const y = this.y(row) + this.cell / 2;
      if (seen(y, this.height)) pen.text(left - 4, y + 3.5, String(row), { ...style, anchor: "end" });
    }
    for (let col = 0; col < this.W; col += step) {
      const x = this.x(col) + this.cell / 2;
      if (seen(x, this.width)) pen.text(x, top - 5, String(col), { ...style, anchor: "middle" });
    }
  }

  /** A line after every so many tokens. */
  borders(pen, down, across, colour, width) {
    const list = [];
    for (let c = 0; c <= this.Wp; c += across) list.push([this.x(c), this.top, this.x(c), this.y(this.Hp)]);
    for (let r = 0; r <= this.Hp; r += down) list.push([this.left, this.y(r), this.x(this.Wp), this.y(r)]);
    pen.lines(list, colour, width);
  }

  ring(pen, row, col) {
    const r = Math.max(5.5, Math.min(this.cell / 2, 11));
    pen.ring(this.x(col) + this.cell / 2, this.y(row) + this.cell / 2, r);
  }
}

/** Two canvases: the lower one stays, the upper one follows the pointer. */
export class Board {
  /**
   * @param label what it is called
   * @param pointing what to call: point(token, hold) and press(key)
   * @param enlarging of a map that can be enlarged: {t: the words of the buttons, change: to draw it anew}
   */
  constructor(label, { point, press }, enlarging = null) {
    // as narrow as can be until they are drawn: a canvas is 300 pixels wide by itself
    this.base = new CanvasPen(el("canvas", { width: 0 }));
    this.over = new CanvasPen(el("canvas.over", { width: 0 }));
    this.box = el(
      "div.map",
      { tabindex: 0, role: "application", "aria-label": label },
      this.base.canvas,
      this.over.canvas,
    );
    const top = this.over.canvas;
    if (enlarging) this.zoom = new Zoom([this.over.canvas], enlarging.t, enlarging.change); // hears first
    const at = (e) => this.lattice?.at(e.offsetX - this.start, e.offsetY - this.start);
    const go = (e, hold) => {
      const token = at(e);
      if (token) point(token, hold);
    };
    top.addEventListener("pointermove", (e) => (e.pointerType !== "touch" || e.buttons) && go(e, false));
    top.addEventListener("click", (e) => go(e, true));
    this.box.addEventListener("keydown", (e) => {
      if (!e.ctrlKey && !e.metaKey && this.zoom?.press(e.key)) {
        e.preventDefault();
        return;
      }
      const step = STEPS[e.key];
      if (!step && !["Enter", " ", "Escape"].includes(e.key)) return;
      e.preventDefault();
      press(step ?? e.key);
    });
  }

  /** Make room for a lattice, with a margin in which lines and rings at the edge still show. */
  fit(lattice, rulers = 0) {
    this.start = MARGIN + rulers;
    const { H, W } = this.lattice ?? lattice;
    if (this.zoom && (H !== lattice.H || W !== lattice.W)) this.zoom.whole();
    this.lattice = lattice;
    if (this.zoom) {
      this.zoom.margins = [this.start, MARGIN];
      lattice.enlarge(this.zoom);
    }
    for (const pen of [this.base, this.over]) {
      pen.size(lattice.width + this.start + MARGIN, lattice.height + this.start + MARGIN);
      pen.ink.translate(this.start, this.start);
    }
  }

  /** Draw on one of the canvases; what is enlarged ends at the map's edges. */
  within(pen, draw) {
    const { lattice } = this;
    pen.ink.save();
    if (lattice.enlarged) {
      pen.ink.beginPath();
      pen.ink.rect(0, 0, lattice.width, lattice.height);
      pen.ink.clip();
    }
    draw(pen, lattice);
    pen.ink.restore();
  }

  /** Bring a token into sight. */
  reveal(row, col) {
    const { Hp, Wp } = this.lattice;
    this.zoom.reveal((col + 0.5) / Wp, (row + 0.5) / Hp);
  }

  wipe() {
    this.over.ink.clearRect(-this.start, -this.start, this.over.width, this.over.height);
  }
}

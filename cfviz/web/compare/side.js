// One model's half: the photo, the keys that the ringed token may attend to, and how much it attends to each.

import { about, fill } from "../shared/text.js";
import { el, say, Choice } from "../shared/markup.js";
import { clip, percent, whole } from "../shared/maths.js";
import { colours, css, shade, Tile, VEIL } from "../shared/paint.js";
import { drawPhoto } from "../shared/photo.js";

const NOWHERE = 0xffffffff;
const STEPS = 65535;
const CELLS = 60; // across a small map, which is drawn 60 pixels wide

/** The group of each token, the keys it may score, and their probabilities. */
class Layer {
  constructor(meta, array) {
    Object.assign(this, meta);
    for (const name of ["queries", "keys", "region", "probs"])
      this[name] = meta[name] ? array(meta[name]) : null;
    this.tokens = this.H * this.W;
    this.where = new Int32Array(this.tokens).fill(-1);
    this.queries.forEach((at, i) => {
      if (at !== NOWHERE) this.where[at] = i;
    });
    this.nG = meta.groups;
    this.Nq = this.queries.length / this.nG;
    this.Nk = this.keys.length / this.nG;
    this.rows = this.probs ? this.probs.length / (this.tokens * this.Nk) : 0;
  }

  /** What one token attends to: the keys it may score, their probabilities by row, and padding's share. */
  look(row, col) {
    const at = this.where[row * this.W + col];
    const group = Math.floor(at / this.Nq);
    const mine = this.region?.[at];
    const found = { keys: [], index: [], pads: [] };
    for (let k = 0; k < this.Nk; k++) {
      if (this.region && this.region[group * this.Nq + k] !== mine) continue;
      const place = this.keys[group * this.Nk + k];
      if (place === NOWHERE) {
        if (this.pads) found.pads.push(k);
        continue;
      }
      found.keys.push(place);
      found.index.push(k);
    }
    return { ...found, token: row * this.W + col, row, col };
  }

  /** Probability of key k in one row (a head); row -1 is the mean over heads. */
  prob(token, r, k) {
    const one = (n) => this.probs[(token * this.rows + n) * this.Nk + k] / STEPS;
    if (r >= 0 && r < this.rows) return one(r);
    let sum = 0;
    for (let n = 0; n < this.rows; n++) sum += one(n);
    return sum / this.rows;
  }
}

/** One half of the figure. */
export class SideView {
  constructor(t, onBlock, onHead) {
    this.t = t;
    this.head = -1;
    this.name = el("h4");
    this.pick = el("select.cp-block", { "aria-label": t.block });
    this.pick.addEventListener("change", () => onBlock(Number(this.pick.value)));
    this.note = el("p.note.cp-note");
    this.base = el("canvas");
    this.bright = el("canvas"); // the photo at the size it is shown, never in sight: cells are copied from it
    this.over = el("canvas.over");
    this.map = el(
      "div.map.cp-map",
      { tabindex: 0, role: "application", "aria-label": t.map },
      this.base,
      this.over,
    );
    this.value = el("b.cp-value.num");
    this.said = el("span.cp-said");
    this.where = el("p.note.cp-where");
    this.heads = el("div.cp-heads", { role: "radiogroup", "aria-label": t.heads });
    this.choice = new Choice(this.heads, (i) => {
      this.head = i - 1;
      onHead();
    });
    this.root = el(
      "section.cp-side",
      {},
      el("div.cp-top", {}, this.name, this.pick),
      this.note,
      this.map,
      el("p.cp-read", {}, this.value, this.said),
      this.where,
      this.heads,
    );
  }

  load(meta, array) {
    this.layer = new Layer(meta, array);
    const { layer, t } = this;
    say(this.name, layer.title);
    say(this.note, layer.note);
    this.pick.replaceChildren(...layer.blocks.map((text, b) => el("option", { value: b }, text)));
    this.pick.value = layer.block;
    this.root.dataset.kind = ["sda", "lda"].includes(layer.kind) ? layer.kind : "other";
    this.root.dataset.trained = layer.trained;
    if (this.head >= layer.rows || layer.rows < 2) this.head = -1;
    const rows = layer.trained
      ? [-1, ...(layer.rows > 1 ? Array.from({ length: layer.rows }, (_, h) => h) : [])]
      : [];
    this.tiles = rows.map(() => new Tile(el("canvas")));
    this.choice.fill(
      rows.map((h, i) =>
        el(
          "button.cp-head",
          { type: "button", "aria-label": h < 0 ? t.mean : fill(t.head, { n: h + 1 }) },
          this.tiles[i].canvas,
          el("span.num", {}, h < 0 ? t.mean : `${h + 1}`),
        ),
      ),
    );
    this.step = Math.ceil(layer.W / CELLS); // tokens per cell of a tile
    for (const tile of this.tiles) tile.size(Math.ceil(layer.W / this.step), Math.ceil(layer.H / this.step));
    this.heads.hidden = rows.length < 2;
  }

  /**
   * Draw what does not follow the pointer, in a box `width` CSS pixels wide.
   *
   * @param shown how many times as large the photo is, and which shares are beyond the left and upper edge
   * @param twin the other half, if it has drawn the same photo at the same size
   */
  layOut(width, input, photo, theme, shown, twin) {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const size = [Math.round(width * ratio), Math.round((width * ratio * input.h) / input.w)];
    for (const canvas of [this.base, this.bright, this.over]) {
      [canvas.width, canvas.height] = size;
      canvas.style.width = `${size[0] / ratio}px`;
      canvas.style.height = `${size[1] / ratio}px`;
    }
    const whole = size.map((side) => side * shown.times);
    const corner = [Math.round(shown.left * whole[0]), Math.round(shown.top * whole[1])];
    Object.assign(this, { ratio, photo, whole, corner });
    Object.assign(this, { cell: whole[0] / this.layer.W, high: whole[1] / this.layer.H });
    const bright = this.bright.getContext("2d");
    bright.fillStyle = theme.panel;
    bright.fillRect(0, 0, ...size);
    if (twin) bright.drawImage(twin.bright, 0, 0);
    else if (photo) drawPhoto(bright, photo, -corner[0], -corner[1], ...whole);
    const pen = this.base.getContext("2d");
    pen.drawImage(this.bright, 0, 0);
    pen.fillStyle = VEIL;
    pen.fillRect(0, 0, ...size);
  }

  /** Row and column of the token under a point in CSS pixels. */
  token(x, y) {
    const near = (x, n) => clip(Math.floor(x), n);
    return {
      row: near((y * this.ratio + this.corner[1]) / this.high, this.layer.H),
      col: near((x * this.ratio + this.corner[0]) / this.cell, this.layer.W),
    };
  }

  /** The chosen row's probabilities for a token's keys, and the largest of them. */
  weigh(look) {
    if (!this.layer.trained) return { look, probs: null, top: 0 };
    const probs = look.index.map((k) => this.layer.prob(look.token, this.head, k));
    return { look, probs, top: Math.max(...probs) };
  }

  /** Draw one frame: the keys in their colours, on a scale that ends at `top`. */
  paint({ look, probs }, top, tables, palette) {
    const { layer, cell, high } = this;
    const [left, above] = this.corner;
    const pen = this.over.getContext("2d");
    pen.clearRect(0, 0, this.over.width, this.over.height);
    const tint = palette[layer.kind] ?? palette.other;
    const r = layer.reduction;
    look.keys.forEach((place, i) => {
      const [x, y] = [(place % layer.W) * cell - left, Math.floor(place / layer.W) * high - above];
      const box = [Math.floor(x), Math.floor(y), Math.ceil(r * cell), Math.ceil(r * high)];
      pen.globalAlpha = 1;
      pen.drawImage(this.bright, ...box, ...box);
      const level = probs ? shade(probs[i], top) : 0;
      pen.globalAlpha = probs ? 0.78 ** (4 - level / 85) : 0.4;
      pen.fillStyle = probs ? tables.css[level] : tint;
      pen.fillRect(...box);
      if (r > 1) this.frame(pen, box);
    });
    pen.globalAlpha = 1;
    this.ring(pen, look);
    this.small(look, top, tables);
  }

  /** Outline the tokens that make up one key. */
  frame(pen, box) {
    pen.globalAlpha = 0.35;
    pen.strokeStyle = "#14171B";
    pen.lineWidth = this.ratio;
    pen.strokeRect(...box);
  }

  ring(pen, { row, col }) {
    const { cell, high, ratio } = this;
    const [left, above] = this.corner;
    pen.beginPath();
    pen.arc(
      (col + 0.5) * cell - left,
      (row + 0.5) * high - above,
      Math.max(6 * ratio, Math.min(cell / 2, 11 * ratio)),
      0,
      2 * Math.PI,
    );
    for (const [ink, wide] of [
      ["#14171B", 5],
      ["#FFFFFF", 2.5],
    ]) {
      pen.strokeStyle = ink;
      pen.lineWidth = wide * ratio;
      pen.stroke();
    }
  }

  small(look, top, tables) {
    const { layer, step } = this;
    const r = layer.reduction;
    this.tiles.forEach((tile, i) => {
      const wide = tile.canvas.width;
      const levels = new Int16Array(tile.cells.length).fill(-1); // the strongest of each cell's tokens
      look.keys.forEach((place, n) => {
        const level = shade(layer.prob(look.token, i - 1, look.index[n]), top);
        const [row, col] = [Math.floor(place / layer.W), place % layer.W];
        for (let a = 0; a < r; a++) {
          for (let b = 0; b < r; b++) {
            const at = Math.floor((row + a) / step) * wide + Math.floor((col + b) / step);
            if (level > levels[at]) levels[at] = level;
          }
        }
      });
      levels.forEach((level, at) => (tile.cells[at] = level < 0 ? 0 : tables.heat[level]));
      tile.show();
    });
    this.choice.choose(this.head + 1);
  }

  /** Write the frame's numbers. */
  read({ look, probs }) {
    const { layer, t } = this;
    const r = layer.reduction;
    const far = look.keys.map(
      (place) =>
        layer.stride *
        Math.hypot(
          Math.floor(place / layer.W) + (r - 1) / 2 - look.row,
          (place % layer.W) + (r - 1) / 2 - look.col,
        ),
    );
    const reach = Math.max(0, ...far);
    const covered = look.keys.length * r * r;
    const fields = {
      keys: whole(look.keys.length),
      tokens: whole(covered),
      all: whole(layer.tokens),
      side: r,
      far: Math.round(reach),
      pads: look.pads.length,
    };
    say(
      this.where,
      fill(r > 1 ? t.where_joined : t.where, fields) + (look.pads.length ? fill(t.where_pads, fields) : ""),
    );
    if (!probs) {
      say(this.value, `${Math.round(reach)}\u00a0px`);
      say(this.said, t.reach);
      Object.assign(this.root.dataset, { reach, keys: look.keys.length });
      return;
    }
    const mean =
      far.reduce((sum, d, i) => sum + d * probs[i], 0) /
      Math.max(
        1e-9,
        probs.reduce((a, b) => a + b, 0),
      );
    const best = probs.indexOf(Math.max(...probs));
    say(this.value, `${mean.toFixed(1)}\u00a0px`);
    say(this.said, fill(t.mean_distance, { most: percent(probs[best]) }));
    Object.assign(this.root.dataset, {
      reach,
      keys: look.keys.length,
      distance: mean,
      most: probs[best],
      best: look.keys[best],
    });
  }

  /** This half in two lines of text. */
  summary() {
    const { layer, t } = this;
    const head = this.layer.trained ? `, ${this.head < 0 ? t.mean : fill(t.head, { n: this.head + 1 })}` : "";
    const said = `${this.value.textContent} ${this.said.textContent}`;
    return `${about(layer.title, layer.blocks[layer.block])}${head}\n${said}`;
  }

  /** Draw this half into an SVG at x, w by h CSS pixels. */
  draft(pen, x, w, h, { look, probs }, top, tables, palette, theme) {
    const { layer } = this;
    const [cw, ch] = [w / layer.W, h / layer.H];
    const copy = el("canvas", { width: this.photo.width, height: this.photo.height });
    copy.getContext("2d").drawImage(this.photo, 0, 0);
    pen.add("image", {
      x,
      y: 0,
      width: w,
      height: h,
      preserveAspectRatio: "none",
      href: copy.toDataURL("image/png"),
    });
    pen.rect(x, 0, w, h, VEIL);
    look.keys.forEach((place, i) => {
      const level = probs ? shade(probs[i], top) : 0;
      pen.add("rect", {
        x: x + (place % layer.W) * cw,
        y: Math.floor(place / layer.W) * ch,
        width: layer.reduction * cw,
        height: layer.reduction * ch,
        fill: probs ? tables.css[level] : (palette[layer.kind] ?? palette.other),
        "fill-opacity": probs ? 0.85 : 0.45,
        ...(probs ? { "data-attention": probs[i].toPrecision(6) } : {}),
      });
    });
    pen.ring(x + (look.col + 0.5) * cw, (look.row + 0.5) * ch, Math.max(6, Math.min(cw / 2, 11)));
    this.summary()
      .split("\n")
      .forEach((text, n) => pen.text(x + 2, h + 16 + 16 * n, text, { size: 12, fill: theme.ink }));
  }
}

export function heatTables(palette) {
  const heat = colours(palette.sequential);
  return { heat, css: css(heat) };
}

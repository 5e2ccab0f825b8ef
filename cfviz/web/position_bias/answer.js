// The answers side by side: one query's attention with every method of making the bias, and the top classes.
//
// Attention is computed here for the query under the pointer, from the block's own queries, keys and biases.

import { level, looks } from "./drawing.js";
import { fine, Frame, legendOf, pasted } from "./frame.js";
import { Groups } from "../shared/groups.js";
import { el, say } from "../shared/markup.js";
import { clip, percent } from "../shared/maths.js";
import { STEPS } from "../shared/near.js";
import { diverging, outline, shade } from "../shared/paint.js";
import { drawPhoto, Photo } from "../shared/photo.js";
import { fill } from "../shared/text.js";
import { SvgPen } from "../shared/pen.js";

const WIDEST = 280; // pixels, the side of a picture
// ms until the figure asks for the methods that were missing, and asks again if Python, which waits for them
// for half a second, had nothing new
const [SOON, LATER] = [50, 900];

/** One query's attention with one method. */
class Way {
  constructor(entry, groups, array, scale) {
    Object.assign(this, entry);
    this.ready = Boolean(entry.q);
    if (!this.ready) return;
    Object.assign(this, {
      queries: array(entry.q),
      keys: array(entry.k),
      bias: array(entry.table),
      groups,
      scale,
    });
    this.d = this.queries.length / (groups.nG * groups.N);
    this.probs = new Float64Array(groups.N);
  }

  /** Softmax over the keys of a group that are tokens; padding gets 0. */
  attend(group, slot) {
    const { groups, d, queries, keys, bias, scale, probs } = this;
    const { N, offset } = groups;
    const from = (group * N + slot) * d;
    let top = -Infinity;
    probs.fill(-Infinity);
    for (const k of tokensOf(groups, group)) {
      let sum = 0;
      for (let i = 0, at = (group * N + k) * d; i < d; i++) sum += queries[from + i] * keys[at + i];
      probs[k] = sum * scale + bias[offset[slot * N + k]];
      if (probs[k] > top) top = probs[k];
    }
    let sum = 0;
    for (let k = 0; k < N; k++) sum += probs[k] = Math.exp(probs[k] - top);
    for (let k = 0; k < N; k++) probs[k] /= sum;
    return probs;
  }
}

/** The members of a group that are tokens; those of the last group asked for are kept. */
function tokensOf(groups, group) {
  if (groups.asked !== group) {
    const all = Array.from({ length: groups.N }, (_, k) => k).filter((k) => groups.valid(group, k));
    Object.assign(groups, {
      asked: group,
      tokens: all,
      places: all.map((k) => groups.row(group, k) * groups.W + groups.col(group, k)),
    });
  }
  return groups.tokens;
}

export class AnswerPart extends Frame {
  read(header, array) {
    this.groups = new Groups(header.grouping, array(header.grouping.index));
    this.ways = header.ways.map((entry) => new Way(entry, this.groups, array, header.scale));
    if (header.source !== this.source) this.loadPhoto(header.photo.of, array(header.photo.file));
    this.source = header.source;
    clearTimeout(this.clock);
    if (!this.ways.every((way) => way.ready)) this.ask(SOON);
    this.state ??= {
      down: (header.start.row + 0.5) / 100,
      across: (header.start.col + 0.5) / 100,
      less: header.start.less,
      key: null,
      pinned: false,
    };
  }

  loadPhoto(of, png) {
    this.picture?.close();
    this.photo = null;
    this.picture = new Photo(of, png, (photo) => {
      [this.photo, this.dim] = [photo, null];
      this.requestDraw();
    });
  }

  build(root) {
    const { t } = this;
    this.less = this.seg(t.show, [t.show_attention, t.show_attention_less], (i) =>
      this.change({ less: i }, true),
    );
    this.cards = this.ways.map((way) => this.card(way));
    this.legend = { 0: this.ramp("sequential"), 1: this.ramp("diverging") };
    this.where = el("p.looks");
    this.pin = this.toggle(t.pin, (pinned) => this.change({ pinned, key: null }));
    root.append(
      el("div.bar", {}, this.less.box, this.pin.box, el("span.gap"), this.takeaway()),
      this.where,
      el(
        "div.pb-answers",
        { tabindex: 0, role: "application", "aria-label": t.answer_label },
        ...this.cards.map((card) => card.root),
      ),
      this.legend[0].root,
      this.legend[1].root,
    );
    root.querySelector(".pb-answers").addEventListener("keydown", (e) => this.key(e));
    this.small = document.createElement("canvas");
  }

  card(way) {
    const [canvas, value] = [el("canvas", { role: "img", "aria-label": way.name }), el("b.num")];
    const lines = (way.lines ?? []).map(([name, share, logit, change]) =>
      el(
        "li",
        {},
        el("span.pb-class", {}, name),
        el("span.num", {}, share),
        el("small.num", {}, logit),
        el("small.num.pb-change", {}, change),
      ),
    );
    const empty = way.ready ? [] : Array.from({ length: 5 }, () => el("li", {}, "\u00a0"));
    const root = el(
      "figure.pb-answer",
      {},
      el("figcaption", {}, el("b", {}, way.name), value),
      canvas,
      el("p.note", {}, way.note || "\u00a0"),
      el("ol", {}, ...lines, ...empty),
    );
    if (!way.ready) root.dataset.waiting = "";
    canvas.addEventListener("pointermove", (e) => e.pointerType === "mouse" && this.hover(e, canvas));
    canvas.addEventListener("click", (e) => this.hover(e, canvas, true));
    return { way, canvas, value, root };
  }

  /** Ask Python for the methods that are still being computed. */
  ask(wait) {
    this.clock = setTimeout(() => {
      this.more?.();
      this.ask(LATER);
    }, wait);
  }

  close() {
    clearTimeout(this.clock);
    this.picture.close();
    super.close();
  }

  colour(mode) {
    this.look = looks(this.header.palette, mode, 0);
  }

  change(values, commit = false) {
    Object.assign(this.state, values);
    this.requestDraw();
    if (commit)
      this.commitSoon(() => ({
        down: Math.floor(100 * this.state.down),
        across: Math.floor(100 * this.state.across),
        less: this.state.less,
      }));
  }

  /** Pointing chooses the query or, once that is pinned, a key of its group; a click moves the query. */
  hover(event, canvas, click = false) {
    const down = Math.min(0.999, Math.max(0, event.offsetY / canvas.clientHeight));
    const across = Math.min(0.999, Math.max(0, event.offsetX / canvas.clientWidth));
    if (click) return this.change({ down, across, key: null, pinned: true }, true);
    if (!this.state.pinned) return this.change({ down, across, key: null });
    const { group, slot } = this.groups.at(...this.token(down, across));
    return this.change({ key: group === this.query.group ? slot : null });
  }

  key(event) {
    const move = STEPS[event.key];
    if (!move) return;
    event.preventDefault();
    const { H, W } = this.groups;
    const [row, col] = this.token(this.state.down, this.state.across);
    const middle = (x, n) => (clip(x, n) + 0.5) / n;
    this.change({ down: middle(row + move[0], H), across: middle(col + move[1], W), key: null }, true);
  }

  token(down, across) {
    const { H, W } = this.groups;
    return [Math.min(H - 1, Math.floor(down * H)), Math.min(W - 1, Math.floor(across * W))];
  }

  // ---- drawing -----------------------------------------------------------------------------------------

  draw() {
    const { state, t, groups } = this;
    const [row, col] = this.token(state.down, state.across);
    this.query = groups.at(row, col);
    this.less.choose(state.less);
    this.pin.choose(state.pinned);
    const { group, slot } = this.query;
    const ready = this.cards.filter(({ way }) => way.ready);
    for (const { way } of ready) way.attend(group, slot);
    const first = ready[0]?.way.probs;
    let top = 0;
    for (const { way } of ready) {
      // The twin is another model: next to its difference, all others would look like none.
      if (state.less && way.way === "twin") continue;
      way.probs.forEach((p, k) => (top = Math.max(top, state.less ? Math.abs(p - first[k]) : p)));
    }
    this.top = top;
    const room = this.cards[0].root.clientWidth;
    this.side = Math.min(WIDEST, room);
    this.drawBackground();
    for (const card of this.cards) this.paint(card, first);
    this.legend[state.less].root.hidden = !ready.length;
    this.legend[1 - state.less].root.hidden = true;
    say(this.legend[state.less].low, state.less ? fine(-100 * top) : "0");
    say(this.legend[state.less].high, state.less ? this.points(top) : percent(top));
    say(
      this.where,
      fill(state.pinned ? t.answer_pinned : state.less ? t.answer_pointed_less : t.answer_pointed, {
        row,
        col,
      }),
    );
  }

  /** The dimmed photo at the size of a card, drawn once: it does not follow the pointer. */
  drawBackground() {
    const { header, side, photo } = this;
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const [w, h] = [
      Math.round(side * this.ratio),
      Math.round((side * this.ratio * header.input.h) / header.input.w),
    ];
    if (this.dim?.width === w && this.dim.height === h && this.dim.photo === photo) return;
    this.dim = Object.assign(document.createElement("canvas"), { width: w, height: h, photo });
    const pen = this.dim.getContext("2d");
    pen.fillStyle = this.look.theme.panel;
    pen.fillRect(0, 0, w, h);
    if (photo) drawPhoto(pen, photo, 0, 0, w, h);
    pen.fillStyle = "rgba(13,16,20,0.5)";
    pen.fillRect(0, 0, w, h);
  }

  paint({ way, canvas, value }, first) {
    const { groups, look, state, query, ratio } = this;
    const { width: w, height: h } = this.dim;
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    Object.assign(canvas.style, { width: `${w / ratio}px`, height: `${h / ratio}px` });
    const pen = canvas.getContext("2d");
    if (!way.ready) {
      pen.fillStyle = look.theme.panel;
      pen.fillRect(0, 0, w, h);
      return;
    }
    pen.drawImage(this.dim, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.heat(way, first), 0, 0, w, h);
    const [row, col] = [groups.row(query.group, query.slot), groups.col(query.group, query.slot)];
    const cell = w / groups.W;
    if (state.key !== null)
      this.box(
        pen,
        groups.col(query.group, state.key) * cell,
        groups.row(query.group, state.key) * cell,
        cell,
        ratio,
      );
    const r = Math.max(5 * ratio, 0.42 * cell);
    const [x, y] = [(col + 0.5) * cell, (row + 0.5) * cell];
    outline(pen, ratio, [4.5, 2.25], () => pen.arc(x, y, r, 0, 2 * Math.PI));
    const k = state.key ?? strongest(way.probs, state.less ? first : null);
    say(value, state.less ? this.points(way.probs[k] - first[k]) : percent(way.probs[k]));
  }

  /** A difference of two percentages. */
  points(x) {
    return fill(this.t.points, { x: fine(100 * x) });
  }

  box(pen, x, y, cell, ratio) {
    outline(pen, ratio, [4, 2], () => pen.rect(x, y, cell, cell));
  }

  /** The group's cells in colour and the rest transparent, one pixel per token. */
  heat(way, first) {
    const { groups, small, query, look, state, top } = this;
    if (small.width !== groups.W || small.height !== groups.H)
      [small.width, small.height] = [groups.W, groups.H];
    const pen = small.getContext("2d");
    const image = pen.createImageData(groups.W, groups.H);
    const cells = new Uint32Array(image.data.buffer);
    tokensOf(groups, query.group).forEach((k, n) => {
      const hue = state.less ? level(way.probs[k] - first[k], top) : shade(way.probs[k], top);
      const colour = (state.less ? look.signed : look.heat)[hue];
      cells[groups.places[n]] = (colour & 0x00ffffff) | (0xd8 << 24);
    });
    pen.putImageData(image, 0, 0);
    return small;
  }

  // ---- files to take away ------------------------------------------------------------------------------

  get file() {
    return "cfviz-position-bias-answer";
  }

  svg() {
    const ready = this.cards.filter(({ way }) => way.ready);
    const { look, side, header } = this;
    const high = (side * header.input.h) / header.input.w;
    const [wide, tall] = [side + 24, high + 116];
    const columns = Math.min(4, ready.length);
    const rows = Math.ceil(ready.length / columns);
    const pen = new SvgPen(columns * wide + 24, rows * tall + 56);
    pen.rect(0, 0, pen.width, pen.height, look.theme.paper);
    ready.forEach(({ way, canvas }, i) => {
      const [x, y] = [24 + (i % columns) * wide, 30 + Math.floor(i / columns) * tall];
      pen.text(x, y - 8, way.name, { weight: 600, size: 13, fill: look.theme.ink });
      pasted(pen, canvas, x, y, side, high);
      way.lines.forEach(([name, share, logit, change], n) =>
        pen.text(x, y + high + 16 + 15 * n, `${name} ${share} ${logit} ${change}`, {
          fill: look.theme.muted,
        }),
      );
    });
    const { low, high: most } = this.legend[this.state.less];
    legendOf(
      pen,
      this.state.less ? diverging(look.theme) : header.palette.sequential,
      24,
      pen.height - 28,
      low.textContent,
      most.textContent,
      look.theme.ink,
    );
    return pen;
  }

  /** The query's attention to every key of its group, one column per method. */
  rows() {
    const { groups, query } = this;
    const ready = this.cards.filter(({ way }) => way.ready).map(({ way }) => way);
    const keys = tokensOf(groups, query.group);
    const head = ["query_row", "query_col", "key_row", "key_col", ...ready.map(({ way }) => way)];
    const at = [groups.row(query.group, query.slot), groups.col(query.group, query.slot)];
    return [
      head,
      ...keys.map((k) => [
        ...at,
        groups.row(query.group, k),
        groups.col(query.group, k),
        ...ready.map((way) => way.probs[k].toPrecision(7)),
      ]),
    ];
  }
}

/** The key with the largest attention, or with the largest difference from another method's. */
function strongest(probs, other) {
  let best = 0;
  const size = (k) => Math.abs(probs[k] - (other ? other[k] : 0));
  for (let k = 1; k < probs.length; k++) if (size(k) > size(best)) best = k;
  return best;
}

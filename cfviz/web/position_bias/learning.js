// Position biases while they learn: every head's surface after each recorded step of a training run.

import { el, say } from "../shared/markup.js";
import { percent, whole } from "../shared/maths.js";
import { rove } from "../shared/near.js";
import { CanvasPen, SvgPen } from "../shared/pen.js";
import { fill } from "../shared/text.js";
import { entryAt, looks, OffsetMap, Solid } from "./drawing.js";
import { fine, Frame, legendOf, pasted, span } from "./frame.js";
import { FLOOR, Thumb, together } from "./part.js";
import { farthest, offsetsOf, steps, unitsOf } from "./surface_maths.js";

const PACE = 220; // ms between two records while playing
const TALL = 118; // pixels, of a curve

/** A number of 16 bits (IEEE 754 binary16) from its bits. */
export function fromHalf(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** One block's surfaces after each recorded step, without each head's mean, to which softmax is blind. */
class Learner {
  constructor(entry, array, count) {
    Object.assign(this, entry);
    this.count = count;
    const halves = (part) => Float64Array.from(array(part), fromHalf);
    this.proj = entry.proj.map(halves);
    this.layers = entry.layers.map((layer) => layer.map(halves));
    this.offsets = offsetsOf(this.G, this.G);
    this.kept = [];
  }

  mlp(frame) {
    const cut = (all) => {
      const n = all.length / this.count;
      return all.subarray(frame * n, (frame + 1) * n);
    };
    return { eps: this.eps, proj: this.proj.map(cut), layers: this.layers.map((layer) => layer.map(cut)) };
  }

  /** All heads' surfaces after one recorded step. */
  at(frame) {
    return (this.kept[frame] ??= this.make(frame));
  }

  make(frame) {
    const made = steps(this.mlp(frame), this.offsets);
    return unitsOf(made[made.length - 1]).map((values) => {
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      return values.map((x) => x - mean);
    });
  }

  /** The difference between a head's largest and smallest bias, after each recorded step. */
  spreads(head) {
    return Array.from({ length: this.count }, (_, i) => {
      const values = this.at(i)[head];
      return Math.max(...values) - Math.min(...values);
    });
  }

  /** The largest distance from the mean over all steps, of one head or of all. */
  top(head = null) {
    let most = 0;
    for (let i = 0; i < this.count; i++)
      this.at(i).forEach((values, h) => {
        if (head === null || h === head) most = Math.max(most, farthest(values));
      });
    return most;
  }
}

export class LearningPart extends Frame {
  read(header, array) {
    this.count = header.steps.length;
    this.blocks = header.blocks.map((entry) => new Learner(entry, array, this.count));
    this.state ??= { frame: this.count - 1, scale: 0, down: 1, right: 1, ...this.strongest() };
  }

  /** The head to begin with: that with the largest span in the end, among groups of the largest side. */
  strongest() {
    const [side, end] = [Math.max(...this.blocks.map(({ G }) => G)), this.count - 1];
    let best = { most: -1 };
    this.blocks.forEach((entry, block) => {
      if (entry.G < side) return;
      entry.at(end).forEach((values, head) => {
        const most = Math.max(...values) - Math.min(...values);
        if (most > best.most) best = { most, block, head };
      });
    });
    return { block: best.block, head: best.head };
  }

  build(root) {
    const { t } = this;
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const names = this.blocks.map((block) => this.blockName(block));
    this.blockBox = this.select(t.block, names, (block) => this.change({ block, head: 0 }));
    this.headBox = el("select.pb-select", { "aria-label": t.head });
    this.headBox.addEventListener("change", () => this.change({ head: this.headBox.selectedIndex }));
    this.scaleBox = this.seg(t.scale, [t.scale_block, t.scale_head], (scale) => this.change({ scale }));
    this.play = this.button(this.still ? t.learning_next : t.play, () => this.run());
    this.slider = el("input.pb-slider.pb-time", {
      type: "range",
      min: 0,
      max: this.count - 1,
      "aria-label": t.learning_step,
    });
    this.slider.addEventListener("input", () => {
      this.halt();
      this.change({ frame: Number(this.slider.value) });
    });
    this.map = new OffsetMap(t.map_label, (at) => this.change(at));
    this.solid = new Solid(t.solid_label);
    this.scaleBar = this.legend();
    const curve = (label) => el("canvas.pb-curve", { role: "img", "aria-label": label });
    Object.assign(this, {
      now: el("b.value.num"),
      known: el("p.looks"),
      value: el("p.looks"),
      facts: el("p.pb-facts"),
      note: el("p.note.under"),
      top1: curve(t.learning_top1),
      strength: curve(t.learning_spread),
      all: el("div.pb-all"),
    });
    root.append(
      el(
        "div.bar",
        {},
        this.blockBox.box,
        el("label.pb-label", {}, el("span.note", {}, t.head), this.headBox),
        this.scaleBox.box,
        el("span.gap"),
        this.takeaway(),
      ),
      el("div.bar.pb-playbar", {}, this.play, this.slider),
      el(
        "div.body",
        {},
        el("div.left", {}, this.map.root, this.scaleBar.root, this.note),
        el(
          "div.right",
          {},
          el("div.readout", {}, this.now, this.known, this.facts, this.value),
          el(
            "div.pb-sections",
            {},
            el("div", {}, el("h4", {}, t.learning_top1), this.top1),
            el("div", {}, el("h4", {}, t.learning_spread), this.strength),
          ),
          el("div", {}, el("h4", {}, t.solid), this.solid.canvas, el("p.note", {}, t.solid_note)),
        ),
      ),
      el(
        "section",
        {},
        el("div.title", {}, el("h4", {}, t.all_blocks), el("span.note", {}, t.learning_all)),
        this.all,
      ),
    );
    this.lines = this.blocks.map((block, i) => this.line(block, i));
    rove(this.all, ".pb-thumb");
  }

  line(block, i) {
    const thumbs = Array.from(
      { length: block.heads },
      (_, head) => new Thumb(() => this.change({ block: i, head })),
    );
    const range = el("span.note.num");
    const row = el(
      "div.pb-row",
      {},
      el("div.pb-row-name", {}, el("span", { class: block.kind }, this.blockName(block)), range),
      el("div.pb-row-heads", {}, ...thumbs.map((thumb) => thumb.root)),
    );
    this.all.append(row);
    return { thumbs, range, row, top: Math.max(FLOOR, block.top()) };
  }

  colour(mode) {
    this.look = looks(this.header.palette, mode, 64);
  }

  change(values) {
    Object.assign(this.state, values);
    this.requestDraw();
  }

  get block() {
    return this.blocks[this.state.block];
  }

  get values() {
    return this.block.at(this.state.frame)[this.state.head];
  }

  // ---- playing -----------------------------------------------------------------------------------------

  /** Play, or pause; who wants no motion goes on by one record at each press. */
  run() {
    if (this.clock) return this.halt();
    if (this.still) return this.change({ frame: (this.state.frame + 1) % this.count });
    if (this.state.frame === this.count - 1) this.change({ frame: 0 });
    say(this.play, this.t.pause);
    this.clock = setInterval(() => {
      if (this.state.frame >= this.count - 1) return this.halt();
      this.change({ frame: this.state.frame + 1 });
    }, PACE);
  }

  halt() {
    if (!this.clock) return;
    clearInterval(this.clock);
    this.clock = null;
    say(this.play, this.t.play);
  }

  close() {
    clearInterval(this.clock);
    super.close();
  }

  // ---- drawing -----------------------------------------------------------------------------------------

  draw() {
    const { block, state, look, t } = this;
    const { G } = block;
    this.blockBox.choose(state.block);
    this.scaleBox.choose(state.scale);
    if (this.headBox.options.length !== block.heads)
      this.headBox.replaceChildren(
        ...Array.from({ length: block.heads }, (_, h) => el("option", { value: h }, `${h + 1}`)),
      );
    this.headBox.selectedIndex = state.head;
    this.slider.value = state.frame;
    const step = this.header.steps[state.frame];
    const told = fill(t.learning_at, { step: whole(step), last: whole(this.header.steps[this.count - 1]) });
    this.slider.setAttribute("aria-valuetext", told);
    say(this.now, told);
    const found = this.measured(step);
    say(
      this.known,
      found ? fill(t.learning_known, { top1: percent(found[1]), step: whole(found[0]) }) : t.learning_unknown,
    );
    const top = (this.full = Math.max(
      state.scale ? 1e-9 : FLOOR,
      block.top(state.scale ? state.head : null),
    ));
    this.map.draw(this.values, G, G, top, look, Math.min(this.map.root.parentElement.clientWidth, 440));
    this.solid.draw(
      this.values,
      G,
      G,
      top,
      look,
      Math.min(this.facts.parentElement.parentElement.clientWidth, 460),
    );
    this.scaleBar.say(top);
    say(this.note, fill(t.learning_note, { G, far: G - 1 }));
    const spreads = block.spreads(state.head);
    const fields = { h: state.head + 1, first: span(spreads[0]), now: span(spreads[state.frame]) };
    say(this.facts, fill(t.learning_facts, { ...fields, last: span(spreads[this.count - 1]) }));
    this.curves(spreads);
    this.overview();
  }

  /** The last measurement on held-out photos up to a step: [step, accuracy], or undefined. */
  measured(step) {
    return this.header.held.findLast(([at]) => at <= step);
  }

  curves(spreads) {
    const { steps: at, held } = this.header;
    const wide = this.top1.parentElement.clientWidth;
    for (const [canvas, points, say_] of [
      [this.top1, held, percent],
      [this.strength, spreads.map((x, i) => [at[i], x]), span],
    ]) {
      const pen = new CanvasPen(canvas);
      pen.size(wide, TALL);
      this.curve(pen, points, 0, 0, wide, say_);
    }
  }

  /** A curve over the steps, with a line at the step shown; its first and largest value in words. */
  curve(pen, points, left, top, wide, words) {
    const { look, header, state } = this;
    const [last, most] = [header.steps[this.count - 1] || 1, Math.max(1e-9, ...points.map(([, y]) => y))];
    const x = (step) => left + 4 + ((wide - 8) * step) / last;
    const y = (value) => top + TALL - 18 - ((TALL - 38) * value) / most;
    pen.lines([[left, y(0), left + wide, y(0)]], look.theme.line, 1);
    const now = x(header.steps[state.frame]);
    pen.lines([[now, top + 14, now, y(0)]], look.theme.muted, 1);
    const pairs = points.slice(1).map(([step, value], i) => {
      const [before, old] = points[i];
      return [x(before), y(old), x(step), y(value)];
    });
    pen.lines(pairs, look.theme.ink, 1.75);
    for (const [step, value] of points) pen.rect(x(step) - 2, y(value) - 2, 4, 4, look.theme.ink);
    pen.text(left, top + 11, words(most), { size: 11.5, fill: look.theme.muted });
    pen.text(left, top + TALL - 4, "0", { size: 11.5, fill: look.theme.muted });
    pen.text(left + wide, top + TALL - 4, String(last), {
      size: 11.5,
      fill: look.theme.muted,
      anchor: "end",
    });
  }

  overview() {
    const { look, t, state } = this;
    this.lines.forEach(({ thumbs, range, row, top }, i) => {
      const block = this.blocks[i];
      const surfaces = block.at(state.frame);
      thumbs.forEach((thumb, h) => {
        const chosen = i === state.block && h === state.head;
        const full = state.scale ? Math.max(1e-9, block.top(h)) : top;
        thumb.draw(surfaces[h], block.G, block.G, full, look, "", chosen);
        thumb.root.setAttribute("aria-label", fill(t.tile_label, { block: this.blockName(block), h: h + 1 }));
      });
      say(range, span(Math.max(...surfaces.map((values) => Math.max(...values) - Math.min(...values)))));
      row.toggleAttribute("data-chosen", i === state.block);
    });
  }

  point() {
    const { block, state, t } = this;
    const clip = (d) => Math.max(1 - block.G, Math.min(block.G - 1, d));
    const at = { down: clip(state.down), right: clip(state.right) };
    this.map.mark(at);
    this.solid.mark(at);
    const value = this.values[entryAt(block.G, block.G, at.down, at.right)];
    say(this.value, together(this.keyWords(at), fill(t.learning_value, { value: fine(value) })));
  }

  // ---- files to take away ------------------------------------------------------------------------------

  fileName() {
    const { block, state, header } = this;
    return `cfviz-learning-${block.s + 1}-${block.b + 1}-${state.head + 1}-${header.steps[state.frame]}`;
  }

  svg() {
    const { look, block, t, header, state } = this;
    const pen = new SvgPen(940, 760);
    pen.rect(0, 0, pen.width, pen.height, look.theme.paper);
    pen.text(20, 28, `${this.blockName(block)} · ${this.facts.textContent}`, {
      size: 13,
      fill: look.theme.ink,
    });
    pen.text(20, 48, `${this.now.textContent} · ${this.known.textContent}`, { fill: look.theme.muted });
    pasted(pen, this.map.base, 20, 64, 400, 400);
    pasted(pen, this.solid.canvas, 460, 64, 440, (440 * this.solid.canvas.height) / this.solid.canvas.width);
    legendOf(pen, header.palette, "diverging", 20, 480, fine(-this.full), fine(this.full), look.theme.ink);
    pen.text(20, 508, t.learning_top1, { fill: look.theme.muted });
    this.curve(pen, header.held, 20, 512, 400, percent);
    pen.text(460, 508, t.learning_spread, { fill: look.theme.muted });
    const spreads = block.spreads(state.head).map((x, i) => [header.steps[i], x]);
    this.curve(pen, spreads, 460, 512, 400, span);
    pen.text(20, 656, t.heads, { fill: look.theme.muted });
    const { thumbs } = this.lines[state.block];
    const side = Math.min(70, 900 / thumbs.length - 6);
    thumbs.forEach((thumb, n) => pasted(pen, thumb.canvas, 20 + n * (side + 6), 666, side, side));
    return pen;
  }

  /** The block's biases at every offset after every recorded step, without each head's mean. */
  rows() {
    const { block, header } = this;
    const { G } = block;
    const heads = Array.from({ length: block.heads }, (_, h) => `head_${h + 1}`);
    const out = [["step", "held_out_top1", "dh", "dw", ...heads]];
    header.steps.forEach((step, i) => {
      const known = header.held.find(([at]) => at === step);
      const surfaces = block.at(i);
      for (let n = 0; n < (2 * G - 1) ** 2; n++)
        out.push([
          step,
          known ? known[1] : "",
          Math.floor(n / (2 * G - 1)) - G + 1,
          (n % (2 * G - 1)) - G + 1,
          ...surfaces.map((values) => values[n].toPrecision(6)),
        ]);
    });
    return out;
  }
}

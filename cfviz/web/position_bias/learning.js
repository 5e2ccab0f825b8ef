// Position biases while they learn: every head's surface after each recorded step of a training run, beside
// the learned tables of another if the message has them.

import { button, el, say } from "../shared/markup.js";
import { percent, whole } from "../shared/maths.js";
import { rove } from "../shared/near.js";
import { CanvasPen, SvgPen } from "../shared/pen.js";
import { fill, together } from "../shared/text.js";
import { entryAt, looks, OffsetMap, Solid } from "./drawing.js";
import { fine, Frame, legendOf, pasted, span } from "./frame.js";
import { FLOOR, Thumb } from "./part.js";
import { farthest, offsetsOf, steps, unitsOf } from "./surface_maths.js";
import { diverging } from "../shared/paint.js";

const PACE = 220; // ms between two records while playing
const TALL = 118; // pixels, of a curve

const halves = (bits) => Float64Array.from(bits, fromHalf);

/** A number of 16 bits (IEEE 754 binary16) from its bits. */
function fromHalf(bits) {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
}

/** One block's surfaces after each recorded step, without each head's mean, to which softmax is blind. */
class Recorded {
  constructor(entry, count) {
    Object.assign(this, entry);
    this.count = count;
    [this.kept, this.sized] = [[], []];
  }

  /** The part of an array of all records that belongs to one. */
  cut(all, frame) {
    const n = all.length / this.count;
    return all.subarray(frame * n, (frame + 1) * n);
  }

  /** All heads' surfaces after one recorded step. */
  at(frame) {
    return (this.kept[frame] ??= this.make(frame).map((values) => {
      const mean = values.reduce((sum, x) => sum + x, 0) / values.length;
      return values.map((x) => x - mean);
    }));
  }

  /** Each head's largest minus smallest bias and largest distance from the mean, after one recorded step. */
  sizes(frame) {
    return (this.sized[frame] ??= this.at(frame).map((values) => ({
      spread: Math.max(...values) - Math.min(...values),
      far: farthest(values),
    })));
  }

  /** The head with the largest span in the end, and that span. */
  strongest() {
    const spans = this.sizes(this.count - 1).map(({ spread }) => spread);
    const most = Math.max(...spans);
    return { head: spans.indexOf(most), most };
  }

  /** The difference between a head's largest and smallest bias, after each recorded step. */
  spreads(head) {
    return Array.from({ length: this.count }, (_, i) => this.sizes(i)[head].spread);
  }

  /** The largest distance from the mean over all steps, of one head or of all. */
  top(head = null) {
    let most = 0;
    for (let i = 0; i < this.count; i++)
      this.sizes(i).forEach(({ far }, h) => {
        if (head === null || h === head) most = Math.max(most, far);
      });
    return most;
  }
}

/** A block's DPB: its MLP is recorded. */
class Learner extends Recorded {
  constructor(entry, array, count) {
    super(entry, count);
    this.proj = entry.proj.map((part) => halves(array(part)));
    this.layers = entry.layers.map((layer) => layer.map((part) => halves(array(part))));
    this.offsets = offsetsOf(this.G, this.G);
  }

  make(frame) {
    const cut = (all) => this.cut(all, frame);
    const mlp = { eps: this.eps, proj: this.proj.map(cut), layers: this.layers.map((all) => all.map(cut)) };
    const made = steps(mlp, this.offsets);
    return unitsOf(made[made.length - 1]);
  }
}

/** The same block with a learned table, which is recorded itself. */
class Table extends Recorded {
  constructor(block, bits, count) {
    super({ G: block.G, heads: block.heads }, count);
    this.all = halves(bits);
  }

  make(frame) {
    const values = this.cut(this.all, frame); // offsets, heads
    return Array.from({ length: this.heads }, (_, head) =>
      Float64Array.from({ length: values.length / this.heads }, (_, n) => values[n * this.heads + head]),
    );
  }
}

export class LearningPart extends Frame {
  read(header, array) {
    this.count = header.steps.length;
    this.blocks = header.blocks.map((entry) => new Learner(entry, array, this.count));
    this.twins = header.twin?.tables.map((part, i) => new Table(this.blocks[i], array(part), this.count));
    this.state ??= { frame: this.count - 1, scale: 0, down: 1, right: 1, ...this.strongest() };
  }

  /** The heads to begin with: those with the largest span in the end, among groups of the largest side. */
  strongest() {
    const side = Math.max(...this.blocks.map(({ G }) => G));
    let best = { most: -1 };
    this.blocks.forEach((entry, block) => {
      const { head, most } = entry.strongest();
      if (entry.G === side && most > best.most) best = { most, block, head };
    });
    return { block: best.block, head: best.head, twin: this.strongestTwin(best.block) };
  }

  strongestTwin(block) {
    return this.twins?.[block].strongest().head ?? 0;
  }

  build(root) {
    const { t } = this;
    this.still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const names = this.blocks.map((block) => this.blockName(block));
    this.blockBox = this.select(t.block, names, (block) =>
      this.change({ block, head: 0, twin: this.strongestTwin(block) }),
    );
    this.headBox = el("select.pb-select", { "aria-label": t.head });
    this.headBox.addEventListener("change", () => this.change({ head: this.headBox.selectedIndex }));
    this.scaleBox = this.seg(t.scale, [t.scale_block, t.scale_head], (scale) => this.change({ scale }));
    this.play = button(this.still ? t.learning_next : t.play, () => this.run());
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
    this.twinMap = new OffsetMap(t.map_label);
    this.twinMap.over.addEventListener("pointermove", (e) =>
      this.change(this.twinMap.place(e.offsetX, e.offsetY)),
    );
    [this.mapName, this.twinName] = [el("figcaption.note"), el("figcaption.note")];
    this.solid = new Solid(t.solid_label);
    this.twinSolid = new Solid(t.solid_label);
    Object.assign(this.twinSolid.canvas, { tabIndex: -1, role: "img" }); // the keys turn both
    if (this.twins) [this.solid.beside, this.twinSolid.beside] = [this.twinSolid, this.solid];
    this.scaleBar = this.legend();
    const curve = (label) => el("canvas.pb-curve", { role: "img", "aria-label": label });
    Object.assign(this, {
      now: el("b.value.num"),
      known: el("p.looks"),
      value: el("p.looks"),
      facts: el("p.pb-facts"),
      twinFacts: el("p.pb-facts"),
      note: el("p.note.under"),
      top1: curve(t.learning_top1),
      strength: curve(t.learning_spread),
      all: el("div.pb-all"),
    });
    const solid = el(
      "div.pb-learned",
      { "data-slide": 2 },
      el("h4", {}, t.solid),
      this.solid.canvas,
      el("p.note", {}, t.solid_note),
    );
    this.twinSolidName = el("h4");
    const twinSolid = el("div.pb-learned", { "data-slide": 2 }, this.twinSolidName, this.twinSolid.canvas);
    const maps = this.maps();
    for (const one of [maps, this.scaleBar.root, this.note]) one.dataset.slide = 1;
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
        { "data-slide": "1 2" },
        el("div.left", {}, maps, this.scaleBar.root, this.note, ...(this.twins ? [solid] : [])),
        el(
          "div.right",
          {},
          el(
            "div.readout",
            { "data-slide": 1 },
            this.now,
            this.known,
            this.facts,
            this.twinFacts,
            this.value,
          ),
          el(
            "div.pb-sections",
            { "data-slide": 2 },
            el("div", {}, el("h4", {}, t.learning_top1), this.top1),
            el("div", {}, el("h4", {}, this.spreadName), this.strength),
          ),
          this.twins ? twinSolid : solid,
        ),
      ),
      el(
        "section",
        { "data-slide": 3 },
        el("div.title", {}, el("h4", {}, t.all_blocks), el("span.note", {}, t.learning_all)),
        this.all,
      ),
    );
    this.lines = this.blocks.map((block, i) => {
      const own = this.line(block, this.blockName(block), (head) => this.place(i, { head }));
      const twin =
        this.twins && this.line(this.twins[i], t.learning_row_twin, (head) => this.place(i, { twin: head }));
      return { own, twin };
    });
    rove(this.all, ".pb-thumb");
  }

  get spreadName() {
    return this.twins ? this.t.learning_spread_both : this.t.learning_spread;
  }

  /** The map, and the twin's beside it; only the first takes the keys, and both mark the same offset. */
  maps() {
    if (!this.twins) return this.map.root;
    return el(
      "div.pb-pair",
      {},
      el("figure", {}, this.mapName, this.map.root),
      el("figure", {}, this.twinName, this.twinMap.root),
    );
  }

  /** Choose a head in a block; another block's twin shows the head with the largest span. */
  place(block, chosen) {
    const other = block !== this.state.block ? { head: 0, twin: this.strongestTwin(block) } : {};
    this.change({ block, ...other, ...chosen });
  }

  /** A row of thumbnails: all heads of a block, or of its learned table. */
  line(block, name, choose) {
    const thumbs = Array.from({ length: block.heads }, (_, head) => new Thumb(() => choose(head)));
    const range = el("span.note.num");
    const row = el(
      "div.pb-row",
      {},
      el("div.pb-row-name", {}, el("span", { class: block.kind ?? "note" }, name), range),
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

  get twin() {
    return this.twins?.[this.state.block];
  }

  get twinValues() {
    return this.twin.at(this.state.frame)[this.state.twin];
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
    const twinFound = this.twin && this.measured(step, this.header.twin.held);
    const right = { top1: found && percent(found[1]), twin: twinFound && percent(twinFound[1]) };
    say(
      this.known,
      found
        ? fill(this.twin ? t.learning_known_both : t.learning_known, { ...right, step: whole(found[0]) })
        : t.learning_unknown,
    );
    const top = (this.full = Math.max(
      state.scale ? 1e-9 : FLOOR,
      block.top(state.scale ? state.head : null),
      this.twin?.top(state.scale ? state.twin : null) ?? 0,
    ));
    this.map.draw(this.values, G, G, top, look, Math.min(this.map.root.parentElement.clientWidth, 440));
    if (this.twin) {
      const wide = Math.min(this.twinMap.root.parentElement.clientWidth, 440);
      this.twinMap.draw(this.twinValues, G, G, top, look, wide);
      say(this.mapName, fill(t.learning_map_dpb, { h: state.head + 1 }));
      say(this.twinName, fill(t.learning_map_twin, { h: state.twin + 1 }));
    }
    this.solid.draw(this.values, G, G, top, look, Math.min(this.solid.canvas.parentElement.clientWidth, 460));
    if (this.twin) {
      const wide = Math.min(this.twinSolid.canvas.parentElement.clientWidth, 460);
      this.twinSolid.draw(this.twinValues, G, G, top, look, wide);
      say(this.twinSolidName, fill(t.learning_map_twin, { h: state.twin + 1 }));
    }
    this.scaleBar.say(top);
    say(this.note, fill(t.learning_note, { G, far: G - 1 }));
    const facts = (spreads, h, words) =>
      fill(words, {
        h: h + 1,
        first: span(spreads[0]),
        now: span(spreads[state.frame]),
        last: span(spreads[this.count - 1]),
      });
    say(this.facts, facts(block.spreads(state.head), state.head, t.learning_facts));
    if (this.twin)
      say(this.twinFacts, facts(this.twin.spreads(state.twin), state.twin, t.learning_facts_twin));
    this.curves();
    this.overview();
  }

  /** The last measurement on held-out photos up to a step: [step, accuracy], or undefined. */
  measured(step, held = this.header.held) {
    return held.findLast(([at]) => at <= step);
  }

  /** The two curves: points of DPB and of the twin, if there is one; and how to write their values. */
  get curvesShown() {
    const { header, state, block, twin } = this;
    const spreads = (one, head) => one.spreads(head).map((x, i) => [header.steps[i], x]);
    return [
      [header.held, header.twin?.held, percent],
      [spreads(block, state.head), twin && spreads(twin, state.twin), span],
    ];
  }

  curves() {
    const wide = this.top1.parentElement.clientWidth;
    const canvases = [this.top1, this.strength];
    this.curvesShown.forEach((curve, i) => {
      const pen = new CanvasPen(canvases[i]);
      pen.size(wide, TALL);
      this.curve(pen, curve, 0, 0, wide);
    });
  }

  /** A curve over the steps, and the twin's in grey, with a line at the step shown and the largest value. */
  curve(pen, [points, others, words], left, top, wide) {
    const { look, header, state } = this;
    const all = [...points, ...(others ?? [])].map(([, y]) => y);
    const [last, most] = [header.steps[this.count - 1] || 1, Math.max(1e-9, ...all)];
    const x = (step) => left + 4 + ((wide - 8) * step) / last;
    const y = (value) => top + TALL - 18 - ((TALL - 38) * value) / most;
    pen.lines([[left, y(0), left + wide, y(0)]], look.theme.line, 1);
    const now = x(header.steps[state.frame]);
    pen.lines([[now, top + 14, now, y(0)]], look.theme.muted, 1);
    const pairs = (list) =>
      list.slice(1).map(([step, value], i) => {
        const [before, old] = list[i];
        return [x(before), y(old), x(step), y(value)];
      });
    if (others) pen.lines(pairs(others), look.theme.muted, 1.25);
    pen.lines(pairs(points), look.theme.ink, 1.75);
    for (const [step, value] of points) pen.rect(x(step) - 2, y(value) - 2, 4, 4, look.theme.ink);
    if (others) {
      pen.text(left + wide - 34, top + 11, "DPB", {
        size: 11.5,
        fill: look.theme.ink,
        anchor: "end",
        weight: 600,
      });
      pen.text(left + wide, top + 11, "RPB", { size: 11.5, fill: look.theme.muted, anchor: "end" });
    }
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
    const show = (line, one, i, chosen, label) => {
      const { thumbs, range, row, top } = line;
      const surfaces = one.at(state.frame);
      thumbs.forEach((thumb, h) => {
        const full = state.scale ? Math.max(1e-9, one.top(h)) : top;
        thumb.draw(surfaces[h], one.G, one.G, full, look, "", i === state.block && h === chosen);
        const place = { block: this.blockName(this.blocks[i]), h: h + 1 };
        thumb.root.setAttribute("aria-label", fill(label, place));
      });
      say(range, span(Math.max(...one.sizes(state.frame).map(({ spread }) => spread))));
      row.toggleAttribute("data-chosen", i === state.block);
    };
    this.lines.forEach(({ own, twin }, i) => {
      show(own, this.blocks[i], i, state.head, t.tile_label);
      if (!twin) return;
      show(twin, this.twins[i], i, state.twin, t.learning_tile_twin);
      for (const { root } of twin.thumbs) root.tabIndex = -1; // one stop for all: the chosen head of DPB
    });
  }

  point() {
    const { block, state, t } = this;
    const clip = (d) => Math.max(1 - block.G, Math.min(block.G - 1, d));
    const at = { down: clip(state.down), right: clip(state.right) };
    this.map.mark(at);
    this.solid.mark(at);
    const value = (values) => ({ value: fine(values[entryAt(block.G, block.G, at.down, at.right)]) });
    const told = [this.keyWords(at), fill(t.learning_value, value(this.values))];
    if (this.twin) {
      this.twinMap.mark(at);
      this.twinSolid.mark(at);
      told.push(fill(t.learning_value_twin, value(this.twinValues)));
    }
    say(this.value, together(...told));
  }

  // ---- files to take away ------------------------------------------------------------------------------

  get file() {
    const { block, state, header } = this;
    return `cfviz-learning-${block.s + 1}-${block.b + 1}-${state.head + 1}-${header.steps[state.frame]}`;
  }

  svg() {
    const { look, block, t, state } = this;
    const pen = new SvgPen(940, 760);
    pen.rect(0, 0, pen.width, pen.height, look.theme.paper);
    pen.text(20, 28, `${this.blockName(block)} · ${this.facts.textContent}`, {
      size: 13,
      fill: look.theme.ink,
    });
    pen.text(20, 48, `${this.now.textContent} · ${this.known.textContent}`, { fill: look.theme.muted });
    if (this.twin) {
      [
        [this.map, this.mapName],
        [this.twinMap, this.twinName],
      ].forEach(([map, name], i) => {
        pen.text(20 + 210 * i, 78, name.textContent, { fill: look.theme.muted });
        pasted(pen, map.base, 20 + 210 * i, 86, 200, 200);
      });
      pen.text(20, 312, this.twinFacts.textContent, { fill: look.theme.ink });
    } else pasted(pen, this.map.base, 20, 64, 400, 400);
    pasted(pen, this.solid.canvas, 460, 64, 440, (440 * this.solid.canvas.height) / this.solid.canvas.width);
    legendOf(pen, diverging(look.theme), 20, 480, fine(-this.full), fine(this.full), look.theme.ink);
    pen.text(20, 508, t.learning_top1, { fill: look.theme.muted });
    pen.text(460, 508, this.spreadName, { fill: look.theme.muted });
    this.curvesShown.forEach((curve, i) => this.curve(pen, curve, 20 + 440 * i, 512, 400));
    pen.text(20, 656, t.heads, { fill: look.theme.muted });
    const { thumbs } = this.lines[state.block].own;
    const side = Math.min(70, 900 / thumbs.length - 6);
    thumbs.forEach((thumb, n) => pasted(pen, thumb.canvas, 20 + n * (side + 6), 666, side, side));
    return pen;
  }

  /** The block's biases at every offset after every recorded step, without each head's mean. */
  rows() {
    const { block, header } = this;
    const heads = Array.from({ length: block.heads }, (_, h) => `head_${h + 1}`);
    const out = [["position_bias", "step", "held_out_top1", "dh", "dw", ...heads]];
    this.rowsOf(out, "dpb", block, header.held);
    if (this.twin) this.rowsOf(out, "rpb", this.twin, header.twin.held);
    return out;
  }

  rowsOf(out, name, one, held) {
    const { G } = one;
    this.header.steps.forEach((step, i) => {
      const known = held.find(([at]) => at === step);
      const surfaces = one.at(i);
      for (let n = 0; n < (2 * G - 1) ** 2; n++)
        out.push([
          name,
          step,
          known ? known[1] : "",
          Math.floor(n / (2 * G - 1)) - G + 1,
          (n % (2 * G - 1)) - G + 1,
          ...surfaces.map((values) => values[n].toPrecision(6)),
        ]);
    });
  }
}

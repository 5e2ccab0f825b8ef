// Groups of another size: the bias evaluated anew against its table cut, clamped or stretched, and the twin's.

import { el, say } from "./markup.js";
import { signed } from "./maths.js";
import { fill } from "./payload.js";
import { entryAt, OffsetMap } from "./drawing.js";
import { Part } from "./part.js";
import { summary } from "./surface_maths.js";

const [LEAST, MOST] = [2, 28];

export class ResizedPart extends Part {
  build(root) {
    const { t } = this;
    Object.assign(this, { Gh: this.header.start.Gh ?? 14, Gw: this.header.start.Gw ?? 14, square: true, less: 0 });
    const slider = (label, name) => {
      const input = el("input.pb-slider", { type: "range", min: LEAST, max: MOST, value: this[name], "aria-label": label });
      const value = el("b.num");
      input.addEventListener("input", () => this.resize(name, Number(input.value)));
      return { input, value, box: el("label.pb-label", {}, el("span.note", {}, label), input, value) };
    };
    this.sliders = { Gh: slider(t.rows, "Gh"), Gw: slider(t.cols, "Gw") };
    this.lock = el("button.lock", { type: "button", "aria-pressed": "true" }, t.square);
    this.lock.addEventListener("click", () => {
      this.square = !this.square;
      this.lock.setAttribute("aria-pressed", this.square);
      this.resize("Gh", this.Gh);
    });
    this.choices = { block: this.blockSelect(), head: this.headSelect(), less: this.seg(t.show, [t.show_surface, t.show_less], (i) => ((this.less = i), this.ask())) };
    this.ramp = this.legend();
    Object.assign(this, { grid: el("div.pb-ways"), where: el("p.looks"), note: el("p.note") });
    root.append(
      el("div.bar", {}, this.choices.block.box, this.choices.head.box, this.choices.less.box),
      el("div.bar", {}, this.sliders.Gh.box, this.sliders.Gw.box, this.lock),
      this.where, this.grid, this.ramp.root, this.note);
    this.ways = {};
  }

  resize(name, value) {
    this[name] = value;
    if (this.square) this.Gh = this.Gw = value;
    this.ask();
  }

  furnish() {
    const { t } = this;
    const names = this.block.ways;
    if (this.names === names.join()) return;
    this.names = names.join();
    this.ways = Object.fromEntries(names.map((way) => {
      const map = new OffsetMap(t[`way_${way}`], (at) => this.set(at));
      const [value, inside, outside] = [el("b.num"), el("span.num"), el("span.num")];
      const root = el("figure.pb-way", {}, el("figcaption", {}, el("b", {}, t[`way_${way}`]), value), map.root,
        el("dl.pb-stats", {}, el("dt.note", {}, t.inside), el("dd", {}, inside), el("dt.note", {}, t.outside), el("dd", {}, outside)), el("p.note", {}, t[`way_${way}_help`]));
      return [way, { map, value, inside, outside, root }];
    }));
    this.grid.replaceChildren(...Object.values(this.ways).map((way) => way.root));
  }

  /** What is drawn of one way: its surface, or that less the first way's. */
  shown(way) {
    const values = this.block.surface(this.head, this.Gh, this.Gw, way);
    if (!this.less) return values;
    const first = this.block.surface(this.head, this.Gh, this.Gw, this.block.ways[0]);
    return values.map((x, i) => x - first[i]);
  }

  draw() {
    const { block, Gh, Gw, t } = this;
    this.furnish();
    this.choices.block.choose(this.state.block);
    this.choices.head.choose(this.head);
    this.choices.less.choose(this.less);
    for (const name of ["Gh", "Gw"]) {
      this.sliders[name].input.value = this[name];
      say(this.sliders[name].value, this[name]);
    }
    const all = block.ways.map((way) => this.shown(way));
    let top = this.less ? 1e-9 : block.top;
    for (const values of all) for (const x of values) top = Math.max(top, Math.abs(x));
    const room = this.grid.firstChild?.clientWidth ?? 240;
    block.ways.forEach((way, i) => {
      const part = this.ways[way];
      part.map.draw(all[i], Gh, Gw, top, this.look, Math.max(120, Math.min(room, 260)));
      const known = (dh, dw) => Math.abs(dh) < block.G && Math.abs(dw) < block.G;
      this.describe(part.inside, summary(all[i], Gh, Gw, known));
      this.describe(part.outside, summary(all[i], Gh, Gw, (dh, dw) => !known(dh, dw)));
    });
    this.ramp.say(top);
    const beyond = Math.max(Gh, Gw) > block.G;
    const share = 1 - (Math.min(Gh, block.G) * 2 - 1) * (Math.min(Gw, block.G) * 2 - 1) / ((2 * Gh - 1) * (2 * Gw - 1));
    say(this.note, fill(beyond ? t.resized_beyond : t.resized_within, { G: block.G, far: block.G - 1, Gh, Gw, share: (100 * share).toFixed(0) }));
  }

  describe(node, found) {
    say(node, found ? fill(this.less ? this.t.stats_less : this.t.stats, { low: signed(found.low), high: signed(found.high), rms: found.rms.toPrecision(2), sd: found.sd.toPrecision(2) }) : "–");
  }

  point() {
    const { block, state, Gh, Gw, t } = this;
    if (this.names !== block.ways.join()) return;
    const clip = (d, G) => Math.max(1 - G, Math.min(G - 1, d));
    const at = { down: clip(state.down, Gh), right: clip(state.right, Gw) };
    const i = entryAt(Gh, Gw, at.down, at.right);
    const outside = Math.max(Math.abs(at.down), Math.abs(at.right)) >= block.G;
    say(this.where, this.keyWords(at) + (outside ? ` · ${t.beyond}` : ""));
    for (const way of block.ways) {
      const part = this.ways[way];
      part.map.mark(at);
      say(part.value, signed(this.shown(way)[i]));
    }
  }
}

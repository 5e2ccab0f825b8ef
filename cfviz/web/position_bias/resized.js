// Groups of another size: the bias evaluated anew, its table cut, clamped or stretched, and the twin's bias.

import { el, say } from "../shared/markup.js";
import { about, fill } from "../shared/text.js";
import { entryAt, OffsetMap } from "./drawing.js";
import { fine, legendOf, pasted, span } from "./frame.js";
import { FLOOR, Part } from "./part.js";
import { farthest, nearPairs, summary } from "./surface_maths.js";
import { SvgPen } from "../shared/pen.js";
import { diverging } from "../shared/paint.js";

const [LEAST, MOST] = [2, 48];

export class ResizedPart extends Part {
  build(root) {
    const { t } = this;
    this.square ??= this.state.Gh === this.state.Gw;
    const slider = (label, name) => {
      const input = el("input.pb-slider", {
        type: "range",
        min: LEAST,
        max: MOST,
        value: this.state[name],
        "aria-label": label,
      });
      const value = el("b.num");
      input.addEventListener("input", () => this.resize(name, Number(input.value)));
      return { input, value, box: el("label.pb-label", {}, el("span.note", {}, label), input, value) };
    };
    this.sliders = { Gh: slider(t.rows, "Gh"), Gw: slider(t.cols, "Gw") };
    this.lock = this.toggle(t.square, (on) => {
      this.square = Boolean(on);
      this.resize("Gh", this.state.Gh);
    });
    this.place = this.placeChoice();
    this.choices = {
      raw: this.rawChoice(),
      less: this.seg(t.show, [t.show_surface, t.show_less], (less) => this.set({ less }, true)),
      large: this.toggle(t.magnify, (large) => this.set({ large }, true)),
    };
    this.scaleBar = this.legend();
    Object.assign(this, {
      grid: el("div.pb-ways"),
      where: el("p.looks"),
      note: el("p.note"),
      flat: el("p.pb-flat"),
    });
    root.append(
      el(
        "div.bar",
        {},
        ...this.place.boxes,
        this.choices.less.box,
        this.choices.raw.box,
        el("span.gap"),
        this.takeaway(),
      ),
      el("div.bar", {}, this.sliders.Gh.box, this.sliders.Gw.box, this.lock.box, this.choices.large.box),
      this.where,
      this.grid,
      this.scaleBar.root,
      this.note,
      this.flat,
    );
    [this.ways, this.names] = [{}, null];
  }

  resize(name, value) {
    this.set(this.square ? { Gh: value, Gw: value } : { [name]: value }, true);
  }

  get Gh() {
    return this.state.Gh;
  }

  get Gw() {
    return this.state.Gw;
  }

  buildElements() {
    const { t } = this;
    const names = this.block.ways;
    if (this.names === names.join()) return;
    this.names = names.join();
    this.ways = Object.fromEntries(
      names.map((way) => {
        const map = new OffsetMap(t[`way_${way}`], (at) => this.set(at));
        const tip = `way_${way}_tip`;
        const [value, inside, outside] = [el("b.num"), el("span.num"), el("span.num")];
        const root = el(
          "figure.pb-way",
          {},
          el("figcaption", {}, el("b", {}, t[`way_${way}`]), value),
          map.root,
          el(
            "dl.pb-stats",
            {},
            el("dt.note", {}, t.inside),
            el("dd", {}, inside),
            el("dt.note", {}, t.outside),
            el("dd", {}, outside),
          ),
          el("p.note", tip in t ? { title: t[tip] } : {}, t[`way_${way}_help`]),
        );
        return [way, { map, value, inside, outside, root }];
      }),
    );
    this.grid.replaceChildren(...Object.values(this.ways).map((way) => way.root));
  }

  /** What is drawn for one method: its surface, or the difference from the first method's. */
  shown(way) {
    const { block, head, Gh, Gw, state } = this;
    const values = block.view(head, Gh, Gw, way, state.raw);
    if (!state.less) return values;
    const first = block.view(head, Gh, Gw, block.ways[0], state.raw);
    return values.map((x, i) => x - first[i]);
  }

  draw() {
    const { block, Gh, Gw, t, state } = this;
    this.buildElements();
    this.place.choose();
    for (const name of ["less", "raw", "large"]) this.choices[name].choose(state[name]);
    this.lock.choose(this.square);
    for (const name of ["Gh", "Gw"]) {
      this.sliders[name].input.value = this[name];
      say(this.sliders[name].value, this[name]);
    }
    const all = block.ways.map((way) => this.shown(way));
    const most = Math.max(1e-12, ...all.map((values) => farthest(values)));
    const top = (this.drawn = state.large ? most : Math.max(FLOOR, most));
    const room = this.grid.firstChild?.clientWidth ?? 240;
    this.flat.hidden = most >= FLOOR;
    say(
      this.flat,
      fill(state.large ? t.magnified : t.small_all, { top: span(state.large ? top : most), floor: FLOOR }),
    );
    block.ways.forEach((way, i) => {
      const part = this.ways[way];
      part.map.draw(all[i], Gh, Gw, top, this.look, Math.max(120, Math.min(room, this.test ? 420 : 260)));
      const known = (dh, dw) => Math.max(Math.abs(dh), Math.abs(dw)) < block.trained;
      this.describe(part.inside, summary(all[i], Gh, Gw, known));
      this.describe(
        part.outside,
        summary(all[i], Gh, Gw, (dh, dw) => !known(dh, dw)),
      );
    });
    this.scaleBar.say(top);
    const G = block.trained;
    const beyond = Math.max(Gh, Gw) > G;
    const share = 1 - ((Math.min(Gh, G) * 2 - 1) * (Math.min(Gw, G) * 2 - 1)) / ((2 * Gh - 1) * (2 * Gw - 1));
    say(
      this.note,
      fill(!block.known ? t.resized_unknown : beyond ? t.resized_beyond : t.resized_within, {
        G,
        far: G - 1,
        Gh,
        Gw,
        share: (100 * share).toFixed(0),
        pairs: (100 * (1 - nearPairs(Gh, G) * nearPairs(Gw, G))).toFixed(0),
      }),
    );
  }

  describe(node, found) {
    say(
      node,
      found
        ? fill(this.state.less ? this.t.stats_less : this.t.stats, {
            low: fine(found.low),
            high: fine(found.high),
            rms: found.rms.toPrecision(2),
            sd: found.sd < 1e-6 ? "0" : span(found.sd),
          })
        : "–",
    );
  }

  point() {
    const { block, state, Gh, Gw, t } = this;
    if (this.names !== block.ways.join()) return;
    const clip = (d, G) => Math.max(1 - G, Math.min(G - 1, d));
    const at = { down: clip(state.down, Gh), right: clip(state.right, Gw) };
    const i = entryAt(Gh, Gw, at.down, at.right);
    const outside = Math.max(Math.abs(at.down), Math.abs(at.right)) >= block.trained;
    say(this.where, this.keyWords(at) + (outside ? ` · ${t.beyond}` : ""));
    for (const way of block.ways) {
      const part = this.ways[way];
      part.map.mark(at);
      say(part.value, fine(this.shown(way)[i]));
    }
  }

  // ---- files to take away ------------------------------------------------------------------------------

  svg() {
    const { look, block } = this;
    const [side, columns] = [230, 4];
    const high = 330;
    const pen = new SvgPen(columns * (side + 16) + 24, Math.ceil(block.ways.length / columns) * high + 90);
    pen.rect(0, 0, pen.width, pen.height, look.theme.paper);
    pen.text(
      20,
      26,
      `${this.blockName(block)}, ${fill(this.t.head_n, { n: this.head + 1 })} · ${this.note.textContent}`,
      { size: 13, fill: look.theme.ink },
    );
    block.ways.forEach((way, i) => {
      const { map, inside, outside } = this.ways[way];
      const [x, y] = [20 + (i % columns) * (side + 16), 62 + Math.floor(i / columns) * high];
      const { width, height } = map.base;
      const scale = side / Math.max(width, height);
      pen.text(x, y - 8, this.t[`way_${way}`], { weight: 600, size: 13, fill: look.theme.ink });
      pasted(pen, map.base, x, y, width * scale, height * scale);
      pen.text(x, y + side + 18, about(this.t.inside, inside.textContent), {
        size: 11,
        fill: look.theme.muted,
      });
      pen.text(x, y + side + 33, about(this.t.outside, outside.textContent), {
        size: 11,
        fill: look.theme.muted,
      });
    });
    legendOf(
      pen,
      diverging(look.theme),
      20,
      pen.height - 24,
      fine(-this.drawn),
      fine(this.drawn),
      look.theme.ink,
    );
    return pen;
  }

  /** The chosen head's bias at every offset, as added to the logits, one column per method. */
  rows() {
    const { block, Gh, Gw } = this;
    const all = block.ways.map((way) => block.surface(this.head, Gh, Gw, way));
    const out = [["dh", "dw", "trained", ...block.ways]];
    for (let dh = 1 - Gh; dh < Gh; dh++) {
      for (let dw = 1 - Gw; dw < Gw; dw++) {
        const i = (dh + Gh - 1) * (2 * Gw - 1) + dw + Gw - 1;
        out.push([
          dh,
          dw,
          Number(Math.max(Math.abs(dh), Math.abs(dw)) < block.trained),
          ...all.map((values) => values[i].toPrecision(9)),
        ]);
      }
    }
    return out;
  }
}

// Every head's bias over the offsets: one large, as a map, a solid and two cross-sections; all as thumbnails.

import { el, save, say } from "./markup.js";
import { signed } from "./maths.js";
import { fill } from "./payload.js";
import { entryAt, OffsetMap, Section, Solid } from "./drawing.js";
import { Part, Thumb } from "./part.js";

const ORDERS = ["number", "near", "horizontal", "diagonal", "spread"];

export class SurfacesPart extends Part {
  build(root) {
    const { t } = this;
    Object.assign(this, { scale: 0, reach: 0, order: 0 });
    const point = (at) => this.set(at);
    this.choices = {
      block: this.blockSelect(),
      reach: this.seg(t.reach, [t.reach_trained, t.reach_twice], (i) => this.change({ reach: i })),
      scale: this.seg(t.scale, [t.scale_block, t.scale_model], (i) => this.change({ scale: i })),
      order: this.select(t.order, ORDERS.map((name) => t[`order_${name}`]), (i) => this.change({ order: i })),
    };
    this.map = new OffsetMap(t.map_label, point);
    this.solid = new Solid(t.solid_label);
    this.across = new Section(t.across);
    this.along = new Section(t.along);
    this.ramp = this.legend();
    Object.assign(this, { value: el("b.value.num"), where: el("p.looks"), entry: el("p.note"), facts: el("p.pb-facts"), note: el("p.note.under") });
    this.heads = el("div.pb-thumbs", { role: "group", "aria-label": t.heads });
    this.all = el("div.pb-all");
    root.append(
      el("div.bar", {}, this.choices.block.box, this.choices.order.box, this.choices.reach.box, this.choices.scale.box, el("span.gap"), this.button(t.save_picture, () => this.savePicture())),
      el("div.body", {},
        el("div.left", {}, this.map.root, this.ramp.root, this.note),
        el("div.right", {},
          el("div.readout", {}, this.value, this.where, this.entry),
          this.facts,
          el("div", {}, el("h4", {}, t.solid), this.solid.canvas, el("p.note", {}, t.solid_note)),
          el("div.pb-sections", {}, this.across.root, this.along.root))),
      el("section", {}, el("div.title", {}, el("h4", {}, t.heads), el("span.note", {}, t.heads_note)), this.heads),
      el("section", {}, el("div.title", {}, el("h4", {}, t.all_blocks), el("span.note", {}, t.all_note)), this.all));
    this.furnishAll();
  }

  furnishAll() {
    this.rows = this.blocks.map((block, i) => {
      const thumbs = Array.from({ length: block.heads }, (_, head) => new Thumb(() => this.set({ block: i, head }, true)));
      const [name, range] = [el("span", { class: block.kind }, this.blockName(block)), el("span.note.num")];
      const row = el("div.pb-row", {}, el("div.pb-row-name", {}, name, range), el("div.pb-row-heads", {}, ...thumbs.map((thumb) => thumb.root)));
      this.all.append(row);
      return { thumbs, range, row };
    });
  }

  change(values) {
    Object.assign(this, values);
    this.ask();
  }

  get far() {
    return this.reach ? 2 * this.block.G : this.block.G;
  }

  get full() {
    const far = this.far;
    if (!this.reach) return this.scale ? this.top : this.block.top;
    const most = (b) => Math.max(...Array.from({ length: b.heads }, (_, h) => b.surface(h, far, far, "own").reduce((m, x) => Math.max(m, Math.abs(x)), 0)));
    return this.scale ? Math.max(this.top, most(this.block)) : most(this.block);
  }

  draw() {
    const { block, look, t, far } = this;
    const top = this.full;
    const values = block.surface(this.head, far, far, "own");
    this.choices.block.choose(this.state.block);
    for (const name of ["reach", "scale", "order"]) this.choices[name].choose(this[name]);
    const room = this.map.root.parentElement.clientWidth;
    this.map.draw(values, far, far, top, look, Math.min(room, 520));
    this.solid.draw(values, far, far, top, look, Math.min(this.facts.parentElement.clientWidth, 460));
    this.ramp.say(top);
    say(this.note, fill(this.reach ? (block.mlp ? t.note_twice : t.note_twice_table) : t.note_trained, { far: block.G - 1 }));
    const m = block.measures[this.head];
    const decay = m.decay === null ? t.no_decay : fill(t.decay, { r: m.decay.toFixed(1) });
    say(this.facts, fill(t.facts, { h: this.head + 1, character: t[`is_${block.characters[this.head]}`], spread: m.spread.toPrecision(3), distance: m.distance.toFixed(2), even: block.even.toFixed(2), decay, down: signed(m.centre[0]), right: signed(m.centre[1]), anisotropy: signed(m.anisotropy) }));
    this.thumbs(top);
    this.overview();
  }

  thumbs(top) {
    const { block, look, t, far } = this;
    const order = block.orders[ORDERS[this.order]];
    const key = `${this.state.block} ${order}`;
    if (this.shown !== key) {
      this.shown = key;
      this.tiles = order.map((head) => ({ head, thumb: new Thumb(() => this.set({ head }, true)) }));
      this.heads.replaceChildren(...this.tiles.map(({ thumb }) => thumb.root));
    }
    for (const { head, thumb } of this.tiles) {
      const name = `${head + 1} · ${t[`is_${block.characters[head]}`]}`;
      thumb.draw(block.surface(head, far, far, "own"), far, far, top, look, name, head === this.head);
    }
  }

  overview() {
    const { look, t } = this;
    this.rows.forEach(({ thumbs, range, row }, i) => {
      const block = this.blocks[i];
      const top = this.scale ? this.top : block.top;
      thumbs.forEach((thumb, h) => thumb.draw(block.tables[h], block.G, block.G, top, look, "", i === this.state.block && h === this.head));
      thumbs.forEach((thumb, h) => thumb.root.setAttribute("aria-label", fill(t.tile_label, { block: this.blockName(block), h: h + 1 })));
      say(range, `±${block.top.toPrecision(2)}`);
      row.toggleAttribute("data-chosen", i === this.state.block);
    });
  }

  point() {
    if (!this.map.Gh) return;
    const { block, state, far, t, look } = this;
    const clip = (d) => Math.max(1 - far, Math.min(far - 1, d));
    const at = { down: clip(state.down), right: clip(state.right) };
    this.map.mark(at);
    this.solid.mark(at);
    const values = block.surface(this.head, far, far, "own");
    const i = entryAt(far, far, at.down, at.right);
    const outside = Math.max(Math.abs(at.down), Math.abs(at.right)) >= block.G;
    say(this.value, signed(values[i]));
    say(this.where, this.keyWords(at));
    const index = (block.G - 1 - at.down) * block.side + block.G - 1 - at.right;
    say(this.entry, outside ? fill(t.entry_outside, { dh: signedInt(-at.down), dw: signedInt(-at.right) }) : fill(t.entry, { dh: signedInt(-at.down), dw: signedInt(-at.right), index, n: block.side ** 2 }));
    const line = (other) => Array.from({ length: 2 * far - 1 }, (_, k) => values[other ? entryAt(far, far, k - far + 1, at.right) : entryAt(far, far, at.down, k - far + 1)]);
    const top = this.full;
    this.across.draw(line(false), at.right, top, look, t.across);
    this.along.draw(line(true), at.down, top, look, t.along);
    for (const { head, thumb } of this.tiles) say(thumb.value, signed(block.surface(head, far, far, "own")[i]));
  }

  savePicture() {
    this.map.base.toBlob((blob) => save(`cfviz-position-bias-${this.block.s + 1}-${this.block.b + 1}-${this.head + 1}.png`, blob));
  }
}

export function signedInt(d) {
  return d < 0 ? `−${-d}` : d > 0 ? `+${d}` : "0";
}

// Every head's bias by offset: one head large, as a map, a solid and two cross-sections; all as thumbnails.

import { el, say } from "../shared/markup.js";
import { signed } from "../shared/maths.js";
import { rove } from "../shared/near.js";
import { fill, together } from "../shared/text.js";
import { entryAt, OffsetMap, Section, Solid, SOLID } from "./drawing.js";
import { fine, legendOf, pasted, span } from "./frame.js";
import { FAINT, FLOOR, Part, Thumb } from "./part.js";
import { farthest } from "./surface_maths.js";
import { SvgPen } from "../shared/pen.js";
import { room } from "../deck/deck.js";
import { diverging } from "../shared/paint.js";

const ORDERS = ["number", "near", "horizontal", "diagonal", "shifted", "decay", "spread"];
const MEASURES = {
  near: "nearness",
  horizontal: "anisotropy",
  diagonal: "diagonality",
  shifted: "shift",
  decay: "decay",
  spread: "spread",
};
const PLAIN = ["shifted", "decay", "spread"]; // measures without a sign

export class SurfacesPart extends Part {
  build(root) {
    const { t } = this;
    const point = (at) => this.set(at);
    const choose = (name) => (i) => this.set({ [name]: i }, true);
    this.choices = {
      reach: this.seg(t.reach, [t.reach_trained, t.reach_twice], choose("reach")),
      scale: this.seg(t.scale, [t.scale_block, t.scale_model, t.scale_head], choose("scale")),
      order: this.select(
        t.order,
        ORDERS.map((name) => t[`order_${name}`]),
        choose("order"),
      ),
      raw: this.rawChoice(),
    };
    this.blockBox = this.blockSelect();
    this.map = new OffsetMap(t.map_label, point);
    this.solid = new Solid(t.solid_label);
    this.across = new Section(t.across);
    this.along = new Section(t.along);
    this.scaleBar = this.legend();
    Object.assign(this, {
      value: el("b.value.num"),
      where: el("p.looks"),
      entry: el("p.note"),
      facts: el("p.pb-facts", { "data-slide": 2 }),
      flat: el("p.pb-flat", { hidden: "" }),
      note: el("p.note.under"),
    });
    this.heads = el("div.pb-thumbs", { role: "group", "aria-label": t.heads });
    this.all = el("div.pb-all.pb-fold");
    const ways = ["order", "reach", "scale", "raw"].map((name) => this.choices[name].box);
    for (const box of ways) box.classList.add("pb-fold");
    const solid = [el("h4", {}, t.solid), this.solid.canvas, el("p.note", { "data-slide": 0 }, t.solid_note)];
    this.solidBox = el("div", { "data-slide": 2 }, ...solid);
    this.sections = el("div.pb-sections", { "data-slide": 2 }, this.across.root, this.along.root);
    this.headsNote = el("span.note");
    this.allNote = el("span.note.pb-fold");
    root.append(
      el("div.bar", {}, this.blockBox.box, ...ways, this.fold(t.ways, ways), el("span.gap"), this.takeaway()),
      el(
        "div.body",
        { "data-slide": "1 2" },
        el("div.left", {}, this.map.root, this.scaleBar.root, this.note),
        el(
          "div.right",
          {},
          el("div.readout", {}, this.value, this.where, this.entry),
          this.facts,
          this.flat,
          this.solidBox,
          this.sections,
        ),
      ),
      el(
        "section.pb-heads",
        { "data-slide": 1 },
        el("div.title", {}, el("h4", {}, t.heads), this.headsNote),
        this.heads,
      ),
      el(
        "section.pb-every",
        { "data-slide": 3 },
        el("div.title", {}, el("h4", {}, t.all_blocks), this.allNote),
        this.fold(t.every_head, [this.all, this.allNote]),
        this.all,
      ),
    );
    for (const box of [this.heads, this.all]) rove(box, ".pb-thumb");
    this.furnishAll();
  }

  furnishAll() {
    this.shown = null;
    this.lines = this.blocks.map((block, i) => {
      const thumbs = Array.from(
        { length: block.heads },
        (_, head) => new Thumb(() => this.set({ block: i, head }, true)),
      );
      const [name, range] = [el("span", { class: block.kind }, this.blockName(block)), el("span.note.num")];
      const row = el(
        "div.pb-row",
        {},
        el("div.pb-row-name", {}, name, range),
        el("div.pb-row-heads", {}, ...thumbs.map((thumb) => thumb.root)),
      );
      this.all.append(row);
      return { thumbs, range, row };
    });
  }

  get far() {
    return this.state.reach ? 2 * this.block.G : this.block.G;
  }

  view(head) {
    return this.block.view(head, this.far, this.far, "own", this.state.raw);
  }

  /** The bias that full colour stands for: at least the floor, unless one head is magnified. */
  get full() {
    const { block, state } = this;
    if (state.scale === 2) return Math.max(1e-12, farthest(this.view(this.head)));
    const heads = Array.from({ length: block.heads }, (_, h) => farthest(this.view(h)));
    return Math.max(FLOOR, ...heads, state.scale === 1 ? this.top : 0);
  }

  draw() {
    const { block, look, t, far, state } = this;
    const top = (this.drawn = this.full);
    const values = this.view(this.head);
    this.blockBox.choose(state.block);
    for (const name of ["reach", "scale", "order", "raw"]) this.choices[name].choose(state[name]);
    const wide = this.map.root.parentElement.clientWidth;
    const side = room(this.map.root, Math.max(260, window.innerHeight * 0.48));
    this.map.draw(values, far, far, top, look, Math.min(wide, side));
    this.solid.draw(
      values,
      far,
      far,
      top,
      look,
      Math.min(this.facts.parentElement.clientWidth, this.solidRoom()),
    );
    this.scaleBar.say(top);
    const [twice, own] = [block.mlp ? t.note_twice : t.note_twice_table, t.note_trained];
    const range = !state.reach
      ? fill(own, { far: block.G - 1, G: block.G })
      : block.known
        ? fill(twice, { far: block.trained - 1 })
        : t.note_unknown;
    say(this.note, together(range, state.raw ? t.note_raw : t.note_mean));
    const m = block.measures[this.head];
    const decay = m.decay === null ? t.no_decay : fill(t.decay, { r: m.decay.toFixed(1) });
    const fields = {
      h: this.head + 1,
      character: t[`is_${block.characters[this.head]}`],
      spread: span(m.spread),
      distance: m.distance.toFixed(2),
      even: block.even.toFixed(2),
      decay,
      down: signed(m.centre[0]),
      right: signed(m.centre[1]),
      anisotropy: signed(m.anisotropy),
    };
    say(this.facts, fill(t.facts, fields));
    this.facts.title = fill(t.facts_more, fields);
    this.sayFlat(top);
    this.thumbs(top);
    this.overview();
  }

  /** A width for the solid. */
  solidRoom() {
    const usual = Math.max(300, window.innerHeight * 0.35);
    return room(this.solid.canvas, SOLID * usual, this.sections) / SOLID;
  }

  /** Say so if the head hardly uses position, so that coloured noise is not read as a pattern. */
  sayFlat(top) {
    const { block, t, state } = this;
    const spread = block.spread(this.head);
    const flat = spread < FAINT;
    this.flat.hidden = !flat && state.scale !== 2;
    const fields = { spread: span(spread), percent: span(100 * Math.expm1(spread)), top: span(top) };
    const magnified = state.scale === 2 ? fill(t.magnified, fields) : "";
    if (!this.flat.hidden) say(this.flat, together(flat ? fill(t.flat_head, fields) : "", magnified));
  }

  thumbs(top) {
    const { block, look, t, far, state } = this;
    const by = ORDERS[state.order];
    const order = block.orders[by];
    const key = `${state.block} ${order}`;
    if (this.shown !== key) {
      this.shown = key;
      this.tiles = order.map((head) => ({ head, thumb: new Thumb(() => this.chooseHead(head)) }));
      this.heads.replaceChildren(...this.tiles.map(({ thumb }) => thumb.root));
    }
    say(this.headsNote, state.scale === 2 ? t.heads_note_own : t.heads_note);
    for (const { head, thumb } of this.tiles) {
      const values = this.view(head);
      const measure = MEASURES[by] ? ` ${measured(block.measures[head][MEASURES[by]], by)}` : "";
      const name = this.test ? `${head + 1}` : `${head + 1} · ${t[`is_${block.characters[head]}`]}${measure}`;
      thumb.draw(
        values,
        far,
        far,
        state.scale === 2 ? Math.max(1e-12, farthest(values)) : top,
        look,
        name,
        head === this.head,
      );
    }
  }

  overview() {
    const { look, t, state } = this;
    say(this.allNote, state.scale === 1 ? t.all_note_model : t.all_note);
    this.lines.forEach(({ thumbs, range, row }, i) => {
      const block = this.blocks[i];
      const top = Math.max(FLOOR, state.scale === 1 ? this.top : block.top(state.raw));
      thumbs.forEach((thumb, h) => {
        const values = block.view(h, block.G, block.G, "own", state.raw);
        const own = Math.max(1e-12, farthest(values));
        thumb.draw(
          values,
          block.G,
          block.G,
          state.scale === 2 ? own : top,
          look,
          "",
          i === state.block && h === this.head,
        );
        thumb.root.setAttribute("aria-label", fill(t.tile_label, { block: this.blockName(block), h: h + 1 }));
      });
      const most = Math.max(...Array.from({ length: block.heads }, (_, h) => block.spread(h)));
      say(range, most < FAINT ? `${t.flat} ${span(most)}` : span(most));
      row.toggleAttribute("data-chosen", i === state.block);
    });
  }

  point() {
    if (!this.map.Gh) return;
    const { block, state, far, t, look } = this;
    const clip = (d) => Math.max(1 - far, Math.min(far - 1, d));
    const at = { down: clip(state.down), right: clip(state.right) };
    this.map.mark(at);
    this.solid.mark(at);
    const values = this.view(this.head);
    const i = entryAt(far, far, at.down, at.right);
    const outside = Math.max(Math.abs(at.down), Math.abs(at.right)) >= block.G;
    say(this.value, fine(values[i]));
    say(this.where, this.keyWords(at));
    const index = (block.G - 1 - at.down) * block.side + block.G - 1 - at.right;
    const fields = {
      dh: signedInt(-at.down),
      dw: signedInt(-at.right),
      index,
      n: block.side ** 2,
      G: block.G,
    };
    const added = fill(t.added, { bias: signed(block.surface(this.head, far, far, "own")[i]) });
    say(this.entry, `${fill(outside ? t.entry_outside : t.entry, fields)} · ${added}`);
    const line = (other) =>
      Array.from(
        { length: 2 * far - 1 },
        (_, k) =>
          values[other ? entryAt(far, far, k - far + 1, at.right) : entryAt(far, far, at.down, k - far + 1)],
      );
    this.across.draw(line(false), at.right, this.drawn, look, t.across);
    this.along.draw(line(true), at.down, this.drawn, look, t.along);
    for (const { head, thumb } of this.tiles)
      say(thumb.value, fine(block.surface(head, far, far, "own")[i] - block.shift(head, "own", state.raw)));
  }

  // ---- files to take away ------------------------------------------------------------------------------

  svg() {
    const { look, block } = this;
    const pen = new SvgPen(980, 800);
    pen.rect(0, 0, pen.width, pen.height, look.theme.paper);
    pen.text(20, 28, `${this.blockName(block)} · ${this.facts.textContent}`, {
      size: 13,
      fill: look.theme.ink,
    });
    pasted(pen, this.map.base, 20, 44, 440, 440);
    pasted(pen, this.solid.canvas, 490, 44, 440, (440 * this.solid.canvas.height) / this.solid.canvas.width);
    [this.across, this.along].forEach((section, n) => {
      pen.text(490 + 230 * n, 400, section.name.textContent, { fill: look.theme.muted });
      pasted(pen, section.canvas, 490 + 230 * n, 408, 215, 74);
    });
    legendOf(pen, diverging(look.theme), 20, 500, fine(-this.drawn), fine(this.drawn), look.theme.ink);
    pen.text(20, 530, this.note.textContent, { fill: look.theme.muted });
    const side = Math.min(100, 940 / this.tiles.length - 8);
    this.tiles.forEach(({ thumb }, n) => {
      pasted(pen, thumb.canvas, 20 + n * (side + 8), 560, side, side);
      pen.text(20 + n * (side + 8), 574 + side, thumb.name.textContent, {
        size: Math.min(11, side / 8),
        fill: look.theme.muted,
      });
    });
    return pen;
  }

  /** The bias of every head of the block at every offset shown, as added to the logits. */
  rows() {
    const { block, far } = this;
    const heads = Array.from({ length: block.heads }, (_, h) => block.surface(h, far, far, "own"));
    const out = [["dh", "dw", "trained", ...heads.map((_, h) => `head_${h + 1}`)]];
    for (let dh = 1 - far; dh < far; dh++) {
      for (let dw = 1 - far; dw < far; dw++) {
        const i = (dh + far - 1) * (2 * far - 1) + dw + far - 1;
        out.push([
          dh,
          dw,
          Number(Math.max(Math.abs(dh), Math.abs(dw)) < block.trained),
          ...heads.map((values) => values[i].toPrecision(9)),
        ]);
      }
    }
    return out;
  }
}

function measured(x, by) {
  return x === null ? "–" : PLAIN.includes(by) ? span(x) : signed(x);
}

export function signedInt(d) {
  return d < 0 ? `−${-d}` : d > 0 ? `+${d}` : "0";
}

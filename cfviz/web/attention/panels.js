// What follows the pointer beside the photo: heads, blocks, and the logits taken apart.

import { percent, rank, signed, softmax } from "../shared/maths.js";
import { Picture, shade, Tile } from "../shared/paint.js";
import { Choice, el, say, title } from "../shared/markup.js";
import { fill } from "../shared/text.js";

/** Report the group member under the pointer in any small picture of a group. */
function pointing(box, sides, onKey) {
  box.addEventListener("pointermove", (e) => {
    const tile = e.target.closest(".tile");
    if (!tile) return onKey(null);
    const [Gh, Gw] = sides();
    const at = tile.getBoundingClientRect();
    const cell = (x, from, length, n) => Math.max(0, Math.min(n - 1, Math.floor(((x - from) / length) * n)));
    onKey(cell(e.clientY, at.top, at.height, Gh) * Gw + cell(e.clientX, at.left, at.width, Gw));
  });
  box.addEventListener("pointerleave", () => onKey(null));
}

function tile(Kind) {
  const canvas = el("canvas");
  return { box: el("span.tile", {}, canvas), tile: new Kind(canvas) };
}

/** Give small pictures of a group its shape. */
function shape(tiles, Gh, Gw) {
  for (const { tile } of tiles) {
    tile.size(Gw, Gh);
    tile.shown.parentElement.style.aspectRatio = `${Gw} / ${Gh}`;
  }
}

/** All heads of the block, each with the same group. */
export class Heads {
  constructor(ui, t, onHead, onKey) {
    this.t = t;
    this.box = ui.body;
    this.choice = new Choice(ui.body, onHead);
    ui.body.setAttribute("role", "radiogroup");
    ui.body.setAttribute("aria-label", t.heads);
    pointing(ui.body, () => this.sides, onKey);
  }

  build(heads, Gh, Gw) {
    this.sides = [Gh, Gw];
    if (heads !== this.tiles?.length) {
      this.tiles = Array.from({ length: heads }, () => tile(Picture));
      this.choice.fill(
        this.tiles.map(({ box }, h) =>
          el("button.head", { type: "button" }, box, el("span.num", {}, `${h + 1}`)),
        ),
      );
      this.box.style.setProperty("--heads", heads);
      this.choice.items.forEach((item, h) => item.setAttribute("aria-label", `${this.t.head} ${h + 1}`));
    }
    shape(this.tiles, Gh, Gw);
  }

  fit() {
    for (const { tile } of this.tiles ?? []) tile.fit();
  }

  paint(frame, table, fixed, key) {
    const { N } = frame.groups;
    this.tiles.forEach(({ tile }, h) => {
      const top = fixed ? frame.block.peak : frame.tops[h];
      for (let k = 0; k < frame.groups.cells; k++) {
        const p = frame.probs[h * N + k];
        tile.cells[k] = frame.shown[k] || (frame.valid[k] && p > LEAK) ? table[shade(p, top)] : 0;
      }
      tile.show(frame.slot, key);
    });
  }
}

/** All blocks of the stage, each with the mean over its heads on the map. */
export class Blocks {
  constructor(ui, t, onBlock) {
    this.t = t;
    this.choice = new Choice(ui.body, onBlock);
    ui.body.setAttribute("role", "radiogroup");
    ui.body.setAttribute("aria-label", t.blocks);
  }

  build(stage, picture) {
    this.tiles = stage.blocks.map(() => {
      const { box, tile: small } = tile(Tile);
      small.size(stage.W, stage.H);
      box.style.aspectRatio = `${stage.W} / ${stage.H}`;
      if (picture) box.style.backgroundImage = `linear-gradient(#0d1014aa, #0d1014aa), url(${picture})`;
      return { box, tile: small };
    });
    this.choice.fill(
      stage.blocks.map((block, i) =>
        el(
          `button.block.${block.kind}`,
          { type: "button", "aria-label": title(this.t, block) },
          this.tiles[i].box,
          el("span.num", {}, `${block.b + 1} `, el("em", {}, block.label)),
        ),
      ),
    );
  }

  paint(frames, table, fixed, ink) {
    frames.forEach((frame, i) => {
      const { tile } = this.tiles[i];
      const { groups, group, block, mean } = frame;
      tile.cells.fill(0);
      let top = 0;
      if (mean) for (let k = 0; k < groups.N; k++) top = Math.max(top, mean[k]);
      if (fixed) top = block.peak;
      for (let k = 0; k < groups.N; k++) {
        if (!frame.shown[k] || !groups.valid(group, k)) continue;
        const ground = mean ? table[shade(mean[k], top)] : (ink[block.kind] ?? ink.lda);
        const at = groups.row(group, k) * groups.W + groups.col(group, k);
        for (let r = 0; r < groups.side; r++)
          tile.cells.fill(ground, at + r * groups.W, at + r * groups.W + groups.side);
      }
      tile.show();
    });
  }
}

const LOGITS = ["content", "position", "mask", "sum"];
const GLYPHS = ["+", "+", "=", ""];
export const LEAK = 1e-4; // attention through a mask that is drawn: Swin's mask is a number like any other

/** Content + position + mask = logits, and the softmax of each term alone. */
export class Why {
  constructor(ui, t, onKey) {
    this.t = t;
    this.caption = ui.caption;
    this.logits = LOGITS.map((name) => this.cell(name, t[name], t[`${name}_help`]));
    this.alone = LOGITS.map((name, i) =>
      this.cell(name, i === 3 ? t.attention : t.alone, t[`${name}_alone_help`]),
    );
    const row = (name, cells, glyphs) =>
      el(
        `div.terms.${name}`,
        {},
        ...cells.flatMap((c, i) => [c.box, el("span.glyph", { "aria-hidden": "true" }, glyphs[i])]),
      );
    ui.body.append(row("logits", this.logits, GLYPHS), row("alone", this.alone, ["", "", "", ""]));
    pointing(ui.body, () => this.sides, onKey);
  }

  cell(term, name, help) {
    const { box, tile: small } = tile(Picture);
    const value = el("span.num.reading");
    return {
      box: el(`div.term.of-${term}`, { title: help }, el("span.name", {}, name), box, value),
      tile: small,
      value,
    };
  }

  build({ Gh, Gw, N }) {
    this.sides = [Gh, Gw];
    this.part = Array.from({ length: 4 }, () => new Float64Array(N)); // softmax of each term
    this.total = new Float64Array(N);
    shape([...this.logits, ...this.alone], Gh, Gw);
  }

  fit() {
    for (const { tile } of [...this.logits, ...this.alone]) tile.fit();
  }

  /** `key` is the key whose numbers are shown; `pointed` is the one that is marked, or null. */
  paint(frame, tables, key, pointed) {
    const { content, position, mask, valid, shown, groups } = frame;
    const { N } = groups;
    const terms = [content, position, mask, this.total];
    let top = 0;
    for (let k = 0; k < N; k++) {
      this.total[k] = content[k] + position[k] + (valid[k] ? mask[k] : 0);
      if (shown[k]) top = Math.max(top, Math.abs(content[k]), Math.abs(position[k]), Math.abs(this.total[k]));
    }
    const tops = terms.map((x, i) => softmax(this.part[i], 0, x, null, valid));
    const count = valid.reduce((n, x) => n + x, 0);
    // Even attention is half way up the scale, not at its brightest.
    for (let i = 0; i < 3; i++) tops[i] = Math.max(tops[i], 2 / count);
    terms.forEach((x, i) => {
      const [up, down] = [this.logits[i].tile, this.alone[i].tile];
      for (let k = 0; k < groups.cells; k++) {
        up.cells[k] = shown[k] ? tables.signed[top ? shade(x[k] / top + 1, 2) : 128] : 0;
        down.cells[k] = shown[k] ? tables.heat[shade(this.part[i][k], tops[i])] : 0;
      }
      up.show(frame.slot, pointed);
      down.show(frame.slot, pointed);
      const off = !valid[key];
      say(
        this.logits[i].value,
        off ? (i < 2 ? "–" : "−10⁶") : i === 2 ? signed(mask[key]).replace(".00", "") : signed(x[key]),
      );
      say(this.alone[i].value, percent(this.part[i][key]));
    });
    say(this.caption, this.t.why_note);
    this.caption.title = fill(this.t.why_help, { top: signed(top).slice(1) });
    this.rank = rank(this.part[3], 0, N, key, valid);
  }
}

// How large the numbers grow: their size over the blocks, and the chosen block's tokens over the photo.

import { blockName, PlaneFigure } from "../plane/figure.js";
import { saveTable } from "../save/files.js";
import { Choice, el, position, say } from "../shared/markup.js";
import { colours, outline } from "../shared/paint.js";
import { fill, together } from "../shared/text.js";
import { Curve, LEFT, short } from "./curve.js";

export class AmplitudeFigure extends PlaneFigure {
  file = "cfviz-amplitude";

  constructor(parent, message) {
    super(parent);
    Object.assign(this, { chosen: 0, shown: 0, at: null });
    this.load(message);
  }

  read(array, first) {
    const { header } = this;
    this.blocks = header.blocks.map((block) => ({
      ...block,
      tokens: array(block.tokens),
      stride: header.input.h / block.H,
      name: blockName(block),
    }));
    this.table = colours(header.palette.sequential);
    this.curve = new Curve(this.blocks, this.t);
    if (first) this.chosen = header.start.block;
    this.chosen = Math.min(this.chosen, this.blocks.length - 1);
  }

  begin() {
    this.choose(this.chosen);
  }

  elements() {
    const { t } = this;
    const ui = {
      ...this.surface("am"),
      drawing: el("div.am-drawing"),
      columns: el("div.am-columns", { role: "radiogroup", "aria-label": t.blocks }),
      key: el("ul.am-key"),
      scale: el("p.note.am-scale"),
      token: el("p.am-token"),
      what: el("p.am-what"),
      steps: el("p"),
      far: el("p"),
      tokens: el("p"),
      channels: el("p"),
    };
    ui.plot = el("div.am-plot", {}, ui.drawing, ui.columns);
    ui.left = el("div.left", {}, ui.map, ui.scale);
    const said = el("div.right.am-said", {}, ui.what, ui.steps, ui.far, ui.tokens, ui.channels, ui.token);
    this.mount("am", ui, [], ui.plot, ui.key, el("div.body", {}, ui.left, said));
    this.columnChoice = new Choice(ui.columns, (i) => this.choose(i));
    this.columnChoice.fill(this.blocks.map((block) => this.column(block)));
    this.fillKey();
    this.listen();
    this.plane.follow(
      ui.map,
      () => this.at,
      (at) => this.point(at),
    );
  }

  column(block) {
    const label = fill(this.t.what, {
      block: block.name,
      largest: short(block.largest),
      mean: short(block.mean),
    });
    return el("button.am-column", { type: "button", "aria-label": label, title: block.name });
  }

  fillKey() {
    const { t, blocks, header } = this;
    const kinds = [...new Set(blocks.map((block) => block.kind))];
    const entries = [
      ["am-line", t.key_largest],
      ["am-thin", t.key_mean],
    ];
    if (blocks.some((block) => block.cooled)) entries.push(["am-diamond", t.key_cooled]);
    if (blocks[0].without) entries.push(["am-dashed", t.key_without]);
    const keys = entries.map(([name, text]) => el("li", {}, el(`i.${name}`), text));
    const dot = (kind) => el("i.am-dot", { style: `background:${header.palette[kind]}` });
    keys.push(
      ...kinds.map((kind) => el("li", {}, dot(kind), fill(t.key_head, { kind: kind.toUpperCase() }))),
      el("li", {}, el("i.am-dotted"), t.key_even),
    );
    this.ui.key.replaceChildren(...keys);
  }

  listen() {
    const { columns } = this.ui;
    columns.addEventListener("pointermove", (e) => {
      const i = this.columnChoice.items.indexOf(e.target.closest("[role=radio]"));
      if (i >= 0) this.show(i);
    });
    columns.addEventListener("pointerleave", () => this.show(this.chosen));
  }

  /** The block that the map and the sentences are about: the one pointed at, else the chosen one. */
  get block() {
    return this.blocks[this.shown];
  }

  choose(i) {
    this.chosen = i;
    this.columnChoice.choose(i);
    this.show(i, true);
    say(this.ui.live, this.ui.what.textContent);
  }

  show(i, anew = false) {
    if (i === this.shown && !anew) return;
    this.shown = i;
    this.at = null;
    this.columnChoice.items.forEach((item, n) => item.classList.toggle("am-shown", n === i));
    this.tell();
    this.drawMap();
  }

  tell() {
    const { t, ui, block } = this;
    const size = (x) => short(x);
    say(ui.what, fill(t.what, { block: block.name, largest: size(block.largest), mean: size(block.mean) }));
    const after = block.steps.map(([name, largest]) => fill(t[`after_${name}`], { largest: size(largest) }));
    const without = block.without ? fill(t.without, { largest: size(block.without[0]) }) : "";
    say(ui.steps, together(fill(t.steps, { after: after.join(t.join) }), without));
    const [low, high] = [Math.min(...block.heads), Math.max(...block.heads)].map((x) => x.toFixed(1));
    const fields = { low, high, even: block.even.toFixed(1), h: block.reach[0], w: block.reach[1] };
    say(ui.far, fill(block.heads.length > 1 ? t.far : t.far_one, fields));
    const times = (ratio) => (ratio === null ? "∞" : ratio.toFixed(ratio < 10 ? 1 : 0));
    const tokens = block.top.map(([r, c, ratio]) =>
      fill(t.token_times, { at: position(r, c), times: times(ratio) }),
    );
    const marked = fill(block.outliers ? t.outliers : t.no_outliers, { n: block.outliers });
    say(ui.tokens, together(fill(t.tokens, { list: tokens.join(t.join) }), marked));
    const channels = block.channels.map(([c, ratio]) =>
      fill(t.channel_times, { at: c, times: times(ratio) }),
    );
    say(ui.channels, fill(t.channels, { list: channels.join(t.join) }));
    say(ui.scale, fill(t.scale, { top: size(Math.max(...block.tokens)) }));
  }

  point(at) {
    this.at = at;
    this.mark();
  }

  layOut() {
    const { ui, curve } = this;
    if (!ui.left.clientWidth || !this.theme) return;
    const { sda_ink: sda, lda_ink: lda } = this.theme;
    const kinds = { sda: sda ?? this.header.palette.sda, lda: lda ?? this.header.palette.lda };
    ui.drawing.replaceChildren(curve.svg(ui.plot.clientWidth, this.theme, kinds));
    ui.columns.style.left = `${LEFT}px`;
    this.drawMap();
  }

  drawMap() {
    const { ui, header, block, plane } = this;
    if (!ui.left.clientWidth || !this.theme) return;
    plane.fit(block, header.input, ui.left.clientWidth);
    plane.drawBackground(
      this.photo,
      this.theme,
      block.tokens,
      this.table,
      0,
      Math.max(...block.tokens),
      0.72,
    );
    this.mark();
  }

  mark() {
    const { plane, block, ui, t, at } = this;
    const { pen, ratio } = plane;
    if (!pen) return;
    plane.frame(at);
    const side = block.stride * plane.zoom;
    const limit = 2 * block.median;
    block.tokens.forEach((size, i) => {
      const [x, y] = [(i % block.W) * side, Math.floor(i / block.W) * side];
      if (size > limit) outline(pen, ratio, [3, 1.25], () => pen.rect(x, y, side, side));
    });
    if (!at) return say(ui.token, t.point);
    const size = block.tokens[at.row * block.W + at.col];
    const times = block.median ? (size / block.median).toFixed(2) : "∞";
    say(ui.token, fill(t.token, { at: position(at.row, at.col), size: short(size), times }));
  }

  saveNumbers() {
    const names = ["block", "kind", "largest", "mean", "rms", "cooled", "largest_without_cooling"];
    const rows = this.blocks.map((b) => [
      b.name,
      b.kind,
      b.largest,
      b.mean,
      b.rms,
      b.cooled,
      b.without?.[0],
      b.even,
      b.heads.join(" "),
    ]);
    saveTable(this.file, [[...names, "even_distance", "head_distances"], ...rows]);
  }
}

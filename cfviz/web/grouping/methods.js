// The fourth figure: the same query in eight attention layers, on one axis of cost.

import { el, say } from "../shared/markup.js";
import { about, fill } from "../shared/text.js";
import { Board, EDGES, Lattice } from "./board.js";
import { heard, multiplyAdds } from "./geo.js";
import { whole } from "../shared/maths.js";
import { compact, Plate } from "./parts.js";
import { room } from "../deck/deck.js";

const GAP = 26; // pixels below a row of maps

export class Methods {
  constructor(app) {
    this.app = app;
    const { t } = app;
    this.plate = new Plate(
      "methods",
      t,
      {
        picture: () => this.picture(),
        table: () => this.table(),
        code: () => this.code(),
      },
      app,
    );
    this.cells = Array.from({ length: 8 }, () => {
      const cell = { board: new Board(t.map_label, app.pointing), name: el("h4"), line: el("p.note.num") };
      cell.root = el("div.cell", {}, cell.name, cell.board.box, cell.line);
      return cell;
    });
    this.rows = Array.from({ length: 8 }, () => {
      const row = {
        name: el("span"),
        open: el("i.open"),
        dot: el("i.dot"),
        value: el("span.num"),
        total: el("span.num.note"),
      };
      row.root = el(
        "div.ledger",
        { role: "listitem" },
        row.name,
        el("div.axis", {}, row.open, row.dot),
        row.value,
        row.total,
      );
      return row;
    });
    this.ticks = el("div.axis.ticks", { "aria-hidden": "true" });
    this.grid = el("div.cells");
    this.grid.append(...this.cells.map((c) => c.root));
    const head = el(
      "div.ledger.top",
      { "aria-hidden": "true" },
      el("span", {}, t.layer),
      el("span"),
      el("span.num", {}, el("i.dot"), t.cost_attention),
      el("span.num", {}, el("i.open"), t.cost_total),
    );
    this.note = el("p.note.under");
    this.grid.dataset.slide = 6;
    this.plate.body.append(
      this.grid,
      el(
        "div",
        { "data-slide": 7 },
        el("h4", {}, t.cost_axis),
        el(
          "div.ranks",
          { role: "list" },
          head,
          ...this.rows.map((r) => r.root),
          el("div.ledger.last", {}, el("span"), this.ticks),
        ),
        this.note,
      ),
    );
  }

  get layers() {
    const f = this.app.families;
    return [...f.crossformer, ...f.swin, ...f.pvt, ...f.twins, ...f.vit];
  }

  colour(layer) {
    return this.app.theme[layer.name] ?? this.app.theme.muted;
  }

  layOut() {
    const { h: H, w: W } = this.app.state;
    const columns = this.grid.clientWidth > 760 ? 4 : 2;
    this.grid.style.setProperty("--columns", columns);
    const width = (this.grid.clientWidth - (columns - 1) * 20) / columns;
    const rows = this.cells.length / columns; // a presenter sees them all at once
    const words = Math.max(...this.cells.map((cell) => cell.root.offsetHeight - cell.board.box.offsetHeight));
    const height = Math.min(width, 300, room(this.grid, Infinity) / rows - words - GAP - EDGES);
    this.cells.forEach((cell) => {
      const lattice = new Lattice(H, W, H, W, width, height);
      cell.board.fit(lattice);
      this.drawBackground(cell.board.base, lattice);
    });
    this.rank();
    this.draw();
  }

  drawBackground(pen, at) {
    pen.rect(at.left, at.top, at.width, at.height, this.app.theme.panel);
    at.grid(pen, this.app.theme.paper);
  }

  /** Draw the tokens that the query can attend to in one layer. */
  tokens(pen, at, layer, seen) {
    const { state, theme } = this.app;
    const colour = this.colour(layer);
    if (layer.name === "lda") {
      seen.tokens.forEach((v, i) => v === 1 && at.dot(pen, Math.floor(i / at.W), i % at.W, colour));
    } else at.runs(pen, seen.tokens, 1, colour, layer.reduction > 1 ? 0.72 : 1);
    if (layer.region) this.crosses(pen, at, seen.tokens, colour);
    if (layer.reduction > 1) {
      const [h, w] = [Math.floor(state.h / layer.reduction), Math.floor(state.w / layer.reduction)];
      const list = [];
      for (let c = 0; c <= w; c++)
        list.push([at.x(c * layer.reduction), at.top, at.x(c * layer.reduction), at.y(h * layer.reduction)]);
      for (let r = 0; r <= h; r++)
        list.push([at.left, at.y(r * layer.reduction), at.x(w * layer.reduction), at.y(r * layer.reduction)]);
      pen.lines(list, theme.paper, 2.25);
    } else at.grid(pen, theme.paper);
    at.ring(pen, state.row, state.col);
  }

  /** Outline and cross out the window's tokens that are masked. */
  crosses(pen, at, tokens, colour) {
    const list = [];
    at.runs(pen, tokens, 2, colour, 0.16);
    for (let i = 0; i < tokens.length; i++) {
      if (tokens[i] !== 2) continue;
      const [x, y, e] = [at.x(i % at.W), at.y(Math.floor(i / at.W)), at.cell];
      list.push([x, y, x + e, y + e], [x + e, y, x, y + e]);
    }
    pen.lines(list, colour, at.cell < 6 ? 0.5 : 0.9);
  }

  draw() {
    const { app } = this;
    if (!this.cells[0].board.lattice) return;
    const { state, t } = app;
    this.layers.forEach((layer, i) => {
      const cell = this.cells[i];
      const seen = heard(layer, state.row, state.col);
      cell.board.wipe();
      this.tokens(cell.board.over, cell.board.lattice, layer, seen);
      let [tokens, masked] = [0, 0];
      for (const v of seen.tokens) {
        tokens += v === 1;
        masked += v === 2;
      }
      const more = [
        masked && fill(t.line_masked, { n: whole(masked) }),
        seen.padding && fill(t.line_padding, { n: whole(seen.padding) }),
      ];
      say(cell.name, t[`layer_${layer.name}_long`]);
      cell.name.dataset.kind = layer.name;
      say(
        cell.line,
        [fill(t.line, { keys: whole(seen.keys), tokens: whole(tokens) }), ...more.filter(Boolean)].join(
          t.comma,
        ),
      );
      Object.assign(cell, { seen, count: tokens });
    });
    this.summary = this.layers
      .map((layer, i) => about(t[`layer_${layer.name}_long`], this.cells[i].line.textContent))
      .join("; ");
  }

  /** Costs on one logarithmic axis: attention alone, and with the projections. */
  rank() {
    const { state, t, window, ratio } = this.app;
    this.costs = this.layers.map((layer) => multiplyAdds(layer, state.c));
    const low = Math.floor(Math.log10(Math.min(...this.costs.map((c) => c.attention))));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...this.costs.map((c) => c.total)))));
    const place = (n) => `${(100 * (Math.log10(n) - low)) / (high - low)}%`;
    this.axis = { low, high };
    this.layers.forEach((layer, i) => {
      const [row, cost] = [this.rows[i], this.costs[i]];
      say(row.name, t[`layer_${layer.name}_long`]);
      row.dot.style.cssText = `left:${place(cost.attention)};background:${this.colour(layer)}`;
      row.open.style.cssText = `left:${place(cost.total)};border-color:${this.colour(layer)}`;
      say(row.value, compact(cost.attention));
      row.value.title = whole(cost.attention);
      say(row.total, compact(cost.total));
      row.total.title = whole(cost.total);
    });
    this.ticks.replaceChildren(
      ...Array.from({ length: high - low + 1 }, (_, k) =>
        el("span.num", { style: `left:${(100 * k) / (high - low)}%` }, compact(10 ** (low + k))),
      ),
    );
    say(this.note, fill(t.methods_note, { window, ratio, C: state.c }));
    this.plate.recode();
  }

  picture() {
    const { state, theme, t } = this.app;
    const side = 210;
    const tall = Math.min(side, (side * state.h) / state.w);
    const spots = this.layers.map((_, i) => ({
      left: 20 + (i % 4) * (side + 20),
      top: 44 + Math.floor(i / 4) * (tall + 74),
    }));
    const draw = (pen) =>
      this.layers.forEach((layer, i) => {
        const at = Object.assign(new Lattice(state.h, state.w, state.h, state.w, side, tall), spots[i]);
        pen.text(at.left, at.top - 12, t[`layer_${layer.name}_long`], {
          size: 14,
          weight: 600,
          fill: theme.ink,
        });
        this.drawBackground(pen, at);
        this.tokens(pen, at, layer, this.cells[i].seen);
        const words = `${this.cells[i].line.textContent} · ${compact(this.costs[i].attention)}`;
        pen.text(at.left, at.top + at.height + 18, words, { size: 11, fill: theme.muted });
      });
    return { width: 4 * side + 100, height: 2 * (tall + 74) + 20, paper: theme.paper, draw };
  }

  table() {
    const head = [
      "layer",
      "keys",
      "tokens_heard",
      "padding_keys",
      "attention",
      "projections",
      "reduction",
      "total",
    ];
    return [
      head,
      ...this.layers.map((layer, i) => {
        const [c, cell] = [this.costs[i], this.cells[i]];
        return [
          layer.name,
          cell.seen.keys,
          cell.count,
          cell.seen.padding,
          c.attention,
          c.projections,
          c.reduction,
          c.total,
        ];
      }),
    ];
  }

  code() {
    const { state, window, ratio } = this.app;
    const [H, W] = [state.h, state.w];
    const query = `${state.row}, ${state.col}`;
    return `from cfviz.analysis.reach import multiply_adds
from cfviz.geometry.schemes import families

methods = families(
    ${H}, ${W}, G=${state.g}, I=${this.app.interval}, window=${window}, ratio=${ratio}${this.app.formCode})
for name, layers in methods.items():
    for layer in layers:
        keys = layer.scored(${query})         # the keys in the query's softmax, -1 for padding
        tokens = layer.sources(${query})      # bool (${H}, ${W})
        print(layer.name, len(keys), tokens.sum(), multiply_adds(layer, C=${state.c}).attention)`;
  }
}

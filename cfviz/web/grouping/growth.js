// The third figure: which tokens can reach the query after n blocks, method by method.

import { Choice, el, say } from "../shared/markup.js";
import { fill, together } from "../shared/text.js";
import { Board, EDGES, Lattice } from "./board.js";
import { arrival } from "./geo.js";
import { whole } from "../shared/maths.js";
import { Plate } from "./parts.js";
import { room } from "../deck/deck.js";

const BLOCKS = 6;
const METHODS = ["crossformer", "swin", "pvt", "twins", "vit"];

export class Growth {
  constructor(app) {
    this.app = app;
    const { t } = app;
    this.shown = 2;
    this.method = "crossformer";
    this.plate = new Plate(
      "growth",
      t,
      {
        picture: () => this.picture(),
        table: () => this.table(),
        code: () => this.code(),
      },
      app,
    );
    this.board = new Board(t.map_label, app.pointing);
    this.play = el("button.go", { type: "button" }, t.play);
    this.play.addEventListener("click", () => this.run());
    this.steps = new Choice(el("div.seg.num", { role: "radiogroup", "aria-label": t.blocks_after }), (n) =>
      this.go(n),
    );
    this.steps.fill(Array.from({ length: BLOCKS + 1 }, (_, n) => el("button", { type: "button" }, `${n}`)));
    this.headline = el("p.headline.num");
    this.legend = el("ul.legend-blocks.num");
    this.note = el("p.note.under");
    this.grid = this.makeTable();
    this.left = el("div.left", {}, this.board.box, this.legend);
    this.right = el("div.right", {}, el("div", {}, this.headline, this.note), this.grid);
    this.plate.body.append(
      el("div.bar", {}, this.play, el("span.note", {}, t.blocks_after), this.steps.box),
      el("div.body", {}, this.left, this.right),
    );
  }

  makeTable() {
    const { t } = this.app;
    const head = el(
      "tr",
      {},
      el("th", { scope: "col" }, t.method),
      ...Array.from({ length: BLOCKS }, (_, n) => el("th.num", { scope: "col" }, `${n + 1}`)),
      el("th.num", { scope: "col" }, t.covers),
    );
    this.rows = METHODS.map((name) => {
      const pick = el("button", { type: "button" }, t[`method_${name}`]);
      pick.addEventListener("click", () => {
        this.method = name;
        this.app.requestDraw();
      });
      const cells = Array.from({ length: BLOCKS }, (_, n) => {
        const cell = el("td.num", {}, el("span"), el("i"));
        cell.addEventListener("click", () => {
          this.method = name;
          this.go(n + 1);
        });
        return cell;
      });
      const cover = el("td.num.cover");
      return {
        name,
        pick,
        cells,
        cover,
        root: el("tr", {}, el("th", { scope: "row" }, pick), ...cells, cover),
      };
    });
    return el(
      "table.reach",
      {},
      el("caption", {}, t.reach_caption),
      el("thead", {}, head),
      el("tbody", {}, ...this.rows.map((r) => r.root)),
    );
  }

  go(n) {
    this.stop();
    this.shown = Math.max(0, Math.min(BLOCKS, n));
    this.app.requestDraw();
  }

  run() {
    if (this.timer) return this.stop();
    this.shown = 0;
    this.app.requestDraw();
    say(this.play, this.app.t.pause);
    this.timer = setInterval(() => {
      this.shown++;
      this.app.requestDraw();
      if (this.shown >= BLOCKS) this.stop();
    }, 900);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    say(this.play, this.app.t.play);
  }

  layOut() {
    const { h: H, w: W } = this.app.state;
    const width = Math.min(this.left.clientWidth, 560);
    const usual = Math.min(520, Math.max(300, width)) + EDGES;
    const lattice = new Lattice(H, W, H, W, width, room(this.board.box, usual) - EDGES);
    this.board.fit(lattice);
    this.draw();
  }

  /** Colour and opacity of the tokens that block n adds: by kind of attention, later blocks paler. */
  ink(n) {
    const { theme, families } = this.app;
    const schemes = families[this.method];
    const kind = schemes[(n - 1) % schemes.length].name;
    return [theme[kind] ?? theme.ink, Math.max(0.22, 1 - 0.17 * (n - 1)) * (theme[kind] ? 1 : 0.62)];
  }

  tokens(pen, at, grid = true) {
    const { state, theme } = this.app;
    const { first } = this.sets[this.method];
    pen.rect(at.left, at.top, at.width, at.height, theme.panel);
    for (let n = 1; n <= this.shown; n++) at.runs(pen, first, n, ...this.ink(n));
    if (grid) at.grid(pen, theme.paper);
    pen.frame(at.left, at.top, at.width, at.height, theme.line, 1);
    at.ring(pen, state.row, state.col);
  }

  draw() {
    const { app, board } = this;
    if (!board.lattice) return;
    const { state, t } = app;
    this.sets = Object.fromEntries(
      METHODS.map((name) => [name, arrival(app.families[name], state.row, state.col, BLOCKS)]),
    );
    board.wipe();
    this.tokens(board.over, board.lattice);
    this.steps.choose(this.shown);
    const all = state.h * state.w;
    const { counts, cover } = this.sets[this.method];
    const n = counts[this.shown];
    const fields = {
      n: this.shown,
      count: whole(n),
      all: whole(all),
      share: ((100 * n) / all).toFixed(n === all ? 0 : 1),
      method: t[`method_${this.method}`],
    };
    say(this.headline, fill(t.reach_headline, fields));
    const { down, across } = app.pairLong;
    const apart = this.method === "crossformer" && (state.h > down || state.w > across);
    const notes = [t[`reach_note_${this.method}`]];
    if (apart) notes.push(fill(t.reach_note_regions, { down, across }));
    const { number, blocks } = app.map ?? {};
    if (this.method === "crossformer" && number)
      notes.push(fill(t.reach_note_stage, { number, blocks }), app.data.covers);
    say(this.note, together(...notes));
    this.key(counts, cover);
    for (const row of this.rows) this.fillRow(row, all);
    this.summary = `${this.headline.textContent} ${cover < 0 ? t.never : fill(t.covers_in, { n: cover })}`;
    this.plate.recode();
  }

  fillRow(row, all) {
    const { counts, cover } = this.sets[row.name];
    row.cells.forEach((cell, n) => {
      say(cell.firstChild, whole(counts[n + 1]));
      cell.lastChild.style.width = `${(100 * counts[n + 1]) / all}%`;
      cell.classList.toggle("now", n + 1 === this.shown && row.name === this.method);
      cell.classList.toggle("full", counts[n + 1] === all);
    });
    say(row.cover, cover < 0 ? "–" : `${cover}`);
    row.cover.title = cover < 0 ? this.app.t.never : "";
    row.root.classList.toggle("on", row.name === this.method);
    row.pick.setAttribute("aria-pressed", row.name === this.method);
  }

  key(counts, cover) {
    const { t, families } = this.app;
    const schemes = families[this.method];
    const items = [];
    for (let n = 1; n <= this.shown && (n <= cover || cover < 0); n++) {
      const [colour, alpha] = this.ink(n);
      const kind = t[`layer_${schemes[(n - 1) % schemes.length].name}`];
      items.push([`${n} ${kind} +${whole(counts[n] - counts[n - 1])}`, colour, alpha]);
    }
    const text = items.map(([words]) => words).join();
    if (this.keyText === text) return;
    this.keyText = text;
    this.legend.replaceChildren(
      ...items.map(([words, colour, alpha]) =>
        el("li", {}, el("i", { style: `background:${colour};opacity:${alpha}` }), words),
      ),
    );
  }

  picture() {
    const { state, theme } = this.app;
    const at = new Lattice(state.h, state.w, state.h, state.w, 640, 640);
    Object.assign(at, { left: 20, top: 48 });
    return {
      width: Math.max(at.width + 40, 480),
      height: at.height + 92,
      paper: theme.paper,
      draw: (pen) => {
        pen.text(20, 30, this.app.t[`method_${this.method}`], { size: 17, weight: 600, fill: theme.ink });
        this.tokens(pen, at);
        pen.text(20, at.height + 76, this.headline.textContent, { fill: theme.muted });
      },
    };
  }

  table() {
    const head = ["method", ...Array.from({ length: BLOCKS + 1 }, (_, n) => `after_${n}`), "covers_in"];
    return [
      head,
      ...METHODS.map((name) => [
        name,
        ...this.sets[name].counts,
        this.sets[name].cover < 0 ? "" : this.sets[name].cover,
      ]),
    ];
  }

  code() {
    const { state } = this.app;
    const I = this.app.interval;
    const { window, ratio } = this.app;
    const query = `row=${state.row}, col=${state.col}`;
    return `import numpy as np
from cfviz.analysis.reach import blocks_to_cover, reach
from cfviz.geometry.schemes import families

methods = families(
    ${state.h}, ${state.w}, G=${state.g}, I=${I}, window=${window}, ratio=${ratio}${this.app.formCode})
layers = methods["${this.method}"]
sets = reach(layers, ${query}, blocks=${BLOCKS})         # bool (${BLOCKS + 1}, ${state.h}, ${state.w})
print(sets.sum((1, 2)).tolist())       # ${this.sets[this.method].counts.join(", ")}
print(blocks_to_cover(layers, ${state.row}, ${state.col}, limit=${BLOCKS}))

# one step by hand, in a layer without a mask: a group with a query that is reached adds its keys
reached = np.append(sets[0], False)    # the last entry stands for padding
asking = reached[layers[0].queries].any(1)
reached[layers[0].keys[asking]] = True`;
  }
}

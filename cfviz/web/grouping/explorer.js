// The first figure: which tokens share a group, the padding, and the cost compared with global attention.

import { el, say } from "../shared/markup.js";
import { fill } from "../shared/text.js";
import { Board, EDGES, Lattice, RULER } from "./board.js";
import { crossformer, digits, multiplyAdds, vit } from "./geo.js";
import { whole } from "../shared/maths.js";
import { compact, Facts, Plate, times } from "./parts.js";
import { room } from "../deck/deck.js";

export class Explorer {
  constructor(app) {
    this.app = app;
    const { t } = app;
    this.plate = new Plate("groups", t, {
      picture: () => this.picture(),
      table: () => this.table(),
      code: () => this.code(),
    });
    // A lesson's map is small, and its counts need the room.
    const change = () => {
      app.stale.add(this);
      app.requestDraw();
    };
    this.board = new Board(t.map_label, this.pointing(), app.data.lesson ? null : { t, change });
    this.note = el("p.note.under");
    this.headline = el("p.headline.num");
    this.address = el("pre.address.num", { "aria-hidden": "true" });
    this.digits = el("p.note.digits");
    this.facts = new Facts({ tokens: t.tokens, padded: t.padded, groups: t.groups, members: t.members });
    this.costs = ["group", "global"].map((name) => {
      const bar = el(`i.bar-${name}`);
      const row = { formula: el("p.formula.num"), value: el("b.num"), bar };
      row.root = el(
        "div.cost",
        {},
        el("div.row", {}, el("span", {}, name === "global" ? t.cost_global : ""), row.value),
        el("div.track", {}, bar),
        row.formula,
      );
      row.name = row.root.querySelector("span");
      return row;
    });
    this.ratio = el("p.ratio");
    const under = el("div.enlarging", {}, this.board.zoom?.box ?? "", this.note);
    this.left = el("div.left", {}, this.board.box, under);
    this.right = el(
      "div.right",
      {},
      el("div", { "data-slide": 1 }, this.headline, this.address, this.digits),
      this.facts.root,
      el(
        "div.costs",
        { "data-slide": 2 },
        el("h4", {}, t.cost),
        ...this.costs.map((c) => c.root),
        this.ratio,
      ),
    );
    this.plate.body.append(el("div.body", {}, this.left, this.right));
  }

  /** As on the page's other maps; keys also bring the token into sight. */
  pointing() {
    const { app } = this;
    const press = (key) => {
      app.press(key);
      if (Array.isArray(key) && this.board.zoom) this.board.reveal(app.state.row, app.state.col);
    };
    return { ...app.pointing, press };
  }

  /** Lay out everything that does not follow the pointer. */
  layOut() {
    const { app } = this;
    const g = app.grouping;
    // In a lesson, the counts below stay in sight.
    const fit = app.data.lesson ? Math.max(300, window.innerHeight * 0.5) : 620;
    const width = Math.min(this.left.clientWidth - RULER, fit);
    const usual = Math.min(620, Math.max(320, width)) + EDGES;
    const height = room(this.board.box, usual, ...(app.data.lesson ? [this.right] : [])) - EDGES;
    const lattice = new Lattice(g.H, g.W, g.Hp, g.Wp, width, height);
    this.board.fit(lattice, RULER);
    this.board.within(this.board.base, (pen, at) => this.drawBackground(pen, at));
    lattice.rulers(this.board.base, app.theme.muted);
    this.tally();
    this.draw();
  }

  drawBackground(pen, at) {
    const { grouping: g, theme } = this.app;
    const colour = theme[g.kind];
    pen.rect(at.left, at.top, g.W * at.cell, g.H * at.cell, theme.panel);
    if (g.kind === "sda") {
      for (let r = 0; r < g.H; r += g.Gh) {
        for (let c = 0; c < g.W; c += g.Gw) {
          const [w, h] = [Math.min(g.Gw, g.W - c), Math.min(g.Gh, g.H - r)];
          const odd = (r / g.Gh + c / g.Gw) % 2;
          pen.rect(at.x(c), at.y(r), w * at.cell, h * at.cell, colour, odd ? 0.24 : 0.1);
        }
      }
    } else {
      const shades = new Uint8Array(g.H * g.W);
      for (let i = 0; i < shades.length; i++) shades[i] = (Math.floor(i / g.W) % g.I) + ((i % g.W) % g.I);
      for (let s = 0; s <= 2 * g.I - 2; s++)
        at.runs(pen, shades, s, colour, 0.06 + (0.34 * s) / Math.max(1, 2 * g.I - 2));
    }
    at.padding(pen, theme.padding);
    at.grid(pen, theme.paper);
    at.borders(pen, g.down, g.across, theme.muted, at.cell < 5 ? 0.8 : 1.4);
  }

  /** Draw the query's group. */
  group(pen, at) {
    const { grouping: g, state, theme } = this.app;
    const { group, r1, r2 } = digits(g, state.row, state.col);
    const colour = theme[g.kind];
    const inset = at.cell >= 6 ? 0.5 : 0;
    for (let slot = 0; slot < g.N; slot++) {
      const flat = g.index[group * g.N + slot];
      const [x, y] = [at.x(flat % g.Wp), at.y(Math.floor(flat / g.Wp))];
      if (g.members[group * g.N + slot] < 0) {
        pen.frame(x + 1, y + 1, at.cell - 2, at.cell - 2, colour, 1.25, 0.9);
        continue;
      }
      if (inset) pen.rect(x + inset, y + inset, at.cell - 2 * inset, at.cell - 2 * inset, colour);
      else at.dot(pen, Math.floor(flat / g.Wp), flat % g.Wp, colour);
      if (at.cell >= 17) {
        const style = { size: Math.min(13, at.cell * 0.5), fill: "#FFFFFF", anchor: "middle", weight: 600 };
        pen.text(x + at.cell / 2, y + at.cell / 2 + style.size * 0.36, String(slot), style);
      }
    }
    const [wide, tall] = [g.across * at.cell, g.down * at.cell];
    pen.frame(at.x(r2 * g.across), at.y(r1 * g.down), wide, tall, colour, 2.5);
    at.ring(pen, state.row, state.col);
  }

  draw() {
    const { board, app } = this;
    if (!board.lattice) return;
    board.wipe();
    board.within(board.over, (pen, at) => this.group(pen, at));
    const { grouping: g, state, t } = app;
    const d = digits(g, state.row, state.col);
    say(this.headline, fill(t.headline, { row: state.row, col: state.col, group: d.group, slot: d.slot }));
    const line = (name, x, G, r, m, i) => {
      if (g.kind === "sda") return `${name} ${x} = r·G + g = ${r}·${G} + ${m}`;
      if (this.app.whole) return `${name} ${x} = g·I + i = ${m}·${g.I} + ${i}`;
      return `${name} ${x} = (r·G + g)·I + i = (${r}·${G} + ${m})·${g.I} + ${i}`;
    };
    say(
      this.address,
      `${line(t.row, state.row, g.Gh, d.r1, d.g1, d.i1)}\n${line(t.col, state.col, g.Gw, d.r2, d.g2, d.i2)}`,
    );
    say(this.digits, g.kind === "sda" ? t.digits_sda : app.whole ? t.digits_whole : t.digits_regions);
    let tokens = 0;
    for (let k = d.group * g.N; k < (d.group + 1) * g.N; k++) tokens += g.members[k] >= 0;
    const text = fill(tokens === g.N ? t.members_full : t.members_padded, {
      n: g.N,
      tokens,
      padding: g.N - tokens,
      Gh: g.Gh,
      Gw: g.Gw,
    });
    this.facts.show("members", text);
    const place = { row: state.row, col: state.col, group: d.group, slot: d.slot };
    this.summary = `${fill(t.headline, place)} ${text}. ${this.ratio.textContent}`;
  }

  /** Write the counts and costs, which change with the map but not with the query. */
  tally() {
    const { grouping: g, state, t } = this.app;
    const costs = [crossformer(g), vit(g.H, g.W)].map((s) => multiplyAdds(s, state.c));
    const [here, whole_] = costs.map((cost) => cost.attention);
    const layer = costs[1].total / costs[0].total;
    this.facts.show("tokens", `${g.H}\u00a0×\u00a0${g.W} = ${whole(g.H * g.W)}`);
    const extra = g.Hp * g.Wp - g.H * g.W;
    const share = (100 * extra) / (g.Hp * g.Wp);
    this.facts.show(
      "padded",
      extra
        ? fill(t.padded_to, {
            Hp: g.Hp,
            Wp: g.Wp,
            extra: whole(extra),
            share: share.toFixed(share < 9.95 ? 1 : 0),
          })
        : t.padded_none,
    );
    this.facts.show("groups", `${g.Hp / g.Gh}\u00a0×\u00a0${g.Wp / g.Gw} = ${whole(g.nG)}`);
    const top = Math.max(here, whole_);
    const [a, b] = this.costs;
    const { whole: grows } = this.app;
    say(a.name, fill(grows ? t.cost_group_whole : t.cost_group, { kind: g.kind.toUpperCase() }));
    const [H, W] = extra ? ["H′", "W′"] : ["H", "W"];
    const [N, numbers] = grows ? ["(H′/I)·(W′/I)", `${g.Gh}·${g.Gw}`] : ["G²", `${g.Gh}²`];
    const sizes = `2·${g.Hp}·${g.Wp}·${numbers}·${state.c}`;
    say(a.formula, `2·${H}·${W}·${extra ? N : N.replaceAll("′", "")}·C = ${sizes}`);
    say(b.formula, `2·(H·W)²·C = 2·(${g.H}·${g.W})²·${state.c}`);
    [
      [a, here],
      [b, whole_],
    ].forEach(([row, n]) => {
      say(row.value, compact(n));
      row.value.title = whole(n);
      row.bar.style.width = `${(100 * n) / top}%`;
    });
    a.bar.dataset.kind = g.kind;
    const x = whole_ / here;
    say(
      this.ratio,
      x >= 1.005
        ? fill(t.fewer, { x: times(x), y: times(layer) })
        : x <= 0.995
          ? fill(t.more, { x: times(1 / x) })
          : t.same,
    );
    say(this.note, this.app.note());
    this.plate.recode();
  }

  picture() {
    const { grouping: g, theme, state } = this.app;
    const at = new Lattice(g.H, g.W, g.Hp, g.Wp, 720, 720);
    Object.assign(at, { left: 26, top: 58 });
    const interval = g.kind === "lda" ? `, I = ${g.I}` : "";
    const size = g.Gh === g.Gw ? g.Gh : `${g.Gh}\u00a0×\u00a0${g.Gw}`;
    const title = `${g.kind.toUpperCase()}  ${g.H}\u00a0×\u00a0${g.W}, G = ${size}${interval}`;
    return {
      width: Math.max(at.width + 40, 420),
      height: at.height + 102,
      paper: theme.paper,
      draw: (pen) => {
        pen.text(20, 30, title, { size: 17, weight: 600, fill: theme.ink });
        this.drawBackground(pen, at);
        at.rulers(pen, theme.muted);
        this.group(pen, at);
        pen.text(
          20,
          at.height + 86,
          `${this.headline.textContent} ${this.ratio.textContent} C = ${state.c}.`,
          { fill: theme.muted },
        );
      },
    };
  }

  table() {
    const { grouping: g } = this.app;
    const rows = [["group", "member", "row", "col", "padding"]];
    g.index.forEach((flat, i) => {
      rows.push([
        Math.floor(i / g.N),
        i % g.N,
        Math.floor(flat / g.Wp),
        flat % g.Wp,
        g.members[i] < 0 ? 1 : 0,
      ]);
    });
    return rows;
  }

  code() {
    const { grouping: g, state } = this.app;
    const made =
      g.kind === "sda"
        ? `grouping("sda", ${g.H}, ${g.W}, G=${g.Gh})`
        : `grouping("lda", ${g.H}, ${g.W}, G=${state.g}, I=${g.I}${this.app.formCode})`;
    const size = `${g.H}, ${g.W}`;
    const gap = " ".repeat(Math.max(1, 9 - size.length));
    const ours = multiplyAdds(crossformer(g), state.c).attention;
    const vits = multiplyAdds(vit(g.H, g.W), state.c).attention;
    return `from cfviz.analysis.reach import multiply_adds
from cfviz.geometry import grouping
from cfviz.geometry.schemes import crossformer, vit

g = ${made}
group, member = g.group_of(${state.row}, ${state.col})
print(g.members[group])       # ${g.N} flat positions, row * ${g.W} + col; -1 for padding
print(g.nG, (g.Hp, g.Wp))     # ${g.nG} groups of the map, padded to ${g.Hp} x ${g.Wp}

print(multiply_adds(crossformer(g), C=${state.c}).attention)   # ${ours}
print(multiply_adds(vit(${size}), C=${state.c}).attention)${gap}# ${vits}`;
  }
}

// The second figure: a small map of numbers, its groups as PyTorch prints them, and the code that makes them.

import { el, say } from "../shared/markup.js";
import { STEPS } from "../shared/near.js";
import { fill } from "../shared/text.js";
import { Axes, steps } from "./axes.js";
import { grouping, long } from "./geo.js";
import { Field, Plate } from "./parts.js";

const LARGEST = { H: 8, W: 8, G: 4, I: 4 };

/** Groups as PyTorch prints a tensor (nG, Gh, Gw): lines of text in which each number is marked. */
function tensorLines(g, values) {
  const at = (i) => (g.members[i] < 0 ? 0 : values[g.members[i]]);
  const numbers = Array.from(g.members, (_, i) => String(at(i)));
  const width = Math.max(...numbers.map((s) => s.length));
  const lines = [];
  for (let group = 0; group < g.nG; group++) {
    for (let row = 0; row < g.Gh; row++) {
      const open = group === 0 && row === 0 ? "tensor([[[" : row === 0 ? "        [[" : "         [";
      const from = (group * g.Gh + row) * g.Gw;
      const close = row < g.Gh - 1 ? "]," : group < g.nG - 1 ? "]]," : "]]])";
      lines.push({
        open,
        close,
        group,
        cells: Array.from({ length: g.Gw }, (_, k) => ({
          i: from + k,
          text: numbers[from + k].padStart(width),
        })),
      });
    }
    if (group < g.nG - 1) lines.push(null);
  }
  return lines;
}

export class Example {
  constructor(app) {
    this.app = app;
    const { t } = app;
    this.size = { H: 4, W: 4, G: 2, I: 2 };
    this.query = { row: 1, col: 2 };
    this.plate = new Plate(
      "example",
      t,
      {
        picture: () => this.picture(),
        table: () => this.table(),
        code: () => this.code(),
      },
      app,
    );
    this.fields = Object.fromEntries(
      ["H", "W", "G", "I"].map((name) => [
        name,
        new Field(name, { min: 1, max: LARGEST[name], help: t[`help_${name}`], slider: false }, (n) =>
          this.resize({ [name]: n }),
        ),
      ]),
    );
    this.again = el("button.plain", { type: "button" }, t.example_reset);
    this.again.addEventListener("click", () => this.reset());
    this.cells = el("div.values", { role: "group", "aria-label": t.example_map });
    this.prints = ["sda", "lda"].map((kind) => {
      // It may be wider than its place: whoever has no pointer moves it with the arrow keys.
      const pre = el("pre.print", { tabindex: 0, role: "group", "aria-label": kind.toUpperCase() });
      const print = { kind, pre, shape: el("p.note.num") };
      print.root = el("div", {}, el("h4", { "data-kind": kind }, kind.toUpperCase()), print.shape, print.pre);
      return print;
    });
    this.say = el("p.note.under");
    this.pads = el("p.note.pads", {}, t.example_padding);
    this.axes = new Axes(app, this);
    this.plate.body.append(
      el("div.bar", {}, ...Object.values(this.fields).map((f) => f.root), this.again),
      el(
        "div.triple",
        { "data-slide": 3 },
        el(
          "div",
          {},
          el("h4", {}, t.example_map),
          el("p.note", {}, t.example_edit),
          this.cells,
          this.say,
          this.pads,
        ),
        ...this.prints.map((p) => p.root),
      ),
      this.axes.root,
    );
    this.axes.root.dataset.slide = 4;
    this.plate.look.dataset.slide = 3;
    this.refill();
  }

  reset() {
    this.size = { H: 4, W: 4, G: 2, I: 2 };
    this.refill();
    this.app.requestDraw();
  }

  resize(change) {
    this.size = { ...this.size, ...change };
    this.refill();
    this.app.requestDraw();
  }

  /** The article's map: (r + 1) * (c + 1). */
  refill() {
    const { H, W, G, I } = this.size;
    this.values = Array.from({ length: H * W }, (_, i) => (Math.floor(i / W) + 1) * ((i % W) + 1));
    this.query = { row: Math.min(this.query.row, H - 1), col: Math.min(this.query.col, W - 1) };
    this.form = this.app.state.form;
    this.groups = { sda: grouping("sda", H, W, G), lda: long(H, W, G, I, this.form) };
    [this.Hp, this.Wp] = ["Hp", "Wp"].map((side) => Math.max(this.groups.sda[side], this.groups.lda[side]));
    this.inputs = [];
    this.nodes = Array.from({ length: this.Hp * this.Wp }, (_, i) => {
      const [row, col] = [Math.floor(i / this.Wp), i % this.Wp];
      return row < H && col < W ? this.input(row, col) : this.padding(row, col);
    });
    this.cells.style.setProperty("--columns", this.Wp);
    this.cells.classList.toggle("many", this.Wp > 10);
    this.cells.replaceChildren(...this.nodes);
    this.pads.hidden = this.Hp * this.Wp === H * W;
    for (const [name, field] of Object.entries(this.fields)) field.show(this.size[name]);
    this.reprint();
  }

  /** A cell outside the map, with the kinds of groups whose padding reaches it. */
  padding(row, col) {
    const kinds = ["sda", "lda"].filter((kind) => row < this.groups[kind].Hp && col < this.groups[kind].Wp);
    const names = kinds.map((kind) => kind.toUpperCase()).join(this.app.t.comma);
    return el("i.pad", { title: `${this.app.t.padding} (${names})` });
  }

  input(row, col) {
    const i = row * this.size.W + col;
    const node = el("input.num", {
      type: "text",
      inputmode: "numeric",
      maxlength: 4,
      "aria-label": fill(this.app.t.example_cell, { row, col }),
    });
    node.value = this.values[i];
    const choose = () => this.choose(row, col);
    node.addEventListener("pointerenter", choose);
    node.addEventListener("focus", choose);
    node.addEventListener("input", () => {
      const n = Number(node.value);
      if (node.value.trim() === "" || !Number.isInteger(n)) return;
      this.values[i] = n;
      this.reprint();
      this.app.requestDraw();
    });
    node.addEventListener("blur", () => {
      node.value = this.values[i];
    });
    node.addEventListener("keydown", (e) => {
      const [dr, dc] = STEPS[e.key] ?? [0, 0];
      const next = (dr || dc) && this.inputs[(row + dr) * this.size.W + col + dc];
      if (!next || col + dc < 0 || col + dc >= this.size.W) return;
      e.preventDefault();
      next.focus();
      next.select();
    });
    this.inputs[i] = node;
    return node;
  }

  choose(row, col) {
    if (this.query.row === row && this.query.col === col) return;
    this.query = { row, col };
    this.app.requestDraw();
  }

  reprint() {
    for (const print of this.prints) {
      const g = this.groups[print.kind];
      print.marks = []; // one for each member, by its place in the tensor
      const nodes = [];
      for (const line of tensorLines(g, this.values)) {
        if (line) {
          nodes.push(line.open);
          line.cells.forEach((cell, k) => {
            const mark = el(g.members[cell.i] < 0 ? "span.pad" : "span", {}, cell.text);
            if (g.members[cell.i] >= 0) {
              const [row, col] = [Math.floor(g.members[cell.i] / g.W), g.members[cell.i] % g.W];
              mark.addEventListener("pointerenter", () => this.choose(row, col));
            }
            print.marks[cell.i] = mark;
            nodes.push(...(k ? [", ", mark] : [mark]));
          });
          nodes.push(line.close);
        }
        nodes.push("\n");
      }
      print.pre.replaceChildren(...nodes.slice(0, -1));
      const { t } = this.app;
      const padding = g.Hp * g.Wp > g.H * g.W ? ` · ${fill(t.padded_short, { Hp: g.Hp, Wp: g.Wp })}` : "";
      const names = g.Gh === g.Gw ? "nG, G, G" : "nG, Gh, Gw";
      say(print.shape, `${names} = ${g.nG}, ${g.Gh}, ${g.Gw}${padding}`);
    }
    this.text = Object.fromEntries(this.prints.map((p) => [p.kind, p.pre.textContent]));
  }

  /** The query's group, of one kind. */
  groupOf(kind) {
    const g = this.groups[kind];
    return Math.floor(g.members.indexOf(this.query.row * g.W + this.query.col) / g.N);
  }

  layOut() {
    if (this.form !== this.app.state.form) this.refill();
    this.axes.layOut();
    this.draw();
  }

  draw() {
    const { query, groups, app } = this;
    const here = query.row * this.size.W + query.col;
    const of = { sda: this.groupOf("sda"), lda: this.groupOf("lda") };
    const inside = Object.fromEntries(
      ["sda", "lda"].map((kind) => {
        const g = groups[kind];
        const cells = g.index.slice(of[kind] * g.N, (of[kind] + 1) * g.N);
        return [kind, new Set(Array.from(cells, (at) => Math.floor(at / g.Wp) * this.Wp + (at % g.Wp)))];
      }),
    );
    this.nodes.forEach((node, i) => {
      node.classList.toggle("in-sda", inside.sda.has(i));
      node.classList.toggle("in-lda", inside.lda.has(i));
      node.classList.toggle("query", i === query.row * this.Wp + query.col);
    });
    for (const print of this.prints) {
      const g = groups[print.kind];
      print.marks.forEach((mark, i) => {
        mark.classList.toggle("on", Math.floor(i / g.N) === of[print.kind]);
        mark.classList.toggle("query", g.members[i] === here);
      });
    }
    say(this.say, fill(app.t.example_say, { ...query, value: this.values[here], sda: of.sda, lda: of.lda }));
    this.axes.draw();
    this.summary = this.say.textContent;
    this.plate.recode();
  }

  picture() {
    const { theme } = this.app;
    const side = 34;
    const { H, W } = this.size;
    const map = Array.from({ length: this.Hp * this.Wp }, (_, i) => {
      const [row, col] = [Math.floor(i / this.Wp), i % this.Wp];
      return row < H && col < W ? this.values[row * W + col] : null;
    });
    const wide = (g) => g.Gw * side * 0.8 + 22;
    const columns = 6;
    const block = (g) => Math.ceil(g.nG / columns) * (g.Gh * side * 0.8 + 22);
    const left = 20 + this.Wp * side + 40;
    const heights = ["sda", "lda"].map((kind) => block(this.groups[kind]) + 34);
    const right = Math.max(
      ...["sda", "lda"].map((kind) => Math.min(columns, this.groups[kind].nG) * wide(this.groups[kind])),
    );
    const draw = (pen) => {
      pen.text(20, 30, `${H} × ${W}, G = ${this.size.G}, I = ${this.size.I}`, {
        size: 15,
        weight: 600,
        fill: theme.ink,
      });
      this.matrix(pen, 20, 44, side, this.Wp, map, theme.muted);
      let top = 30;
      ["sda", "lda"].forEach((kind, k) => {
        const g = this.groups[kind];
        pen.text(left, top, kind.toUpperCase(), { size: 15, weight: 600, fill: theme[`${kind}-ink`] });
        for (let n = 0; n < g.nG; n++) {
          const cells = Array.from(g.members.slice(n * g.N, (n + 1) * g.N), (m) =>
            m < 0 ? null : this.values[m],
          );
          const [x, y] = [
            left + (n % columns) * wide(g),
            top + 14 + Math.floor(n / columns) * (g.Gh * side * 0.8 + 22),
          ];
          this.matrix(pen, x, y, side * 0.8, g.Gw, cells, theme[kind]);
        }
        top += heights[k];
      });
    };
    return {
      width: left + Math.max(right, 160) + 20,
      height: Math.max(64 + this.Hp * side, 30 + heights[0] + heights[1]) + 10,
      paper: theme.paper,
      draw,
    };
  }

  matrix(pen, x, y, side, columns, values, colour) {
    values.forEach((value, i) => {
      const [cx, cy] = [x + (i % columns) * side, y + Math.floor(i / columns) * side];
      if (value === null) pen.hatch(cx, cy, side, side, this.app.theme.padding);
      else
        pen.text(cx + side / 2, cy + side / 2 + 5, String(value), {
          size: 13,
          anchor: "middle",
          fill: this.app.theme.ink,
        });
      pen.frame(cx, cy, side, side, colour, 1);
    });
  }

  table() {
    const rows = [["kind", "group", "member", "row", "col", "value"]];
    for (const kind of ["sda", "lda"]) {
      const g = this.groups[kind];
      g.members.forEach((m, i) => {
        rows.push([
          kind,
          Math.floor(i / g.N),
          i % g.N,
          m < 0 ? "" : Math.floor(m / g.W),
          m < 0 ? "" : m % g.W,
          m < 0 ? 0 : this.values[m],
        ]);
      });
    }
    return rows;
  }

  code() {
    const { H, W, G, I } = this.size;
    const rows = Array.from({ length: H }, (_, r) => `[${this.values.slice(r * W, (r + 1) * W).join(", ")}]`);
    const { sda, lda } = this.groups;
    const apart = `g1=${lda.Gh}, g2=${lda.Gw}, i1=${I}, i2=${I}`;
    return `import torch
from einops import rearrange

x = torch.tensor([${rows.join(",\n                  ")}])
x = x[None, :, :, None]                # B H W C
B, H, W, C = x.shape

# short distance: neighbours
${padded(sda)}
sda = ${steps("sda", this.groups).code}
same = rearrange(p, "b (r1 g1) (r2 g2) c -> (b r1 r2) (g1 g2) c", g1=${G}, g2=${G})
assert torch.equal(sda, same)
print(sda.reshape(-1, ${G}, ${G}))

# long distance: tokens ${I} apart
${padded(lda)}
lda = ${steps("lda", this.groups).code}
same = rearrange(p, "b (r1 g1 i1) (r2 g2 i2) c -> (b r1 r2 i1 i2) (g1 g2) c", ${apart})
assert torch.equal(lda, same)
print(lda.reshape(-1, ${lda.Gh}, ${lda.Gw}))

# long distance in a single region: the interval is ${sda.Hp / G} down and ${sda.Wp / G} across
${padded(sda)}
one = ${steps("article", this.groups).code}
same = rearrange(p, "b (g1 h) (g2 w) c -> (b h w) (g1 g2) c", g1=${G}, g2=${G})
assert torch.equal(one, same)`;
  }
}

/** The line that pads the map, where its groups need it. */
function padded(g) {
  const [down, across] = [g.Hp - g.H, g.Wp - g.W];
  return down || across ? `p = torch.nn.functional.pad(x, (0, 0, 0, ${across}, 0, ${down}))` : "p = x";
}

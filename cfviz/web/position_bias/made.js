// How the bias is made: the MLP step by step, and the index matrix that gives each pair its value.

import { button, el, say } from "../shared/markup.js";
import { signed } from "../shared/maths.js";
import { diverging, inkOn, shade } from "../shared/paint.js";
import { about, fill } from "../shared/text.js";
import { entryAt, OffsetMap } from "./drawing.js";
import { legendOf, pasted } from "./frame.js";
import { FLOOR, Part, Thumb } from "./part.js";
import { offsetsOf, steps, unitsOf } from "./surface_maths.js";
import { signedInt } from "./surfaces.js";
import { SvgPen } from "../shared/pen.js";
import { rove } from "../shared/near.js";

export class MadePart extends Part {
  build(root) {
    const { t } = this;
    Object.assign(this, { query: 0, made: null });
    this.choices = { raw: this.rawChoice() };
    this.place = this.placeChoice();
    this.flow = el("div.pb-flow");
    this.where = el("p.looks");
    this.matrix = el("canvas.pb-matrix", { role: "img", "aria-label": t.matrix_label });
    this.table = new OffsetMap(t.table_label);
    this.group = el("canvas.pb-group", { role: "img", "aria-label": t.group_label });
    this.slider = el("input.pb-slider", { type: "range", min: 0, max: 48, value: 0, "aria-label": t.query });
    this.slider.addEventListener("input", () => this.go(Number(this.slider.value)));
    this.play = button(t.play, () => this.run());
    Object.assign(this, { row: el("p.pb-indices.num"), line: el("p.note") });
    this.matrix.addEventListener("pointermove", (e) =>
      this.go(Math.floor((e.offsetY / this.matrix.clientHeight) * this.block.G ** 2)),
    );
    const panel = (title, note, body) =>
      el("figure.pb-panel", {}, el("figcaption", {}, el("b", {}, title), el("span.note", {}, note)), body);
    this.tableBox = el("div.pb-window-box", {}, this.table.root, (this.window = el("i.pb-window")));
    root.append(
      el("div.bar", {}, ...this.place.boxes, this.choices.raw.box, el("span.gap"), this.takeaway()),
      el(
        "section",
        { "data-slide": 1 },
        el("div.title", {}, el("h4", {}, t.flow), el("span.note", {}, t.flow_note)),
        this.where,
        this.flow,
      ),
      el(
        "section",
        { "data-slide": 2 },
        el("div.title", {}, el("h4", {}, t.spread), el("span.note", {}, t.spread_note)),
        el("div.bar.pb-playbar", {}, this.play, this.slider, this.line),
        this.row,
        el(
          "div.pb-panels",
          {},
          panel(t.matrix, t.matrix_note, this.matrix),
          panel(t.table, t.table_note, this.tableBox),
          panel(t.group, t.group_note, this.group),
        ),
      ),
    );
  }

  draw() {
    this.place.choose();
    if (this.made !== this.block) this.compute();
    this.paintFlow();
    this.drawMatrix();
    const room = this.tableBox.parentElement.clientWidth;
    const { block } = this;
    this.choices.raw.choose(this.state.raw);
    this.full = Math.max(FLOOR, block.top(this.state.raw));
    this.table.draw(this.shown(), block.G, block.G, this.full, this.look, Math.min(room, 330));
    this.go(Math.min(this.query, block.G ** 2 - 1));
  }

  /** The values that colour the chosen head's table. */
  shown() {
    const { block } = this;
    return block.view(this.head, block.G, block.G, "own", this.state.raw);
  }

  compute() {
    const { block, t } = this;
    this.made = block;
    this.flow.replaceChildren();
    this.layers = [];
    const x = offsetsOf(block.G, block.G);
    const inputs = [0, 1].map((k) => Float64Array.from({ length: x.length / 2 }, (_, i) => x[2 * i + k]));
    this.addLayer(t.step_offsets, "", inputs, ["dh", "dw"]);
    if (!block.mlp) {
      this.addLayer(
        t.step_table,
        t.step_table_note,
        block.tables,
        block.tables.map((_, h) => fill(t.head_n, { n: h + 1 })),
        true,
      );
      return;
    }
    const made = steps(block.mlp, x);
    made.forEach((step, i) => {
      const last = i === made.length - 1;
      const kind = step.name.replace(/\d/, "");
      const title = fill(t[`step_${last ? "heads" : kind}`], {
        n: step.wide,
        from: i ? made[i - 1].wide : 2,
      });
      const names = Array.from({ length: step.wide }, (_, u) =>
        last ? fill(t.head_n, { n: u + 1 }) : fill(t.unit_n, { n: u + 1 }),
      );
      this.addLayer(title, this.nameOf(step.name), last ? block.tables : unitsOf(step), names, last);
    });
  }

  nameOf(step) {
    if (step === "proj") return "pos_proj";
    const i = step.at(-1);
    return step.startsWith("relu") ? `pos${i}.0, pos${i}.1` : `pos${i}.2`;
  }

  addLayer(title, name, units, names, heads = false) {
    const top = Math.max(1e-9, ...units.map((u) => u.reduce((m, v) => Math.max(m, Math.abs(v)), 0)));
    const thumbs = units.map((_, i) => new Thumb(heads ? () => this.set({ head: i }, true) : null));
    const range = el("span.note.num", {}, `±${top.toPrecision(2)}`);
    const row = el("div.pb-step-units", {}, ...thumbs.map((thumb) => thumb.root));
    if (heads) rove(row, ".pb-thumb");
    this.flow.append(
      el(
        "div.pb-step",
        {},
        el("div.pb-step-name", {}, el("b", {}, title), el("code.note", {}, name), range),
        row,
      ),
    );
    this.layers.push({ units, names, thumbs, top, heads, title });
  }

  paintFlow() {
    const { block, look } = this;
    for (const { units, names, thumbs, top, heads } of this.layers) {
      thumbs.forEach((thumb, i) =>
        thumb.draw(units[i], block.G, block.G, top, look, names[i], heads && i === this.head),
      );
    }
  }

  point() {
    const { block, state, t } = this;
    if (!this.layers || this.made !== block) return;
    const clip = (d) => Math.max(1 - block.G, Math.min(block.G - 1, d));
    const at = { down: clip(state.down), right: clip(state.right) };
    const i = entryAt(block.G, block.G, at.down, at.right);
    for (const { units, thumbs } of this.layers)
      units.forEach((values, u) => say(thumbs[u].value, signed(values[i])));
    say(
      this.where,
      fill(t.follow, { key: this.keyWords(at), dh: signedInt(-at.down), dw: signedInt(-at.right) }),
    );
  }

  // ---- the index matrix --------------------------------------------------------------------------------

  index(query, key) {
    const G = this.block.G;
    const [r, c] = [Math.floor(query / G) - Math.floor(key / G), (query % G) - (key % G)];
    return (r + G - 1) * (2 * G - 1) + c + G - 1;
  }

  drawMatrix() {
    const { block, look } = this;
    const [N, n] = [block.G ** 2, block.side ** 2];
    const [cell, pen] = [Math.max(2, Math.floor(660 / N)), this.matrix.getContext("2d")];
    [this.matrix.width, this.matrix.height] = [N * cell, N * cell];
    const image = pen.createImageData(N, N);
    const cells = new Uint32Array(image.data.buffer);
    for (let q = 0; q < N; q++)
      for (let k = 0; k < N; k++) cells[q * N + k] = look.heat[shade(this.index(q, k), n - 1)];
    const small = document.createElement("canvas");
    [small.width, small.height] = [N, N];
    small.getContext("2d").putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, N * cell, N * cell);
    this.plain = pen.getImageData(0, 0, N * cell, N * cell);
    this.cell = cell;
    this.slider.max = N - 1;
  }

  go(query) {
    const { block, t, cell } = this;
    const [G, N] = [block.G, block.G ** 2];
    this.query = Math.max(0, Math.min(N - 1, query));
    this.slider.value = this.query;
    const pen = this.matrix.getContext("2d");
    pen.putImageData(this.plain, 0, 0);
    for (const [ink, thick] of [
      ["#14171B", 5],
      ["#FFFFFF", 2.5],
    ]) {
      pen.strokeStyle = ink;
      pen.lineWidth = thick;
      pen.strokeRect(thick / 2, this.query * cell, N * cell - thick, cell);
    }
    const all = Array.from({ length: N }, (_, k) => this.index(this.query, k));
    const shown =
      N <= 49
        ? all.map((i, k) => (k && k % G === 0 ? `· ${i}` : `${i}`)).join(" ")
        : `${all.slice(0, 3).join(", ")} … ${all.slice(-3).join(", ")}`;
    say(this.row, shown);
    const [row, col] = [Math.floor(this.query / G), this.query % G];
    say(
      this.line,
      fill(t.row_line, {
        q: this.query,
        row,
        col,
        first: all.slice(0, 3).join(", "),
        last: all.slice(-3).join(", "),
      }),
    );
    const share = 100 / block.side; // the part of the table that this query reads
    Object.assign(this.window.style, {
      left: `${(G - 1 - col) * share}%`,
      top: `${(G - 1 - row) * share}%`,
      width: `${G * share}%`,
      height: `${G * share}%`,
    });
    this.paintGroup(all, row, col);
  }

  paintGroup(all, row, col) {
    const { block, look } = this;
    const G = block.G;
    const side = 46;
    [this.group.width, this.group.height] = [G * side, G * side];
    const pen = this.group.getContext("2d");
    const table = this.shown();
    pen.font = `${G > 9 ? 13 : 17}px sans-serif`;
    [pen.textAlign, pen.textBaseline] = ["center", "middle"];
    all.forEach((i, k) => {
      const [x, y] = [(k % G) * side, Math.floor(k / G) * side];
      const tone = Math.max(0, Math.min(255, Math.round(127.5 + (127.5 * table[i]) / this.full)));
      pen.fillStyle = look.signedCss[tone];
      pen.fillRect(x, y, side, side);
      pen.fillStyle = inkOn(look.signedCss[tone].match(/\d+/g).map(Number));
      pen.fillText(i, x + side / 2, y + side / 2);
    });
    for (const [ink, thick] of [
      ["#14171B", 6],
      ["#FFFFFF", 3],
    ]) {
      pen.beginPath();
      pen.arc((col + 0.5) * side, (row + 0.5) * side, side * 0.44, 0, 2 * Math.PI);
      pen.strokeStyle = ink;
      pen.lineWidth = thick;
      pen.stroke();
    }
  }

  run() {
    const on = !this.clock;
    clearInterval(this.clock);
    this.clock = on ? setInterval(() => this.go((this.query + 1) % this.block.G ** 2), 320) : null;
    say(this.play, on ? this.t.pause : this.t.play);
  }

  // ---- files to take away ------------------------------------------------------------------------------

  svg() {
    const { look, block } = this;
    const [side, high] = [72, 116];
    const most = Math.max(...this.layers.map(({ units }) => units.length));
    const pen = new SvgPen(Math.max(900, 230 + most * (side + 10)), this.layers.length * high + 440);
    pen.rect(0, 0, pen.width, pen.height, look.theme.paper);
    pen.text(20, 26, `${this.blockName(block)} · ${this.where.textContent}`, {
      size: 13,
      fill: look.theme.ink,
    });
    this.layers.forEach(({ thumbs, title, top }, n) => {
      const y = 44 + n * high;
      pen.text(20, y + 14, title, { weight: 600, size: 13, fill: look.theme.ink });
      pen.text(20, y + 31, `±${top.toPrecision(2)}`, { fill: look.theme.muted });
      thumbs.forEach((thumb, i) => {
        const x = 220 + i * (side + 10);
        pasted(pen, thumb.canvas, x, y, side, side);
        pen.text(x, y + side + 13, thumb.name.textContent, { size: 10.5, fill: look.theme.muted });
        pen.text(x, y + side + 26, thumb.value.textContent, { size: 10.5, fill: look.theme.muted });
      });
    });
    const y = 60 + this.layers.length * high;
    pen.text(20, y, this.line.textContent, { fill: look.theme.ink });
    [this.matrix, this.table.base, this.group].forEach((canvas, i) =>
      pasted(pen, canvas, 20 + i * 290, y + 14, 270, 270),
    );
    legendOf(pen, diverging(look.theme), 310, y + 300, signed(-this.full), signed(this.full), look.theme.ink);
    return pen;
  }

  /** Every unit of every step at every offset. */
  rows() {
    const { block } = this;
    const units = this.layers
      .slice(1)
      .flatMap(({ units: all, names, title }) => all.map((values, i) => [about(title, names[i]), values]));
    const out = [["entry", "dh", "dw", ...units.map(([name]) => name)]];
    for (let i = 0; i < block.side ** 2; i++) {
      const [dh, dw] = [Math.floor(i / block.side) - block.G + 1, (i % block.side) - block.G + 1];
      out.push([i, dh, dw, ...units.map(([, values]) => values[i].toPrecision(9))]);
    }
    return out;
  }
}

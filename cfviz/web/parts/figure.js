// A logit as a sum: the parts with the running sum, and what each token adds through the chosen one.

import { blockName, PlaneFigure } from "../plane/figure.js";
import { saveDrawing, saveTable } from "../save/files.js";
import { SvgPen } from "../shared/pen.js";
import { Choice, el, position, say, segmented } from "../shared/markup.js";
import { signed } from "../shared/maths.js";
import { colours, diverging } from "../shared/paint.js";
import { about, fill } from "../shared/text.js";

export class PartsFigure extends PlaneFigure {
  file = "cfviz-logit-parts";

  constructor(parent, message, commit) {
    super(parent, commit);
    this.state = { begin: 0, row: 1, part: 0, at: null };
    this.load(message);
  }

  // ---- data ------------------------------------------------------------------------------------------

  read(array, first) {
    const { header } = this;
    this.parts = header.parts.map((part) => ({ ...part, map: part.codes && read(array, part) }));
    if (first) this.state = { ...this.state, ...header.start };
  }

  begin(first) {
    this.beginAt(Math.min(this.state.begin, this.header.begins.length - 1), first ? this.state.row : null);
  }

  get rows() {
    return this.header.begins[this.state.begin].rows;
  }

  get row() {
    return this.rows[this.state.row];
  }

  /** The parts of the chosen row that are chosen: one, or all. */
  get chosen() {
    const { part } = this.state;
    const mine = this.row.parts.map((i) => this.parts[i]);
    return part > 0 && mine.length > 1 ? [mine[part - 1]] : mine;
  }

  get value() {
    return this.chosen.reduce((sum, part) => sum + part.value, 0);
  }

  // ---- elements --------------------------------------------------------------------------------------

  elements() {
    const { t } = this;
    const ui = {
      ...this.surface("lp"),
      begins: segmented(t.begins),
      low: el("span.num"),
      high: el("span.num"),
      ramp: el("div.ramp"),
      note: el("p.note.under"),
      token: el("p.lp-token.num"),
      rows: el("div.lp-rows", { role: "radiogroup", "aria-label": t.rows }),
      inside: el("div.lp-inside", { role: "radiogroup", "aria-label": t.inside }),
      sum: el("p.lp-sum"),
      what: el("p.lp-what"),
      more: el("p.note"),
      ablate: el("button.lp-ablate", { type: "button" }, t.ablate),
    };
    ui.ablate.addEventListener("click", () => this.commit?.({ place: this.place }));
    ui.legend = el("div.legend", {}, ui.low, ui.ramp, ui.high);
    ui.left = el("div.left", {}, ui.map, ui.legend, ui.token, ui.note);
    const chosen = el("div.lp-chosen", {}, ui.what, ui.more, ui.inside, ui.ablate);
    ui.right = el("div.right.lp-right", {}, ui.sum, ui.rows, chosen);
    const bar = [el("span.note", {}, t.begins), ui.begins];
    this.mount("lp", ui, bar, el("div.body", {}, ui.left, ui.right));
    this.beginChoice = new Choice(ui.begins, (i) => this.beginAt(i));
    this.beginChoice.fill(
      this.header.begins.map((one) => el("button", { type: "button" }, `CEL ${one.stage + 1}`)),
    );
    this.rowChoice = new Choice(ui.rows, (i) => this.choose(i));
    this.partChoice = new Choice(ui.inside, (i) => this.pick(i));
    this.plane.follow(
      ui.map,
      () => this.state.at,
      (at) => this.point(at),
    );
  }

  /** The colours of what takes away and of what adds, for the style sheet, too. */
  dress() {
    const stops = diverging(this.theme);
    this.signed = veiled(colours(stops));
    [this.down, this.up] = [stops[2], stops.at(-3)];
    this.root.style.setProperty("--down", this.down);
    this.root.style.setProperty("--up", this.up);
  }

  // ---- choices ---------------------------------------------------------------------------------------

  /** Begin the sum at another embedding layer; the chosen part stays chosen if it is still there. */
  beginAt(i, row = null) {
    const before = row === null ? this.row : null;
    this.state.begin = i;
    const same = before && this.rows.findIndex((one) => name(one) === name(before));
    this.beginChoice.choose(i);
    this.fillRows();
    this.choose(row ?? (same > 0 ? same : 1));
  }

  fillRows() {
    const { t, rows } = this;
    let sum = 0;
    const runs = rows.map((row) => ({ from: sum, to: (sum += row.value) }));
    const low = Math.min(0, ...runs.map((run) => run.to));
    const high = Math.max(0, ...runs.map((run) => run.to));
    const share = (x) => `${(100 * (x - low)) / (high - low || 1)}%`;
    Object.assign(this, { runs, share });
    this.rowChoice.fill(
      rows.map((row, i) => {
        const { from, to } = runs[i];
        const bar = el("i");
        bar.className = to < from ? "down" : "up";
        bar.style.left = share(Math.min(from, to));
        bar.style.width = `calc(${share(Math.max(from, to))} - ${share(Math.min(from, to))})`;
        const zero = el("i.zero");
        zero.style.left = share(0);
        return el(
          "button.lp-row",
          { type: "button", title: fill(t.running, { sum: signed(to) }) },
          el("span.lp-name", {}, this.rowName(row)),
          el("span.lp-track", {}, zero, bar),
          el("b.num", {}, signed(row.value)),
        );
      }),
    );
    const { logit, label } = this.header;
    say(this.ui.sum, fill(t.sum, { n: rows.length, label, logit: signed(logit) }));
  }

  rowName(row) {
    const { t } = this;
    const place = row.block === null ? "" : blockName(row);
    return fill(t[`row_${row.kind}`], { place, n: (row.stage ?? 0) + 1 });
  }

  partName(part) {
    return fill(this.t[`part_${part.kind}`], { n: part.kind === "kernel" ? part.k : part.index + 1 });
  }

  choose(i) {
    this.state.row = Math.max(0, Math.min(i, this.rows.length - 1));
    this.rowChoice.choose(this.state.row);
    const mine = this.row.parts.map((n) => this.parts[n]);
    const several = mine.length > 1 && this.row.kind !== "bias";
    this.ui.inside.hidden = !several;
    const most = Math.max(...mine.map((part) => Math.abs(part.value)), 1e-12);
    this.partChoice.fill(
      several
        ? [
            el("button.lp-part", { type: "button" }, el("span", {}, this.t.all)),
            ...mine.map((part) => this.partButton(part, most)),
          ]
        : [],
    );
    this.pick(0);
  }

  partButton(part, most) {
    const bar = el("i");
    bar.className = part.value < 0 ? "down" : "up";
    const width = (50 * Math.abs(part.value)) / most;
    bar.style.width = `${width}%`;
    bar.style.left = `${part.value < 0 ? 50 - width : 50}%`;
    return el(
      "button.lp-part",
      { type: "button" },
      el("span", {}, this.partName(part)),
      el("span.lp-track", {}, el("i.zero.half"), bar),
      el("b.num", {}, signed(part.value)),
    );
  }

  pick(i) {
    this.state.part = i;
    if (this.partChoice.items.length) this.partChoice.choose(i);
    this.sum = added(this.chosen);
    const one = this.chosen.find((part) => part.H);
    this.grid = this.sum && one;
    this.state.at = null;
    this.layOut();
    this.tell();
  }

  /** The place of the chosen part in the lab's words, "3.2.h5"; empty if no ablation removes it. */
  get place() {
    const [one, ...others] = this.chosen;
    return others.length ? this.row.place : one.place;
  }

  tell() {
    const { t, ui, row, header } = this;
    const single = this.chosen.length === 1 && row.parts.length > 1;
    const whole = this.rowName(row);
    const what = single ? about(whole, this.partName(this.chosen[0])) : whole;
    say(ui.what, fill(t.what, { what, value: signed(this.value) }));
    const known = header.totals?.[this.place];
    ui.ablate.hidden = !(header.lab && this.place);
    if (row.kind === "bias") say(ui.more, t.bias_note);
    else if (known !== undefined) say(ui.more, fill(t.total, { total: signed(known) }));
    else say(ui.more, t.total_unknown);
    say(ui.note, this.grid ? t.map_note : t.no_map);
    say(ui.live, ui.what.textContent);
  }

  point(at) {
    this.state.at = at;
    this.mark();
  }

  // ---- drawing ---------------------------------------------------------------------------------------

  layOut() {
    const { ui, header, grid, sum } = this;
    if (!ui.left.clientWidth || !this.theme) return;
    const any = grid ?? { H: 1, W: 1, stride: header.input.h };
    this.plane.fit(any, header.input, ui.left.clientWidth);
    let most = 0;
    if (sum) for (const x of sum) most = Math.max(most, Math.abs(x));
    this.most = most || 1;
    this.plane.drawBackground(this.photo, this.theme, sum, this.signed, -this.most, this.most, 1);
    ui.legend.hidden = !sum;
    ui.ramp.style.background = "linear-gradient(90deg, var(--diverging))";
    say(ui.low, signed(-this.most));
    say(ui.high, signed(this.most));
    this.mark();
  }

  /** Frame the token under the pointer and say what it adds. */
  mark() {
    const { plane, grid, state, ui, t } = this;
    if (!plane.pen) return;
    plane.frame(grid && state.at);
    if (!grid || !state.at) return say(ui.token, grid ? t.point : "");
    const { row, col } = state.at;
    say(ui.token, fill(t.token, { at: position(row, col), value: signed(this.sum[row * grid.W + col]) }));
  }

  // ---- taking it away --------------------------------------------------------------------------------

  saveVector() {
    const { rows, runs, theme, plane } = this;
    const [line, wide, left] = [20, 420, 150];
    const [w, h] = [plane.base.width / plane.ratio, plane.base.height / plane.ratio];
    const pen = new SvgPen(left + wide + 70, line * (rows.length + 2) + h + 60);
    pen.rect(0, 0, pen.width, pen.height, theme.paper);
    pen.text(4, 16, this.ui.sum.textContent, { size: 13, fill: theme.ink });
    const at = (x) => left + (wide * parseFloat(this.share(x))) / 100;
    rows.forEach((row, i) => {
      const y = line * (i + 1) + 8;
      const { from, to } = runs[i];
      pen.text(4, y + 14, this.rowName(row), { size: 13, fill: theme.ink });
      pen.rect(
        at(Math.min(from, to)),
        y + 3,
        Math.abs(at(to) - at(from)),
        line - 6,
        to < from ? this.down : this.up,
      );
      pen.text(left + wide + 8, y + 14, signed(row.value), { size: 13, fill: theme.ink });
    });
    const y = line * (rows.length + 1) + 24;
    pen.text(4, y, this.ui.what.textContent, { size: 13, fill: theme.ink });
    pen.add("image", { x: 4, y: y + 10, width: w, height: h, href: plane.base.toDataURL("image/png") });
    saveDrawing(this.file, pen);
  }

  saveNumbers() {
    const rows = this.rows.flatMap((row) =>
      row.parts.map((i) => {
        const { kind, stage, block, index, value } = this.parts[i];
        return [kind, ...[stage, block, index].map((n) => (n === null ? "" : n + 1)), value];
      }),
    );
    saveTable(this.file, [["kind", "stage", "block", "index", "value"], ...rows]);
  }
}

/** The same colours, clear around the middle, so that the photo is seen where nothing is added. */
function veiled(table) {
  return table.map((colour, i) => {
    const strength = Math.abs(i - 127.5) / 127.5;
    const alpha = Math.round(255 * Math.min(1, 0.1 + 1.3 * strength));
    return (colour & 0xffffff) | (alpha << 24);
  });
}

/** The map of one part: codes times its step. */
function read(array, part) {
  const codes = array(part.codes);
  return Float32Array.from(codes, (code) => code * part.step);
}

/** The sum of several parts' maps, token by token; null if one has none. */
function added(parts) {
  if (parts.some((part) => !part.map)) return null;
  const sum = new Float64Array(parts[0].map.length);
  for (const { map } of parts) for (let i = 0; i < sum.length; i++) sum[i] += map[i];
  return sum;
}

function name(row) {
  return `${row.kind} ${row.stage} ${row.block}`;
}

// What a forward computes: its operations as a tree of rows, with bars of time or multiply-adds.

import { saveDrawing, saveTable } from "../save/files.js";
import { Choice, el, say, segmented, takeButtons, words } from "../shared/markup.js";
import { clip, percent, whole } from "../shared/maths.js";
import { wear } from "../shared/paint.js";
import { decode } from "../shared/payload.js";
import { SvgPen } from "../shared/pen.js";
import { about, fill } from "../shared/text.js";

const BY = ["ms", "macs"];
const COLUMNS = [
  "path",
  "module",
  "kind",
  "inputs",
  "output",
  "calls",
  "params",
  "macs",
  "written",
  "ms",
  "low",
  "high",
];

export class OperationsFigure {
  constructor(parent, message) {
    Object.assign(this, { parent, open: new Set(), by: "ms", at: 0, find: "" });
    this.load(message);
  }

  get root() {
    return this.ui.root;
  }

  load(message) {
    const { header } = decode(message);
    if (header.id === this.id) return;
    const first = this.id === undefined;
    Object.assign(this, { header, id: header.id, t: words(header.strings), rows: header.rows });
    if (first) this.by = header.start.by;
    if (first) this.open = new Set(header.start.open.map((i) => this.rows[i].path));
    this.at = Math.min(this.at, this.rows.length - 1);
    this.buildElements();
  }

  buildElements() {
    const { t } = this;
    const ui = {
      by: segmented(t.by),
      find: el("input.op-find", { type: "search", placeholder: t.find, "aria-label": t.find }),
      tree: el("div.op-tree", { role: "tree", "aria-label": t.rows, "aria-describedby": "op-keys" }),
      none: el("p.note", { hidden: "" }, t.none),
      what: el("p.op-what"),
      more: el("p.note.op-more"),
      live: el("p.live", { "aria-live": "polite", role: "status" }),
    };
    const take = takeButtons(t, {
      save_vector: () => this.saveVector(),
      save_numbers: () => this.saveNumbers(),
    });
    const bar = el("div.bar", {}, ui.by, ui.find, el("span.gap"), take);
    const keys = el("p.note.keys", { id: "op-keys" }, t.keys);
    const said = el("div.op-said", {}, ui.what, ui.more);
    ui.root = el("div.cf.op", {}, bar, ui.tree, ui.none, said, keys, ui.live);
    this.ui?.root.remove();
    this.ui = ui;
    this.parent.append(ui.root);
    ui.root.figure = this;
    const choice = new Choice(ui.by, (i) => {
      this.by = BY[i];
      choice.choose(i);
      this.draw();
    });
    choice.fill(BY.map((by) => el("button", { type: "button" }, t[`by_${by}`])));
    choice.choose(BY.indexOf(this.by));
    ui.find.value = this.find;
    ui.find.addEventListener("input", () => {
      this.find = ui.find.value.trim().toLowerCase();
      this.draw();
    });
    this.items = this.rows.map((row, i) => this.item(row, i));
    this.applyTheme();
    this.listen();
    this.draw();
    ui.root.dataset.ready = "";
  }

  applyTheme() {
    wear(this, this.ui.root);
  }

  item(row, i) {
    const twig = el("span.op-twig", { "aria-hidden": "true" });
    const name = el("span.op-name", {}, twig, el("span", {}, this.name(row)));
    const bar = el("i");
    const track = el("span.op-track", { "aria-hidden": "true" }, bar);
    const value = el("b.num.op-value");
    const shape = el("span.num.op-shape", {}, row.output);
    const attributes = { role: "treeitem", "aria-level": row.level + 1, tabindex: -1 };
    const node = el("div.op-row", attributes, name, shape, track, value);
    node.style.setProperty("--level", row.level);
    if (row.kind === "block") node.classList.add(row.n % 2 ? "odd" : "even");
    node.dataset.row = i;
    return { node, twig, bar, value, parent: this.rows.some((one) => one.parent === i) };
  }

  /** A known part has a word; any other model's has its own name, and its kind where that tells more. */
  name(row) {
    if (row.name !== null) return this.named(row, row.name);
    return fill(this.t[`kind_${row.kind}`] ?? row.kind, { n: row.n ?? "" }).replace(/^kind_/, "");
  }

  /** A block's numbers and what it is called, or that and the class or function. */
  named({ at, kind }, called) {
    if (at) return `${fill(this.t.block_at, { stage: at[0], block: at[1] })} · ${called}`;
    return kind === called ? called : `${called} · ${kind}`;
  }

  /** The rows that are shown: those whose parents are unfolded, or those that a search finds. */
  get shown() {
    const { rows, find, open } = this;
    const all = rows.map((_, i) => i);
    if (!find) return all.filter((i) => this.above(i).every((parent) => open.has(rows[parent].path)));
    const keep = new Set();
    for (const i of all) {
      const row = rows[i];
      const { path, module, kind, output, inputs } = row;
      const text = [this.name(row), path, module, kind, output, ...inputs].join(" ").toLowerCase();
      if (text.includes(find)) for (const one of [i, ...this.above(i)]) keep.add(one);
    }
    return all.filter((i) => keep.has(i));
  }

  above(i) {
    const found = [];
    for (let p = this.rows[i].parent; p >= 0; p = this.rows[p].parent) found.push(p);
    return found;
  }

  draw() {
    const { rows, items, ui, by, open, find } = this;
    const shown = this.shown;
    const most = rows[0][by] || 1;
    for (const i of shown) {
      const { node, twig, bar, value, parent } = items[i];
      const wide = parent && (find ? true : open.has(rows[i].path));
      if (parent) node.setAttribute("aria-expanded", wide);
      say(twig, parent ? (wide ? "▾" : "▸") : "");
      bar.style.width = `${(100 * rows[i][by]) / most}%`;
      say(value, this.amount(rows[i]));
    }
    ui.tree.replaceChildren(...shown.map((i) => items[i].node));
    ui.none.hidden = shown.length > 0;
    const near = [this.at, ...this.above(this.at)].find((i) => shown.includes(i)) ?? shown[0];
    if (near !== undefined) this.choose(near, false);
  }

  amount(row) {
    return this.by === "ms" ? fill(this.t.ms, { ms: time(row.ms) }) : count(row.macs);
  }

  listen() {
    const { tree } = this.ui;
    const rowOf = (e) => {
      const node = e.target.closest?.(".op-row");
      return node ? Number(node.dataset.row) : -1;
    };
    tree.addEventListener("pointerover", (e) => rowOf(e) >= 0 && this.tell(rowOf(e)));
    tree.addEventListener("pointerleave", () => this.tell(this.at));
    tree.addEventListener("click", (e) => {
      const i = rowOf(e);
      if (i < 0) return;
      this.fold(i, !this.open.has(this.rows[i].path));
    });
    tree.addEventListener("keydown", (e) => this.key(e));
  }

  fold(i, open) {
    if (this.items[i].parent && !this.find) {
      if (open) this.open.add(this.rows[i].path);
      else this.open.delete(this.rows[i].path);
    }
    this.draw();
    this.choose(i);
  }

  key(e) {
    const { shown, at, rows } = this;
    const here = shown.indexOf(at);
    const row = rows[at];
    const wide = this.items[at].parent && (this.find !== "" || this.open.has(row.path));
    const to = {
      ArrowDown: () => this.choose(shown[clip(here + 1, shown.length)]),
      ArrowUp: () => this.choose(shown[clip(here - 1, shown.length)]),
      Home: () => this.choose(shown[0]),
      End: () => this.choose(shown.at(-1)),
      ArrowRight: () => (wide ? this.choose(shown[clip(here + 1, shown.length)]) : this.fold(at, true)),
      ArrowLeft: () => (wide && !this.find ? this.fold(at, false) : this.choose(Math.max(0, row.parent))),
      Enter: () => this.fold(at, !this.open.has(row.path)),
      " ": () => this.fold(at, !this.open.has(row.path)),
      "*": () => this.unfoldLevel(row),
    }[e.key];
    if (!to) return;
    e.preventDefault();
    to();
  }

  /** Unfold all rows beside the chosen one. */
  unfoldLevel({ parent }) {
    this.rows.forEach((row, i) => row.parent === parent && this.items[i].parent && this.open.add(row.path));
    this.draw();
    this.choose(this.at);
  }

  /** Choose a row: it alone is in the tab order. */
  choose(i, focus = true) {
    this.items[this.at].node.tabIndex = -1;
    this.items[this.at].node.setAttribute("aria-selected", false);
    this.at = i;
    const { node } = this.items[i];
    node.tabIndex = 0;
    node.setAttribute("aria-selected", true);
    if (focus) node.focus();
    this.tell(i);
  }

  tell(i) {
    const { t, rows, ui } = this;
    const row = rows[i];
    const above = this.above(i).slice(0, -1).reverse();
    // a row of its own name: the full one of its module, or of the nearest around a step that is none
    const around = rows[above.at(-1)]?.module;
    const own = row.module ? [this.named(row, row.module)] : [around, this.name(row)];
    const place = (row.name === null ? [...above.map((p) => this.name(rows[p])), this.name(row)] : own)
      .filter(Boolean)
      .join(" › ");
    const fields = {
      ms: time(row.ms),
      low: time(row.low),
      high: time(row.high),
      share: percent(row.ms / rows[0].ms),
    };
    say(ui.what, about(place, fill(t.time, fields)));
    const shapes = [row.inputs.join(", "), row.output].filter(Boolean).join(" → ");
    const counts = { macs: whole(row.macs), params: whole(row.params), written: bytes(row.written) };
    const parts = [shapes, fill(t.counts, { ...counts, calls: whole(row.calls) })];
    if (this.items[i].parent) parts.push(fill(t.rest, { rest: time(row.rest) }));
    say(ui.more, parts.filter(Boolean).join(" · "));
  }

  saveNumbers() {
    const line = (row) => COLUMNS.map((name) => (name === "inputs" ? row.inputs.join("; ") : row[name]));
    saveTable("cfviz-operations", [COLUMNS, ...this.rows.map(line)]);
  }

  saveVector() {
    const { shown, rows, theme, by } = this;
    const [line, left, wide] = [20, 250, 420];
    const pen = new SvgPen(left + wide + 90, line * (shown.length + 1));
    pen.rect(0, 0, pen.width, pen.height, theme.paper);
    shown.forEach((i, n) => {
      const y = line * n + 6;
      pen.text(6 + 14 * rows[i].level, y + 14, this.name(rows[i]), { size: 13, fill: theme.ink });
      pen.rect(left, y + 3, (wide * rows[i][by]) / (rows[0][by] || 1), line - 6, theme.muted);
      pen.text(left + wide + 8, y + 14, this.amount(rows[i]), { size: 13, fill: theme.ink });
    });
    saveDrawing("cfviz-operations", pen);
  }
}

/** Milliseconds with as many digits as they deserve. */
function time(ms) {
  return ms >= 100 ? ms.toFixed(0) : ms >= 10 ? ms.toFixed(1) : ms >= 0.1 ? ms.toFixed(2) : ms.toFixed(3);
}

/** 12.3 M */
function count(n) {
  if (n >= 1e9) return `${(n / 1e9).toFixed(2)}\u00a0G`;
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)}\u00a0M`;
  return n >= 1e3 ? `${(n / 1e3).toFixed(1)}\u00a0k` : String(n);
}

function bytes(n) {
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)}\u00a0MB`;
  return n >= 1e3 ? `${(n / 1e3).toFixed(1)}\u00a0kB` : `${n}\u00a0B`;
}

// Elements: how to make them, and those of the attention figure; and orders from Python.

import { fill } from "./text.js";

/**
 * el("p.note", {title: "…"}, "text", child): an element with classes, attributes and children.
 * A style is set as a property: a page's content security policy may forbid the attribute.
 */
export function el(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split(".");
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined) continue;
    if (name === "style") node.style.cssText = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** An element that holds HTML of our own texts. */
export function html(what, text, attributes = {}) {
  const node = el(what, attributes);
  node.innerHTML = text;
  return node;
}

/** Write a text only if it changed, into the text node that is there, so that the browser lays out less. */
export function say(node, text) {
  const old = node.firstChild;
  if (old?.data === text) return;
  if (old?.nodeType === Node.TEXT_NODE && text !== "") old.data = text;
  else node.textContent = text;
}

function section(name, title, note) {
  const head = el("h4", { id: `cf-${name}` }, title);
  const caption = el("span.note", {}, note);
  const body = el(`div.${name}`);
  const box = el(
    `section.box-${name}`,
    { "aria-labelledby": `cf-${name}` },
    el("div.title", {}, head, caption),
    body,
  );
  return { box, body, caption };
}

/** The box of a row of choices; see `Choice`. */
export function segmented(label, name = "") {
  return el(name ? `div.seg.${name}` : "div.seg", { role: "radiogroup", "aria-label": label });
}

/** A plain button. */
export function button(text, act, help) {
  const made = el("button.plain", { type: "button", title: help }, text);
  made.addEventListener("click", act);
  return made;
}

/** The buttons that take a figure away, by the names of their words; those of `NAME_help` are tooltips. */
export function takeButtons(t, acts) {
  const help = (name) => (`${name}_help` in t ? t[`${name}_help`] : undefined);
  const made = Object.entries(acts).map(([name, act]) => button(t[name], act, help(name)));
  return el("span.take", {}, ...made);
}

/** The box of a map in which the arrow keys move; `keys` is the id of the sentence that tells of them. */
export function mapBox(label, keys, ...layers) {
  const names = { "aria-label": label, "aria-describedby": keys };
  return el("div.map", { tabindex: 0, role: "application", ...names }, ...layers);
}

/** Lay out again whenever an element changes its size, instead of the one that was watched before. */
export function watched(before, element, layOut) {
  before?.disconnect();
  const watcher = new ResizeObserver(() => layOut());
  watcher.observe(element);
  return watcher;
}

/** The elements that the attention figure writes to, by name; `takes` is what its buttons do. */
export function build(t, takes) {
  const ui = {};
  ui.stages = segmented(t.stage, "stages");
  ui.kind = segmented(t.kind, "kind");
  ui.scale = segmented(t.scale, "scale");
  ui.zoom = el("span"); // its place
  ui.strength = el("input", { type: "range", min: 0, max: 100, value: 82, "aria-label": t.strength });
  ui.bar = el(
    "div.bar",
    {},
    ui.stages,
    ui.kind,
    ui.scale,
    el("label.strength", {}, el("span", {}, t.photo), ui.strength, el("span", {}, t.attention)),
  );
  ui.take = takeButtons(t, takes);

  ui.base = el("canvas.ground"); // painted once, then copied to the other canvas in each frame
  ui.over = el("canvas.over");
  ui.absent = el("p.absent", { hidden: "" });
  ui.map = mapBox(t.map_label, "cf-keys", ui.base, ui.over, ui.absent);
  ui.low = el("span.num", {}, "0");
  ui.high = el("span.num");
  ui.even = el("i.even", { title: t.even });
  ui.pin = el("i.pin");
  ui.ramp = el("div.ramp", {}, ui.even, ui.pin);
  ui.legend = el("div.legend", {}, ui.low, ui.ramp, ui.high);
  ui.legendNote = el("p.note.under");

  ui.value = el("b.value.num");
  ui.rank = el("span.rank.num");
  ui.looks = el("p.looks");
  ui.where = el("p.note.where");
  ui.lock = el("button.lock", { type: "button", "aria-pressed": "false" });
  ui.readout = el(
    "div.readout",
    {},
    el("div.figure", {}, ui.value, ui.rank, el("span.gap"), ui.lock),
    ui.looks,
    ui.where,
  );

  ui.heads = section("heads", t.heads, t.heads_note);
  ui.why = section("why", t.why, "");
  ui.blocks = section("blocks", t.blocks, t.blocks_note);
  ui.fine = el("p.note.fine");
  ui.keys = el("p.note.keys", { id: "cf-keys" }, t.keys);
  ui.live = el("p.live", { "aria-live": "polite", role: "status" });
  ui.left = el("div.left", {}, ui.map, el("div.below", {}, ui.legend, ui.zoom), ui.legendNote);
  [ui.heads, ui.why, ui.blocks].forEach(({ box }, n) => (box.dataset.slide = n + 1));
  ui.right = el("div.right", {}, ui.readout, ui.heads.box, ui.why.box);
  ui.root = el(
    "div.cf",
    {},
    ui.bar,
    el("div.body", {}, ui.left, ui.right, ui.blocks.box),
    ui.take,
    ui.keys,
    ui.fine,
    ui.live,
  );
  return ui;
}

/** A radio group: one of its items is chosen, and the arrow keys move the choice. */
export class Choice {
  constructor(box, onChoose) {
    this.box = box;
    this.onChoose = onChoose;
    this.items = [];
    box.addEventListener("click", (e) => {
      const item = e.target.closest("[role=radio]");
      if (item) onChoose(this.items.indexOf(item));
    });
    box.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key];
      const now = this.items.indexOf(e.target.closest("[role=radio]"));
      if (!step || now < 0) return;
      e.preventDefault();
      e.stopPropagation();
      const next = (now + step + this.items.length) % this.items.length;
      onChoose(next);
      this.items[next]?.focus();
    });
  }

  fill(items) {
    this.items = items;
    items.forEach((item, i) => {
      item.setAttribute("role", "radio");
      item.setAttribute("aria-checked", false);
      item.tabIndex = i === 0 ? 0 : -1;
    });
    this.box.replaceChildren(...items);
    this.chosen = -1;
  }

  choose(i) {
    if (i === this.chosen) return;
    this.chosen = i;
    this.items.forEach((item, n) => {
      item.setAttribute("aria-checked", n === i);
      item.tabIndex = n === i ? 0 : -1;
    });
  }
}

const BOARD = "cfviz.go"; // on window: figure name -> the last order that Python gave it

/** Send a named figure somewhere, or ask it a question: {name, seq, to, quiz}. */
export function send(order) {
  const board = (window[BOARD] ??= {});
  board[order.name] = order;
  window.dispatchEvent(new Event(BOARD));
}

const went = (window["cfviz.went"] ??= {}); // figure name -> the number of the last order carried out

/** Let Python send a figure somewhere and ask it questions; returns the function that ends this. */
export function driven(name, go, ask) {
  const look = () => {
    const order = window[BOARD]?.[name];
    if (order?.quiz !== undefined) ask(order.quiz);
    if (!order?.seq || order.seq === went[name]) return;
    went[name] = order.seq;
    go(order.to);
  };
  look();
  window.addEventListener(BOARD, look);
  return () => window.removeEventListener(BOARD, look);
}

export function words(strings) {
  return new Proxy(strings, { get: (all, name) => all[name] ?? String(name) });
}

/** Whether a photo is so wide that a column holds something below it, too: see `.wide` in `figure.css`. */
export function isWide({ w, h }) {
  return w > 1.5 * h;
}

export function position(row, col) {
  return `(${row}, ${col})`;
}

export function title(t, block) {
  return fill(t.block_name, { b: block.b + 1, kind: block.label });
}

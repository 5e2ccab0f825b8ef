// What the three figures of the page share: one message, one choice of block, head and offset.

import { Choice, el, say, words } from "./markup.js";
import { signed } from "./maths.js";
import { themeAround } from "./paint.js";
import { decode, fill } from "./payload.js";
import { looks, paintCells } from "./drawing.js";
import { Bias } from "./surface_maths.js";

const hub = { parts: new Set(), state: null, source: null }; // one choice for all figures of the page

export class Part {
  constructor(parent, message, commit) {
    Object.assign(this, { parent, commit });
    hub.parts.add(this);
    this.load(message);
  }

  load(message) {
    const { header, array } = decode(message);
    if (header.id === this.id) return;
    Object.assign(this, { header, id: header.id, t: words(header.strings) });
    this.blocks = header.blocks.map((entry) => new Bias(entry, array));
    if (!hub.state || hub.source !== header.source) {
      hub.state = { block: 0, head: 0, down: 1, right: 1, ...header.start };
      hub.source = header.source;
    }
    this.top = Math.max(...this.blocks.map((block) => block.top));
    const root = el("div.cf.pb");
    this.root?.remove();
    this.root = root;
    root.figure = this;
    this.mode = null;
    this.build(root);
    this.parent.append(root);
    this.dress();
    this.watcher?.disconnect();
    this.watcher = new ResizeObserver(() => this.ask());
    this.watcher.observe(root);
  }

  /** Take colours from the theme around the figure. */
  dress() {
    const mode = themeAround(this.parent);
    if (this.mode === mode) return;
    this.mode = mode;
    for (const [name, value] of Object.entries(this.header.palette[mode])) this.root.style.setProperty(`--${name}`, value);
    this.look = looks(this.header.palette, mode, this.block.G);
    this.ask();
  }

  get state() {
    return hub.state;
  }

  get block() {
    return this.blocks[Math.min(hub.state.block, this.blocks.length - 1)];
  }

  get head() {
    return Math.min(hub.state.head, this.block.heads - 1);
  }

  /** Change the choice; every figure of the page follows. */
  set(change, tell = false) {
    const pointed = Object.keys(change).every((name) => name === "down" || name === "right");
    Object.assign(hub.state, change);
    for (const part of hub.parts) (pointed ? part.point() : part.ask());
    if (!tell) return;
    clearTimeout(this.later);
    this.later = setTimeout(() => this.commit?.({ block: hub.state.block, head: this.head }), 400);
  }

  /** Draw soon; many changes within a frame are drawn once. */
  ask() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = null;
      if (!this.root.clientWidth) return;
      this.look = { ...this.look, G: this.block.G };
      this.draw();
      this.point();
      this.root.dataset.ready = "";
    });
  }

  point() {}

  close() {
    hub.parts.delete(this);
    this.watcher?.disconnect();
    cancelAnimationFrame(this.asked);
    clearInterval(this.clock);
  }

  // ---- elements that several figures have --------------------------------------------------------------

  seg(label, names, onChoose) {
    const box = el("div.seg", { role: "radiogroup", "aria-label": label });
    const choice = new Choice(box, onChoose);
    choice.fill(names.map((name) => el("button", { type: "button" }, name)));
    return { box, choose: (i) => choice.choose(i) };
  }

  select(label, names, onChoose) {
    const box = el("select.pb-select", { "aria-label": label }, ...names.map((name, i) => el("option", { value: i }, name)));
    box.addEventListener("change", () => onChoose(box.selectedIndex));
    return { box: el("label.pb-label", {}, el("span.note", {}, label), box), choose: (i) => (box.selectedIndex = i) };
  }

  blockName(block) {
    return fill(this.t.block_name, { s: block.s + 1, b: block.b + 1, kind: block.kind.toUpperCase() });
  }

  blockSelect() {
    return this.select(this.t.block, this.blocks.map((block) => this.blockName(block)), (block) => this.set({ block }, true));
  }

  headSelect() {
    const made = this.select(this.t.head, [""], (head) => this.set({ head }, true));
    const box = made.box.querySelector("select");
    return { box: made.box, choose: (i) => {
      if (box.options.length !== this.block.heads) box.replaceChildren(...this.block.characters.map((_, h) => el("option", { value: h }, `${h + 1}`)));
      box.selectedIndex = i;
    } };
  }

  legend() {
    const [low, high, ramp] = [el("span.num"), el("span.num"), el("div.ramp")];
    ramp.style.background = `linear-gradient(90deg, ${this.header.palette.diverging.join(",")})`;
    return { root: el("div.legend", {}, low, ramp, high), say: (top) => (say(low, signed(-top)), say(high, signed(top))) };
  }

  button(text, onClick) {
    const button = el("button.plain", { type: "button" }, text);
    button.addEventListener("click", onClick);
    return button;
  }

  keyWords({ down, right }) {
    const rows = down ? fill(down > 0 ? this.t.below : this.t.above, { n: Math.abs(down) }) : this.t.same_row;
    const cols = right ? fill(right > 0 ? this.t.to_right : this.t.to_left, { n: Math.abs(right) }) : this.t.same_col;
    return down || right ? fill(this.t.key_at, { rows, cols }) : this.t.key_self;
  }
}

/** A small picture of a surface with a caption, chosen by a click. */
export class Thumb {
  constructor(onChoose) {
    [this.canvas, this.name, this.value] = [el("canvas"), el("span"), el("span.num")];
    this.root = el("button.pb-thumb", { type: "button" }, this.canvas, this.name, this.value);
    this.root.addEventListener("click", onChoose);
  }

  draw(values, Gh, Gw, top, look, name, chosen) {
    paintCells(this.canvas, values, Gh, Gw, top, look.signed);
    say(this.name, name);
    this.root.setAttribute("aria-pressed", chosen);
  }
}


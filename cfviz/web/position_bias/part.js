// What the figures of a bias share: the message, the choice of block, head and offset, and the colours.

import { el, say } from "../shared/markup.js";
import { fill } from "../shared/text.js";
import { looks, paintCells } from "./drawing.js";
import { Frame } from "./frame.js";
import { Bias } from "./surface_maths.js";

export const FLOOR = 0.05; // full colour stands for at least this: a bias that changes attention by 5 %
export const FAINT = 0.1; // a bias that spans less changes no attention weight by more than a factor of 1.11
const WINDOW = ["Gh", "Gw", "less", "large"]; // used only by the figure of resized windows
const hub = { parts: new Set(), state: null, source: null }; // one choice for all figures of the page
const FIRST = {
  block: 0,
  head: 0,
  down: 1,
  right: 1,
  raw: 0,
  scale: 0,
  reach: 0,
  order: 0,
  Gh: 14,
  Gw: 14,
  less: 0,
  large: 0,
};

export class Part extends Frame {
  read(header, array) {
    hub.parts.add(this);
    this.blocks = header.blocks.map((entry) => new Bias(entry, array));
    if (!hub.state || hub.source !== header.source) {
      hub.state = { ...FIRST, ...header.start };
      hub.source = header.source;
    }
  }

  colour(mode) {
    this.look = looks(this.header.palette, mode, this.block.trained);
    this.showQuiz();
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

  /** The bias that full colour stands for, over all blocks. */
  get top() {
    return Math.max(...this.blocks.map((block) => block.top(this.state.raw)));
  }

  /** Change the choice, for every figure of the page. */
  set(change, commit = false) {
    const all = (names) => Object.keys(change).every((name) => names.includes(name));
    const [pointed, window] = [all(["down", "right"]), all(WINDOW)];
    Object.assign(hub.state, change);
    for (const part of hub.parts) {
      if (pointed) part.point();
      else if (!window || part.header.part === "resized") part.requestDraw();
    }
    if (commit) this.commitSoon(() => ({ ...hub.state, head: this.head }));
  }

  /** Go where Python says. */
  go(to) {
    this.set(to);
  }

  /** A lesson's question: id, pick ("head" or null), open (hide what the heads are like); null: none. */
  quiz(what) {
    this.test = what;
    this.showQuiz();
    this.requestDraw();
  }

  showQuiz() {
    if (this.test) this.root.dataset.lesson = this.test.open ? "ask" : "told";
    else delete this.root.dataset.lesson;
  }

  /** A head was clicked; in a lesson that may be the answer. */
  chooseHead(head) {
    this.set({ head }, !this.test);
    if (this.test?.open && this.test.pick === "head")
      this.commit({ quiz: this.test.id, picked: [String(head + 1)] });
  }

  requestDraw() {
    if (this.look) this.look = { ...this.look, G: this.block.trained };
    super.requestDraw();
  }

  close() {
    hub.parts.delete(this);
    clearInterval(this.clock);
    super.close();
  }

  // ---- elements that several figures have --------------------------------------------------------------

  blockSelect() {
    return this.select(
      this.t.block,
      this.blocks.map((block) => this.blockName(block)),
      (block) => this.set({ block }, true),
    );
  }

  /** Block and head: named here if the page has the figure that chooses them; else chosen here. */
  placeChoice() {
    if ([...hub.parts].some((part) => part.header.part === "surfaces")) {
      const name = el("b.pb-place");
      const place = () => ({ block: this.blockName(this.block), h: this.head + 1 });
      return { boxes: [name], choose: () => say(name, fill(this.t.tile_label, place())) };
    }
    const [block, head] = [this.blockSelect(), this.headSelect()];
    const choose = () => {
      block.choose(this.state.block);
      head.choose(this.head);
    };
    return { boxes: [block.box, head.box], choose };
  }

  headSelect() {
    const made = this.select(this.t.head, [""], (head) => this.set({ head }, true));
    const box = made.box.querySelector("select");
    return {
      box: made.box,
      choose: (i) => {
        if (box.options.length !== this.block.heads)
          box.replaceChildren(...this.block.characters.map((_, h) => el("option", { value: h }, `${h + 1}`)));
        box.selectedIndex = i;
      },
    };
  }

  /** Measure colours from the head's mean, to which softmax is blind, or from zero. */
  rawChoice() {
    return this.seg(this.t.constant, [this.t.constant_off, this.t.constant_on], (raw) =>
      this.set({ raw }, true),
    );
  }

  get file() {
    return `cfviz-position-bias-${this.header.part}-${this.block.s + 1}-${this.block.b + 1}-${this.head + 1}`;
  }
}

/** A small picture of a surface with a caption; a button if there is something to choose. */
export class Thumb {
  constructor(onChoose = null) {
    [this.canvas, this.name, this.value] = [el("canvas"), el("span"), el("span.num")];
    this.chosen = onChoose;
    this.root = el(
      onChoose ? "button.pb-thumb" : "div.pb-thumb",
      onChoose ? { type: "button" } : {},
      this.canvas,
      this.name,
      this.value,
    );
    if (onChoose) this.root.addEventListener("click", onChoose);
  }

  draw(values, Gh, Gw, top, look, name, chosen) {
    paintCells(this.canvas, values, Gh, Gw, top, look.signed);
    say(this.name, name);
    if (!this.chosen) return;
    this.root.setAttribute("aria-pressed", Boolean(chosen));
    this.root.tabIndex = chosen ? 0 : -1;
  }
}

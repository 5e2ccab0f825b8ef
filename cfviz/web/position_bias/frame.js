// What all figures of this page share: the message, the theme's colours, when to draw, and files to save.

import { saveCanvas, saveDrawing, saveTable } from "../save/files.js";
import { button, Choice, el, say, segmented, watched, words } from "../shared/markup.js";
import { signed } from "../shared/maths.js";
import { wear } from "../shared/paint.js";
import { decode } from "../shared/payload.js";
import { fill } from "../shared/text.js";

export class Frame {
  constructor(parent, message, commit) {
    Object.assign(this, { parent, commit });
    this.load(message);
  }

  load(message) {
    const { header, array } = decode(message);
    if (header.id === this.id) return;
    Object.assign(this, { header, id: header.id, t: words(header.strings) });
    this.read(header, array);
    const root = el("div.cf.pb");
    this.root?.remove();
    this.root = root;
    root.figure = this;
    this.build(root);
    this.parent.append(root);
    this.applyTheme();
    this.watcher = watched(this.watcher, root, () => this.requestDraw());
  }

  /** Take the colours of the theme around the figure. */
  applyTheme() {
    if (!wear(this, this.root)) return;
    this.colour(this.mode);
    this.requestDraw();
  }

  /** Draw in the next frame, once for all changes until then. */
  requestDraw() {
    if (this.drawRequest) return;
    this.drawRequest = requestAnimationFrame(() => {
      this.drawRequest = null;
      this.layOut();
    });
  }

  /** Draw now: a presenter's deck measures the figure next. */
  layOut() {
    if (!this.root.clientWidth) return;
    this.draw();
    this.point();
    this.root.dataset.ready = "";
  }

  point() {}

  close() {
    this.watcher?.disconnect();
    cancelAnimationFrame(this.drawRequest);
    clearTimeout(this.later);
  }

  /** Tell Python once the reader has paused. */
  commitSoon(state, wait = 400) {
    clearTimeout(this.later);
    this.later = setTimeout(() => this.commit?.(state()), wait);
  }

  // ---- elements that several figures have --------------------------------------------------------------

  seg(label, names, onChoose) {
    const box = segmented(label);
    const choice = new Choice(box, onChoose);
    choice.fill(names.map((name) => el("button", { type: "button" }, name)));
    return { box, choose: (i) => choice.choose(i) };
  }

  select(label, names, onChoose) {
    const box = el(
      "select.pb-select",
      { "aria-label": label },
      ...names.map((name, i) => el("option", { value: i }, name)),
    );
    box.addEventListener("change", () => onChoose(box.selectedIndex));
    return {
      box: el("label.pb-label", {}, el("span.note", {}, label), box),
      choose: (i) => (box.selectedIndex = i),
    };
  }

  /** A button that a phone shows in place of some elements until the reader wants them. */
  fold(text, boxes) {
    const more = button(text, () => {
      const open = more.getAttribute("aria-expanded") !== "true";
      more.setAttribute("aria-expanded", open);
      for (const box of boxes) box.toggleAttribute("data-open", open);
      this.requestDraw();
    });
    more.classList.add("pb-more");
    more.setAttribute("aria-expanded", "false");
    return more;
  }

  /** A switch. */
  toggle(text, onChange) {
    const button = el("button.lock", { type: "button", "aria-pressed": "false" }, text);
    button.addEventListener("click", () => onChange(Number(button.getAttribute("aria-pressed") !== "true")));
    return { box: button, choose: (on) => button.setAttribute("aria-pressed", Boolean(on)) };
  }

  ramp(scale) {
    const [low, high, ramp] = [el("span.num"), el("span.num"), el("div.ramp")];
    const stops = scale === "diverging" ? "var(--diverging)" : this.header.palette[scale].join(",");
    ramp.style.background = `linear-gradient(90deg, ${stops})`;
    return { root: el("div.legend", {}, low, ramp, high), low, high };
  }

  blockName(block) {
    return fill(this.t.block_name, { s: block.s + 1, b: block.b + 1, kind: block.kind.toUpperCase() });
  }

  legend() {
    const { root, low, high } = this.ramp("diverging");
    return { root, low, high, say: (top) => (say(low, fine(-top)), say(high, fine(top))) };
  }

  keyWords({ down, right }) {
    const rows = down ? fill(down > 0 ? this.t.below : this.t.above, { n: Math.abs(down) }) : this.t.same_row;
    const cols = right
      ? fill(right > 0 ? this.t.to_right : this.t.to_left, { n: Math.abs(right) })
      : this.t.same_col;
    return down || right ? fill(this.t.key_at, { rows, cols }) : this.t.key_self;
  }

  // ---- files to take away ------------------------------------------------------------------------------

  /** Three plain buttons: the figure as PNG and SVG, its numbers as CSV. */
  takeaway() {
    const { t } = this;
    return el(
      "span.take",
      {},
      button("PNG", () => this.savePng()),
      button("SVG", () => this.saveSvg()),
      button(t.save_numbers, () => this.saveCsv()),
    );
  }

  saveSvg() {
    saveDrawing(this.file, this.svg());
  }

  savePng() {
    const pen = this.svg();
    const image = new Image();
    const address = URL.createObjectURL(new Blob([pen.toString()], { type: "image/svg+xml" }));
    image.onload = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [Math.round(2 * pen.width), Math.round(2 * pen.height)];
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      URL.revokeObjectURL(address);
      saveCanvas(this.file, canvas);
    };
    image.src = address;
  }

  saveCsv() {
    saveTable(this.file, this.rows());
  }
}

/** A range as text, with as many digits as it needs: "0.00025", "1.3". */
export function span(x) {
  return x === 0 || x >= 0.001 ? String(Number(x.toPrecision(3))) : x.toFixed(1 - Math.floor(Math.log10(x)));
}

/** A number with its sign, however small: "+0.27", "−0.000026". */
export function fine(x) {
  return Math.abs(x) >= 0.001 || x === 0 ? signed(x) : `${x < 0 ? "−" : "+"}${span(Math.abs(x))}`;
}

/** A colour scale and its two ends, for a saved picture. */
export function legendOf(pen, stops, x, y, low, high, ink) {
  const id = "scale";
  const colours = stops.map((c, i) => `<stop offset="${i / (stops.length - 1)}" stop-color="${c}"/>`);
  pen.parts.push(`<linearGradient id="${id}">${colours.join("")}</linearGradient>`);
  pen.text(x, y + 9, low, { fill: ink });
  pen.add("rect", { x: x + 60, y, width: 180, height: 9, fill: `url(#${id})` });
  pen.text(x + 248, y + 9, high, { fill: ink });
}

/** A canvas in a saved picture, its cells kept sharp. */
export function pasted(pen, canvas, x, y, width, height) {
  pen.add("image", {
    x,
    y,
    width,
    height,
    preserveAspectRatio: "none",
    style: "image-rendering:pixelated",
    href: canvas.toDataURL("image/png"),
  });
}

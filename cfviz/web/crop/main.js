// The whole photo, on it what the model sees of it: a frame to drag, or to move with the arrow keys.

import { onPage } from "../shared/mount.js";
import { WAYS } from "../shared/near.js";

const SVG = "http://www.w3.org/2000/svg";
const SHARE = 1 / 40; // of the photo's side, moved by one press of an arrow key
const PAUSE = 400; // milliseconds after the last press until Python is told

function draw(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

class Crop {
  constructor(box, data, commit) {
    this.root = box;
    this.commit = commit;
    this.photo = draw("image", { x: 0, y: 0, preserveAspectRatio: "none" });
    this.empty = draw("rect", { class: "empty" });
    this.veil = draw("path", { class: "veil", "fill-rule": "evenodd" });
    this.lines = ["dark", "light"].map((name) => draw("rect", { class: name }));
    this.svg = draw("svg", { role: "img" }, this.empty, this.photo, this.veil, ...this.lines);
    this.svg.addEventListener("pointerdown", (e) => this.grab(e));
    this.svg.addEventListener("pointermove", (e) => this.drag(e));
    this.svg.addEventListener("pointerup", () => this.drop());
    this.svg.addEventListener("pointercancel", () => this.undo()); // a finger scrolled the page
    this.svg.addEventListener("keydown", (e) => this.step(e));
    box.replaceChildren(this.svg);
    this.load(data);
  }

  load(data) {
    this.data = data;
    this.movable = data.movable[0] || data.movable[1];
    for (const [name, value] of Object.entries(data.css)) this.root.style.setProperty(`--${name}`, value);
    this.svg.setAttribute("aria-label", data.label);
    this.svg.setAttribute("role", this.movable ? "application" : "img");
    this.svg.classList.toggle("movable", this.movable);
    if (this.movable) this.svg.setAttribute("tabindex", 0);
    else this.svg.removeAttribute("tabindex");
    this.photo.setAttribute("href", data.src);
    this.photo.setAttribute("width", data.wide);
    this.photo.setAttribute("height", data.high);
    const [left, top, right, bottom] = data.box;
    const free = [data.wide - (right - left), data.high - (bottom - top)];
    this.svg.style.touchAction = free[0] > free[1] ? "pan-y" : "pan-x"; // the other way still scrolls
    if (!this.held && !this.pause) this.show(data.box);
  }

  close() {
    clearTimeout(this.pause);
  }

  show(box) {
    this.box = box;
    const { wide, high } = this.data;
    const [left, top, right, bottom] = box;
    const view = [Math.min(0, left), Math.min(0, top), Math.max(wide, right), Math.max(high, bottom)];
    const [w, h] = [view[2] - view[0], view[3] - view[1]];
    this.svg.setAttribute("viewBox", `${view[0]} ${view[1]} ${w} ${h}`);
    this.svg.style.aspectRatio = `${w} / ${h}`;
    this.svg.style.setProperty("--ratio", w / h);
    const place = { x: left, y: top, width: right - left, height: bottom - top };
    for (const rect of [this.empty, ...this.lines]) {
      for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value);
    }
    const outer = `M${view[0]} ${view[1]}H${view[2]}V${view[3]}H${view[0]}Z`;
    this.veil.setAttribute("d", `${outer}M${left} ${top}H${right}V${bottom}H${left}Z`);
  }

  /** Move the frame by pixels of the photo, as far as the photo reaches. */
  move(from, dx, dy) {
    const { wide, high, movable } = this.data;
    const [left, top, right, bottom] = from;
    const x = movable[0] ? Math.min(Math.max(left + dx, 0), wide - (right - left)) : left;
    const y = movable[1] ? Math.min(Math.max(top + dy, 0), high - (bottom - top)) : top;
    this.show([x, y, x + right - left, y + bottom - top]);
  }

  tell() {
    this.pause = undefined;
    const { wide, high } = this.data;
    const [left, top, right, bottom] = this.box;
    const share = (x, side) => Math.round((1e4 * x) / side) / 1e4;
    this.commit({ x: share((left + right) / 2, wide), y: share((top + bottom) / 2, high) });
  }

  // ---- pointer and keys ------------------------------------------------------------------------------

  grab(event) {
    if (!this.movable || event.button) return;
    event.preventDefault();
    this.svg.focus();
    this.svg.setPointerCapture(event.pointerId);
    this.held = { x: event.clientX, y: event.clientY, box: this.box };
  }

  drag(event) {
    if (!this.held) return;
    const scale = (Math.max(this.data.wide, this.box[2]) - Math.min(0, this.box[0])) / this.svg.clientWidth;
    this.move(this.held.box, (event.clientX - this.held.x) * scale, (event.clientY - this.held.y) * scale);
  }

  drop() {
    const { held } = this;
    this.held = undefined;
    if (held && String(held.box) !== String(this.box)) this.tell();
  }

  undo() {
    if (this.held) this.show(this.held.box);
    this.held = undefined;
  }

  step(event) {
    const step = WAYS[event.key];
    if (!step || !this.movable) return;
    event.preventDefault();
    event.stopPropagation();
    this.move(this.box, step[0] * this.data.wide * SHARE, step[1] * this.data.high * SHARE);
    clearTimeout(this.pause);
    this.pause = setTimeout(() => this.tell(), PAUSE);
  }
}

export default onPage("crop-host", (box, data, commit) => new Crop(box, data, commit));

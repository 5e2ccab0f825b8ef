// Zoom and pan of a picture in a box: buttons, keys, Ctrl and the wheel, two fingers, and dragging once it is
// enlarged. The wheel alone and one finger belong to the page.

import { el } from "../shared/markup.js";
import { rove } from "../shared/near.js";
import { about } from "../shared/text.js";

const MOST = 8; // times
const STEP = 1.5; // of a button or a key
export const WHOLE = { times: 1, left: 0, top: 0 }; // what is shown of a picture that is not enlarged
const STILL = 4; // CSS pixels that a click may move

export class Zoom {
  /**
   * @param surfaces the elements that show the picture, each as large as the whole picture at 1; they show
   *   the same part of it
   * @param t the words: zoom, zoom_in, zoom_out, zoom_reset
   * @param change called when another part is to be shown
   */
  constructor(surfaces, t, change) {
    // How many times as large; the shares of the picture that are beyond the left and upper edge.
    Object.assign(this, { change, ...WHOLE });
    this.margins = [0, 0]; // of a surface around the picture: left and above, right and below, in CSS pixels
    const button = (text, label, act) => {
      const made = el("button", { type: "button", title: label, "aria-label": label }, text);
      made.addEventListener("click", act);
      return made;
    };
    this.less = button("−", t.zoom_out, () => this.by(1 / STEP));
    this.reset = button("1×", t.zoom_reset, () => this.to(1));
    this.more = button("+", t.zoom_in, () => this.by(STEP));
    this.box = el(
      "div.seg.zoom",
      { role: "toolbar", "aria-label": t.zoom, title: t.zoom_help },
      this.less,
      this.reset,
      this.more,
    );
    for (const other of [this.less, this.reset]) other.tabIndex = -1;
    this.count();
    rove(this.box, "button");
    this.fingers = new Map();
    for (const surface of surfaces) this.listen(surface);
  }

  listen(surface) {
    surface.addEventListener("wheel", (e) => this.wheel(e), { passive: false });
    surface.addEventListener("pointerdown", (e) => this.down(e));
    surface.addEventListener("pointermove", (e) => this.move(e));
    for (const end of ["pointerup", "pointercancel", "pointerleave"])
      surface.addEventListener(end, (e) => this.up(e));
    surface.addEventListener("click", (e) => this.dragged && e.stopImmediatePropagation(), true);
  }

  /** Show another part: so many times as large, with a point (shares of the box) staying where it is. */
  to(times, x = 0.5, y = 0.5) {
    const after = Math.max(1, Math.min(MOST, times));
    const fixed = [this.left + x / this.times, this.top + y / this.times];
    this.times = after;
    this.place(fixed[0] - x / after, fixed[1] - y / after);
  }

  by(factor, x, y) {
    this.to(this.times * factor, x, y);
  }

  /** Put a share of the picture at the upper left corner, as far as the picture reaches. */
  place(left, top) {
    const most = 1 - 1 / this.times;
    this.left = Math.max(0, Math.min(most, left));
    this.top = Math.max(0, Math.min(most, top));
    this.count();
    this.change();
  }

  /** Go back to the whole picture, which is about to be drawn. */
  whole() {
    Object.assign(this, WHOLE);
    this.count();
  }

  /** Say on the button how many times as large the picture is. */
  count() {
    this.reset.textContent = `${Number(this.times.toFixed(1))}×`;
    this.reset.setAttribute("aria-label", about(this.reset.textContent, this.reset.title));
  }

  /** Bring a point of the picture (shares) into sight. */
  reveal(x, y) {
    const side = 1 / this.times;
    const inside = (at, from) => at > from && at < from + side;
    if (inside(x, this.left) && inside(y, this.top)) return;
    this.place(x - side / 2, y - side / 2);
  }

  /** Take a key that zooms; returns whether it was one. */
  press(key) {
    if (key === "+" || key === "=") this.by(STEP);
    else if (key === "-") this.by(1 / STEP);
    else if (key === "0") this.to(1);
    else return false;
    return true;
  }

  at(e) {
    const box = e.currentTarget.getBoundingClientRect();
    const [before, after] = this.margins;
    const share = (at, size) => (at - before) / (size - before - after);
    return [share(e.clientX - box.left, box.width), share(e.clientY - box.top, box.height)];
  }

  wheel(e) {
    if (!e.ctrlKey) return;
    e.preventDefault();
    this.by(Math.exp(-Math.max(-100, Math.min(100, e.deltaY)) / 200), ...this.at(e));
  }

  down(e) {
    this.dragged = false;
    this.fingers.set(e.pointerId, this.at(e));
    if (e.pointerType !== "touch") this.from = [e.clientX, e.clientY];
  }

  move(e) {
    const before = this.fingers.get(e.pointerId);
    if (!before) return;
    const now = this.at(e);
    const mouse = e.pointerType !== "touch";
    const other = [...this.fingers].find(([id]) => id !== e.pointerId)?.[1];
    if (mouse ? this.times === 1 : !other) return;
    const moved = () => Math.hypot(e.clientX - this.from[0], e.clientY - this.from[1]);
    if (mouse && !this.dragged && moved() < STILL) return;
    this.dragged = true;
    e.stopImmediatePropagation(); // the picture moves, so nothing is pointed at
    if (mouse) this.place(...this.shifted(now, before));
    else this.pinch(now, before, other);
    this.fingers.set(e.pointerId, now);
  }

  shifted(now, before) {
    return [0, 1].map((i) => [this.left, this.top][i] - (now[i] - before[i]) / this.times);
  }

  pinch(now, before, other) {
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1e-6;
    const middle = (one) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
    this.place(...this.shifted(middle(now), middle(before)));
    this.by(apart(now) / apart(before), ...middle(now));
  }

  up(e) {
    this.fingers.delete(e.pointerId);
  }
}

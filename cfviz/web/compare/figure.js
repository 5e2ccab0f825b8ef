// Two models side by side on one photo: pointing at a place on one side points at it on both.

import { decode, peek } from "../shared/payload.js";
import { showPhoto } from "../shared/photo.js";
import { fill } from "../shared/text.js";
import { saveCanvas, saveDrawing, saveTable } from "../save/files.js";
import { Choice, el, say, segmented, takeButtons, watched, words } from "../shared/markup.js";
import { clip, percent } from "../shared/maths.js";
import { STEPS } from "../shared/near.js";
import { wear } from "../shared/paint.js";
import { Zoom } from "../zoom/zoom.js";
import { heatTables, SideView } from "./side.js";
import { SvgPen } from "../shared/pen.js";
import { room } from "../deck/deck.js";

export class CompareFigure {
  constructor(parent, message, commit) {
    this.parent = parent;
    this.commit = commit ?? (() => {});
    this.load(message);
    this.tour();
  }

  // ---- data ------------------------------------------------------------------------------------------

  load(message) {
    if (peek(message) === this.id) return;
    const { header, array } = decode(message);
    const first = this.id === undefined;
    const before = first ? null : this.place();
    const spoken = JSON.stringify(header.strings);
    this.id = header.id;
    this.header = header;
    this.t = words(header.strings);
    if (spoken !== this.spoken) this.buildElements();
    this.spoken = spoken;
    this.tables = heatTables(header.palette);
    this.sides.forEach((side, i) => side.load(header.sides[i], array));
    this.stageChoice.fill([0, 1, 2, 3].map((s) => el("button", { type: "button" }, `${s + 1}`)));
    this.stageChoice.choose(header.stage);
    const { H, W } = this.sides[0].layer;
    const to = first
      ? header.start
      : { row: Math.floor(before.y * H), col: Math.floor(before.x * W), held: this.state.held };
    this.state = { row: 0, col: 0, held: false };
    this.applyTheme();
    showPhoto(this, this.root, header.photo.of, array(header.photo.file));
    this.set(to);
  }

  /** The point in fractions of the photo, so that it stays in place from stage to stage. */
  place() {
    const { H, W } = this.sides[0].layer;
    return { y: (this.state.row + 0.5) / H, x: (this.state.col + 0.5) / W };
  }

  // ---- elements --------------------------------------------------------------------------------------

  buildElements() {
    const { t } = this;
    this.root?.remove();
    this.sides = [0, 1].map(
      (i) =>
        new SideView(
          t,
          (block) => this.commitState({ side: i, block }),
          () => this.requestDraw(),
        ),
    );
    const stages = segmented(t.stage);
    this.stageChoice = new Choice(stages, (stage) => {
      this.stageChoice.choose(stage);
      this.commitState({ stage });
    });
    this.lock = el("button.lock", { type: "button", "aria-pressed": "false" });
    this.lock.addEventListener("click", () => {
      this.stopTour();
      this.set({ held: !this.state.held });
      this.commitState();
    });
    this.high = el("span.num");
    this.ramp = el("div.ramp");
    this.legend = el(
      "div.legend",
      {},
      el("span.num", {}, "0"),
      this.ramp,
      this.high,
      el("span.note", {}, t.scale),
    );
    const take = takeButtons(t, {
      save_picture: () => this.savePicture(),
      save_vector: () => this.saveVector(),
      save_numbers: () => this.saveNumbers(),
    });
    this.live = el("p.live", { "aria-live": "polite", role: "status" });
    this.zoom = new Zoom(
      this.sides.map((side) => side.over),
      t,
      () => {
        this.stopTour();
        this.layOut();
      },
    );
    this.root = el(
      "div.cf.cp",
      {},
      el("div.bar", {}, el("span.note", {}, t.stage), stages, this.lock, this.zoom.box, el("span.gap"), take),
      el("div.cp-sides", {}, ...this.sides.map((side) => side.root)),
      this.legend,
      el("p.note.keys", {}, t.keys),
      this.live,
    );
    this.root.figure = this;
    this.parent.append(this.root);
    for (const side of this.sides) this.listen(side);
    this.watcher = watched(this.watcher, this.root, () => this.layOut());
  }

  listen(side) {
    const at = (event) => side.token(event.offsetX, event.offsetY);
    side.over.addEventListener("pointermove", (event) => {
      this.stopTour();
      if (!this.state.held && (event.pointerType !== "touch" || event.buttons)) this.set(at(event));
    });
    side.over.addEventListener("click", (event) => {
      const to = at(event);
      const same = this.state.held && to.row === this.state.row && to.col === this.state.col;
      this.stopTour();
      this.set({ ...to, held: !same });
      this.commitState();
    });
    side.map.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (step) {
        this.set({ row: this.state.row + step[0], col: this.state.col + step[1] });
        const { x, y } = this.place();
        this.zoom.reveal(x, y);
      } else if (this.zoom.press(event.key)) {
        // Enlarged; the ring stays.
      } else if (event.key === "Enter" || event.key === " ") {
        this.set({ held: !this.state.held });
        this.commitState();
      } else if (event.key === "Escape") {
        this.set({ held: false });
        this.commitState();
      } else return;
      this.stopTour();
      event.preventDefault();
    });
  }

  /** Take the colours of the theme around the figure. */
  applyTheme() {
    if (!wear(this, this.root)) return;
    this.ramp.style.background = `linear-gradient(90deg, ${this.header.palette.sequential.join(",")})`;
    if (this.photo) this.layOut();
  }

  // ---- choices ---------------------------------------------------------------------------------------

  set(change) {
    const { H, W } = this.sides[0].layer;
    const near = (x, n) => clip(Math.round(x) || 0, n);
    const want = { ...this.state, ...change };
    this.state = { row: near(want.row, H), col: near(want.col, W), held: Boolean(want.held) };
    this.requestDraw();
  }

  commitState(more = {}) {
    const { H, W } = this.sides[0].layer;
    this.commit({
      ...this.state,
      H,
      W,
      stage: this.header.stage,
      seq: (this.seq = (this.seq ?? 0) + 1),
      ...more,
    });
  }

  /** Walk slowly over the photo until the reader points at it. */
  tour() {
    if (!this.header.start.tour || window.matchMedia("(prefers-reduced-motion: reduce)").matches) return;
    let n = 0;
    this.walk = setInterval(() => {
      n += 1;
      const { H, W } = this.sides[0].layer;
      if (n > 40 || !this.root.isConnected || this.state.held) this.stopTour();
      else
        this.set({
          row: Math.floor(H * (0.5 + 0.33 * Math.sin(0.45 * n))),
          col: Math.floor(W * (0.5 + 0.36 * Math.sin(0.3 * n))),
        });
    }, 450);
  }

  stopTour() {
    if (this.walk) clearInterval(this.walk);
    this.walk = null;
  }

  // ---- drawing ---------------------------------------------------------------------------------------

  layOut() {
    const width = this.sides[0].root.clientWidth;
    if (!width) return;
    const { h, w } = this.header.input;
    const height = Math.min(...this.sides.map((side) => room(side.map, (560 * h) / w, this.legend)));
    const wide = Math.min(width, (height * w) / h);
    this.sides.forEach((side, i) =>
      side.layOut(wide, this.header.input, this.photo, this.theme, this.zoom, i ? this.sides[0] : null),
    );
    this.requestDraw();
  }

  requestDraw() {
    this.drawRequest ??= requestAnimationFrame(() => {
      this.drawRequest = null;
      this.draw();
    });
  }

  draw() {
    if (!this.photo) return;
    const { row, col, held } = this.state;
    this.frames = this.sides.map((side) => side.weigh(side.layer.look(row, col)));
    this.top = Math.max(...this.frames.map((frame) => frame.top));
    this.sides.forEach((side, i) => {
      side.paint(this.frames[i], this.top, this.tables, { ...this.header.palette, other: this.theme.good });
      side.read(this.frames[i]);
    });
    this.legend.hidden = !this.top;
    say(this.high, percent(this.top));
    say(this.lock, held ? this.t.unlock : this.t.lock);
    this.lock.setAttribute("aria-pressed", held);
    this.describeSoon();
  }

  describeSoon() {
    clearTimeout(this.speech);
    if (this.walk) return;
    this.speech = setTimeout(
      () => say(this.live, this.caption() + this.sides.map((side) => ` ${side.summary()}`).join("")),
      500,
    );
  }

  caption() {
    return fill(this.t.caption, { stage: this.header.stage + 1, row: this.state.row, col: this.state.col });
  }

  // ---- taking it away --------------------------------------------------------------------------------

  get file() {
    return `cfviz-compare-stage-${this.header.stage + 1}-${this.state.row}-${this.state.col}`;
  }

  savePicture() {
    const [a, b] = this.sides;
    const gap = 16 * a.ratio;
    const foot = 42 * a.ratio;
    const page = el("canvas", { width: 2 * a.base.width + gap, height: a.base.height + foot });
    const pen = page.getContext("2d");
    pen.fillStyle = this.theme.paper;
    pen.fillRect(0, 0, page.width, page.height);
    [a, b].forEach((side, i) => {
      const x = i * (a.base.width + gap);
      pen.drawImage(side.base, x, 0);
      pen.drawImage(side.over, x, 0);
      pen.fillStyle = this.theme.ink;
      pen.font = `${12 * a.ratio}px sans-serif`;
      side
        .summary()
        .split("\n")
        .forEach((text, n) => pen.fillText(text, x + 2, a.base.height + (16 + 16 * n) * a.ratio));
    });
    saveCanvas(this.file, page);
  }

  saveVector() {
    const [a] = this.sides;
    const [w, h] = [a.base.width / a.ratio, a.base.height / a.ratio];
    const pen = new SvgPen(2 * w + 16, h + 42);
    pen.rect(0, 0, pen.width, pen.height, this.theme.paper);
    this.sides.forEach((side, i) =>
      side.draft(
        pen,
        i * (w + 16),
        w,
        h,
        this.frames[i],
        this.top,
        this.tables,
        { ...this.header.palette, other: this.theme.good },
        this.theme,
      ),
    );
    saveDrawing(this.file, pen);
  }

  saveNumbers() {
    const rows = this.sides.flatMap((side, i) => {
      const { look, probs } = this.frames[i];
      const { W, reduction, title } = side.layer;
      const share = (n) => (probs ? probs[n].toPrecision(6) : "");
      return look.keys.map((place, n) => [title, Math.floor(place / W), place % W, reduction, share(n)]);
    });
    saveTable(this.file, [["model", "row", "column", "side", "attention"], ...rows], this.caption());
  }

  close() {
    this.stopTour();
    this.picture.close();
    this.watcher?.disconnect();
    clearTimeout(this.speech);
  }
}

// Click a place of the photo: the most similar place of each other photo, the most similar photo first.

import { decode, peek } from "../shared/payload.js";
import { fill } from "../shared/text.js";
import { Choice, el, say, segmented, watched, words } from "../shared/markup.js";
import { clip } from "../shared/maths.js";
import { STEPS } from "../shared/near.js";
import { colours, css, outline, shade, VEIL, wear } from "../shared/paint.js";

const PAUSE = 350; // milliseconds after the last key until Python is asked
const WIDEST = 400; // CSS pixels

export class SimilarFigure {
  constructor(parent, message, commit) {
    this.parent = parent;
    this.commit = commit;
    this.heat = false;
    this.load(message);
  }

  load(message) {
    if (peek(message) === this.id) return;
    const { header, array } = decode(message);
    const spoken = JSON.stringify(header.strings);
    Object.assign(this, { id: header.id, header, t: words(header.strings) });
    if (spoken !== this.spoken) this.build();
    this.spoken = spoken;
    this.state = { row: header.row, col: header.col };
    this.stages.fill(
      Array.from({ length: header.stages }, (_, s) => el("button", { type: "button" }, `${s + 1}`)),
    );
    this.stages.choose(header.stage);
    this.applyTheme();
    const open = (file, type) => createImageBitmap(new Blob([array(file)], { type }));
    const files = header.others.map((other) => open(other.file, "image/jpeg"));
    Promise.all([open(header.photo.file, "image/png"), ...files]).then(([photo, ...pictures]) => {
      if (this.id !== header.id) return; // a later message came first
      this.photo = photo;
      this.own = array(header.own);
      this.cards.replaceChildren();
      this.views = header.others.map((other, i) => this.card(other, pictures[i], array(other.map)));
      this.layOut();
      this.root.dataset.ready = "";
      say(this.said, this.sentence());
    });
  }

  build() {
    const { t } = this;
    this.root?.remove();
    this.stages = new Choice(segmented(t.stage), (stage) => {
      this.stages.choose(stage);
      const { H, W } = this.header;
      this.send({ stage, row: (this.state.row + 0.5) / H, col: (this.state.col + 0.5) / W });
    });
    this.toggle = el("button.lock", { type: "button", "aria-pressed": this.heat }, t.everywhere);
    this.toggle.addEventListener("click", () => {
      this.heat = !this.heat;
      this.toggle.setAttribute("aria-pressed", this.heat);
      this.draw();
    });
    this.canvas = el("canvas", { tabindex: 0, role: "application", "aria-label": t.photo });
    this.said = el("p.note.sm-said", { role: "status", "aria-live": "polite" });
    this.cards = el("div.cards");
    [this.low, this.high, this.ramp] = [el("span.num"), el("span.num"), el("div.ramp")];
    this.legend = el("div.legend", {}, this.low, this.ramp, this.high);
    this.root = el(
      "div.cf.sm",
      {},
      el("div.bar", {}, el("span.note", {}, t.stage), this.stages.box, this.toggle),
      el(
        "div.body",
        {},
        el("div.left.sm-left", {}, this.canvas, this.said, this.legend, el("p.note", {}, t.keys)),
        this.cards,
      ),
    );
    this.root.figure = this;
    this.parent.append(this.root);
    const { canvas } = this;
    canvas.addEventListener("pointermove", (e) => {
      this.over = this.token(e);
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => {
      this.over = null;
      this.draw();
    });
    canvas.addEventListener("click", (e) => this.choose(this.token(e)));
    canvas.addEventListener("keydown", (e) => {
      const step = STEPS[e.key];
      if (!step) return;
      e.preventDefault();
      e.stopPropagation();
      const { H, W } = this.header;
      const [row, col] = [this.state.row + step[0], this.state.col + step[1]];
      this.state = { row: clip(row, H), col: clip(col, W) };
      this.over = null;
      this.draw();
      clearTimeout(this.pause);
      this.pause = setTimeout(() => this.choose(this.state), PAUSE);
    });
    this.watcher = watched(this.watcher, this.root, () => this.layOut());
  }

  card({ title, row, col, cosine }, picture, map) {
    const canvas = el("canvas", { role: "img" });
    const text = fill(this.t.card, { title, cosine: number(cosine), row, col });
    canvas.setAttribute("aria-label", text);
    const value = el("b.num", { "data-cosine": cosine }, number(cosine));
    this.cards.append(el("figure.card", { title: text }, canvas, el("figcaption", {}, value, ` ${title}`)));
    return { canvas, picture, map, row, col };
  }

  applyTheme() {
    if (!wear(this, this.root)) return;
    this.ramp.style.background = `linear-gradient(90deg, ${this.header.palette.sequential.join(",")})`;
    this.table = css(colours(this.header.palette.sequential));
  }

  token(event) {
    const { H, W } = this.header;
    const { clientWidth, clientHeight } = this.canvas;
    const at = (x, side, n) => clip(Math.floor((x * n) / side), n);
    return { row: at(event.offsetY, clientHeight, H), col: at(event.offsetX, clientWidth, W) };
  }

  choose({ row, col }) {
    const { H, W, stage } = this.header;
    this.state = { row, col };
    this.draw();
    this.send({ stage, row: (row + 0.5) / H, col: (col + 0.5) / W });
  }

  /** Ask Python about a place, as shares of the photo: stages have maps of different sizes. */
  send({ stage, row, col }) {
    this.root.dataset.waits = "";
    this.commit({ stage, x: col, y: row, seq: (this.seq = (this.seq ?? 0) + 1) });
  }

  sentence() {
    const { row, col, mean, others } = this.header;
    const [best] = others;
    delete this.root.dataset.waits;
    return fill(this.t.sentence, {
      row,
      col,
      title: best.title,
      cosine: number(best.cosine),
      mean: number(mean),
    });
  }

  // ---- drawing ---------------------------------------------------------------------------------------

  layOut() {
    if (!this.photo) return;
    const { w, h } = this.header.photo;
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const fit = (canvas, wide) => {
      const high = Math.round((wide * h) / w);
      [canvas.width, canvas.height] = [wide * this.ratio, high * this.ratio];
      [canvas.style.width, canvas.style.height] = [`${wide}px`, `${high}px`];
    };
    const room = this.canvas.parentElement.clientWidth;
    if (!room) return;
    fit(this.canvas, Math.round(Math.min(room, WIDEST * Math.max(1, Math.sqrt(w / h)))));
    const cell = this.cards.firstElementChild?.clientWidth;
    if (cell) for (const view of this.views) fit(view.canvas, cell);
    this.draw();
  }

  draw() {
    if (!this.photo || !this.ratio) return;
    const all = [this.own, ...this.views.map((view) => view.map)];
    const top = all.slice(1).reduce((most, map) => map.reduce((a, b) => Math.max(a, b), most), 0);
    this.paint(this.canvas, this.photo, this.own, top);
    this.mark(this.canvas, this.state, true);
    if (this.over) this.mark(this.canvas, this.over, true);
    for (const view of this.views) {
      this.paint(view.canvas, view.picture, view.map, top);
      this.mark(view.canvas, view, false);
    }
    this.legend.hidden = !this.heat;
    say(this.low, "≤\u00a00");
    say(this.high, number(top));
  }

  /** The photo, and over it every token's cosine where the reader wants it: 0 and less to the largest. */
  paint(canvas, picture, map, top) {
    const pen = canvas.getContext("2d");
    pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
    if (!this.heat) return;
    pen.fillStyle = VEIL;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 0.8;
    const { H, W } = this.header;
    const [cw, ch] = [canvas.width / W, canvas.height / H];
    map.forEach((x, i) => {
      pen.fillStyle = this.table[shade(x, top)];
      const [left, upper] = [Math.round((i % W) * cw), Math.round(Math.floor(i / W) * ch)];
      const [right, lower] = [((i % W) + 1) * cw, (Math.floor(i / W) + 1) * ch].map(Math.round);
      pen.fillRect(left, upper, right - left, lower - upper);
    });
    pen.globalAlpha = 1;
  }

  mark(canvas, { row, col }, round) {
    const { H, W } = this.header;
    const [cw, ch] = [canvas.width / W, canvas.height / H];
    const pen = canvas.getContext("2d");
    const side = Math.max(cw, 7 * this.ratio);
    const [x, y] = [(col + 0.5) * cw, (row + 0.5) * ch];
    outline(pen, this.ratio, [4.5, 2], () =>
      round ? pen.arc(x, y, side / 2, 0, 2 * Math.PI) : pen.rect(x - side / 2, y - side / 2, side, side),
    );
  }

  close() {
    clearTimeout(this.pause);
    this.watcher?.disconnect();
  }
}

function number(x) {
  return x.toFixed(2).replace("-", "−");
}

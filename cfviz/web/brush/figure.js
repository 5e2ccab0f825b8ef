// Paint over the input with a brush or a rectangle; Python applies the strokes and answers.
// What is drawn while painting only marks the place: the pixels shown afterwards are the model's input.

import { decode } from "../shared/payload.js";
import { fill } from "../shared/text.js";
import { button, Choice, el, say, segmented, watched, words as named } from "../shared/markup.js";
import { percent, signed } from "../shared/maths.js";
import { WAYS } from "../shared/near.js";
import { colours, css, diverging, outline, VEIL, wear } from "../shared/paint.js";
import { asked, Steps } from "../lab/steps.js";
import { clip, limited, points, WHOLE, word, words } from "./strokes.js";

const HOWS = ["mean", "dataset", "blur", "copy"];
const TIPS = ["round", "rect"];
const VIEWS = ["before", "after", "change"];
const STEP = 25; // thousandths of a side, moved by one press of an arrow key
const LEAST = 20; // thousandths, the shortest side of a rectangle
const WIDEST = 460; // CSS pixels

export class BrushFigure {
  constructor(parent, message, commit) {
    this.parent = parent;
    this.commit = commit;
    this.seq = 0;
    Object.assign(this, { how: 0, tip: 0, size: 150, stage: 3, view: 1 });
    this.box = [350, 350, 650, 650]; // the keyboard's rectangle: left, top, right, bottom
    this.load(message);
  }

  load(message) {
    const { header, array } = decode(message);
    const { strokes, seq } = header.start;
    const fresh = header.id !== this.id;
    const spoken = JSON.stringify(header.strings);
    Object.assign(this, { header, id: header.id, t: named(header.strings) });
    if (spoken !== this.spoken) this.build();
    this.spoken = spoken;
    // Python has seen all that was painted here
    if (seq >= this.seq) {
      this.seq = seq;
      this.text = strokes;
      this.remember();
    }
    this.applyTheme();
    if (!fresh) return this.photo && this.settle(seq); // a stroke that changed no pixel
    this.maps = header.stages.map((one) => ({
      ...one,
      before: array(one.before),
      after: array(one.after),
    }));
    this.heat = css(colours(header.palette.sequential));
    const file = new Blob([array(header.photo.file)], { type: "image/png" });
    createImageBitmap(file).then((photo) => {
      if (this.id !== header.id) return; // a later message came first
      this.photo = photo;
      this.table();
      this.settle(this.header.start.seq);
      this.layOut();
      this.root.dataset.ready = "";
    });
  }

  /** The pixels shown are those of the model; nothing is marked any more unless more was painted since. */
  settle(seq) {
    if (seq >= this.seq) {
      this.pending = null;
      delete this.root.dataset.waits;
    }
    this.draw();
    this.tell();
  }

  /** Follow the strokes that a message brought; those of a link can be undone one by one. */
  remember() {
    this.steps ??= new Steps("cfviz.brush");
    if (this.steps.now === undefined)
      words(this.text).forEach((_, n, all) => this.steps.add(all.slice(0, n).join("_")));
    this.steps.meet(this.text);
  }

  // ---- elements --------------------------------------------------------------------------------------

  build() {
    const { t } = this;
    this.root?.remove();
    const choice = (name, label, texts, titles, act) => {
      const box = segmented(label, name);
      const made = new Choice(box, (i) => {
        made.choose(i);
        act(i);
      });
      made.fill(texts.map((text, i) => el("button", { type: "button", title: titles?.[i] }, text)));
      return made;
    };
    const helps = HOWS.map((how) => t[`${how}_help`]);
    this.hows = choice(
      "hows",
      t.how,
      HOWS.map((how) => t[how]),
      helps,
      (i) => {
        this.how = i;
        this.source = null;
        this.tell();
      },
    );
    this.tips = choice(
      "tips",
      t.tip,
      TIPS.map((tip) => t[tip]),
      null,
      (i) => {
        this.tip = i;
        this.slider.disabled = i === 1;
        this.draw();
      },
    );
    const { thinnest, thickest } = this.header.limits;
    this.slider = el("input", {
      type: "range",
      min: thinnest,
      max: thickest,
      step: 10,
      "aria-label": t.size,
    });
    this.slider.value = this.size;
    this.slider.addEventListener("input", () => {
      this.size = Number(this.slider.value);
      this.draw();
    });
    this.undo = button(t.undo, () => this.go(-1), t.undo_help);
    this.redo = button(t.redo, () => this.go(1), t.redo_help);
    this.clear = button(t.clear, () => {
      if (!this.text) return;
      this.pending = null;
      this.change("");
    });
    this.canvas = el("canvas", {
      tabindex: 0,
      role: "application",
      "aria-label": t.canvas,
      "aria-describedby": "br-keys",
    });
    this.said = el("p.note.br-said", { role: "status", "aria-live": "polite" });
    this.stages = choice(
      "stages",
      t.stage,
      this.header.stages.map((_, i) => `${i + 1}`),
      null,
      (i) => {
        this.stage = i;
        this.drawMap();
      },
    );
    this.views = choice(
      "views",
      t.view,
      VIEWS.map((view) => t[view]),
      null,
      (i) => {
        this.view = i;
        this.drawMap();
      },
    );
    this.rows = el("tbody");
    const heads = ["class", "before", "after", "change_logit"].map((key) =>
      el("th", { scope: "col" }, t[key]),
    );
    this.map = el("canvas", { role: "img" });
    [this.low, this.high, this.ramp] = [el("span.num"), el("span.num"), el("div.ramp")];
    this.root = el(
      "div.cf.br",
      {},
      el(
        "div.bar",
        {},
        this.hows.box,
        this.tips.box,
        el("label.strength", {}, el("span", {}, t.size), this.slider),
        el("span.take", {}, this.undo, this.redo, this.clear),
      ),
      el(
        "div.body",
        {},
        el("div.left.br-left", {}, this.canvas, this.said, el("p.note", { id: "br-keys" }, t.keys)),
        el(
          "div.right",
          {},
          el("table.br-rows", {}, el("thead", {}, el("tr", {}, ...heads)), this.rows),
          el(
            "div.br-attention",
            {},
            el("div.title", {}, el("h4", {}, t.attention), el("span.note", {}, t.attention_note)),
            el("div.bar", {}, el("span.note", {}, t.stage), this.stages.box, this.views.box),
            this.map,
            el("div.legend", {}, this.low, this.ramp, this.high),
          ),
        ),
      ),
    );
    this.root.figure = this;
    this.parent.append(this.root);
    this.hows.choose(this.how);
    this.tips.choose(this.tip);
    this.stages.choose(this.stage);
    this.views.choose(this.view);
    this.listen();
    this.watcher = watched(this.watcher, this.root, () => this.layOut());
  }

  listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (e) => this.begin(e));
    canvas.addEventListener("pointermove", (e) => this.follow(e));
    canvas.addEventListener("pointerup", () => this.end());
    canvas.addEventListener("pointercancel", () => {
      this.path = null;
      this.draw();
    });
    canvas.addEventListener("pointerleave", () => {
      this.over = null;
      this.draw();
    });
    canvas.addEventListener("focus", () => this.draw());
    canvas.addEventListener("blur", () => this.draw());
    canvas.addEventListener("keydown", (e) => this.press(e));
    this.root.addEventListener("keydown", (e) => {
      const way = asked(e);
      if (!way) return;
      e.stopPropagation(); // the board of the lab listens on the page
      e.preventDefault();
      this.go(way);
    });
  }

  applyTheme() {
    if (!wear(this, this.root)) return;
    this.signs = css(colours(diverging(this.theme)));
    this.draw();
  }

  // ---- painting --------------------------------------------------------------------------------------

  place(event) {
    const { clientWidth, clientHeight } = this.canvas;
    return [clip((WHOLE * event.offsetX) / clientWidth), clip((WHOLE * event.offsetY) / clientHeight)];
  }

  begin(event) {
    if (event.button) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.keyed = false;
    const at = this.place(event);
    if (HOWS[this.how] === "copy" && !this.source) {
      this.source = at;
      return this.tell();
    }
    if (!this.room()) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.path = [at];
    this.draw();
  }

  follow(event) {
    this.over = this.place(event);
    if (this.path) {
      const [x, y] = this.path[this.path.length - 1];
      const [u, v] = this.over;
      if (TIPS[this.tip] === "rect") this.path = [this.path[0], this.over];
      else if (Math.hypot(u - x, v - y) >= Math.max(4, this.size / 20)) this.path.push(this.over);
    }
    this.draw();
  }

  end() {
    const { path } = this;
    this.path = null;
    if (!path) return;
    if (TIPS[this.tip] === "rect") {
      const box = this.corners(path[0], path[1] ?? path[0]);
      if (box[2] - box[0] < LEAST || box[3] - box[1] < LEAST) return this.draw();
      return this.add({ path: [box.slice(0, 2), box.slice(2)] });
    }
    const left = this.header.limits.points - points(this.text);
    this.add({ size: this.size, path: limited(path, this.size / 25, left) });
  }

  corners([x, y], [u, v]) {
    return [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];
  }

  /** Whether one more stroke is allowed; if not, say so. */
  room() {
    const { strokes, points: most } = this.header.limits;
    const free = words(this.text).length < strokes && points(this.text) + 2 <= most;
    if (!free) say(this.said, fill(this.t.full, { n: strokes, points: most }));
    return free;
  }

  add(stroke) {
    const how = HOWS[this.how];
    const more = how === "copy" ? { source: this.source } : {};
    this.pending = { ...stroke };
    this.change([...words(this.text), word({ how, ...stroke, ...more })].join("_"));
  }

  /** Other strokes: remember them and tell Python. */
  change(text) {
    if (text === this.text) return this.draw();
    this.steps.add(text);
    this.send(text);
  }

  go(way) {
    if (!this.steps.has(way)) return;
    this.pending = null;
    this.send(this.steps.go(way));
  }

  send(text) {
    this.text = text;
    this.seq += 1;
    this.root.dataset.waits = "";
    this.commit({ strokes: text, seq: this.seq });
    this.draw();
    this.tell();
  }

  press(event) {
    const move = WAYS[event.key];
    const [left, top, right, bottom] = this.box;
    if (move && event.shiftKey) {
      const to = [right + move[0] * STEP, bottom + move[1] * STEP];
      this.box = [
        left,
        top,
        Math.max(left + LEAST, Math.min(WHOLE, to[0])),
        Math.max(top + LEAST, Math.min(WHOLE, to[1])),
      ];
    } else if (move) {
      const x = Math.max(0, Math.min(WHOLE - (right - left), left + move[0] * STEP));
      const y = Math.max(0, Math.min(WHOLE - (bottom - top), top + move[1] * STEP));
      this.box = [x, y, x + right - left, y + bottom - top];
    } else if (event.key === "Enter" || event.key === " ") {
      const corner = this.box.slice(0, 2);
      if (HOWS[this.how] === "copy" && !this.source) this.source = corner;
      else if (this.room()) this.add({ path: [corner, this.box.slice(2)] });
    } else if (event.key === "Escape") this.source = null;
    else return;
    event.preventDefault();
    event.stopPropagation();
    this.keyed = true;
    this.draw();
    this.tell();
  }

  // ---- drawing ---------------------------------------------------------------------------------------

  layOut() {
    const wide = this.canvas.parentElement.clientWidth;
    if (!wide || !this.photo) return;
    const { w, h } = this.header.photo;
    this.ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.round(Math.min(wide, WIDEST * Math.max(1, Math.sqrt(w / h))));
    this.fit(this.canvas, width);
    this.fit(this.map, Math.round(Math.min(this.map.parentElement.clientWidth, w > 1.5 * h ? 460 : 260)));
    this.draw();
    this.drawMap();
  }

  fit(canvas, width) {
    const { w, h } = this.header.photo;
    const height = Math.round((width * h) / w);
    [canvas.width, canvas.height] = [width * this.ratio, height * this.ratio];
    [canvas.style.width, canvas.style.height] = [`${width}px`, `${height}px`];
  }

  draw() {
    if (!this.photo || !this.ratio) return;
    const { canvas, path, over } = this;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.photo, 0, 0, canvas.width, canvas.height);
    const rect = TIPS[this.tip] === "rect";
    if (this.pending) this.trace(pen, this.pending);
    if (path && rect && path[1]) this.frame(pen, this.corners(...path));
    else if (path) this.trace(pen, { size: this.size, path });
    if (over && !path && !rect) this.ring(pen, over, this.size);
    const focused = canvas.getRootNode().activeElement === canvas;
    if (this.keyed && focused) this.frame(pen, this.box);
    if (this.source) this.ring(pen, this.source, 30);
    // not disabled: a button that is loses the keyboard, and the next Ctrl+Y would go to the lab's board
    this.undo.ariaDisabled = !this.steps?.has(-1);
    this.redo.ariaDisabled = !this.steps?.has(1);
    this.clear.ariaDisabled = !this.text;
  }

  at([x, y]) {
    return [(x * this.canvas.width) / WHOLE, (y * this.canvas.height) / WHOLE];
  }

  span(size) {
    return (size * Math.min(this.canvas.width, this.canvas.height)) / WHOLE;
  }

  /** Mark a stroke that Python has not seen yet. */
  trace(pen, { size, path }) {
    pen.save();
    pen.globalAlpha = 0.55;
    pen.strokeStyle = pen.fillStyle = "#FFFFFF";
    if (size === undefined) {
      const [x, y] = this.at(path[0]);
      const [u, v] = this.at(path[1]);
      pen.fillRect(x, y, u - x, v - y);
    } else {
      [pen.lineCap, pen.lineJoin, pen.lineWidth] = ["round", "round", this.span(size)];
      pen.beginPath();
      pen.moveTo(...this.at(path[0]));
      for (const point of path.length > 1 ? path.slice(1) : path) pen.lineTo(...this.at(point));
      pen.stroke();
    }
    pen.restore();
  }

  outline(pen, trace) {
    outline(pen, this.ratio, [4, 1.75], trace);
  }

  frame(pen, [left, top, right, bottom]) {
    const [x, y] = this.at([left, top]);
    const [u, v] = this.at([right, bottom]);
    this.outline(pen, () => pen.rect(x, y, u - x, v - y));
  }

  ring(pen, point, size) {
    const [x, y] = this.at(point);
    this.outline(pen, () => pen.arc(x, y, this.span(size) / 2, 0, 2 * Math.PI));
  }

  /** The classes, before and after. */
  table() {
    const rows = this.header.rows.map((row) =>
      el(
        row.first ? "tr.first" : "tr",
        {},
        el("th", { scope: "row" }, row.name),
        el("td.num", {}, percent(row.before)),
        el("td.num", {}, percent(row.after)),
        el("td.num", { "data-logit": row.logit }, signed(row.change)),
      ),
    );
    this.rows.replaceChildren(...rows);
  }

  /** One sentence below the photo: what to do next, or what has been painted. */
  tell() {
    const { t } = this;
    if (HOWS[this.how] === "copy" && !this.source) return say(this.said, t.choose_source);
    const n = words(this.text).length;
    say(this.said, fill(n ? t.painted : t.empty, { n }));
  }

  drawMap() {
    const one = this.maps?.[this.stage];
    if (!one || !this.photo || !this.ratio) return;
    const canvas = this.map;
    const view = VIEWS[this.view];
    const values = view === "change" ? one.after.map((x, i) => x - one.before[i]) : one[view];
    const top = view === "change" ? largest(values) : Math.max(largest(one.before), largest(one.after));
    const table = view === "change" ? this.signs : this.heat;
    const pen = canvas.getContext("2d");
    pen.globalAlpha = 1;
    pen.drawImage(this.photo, 0, 0, canvas.width, canvas.height);
    pen.fillStyle = VEIL;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.globalAlpha = 0.8;
    const [cw, ch] = [canvas.width / one.W, canvas.height / one.H];
    values.forEach((x, i) => {
      const share = view === "change" ? 0.5 + x / (2 * (top || 1)) : x / (top || 1);
      pen.fillStyle = table[Math.max(0, Math.min(255, Math.round(255 * share)))];
      const [left, upper] = [Math.round((i % one.W) * cw), Math.round(Math.floor(i / one.W) * ch)];
      const [right, lower] = [((i % one.W) + 1) * cw, (Math.floor(i / one.W) + 1) * ch].map(Math.round);
      pen.fillRect(left, upper, right - left, lower - upper);
    });
    this.shown = { values: [...values], top };
    const round = (x) => x.toFixed(x < 10 ? 2 : 1);
    say(this.low, view === "change" ? `−${round(top)}` : "0");
    say(this.high, view === "change" ? `+${round(top)}` : round(top));
    const stops = view === "change" ? diverging(this.theme) : this.header.palette.sequential;
    this.ramp.style.background = `linear-gradient(90deg, ${stops.join(",")})`;
    const { t } = this;
    this.map.setAttribute("aria-label", fill(t.map, { stage: this.stage + 1, view: t[view] }));
  }

  close() {
    this.watcher?.disconnect();
  }
}

function largest(values) {
  return values.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
}

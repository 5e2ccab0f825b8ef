// What each kernel puts into the token under the pointer: the photo, the kernels' squares, their shares.

import { PlaneFigure } from "../plane/figure.js";
import { square } from "../plane/plane.js";
import { saveDrawing, saveTable } from "../save/files.js";
import { SvgPen } from "../shared/pen.js";
import { Choice, el, say, segmented } from "../shared/markup.js";
import { clip, signed } from "../shared/maths.js";
import { STEPS } from "../shared/near.js";
import { colours, css, diverging } from "../shared/paint.js";
import { decode } from "../shared/payload.js";
import { fill, together } from "../shared/text.js";
import { WHOLE, Zoom } from "../zoom/zoom.js";
import { number, Rows, Vector } from "./panels.js";
import { room } from "../deck/deck.js";

const MEASURES = ["norm", "carried", "caused"];

export class EmbeddingFigure extends PlaneFigure {
  constructor(parent, message, commit) {
    super(parent, commit);
    const nothing = { kernel: null, channel: null, held: false };
    this.state = { cel: 0, measure: "carried", row: 0, col: 0, ...nothing };
    this.load(message);
  }

  // ---- data ------------------------------------------------------------------------------------------

  read(array, first) {
    const { header } = this;
    this.before = first ? undefined : this.cel; // the layer that row and column refer to
    // A large message has one layer only: those that followed it before, in another language, are kept.
    const known = !first && header.source === this.source ? this.cels : [];
    this.source = header.source;
    this.cels = header.cels.map((cel, n) => {
      const made = opened(cel, array);
      return made.codes || !known[n]?.codes ? made : known[n];
    });
    this.heat = colours(header.palette.sequential);
    if (first) this.state = { ...this.state, ...header.start };
    this.wanted = null;
    this.settleFor();
  }

  begin(first) {
    this.choose(this.state.cel, first ? this.header.start : {}, false, this.before);
  }

  get file() {
    return `cfviz-cel-${this.cel.stage + 1}`;
  }

  /** Show what is there until the rest arrives, then what the reader had chosen. */
  settleFor() {
    const { cel: i, measure } = this.state;
    if (this.cels[i]?.[measure] || this.cels.every((cel) => cel.codes)) return;
    const there = this.cels.findIndex((cel) => MEASURES.some((name) => cel[name]));
    this.state = {
      ...this.state,
      cel: there,
      measure: MEASURES.find((name) => this.cels[there][name]),
      kernel: null,
      channel: null,
    };
    this.wanted = () => {
      this.set({ measure });
      this.choose(i);
    };
  }

  /** Take the layers that the first message left out, then do what the reader asked for meanwhile. */
  join(message) {
    if (this.cels.every((cel) => cel.codes)) return;
    const { header, array } = decode(message);
    if (header.source !== this.header.source) return;
    this.cels = header.cels.map((cel) => opened(cel, array));
    delete this.ui.root.dataset.waits;
    const { wanted } = this;
    this.wanted = null;
    if (wanted) wanted();
    else this.layOut();
  }

  /** Whether a measure of a layer is there; if not, `act` once it is. */
  has(cel, measure, act) {
    if (cel[measure]) return true;
    this.wanted = act;
    this.ui.root.dataset.waits = "";
    return false;
  }

  elements() {
    const { t } = this;
    const ui = {
      ...this.surface("em"),
      low: el("span.num"),
      high: el("span.num"),
      ramp: el("div.ramp"),
      layers: segmented(t.layer),
      measures: segmented(t.measure),
      note: el("p.note.under"),
      where: el("p.em-where"),
      how: el("p.note"),
      tiles: el("div.em-tiles", { role: "group", "aria-label": t.maps }),
    };
    this.zoom = new Zoom([ui.over], t, () => this.enlarge());
    const scale = el("div.legend", {}, ui.low, ui.ramp, ui.high);
    ui.left = el("div.left", {}, ui.map, el("div.below", {}, scale, this.zoom.box), ui.note);
    this.rows = new Rows(t, (i) => this.onKernel(i));
    this.vector = new Vector(
      t,
      (channel) => this.state.held || this.set({ channel }),
      (channel, keep) => this.hold(channel, keep),
    );
    ui.right = el(
      "div.right.em-right",
      {},
      el("div", {}, ui.where, ui.how),
      this.rows.root,
      el("div", { "data-slide": 2 }, el("h4", {}, t.token_title), this.vector.root),
    );
    const title = el("div.title", {}, el("h4", {}, t.maps), el("span.note", {}, t.maps_note));
    const maps = el("section", { "data-slide": 2 }, title, ui.tiles);
    this.rows.root.dataset.slide = 1;
    this.mount("em", ui, [ui.layers, ui.measures], el("div.body", {}, ui.left, ui.right, maps));
    this.showQuiz();
    this.layerChoice = new Choice(ui.layers, (i) => this.choose(i, {}, true));
    this.layerChoice.fill(
      this.cels.map((cel) =>
        el(
          "button",
          { type: "button" },
          `CEL ${cel.stage + 1}`,
          el("small.num", {}, cel.kernels.map((kernel) => kernel.k).join("·")),
        ),
      ),
    );
    this.measureChoice = new Choice(ui.measures, (i) => this.set({ measure: MEASURES[i] }, true));
    this.measureChoice.fill(
      MEASURES.map((name) => el("button", { type: "button", title: t[`${name}_help`] }, t[name])),
    );
    this.listen();
  }

  /** The colours of signed values in the theme around the figure. */
  dress() {
    this.signed = colours(diverging(this.theme));
    this.signedCss = css(this.signed);
  }

  /** The colours of a layer's kernels: a side has one colour in every layer. */
  hues(cel) {
    return cel.kernels.map(({ k }) => this.header.palette.kernels[k]);
  }

  listen() {
    const { over, map } = this.ui;
    over.addEventListener("pointermove", (e) => {
      if (!this.state.stay && (e.pointerType !== "touch" || e.buttons))
        this.set(this.plane.token(e.offsetX, e.offsetY));
    });
    over.addEventListener("click", (e) => {
      const at = this.plane.token(e.offsetX, e.offsetY);
      const same = this.state.stay && at.row === this.state.row && at.col === this.state.col;
      this.set({ ...at, stay: !same }, true);
    });
    map.addEventListener("keydown", (e) => {
      const step = STEPS[e.key];
      if (step) {
        this.set({ row: this.state.row + step[0], col: this.state.col + step[1] }, true);
        this.reveal();
      } else if (e.key === "Escape") this.set({ stay: false, held: false, channel: null, kernel: null });
      else if (!this.zoom.press(e.key)) return;
      e.preventDefault();
    });
  }

  // ---- a lesson's question ---------------------------------------------------------------------------

  /** A lesson's question: id, pick ("kernel" or null), open, show ("facts", "shares", "" once answered). */
  quiz(what) {
    this.test = what;
    this.showQuiz();
    this.layOut();
  }

  showQuiz() {
    if (this.test) this.ui.root.dataset.lesson = this.test.open ? "ask" : `told ${this.test.show}`;
    else delete this.ui.root.dataset.lesson;
  }

  onKernel(i) {
    const kernel = this.state.kernel === i ? null : i;
    if (!this.test) return this.set({ kernel, channel: null, held: false }, true);
    if (!this.test.open) return this.set({ kernel });
    if (this.test.pick === "kernel")
      this.commit({ quiz: this.test.id, picked: [String(this.cel.kernels[i].k)] });
  }

  // ---- choices ---------------------------------------------------------------------------------------

  get cel() {
    return this.cels[this.state.cel];
  }

  get maps() {
    return this.cel[this.state.measure];
  }

  choose(i, at = {}, commit = false, before = this.cel ?? this.cels[0]) {
    const next = this.cels[i] ?? this.cels[0];
    if (!this.has(next, this.state.measure, () => this.choose(i, at, commit))) return;
    const { row, col } = this.state;
    const place = {
      row: Math.floor(((row + 0.5) * next.H) / before.H),
      col: Math.floor(((col + 0.5) * next.W) / before.W),
      ...at,
    };
    this.state = {
      ...this.state,
      ...place,
      cel: this.cels.indexOf(next),
      channel: null,
      held: false,
      kernel: Math.min(this.state.kernel ?? -1, next.kernels.length - 1),
    };
    if (this.state.kernel < 0) this.state.kernel = null;
    this.layerChoice.choose(this.state.cel);
    const tokens = next.stage > 0;
    this.rows.build(next, this.hues(next), (k, size) =>
      fill(tokens ? this.t.size_tokens : this.t.size_pixels, { k, size }),
    );
    this.tiles = next.kernels.map((kernel, n) => {
      const canvas = el("canvas");
      const tile = el(
        "button.em-tile",
        { type: "button", style: `--colour:${this.hues(next)[n]}` },
        canvas,
        el("span.num", {}, el("i.em-chip"), ` ${kernel.k}×${kernel.k}`),
      );
      tile.addEventListener("click", () => this.rows.onKernel(n));
      return { canvas, tile };
    });
    this.ui.tiles.replaceChildren(...this.tiles.map(({ tile }) => tile));
    this.layOut();
    if (commit) this.commitState();
  }

  set(change, commit = false) {
    const before = this.state;
    const next = { ...before, ...change };
    if (!this.has(this.cel, next.measure, () => this.set(change, commit))) return;
    this.state = { ...next, row: clip(next.row, this.cel.H), col: clip(next.col, this.cel.W) };
    if (this.state.measure !== before.measure) this.layOut();
    else if (this.state.kernel !== before.kernel || this.state.channel !== before.channel)
      this.drawBackground();
    this.requestDraw();
    if (commit) this.commitState();
  }

  hold(channel, keep = false) {
    const same = !keep && this.state.held && this.state.channel === channel;
    this.set({ channel: same ? null : channel, held: !same });
  }

  commitState() {
    const { cel, measure, row, col } = this.state;
    clearTimeout(this.later);
    if (this.test) return;
    this.later = setTimeout(() => this.commit?.({ cel, measure, row, col }), 400);
  }

  // ---- drawing ---------------------------------------------------------------------------------------

  layOut() {
    const { ui, state } = this;
    if (!ui.left.clientWidth) return;
    this.arrange(this.zoom);
    this.measureChoice.choose(MEASURES.indexOf(state.measure));
    say(ui.how, this.t[`${state.measure}_help`]);
    let [low, high] = [0, 0];
    for (const map of this.maps) for (const x of map) [low, high] = [Math.min(low, x), Math.max(high, x)];
    if (state.measure === "carried") high = Math.max(high, 1e-9);
    Object.assign(this, { low, high: high || 1 });
    this.rows.spread(this.maps, low, this.high, this.hues(this.cel), this.theme, state.measure !== "norm");
    this.tiles.forEach(({ canvas }, i) => this.plane.tint(canvas, this.maps[i], this.heat, 0, this.high));
    this.drawBackground();
    this.requestDraw();
  }

  /** Place the photo in its box, at a size and from an edge. */
  arrange(shown) {
    const { left, map, right } = this.ui;
    const usual = Math.max(260, Math.min(600, window.innerHeight * (this.test ? 0.56 : 0.7)));
    const height = room(map, usual, ...(this.test ? [right] : []));
    this.plane.layout({ width: left.clientWidth, height }, this.cel, this.header.input, shown);
  }

  /** Show the part of the photo that the reader asked for. */
  enlarge() {
    if (!this.plane.pen) return;
    this.arrange(this.zoom);
    this.drawBackground();
    this.requestDraw();
  }

  /** Bring the token into sight. */
  reveal() {
    const { plane, cel, state, header } = this;
    const share = (n, side) => ((n + 0.5) * cel.stride + plane.margin) / (side + 2 * plane.margin);
    this.zoom.reveal(share(state.col, header.input.w), share(state.row, header.input.h));
  }

  drawBackground() {
    const { state, cel, plane, t, ui } = this;
    if (!plane.pen) return;
    const C = cel.step?.length;
    let [values, table, low, high, note] = [null, this.heat, 0, this.high, t.photo_note];
    if (state.channel !== null) {
      values = Float32Array.from(
        { length: cel.H * cel.W },
        (_, i) => cel.codes[i * C + state.channel] * cel.step[state.channel],
      );
      high = 127 * cel.step[state.channel] || 1;
      [table, low, note] = [this.signed, -high, fill(t.channel_note, { c: state.channel + 1 })];
    } else if (state.kernel !== null) {
      values = this.maps[state.kernel];
      note = fill(t[`${state.measure}_note`], { k: cel.kernels[state.kernel].k });
    }
    plane.drawBackground(this.photo, this.theme, values, table, low, high, 0.88);
    const show = number(state.measure);
    ui.ramp.parentNode.hidden = !values;
    const stops = state.channel !== null ? diverging(this.theme) : this.header.palette.sequential;
    ui.ramp.style.background = `linear-gradient(90deg, ${stops.join(",")})`;
    say(ui.low, state.channel !== null ? signed(low) : "0");
    say(ui.high, state.channel !== null ? signed(high) : show(high));
    say(ui.note, note);
    this.tiles.forEach(({ tile }, i) =>
      tile.setAttribute("aria-pressed", String(state.kernel === i && state.channel === null)),
    );
  }

  requestDraw() {
    this.drawRequest ??= requestAnimationFrame(() => {
      this.drawRequest = null;
      this.draw();
    });
  }

  draw() {
    const { state, cel, t, ui } = this;
    if (!this.plane.pen) return;
    const token = state.row * cel.W + state.col;
    this.plane.paint(state.row, state.col, this.hues(this.cel), state.kernel);
    this.values = this.maps.map((map) => map[token]);
    this.rows.paint(this.values, number(state.measure), state.kernel);
    this.vector.paint(cel, token, this.signedCss, this.hues(cel), this.theme, state.channel);
    const { h, w } = this.header.input;
    const beyond = cel.kernels.map(({ k }) => {
      const [top, left, side] = square(cel, k, state.row, state.col);
      const inside =
        (Math.min(h, top + side) - Math.max(0, top)) * (Math.min(w, left + side) - Math.max(0, left));
      return 1 - inside / (side * side);
    });
    const worst = Math.max(...beyond);
    say(
      ui.where,
      fill(worst > 0 ? t.where_padded : t.where, {
        row: state.row,
        col: state.col,
        cel: cel.stage + 1,
        beyond: Math.round(100 * worst),
        k: cel.kernels[beyond.indexOf(worst)].k,
      }),
    );
    clearTimeout(this.speech);
    this.speech = setTimeout(() => say(ui.live, this.spoken()), 500);
  }

  /** What a screen reader says of the token; in a lesson no more than is seen, so that it tells no answer. */
  spoken() {
    const { state, cel, t, test } = this;
    const { row, col } = state;
    const sizes = cel.kernels.map(({ k }) => `${k}×${k}`).join(t.comma);
    if (test?.open) return fill(t.where_asked, { row, col, cel: cel.stage + 1, list: sizes });
    const where = this.ui.where.textContent;
    if (test && test.show !== "shares") return where;
    const show = number(state.measure);
    const each = cel.kernels.map(({ k }, i) => `${k}×${k}: ${show(this.values[i])}`);
    return together(where, each.join(t.comma));
  }

  // ---- taking it away --------------------------------------------------------------------------------

  /** Save the whole photo with the squares, also when a part of it is enlarged. */
  saveVector() {
    const { plane, cel, state, theme } = this;
    this.arrange(WHOLE);
    this.drawBackground();
    const [w, h] = [plane.base.width / plane.ratio, plane.base.height / plane.ratio];
    const across = (pixels) => plane.across(pixels) / plane.ratio;
    const down = (pixels) => plane.down(pixels) / plane.ratio;
    const pen = new SvgPen(w, h + 20 * (cel.kernels.length + 1) + 8);
    pen.rect(0, 0, pen.width, pen.height, theme.paper);
    pen.add("image", { width: w, height: h, href: plane.base.toDataURL("image/png") });
    for (let i = cel.kernels.length - 1; i >= 0; i--) {
      const [top, left, side] = square(cel, cel.kernels[i].k, state.row, state.col);
      const frame = [
        across(left),
        down(top),
        (side * plane.zoom) / plane.ratio,
        (side * plane.zoom) / plane.ratio,
      ];
      pen.frame(...frame, "#14171B", 4.5);
      pen.frame(...frame, this.hues(cel)[i], 2.5);
    }
    pen.ring(across((state.col + 0.5) * cel.stride), down((state.row + 0.5) * cel.stride), 4);
    const show = number(state.measure);
    const lines = [
      this.ui.where.textContent,
      ...cel.kernels.map(({ k }, i) => `${k}\u00a0×\u00a0${k}: ${show(this.values[i])}`),
    ];
    lines.forEach((text, n) => pen.text(4, h + 18 + 20 * n, text, { size: 13, fill: theme.ink }));
    saveDrawing(this.file, pen);
    this.enlarge();
  }

  saveNumbers() {
    const { cel } = this;
    const names = cel.kernels.flatMap(({ k }) => MEASURES.map((name) => `${name}_${k}`));
    const rows = Array.from({ length: cel.H * cel.W }, (_, i) => [
      Math.floor(i / cel.W),
      i % cel.W,
      ...cel.kernels.flatMap((_, n) => MEASURES.map((name) => cel[name][n][i])),
    ]);
    saveTable(this.file, [["row", "column", ...names], ...rows]);
  }

  close() {
    super.close();
    clearTimeout(this.speech);
    clearTimeout(this.later);
  }
}

/** A layer of a message with its arrays; null for those that the message leaves out. */
function opened(cel, array) {
  const read = (name) => (cel[name] ? array(cel[name]) : null);
  const maps = Object.fromEntries(
    MEASURES.map((name) => [name, cel[name] ? split(read(name), cel.kernels.length) : null]),
  );
  return { ...cel, ...maps, codes: read("codes"), step: read("step") };
}

function split(values, parts) {
  const n = values.length / parts;
  return Array.from({ length: parts }, (_, i) => values.subarray(i * n, (i + 1) * n));
}

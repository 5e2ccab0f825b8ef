// What a detector or segmenter answers on a photo, and why: pointing never asks the server.

import { save, saveCanvas, saveDrawing } from "../save/files.js";
import { Choice, el, mapBox, say, segmented, takeButtons, watched, words } from "../shared/markup.js";
import { clip, signed } from "../shared/maths.js";
import { STEPS } from "../shared/near.js";
import { colours, diverging, wear } from "../shared/paint.js";
import { decode } from "../shared/payload.js";
import { showPhoto } from "../shared/photo.js";
import { CanvasPen, SvgPen } from "../shared/pen.js";
import { fill, together } from "../shared/text.js";
import { Answer, CELL, reason } from "./answer.js";
import { HeadBars, List, percentOf } from "./panels.js";
import { drawScene, heatRaster, labelRaster, signedRaster } from "./scene.js";
import { room } from "../deck/deck.js";
import { WHOLE, Zoom } from "../zoom/zoom.js";

const SORTS = ["score", "size", "class"];
const NOTHING = { box: -1, row: -1, col: -1 };

export class DenseFigure {
  constructor(parent, message, commit) {
    this.parent = parent;
    this.served = Boolean(commit);
    this.commit = commit ?? (() => {});
    this.load(message);
  }

  // ---- data ------------------------------------------------------------------------------------------

  load(message) {
    const { header, array } = decode(message);
    if (header.id === this.id) return;
    const other = header.source !== this.header?.source;
    this.id = header.id;
    this.header = header;
    this.t = words(header.strings);
    this.answer = new Answer(header, array);
    this.tables = { heat: colours(header.palette.sequential) };
    if (other) {
      this.reasons = new Map();
      this.hovered = null;
      this.state = { threshold: 0.3, view: 0, show: 0, sort: "score", held: false, truth: 0, ...NOTHING };
      this.state = this.begin({ ...this.state, ...header.start });
    } else this.state = this.clampedIn(this.state);
    this.heats = new Map();
    this.labels = new Map();
    this.buildElements();
    this.applyTheme();
    showPhoto(this, this.root, header.photo.of, array(header.photo.file));
  }

  /** Take the views that were pending, or what scores rest on, from another message. */
  join(message) {
    const { header, array } = decode(message);
    if (header.source !== this.header.source) return;
    if (header.views && this.answer.pending.length) {
      this.answer.add(header, array);
      this.listed = null; // what is said of changes stands beside the list
      this.awaitViews();
    }
    for (const entry of header.reasons ?? []) this.reasons.set(entry.of, reason(entry, array));
    this.requestDraw();
  }

  /** The answers without a stage can be chosen once they are there; their note keeps its place till then. */
  awaitViews() {
    const waits = this.answer.pending.length > 0;
    this.viewChoice.items.slice(1).forEach((item) => (item.disabled = waits));
    this.root.toggleAttribute("data-waits", waits);
  }

  /** What each view leaves out, those that follow included. */
  get without() {
    return [...this.answer.views.map((view) => view.without), ...this.answer.pending];
  }

  get detects() {
    return this.answer.task === "detect";
  }

  /** The state that a link asks for, whose box is counted in the first view. */
  begin(want) {
    const found = this.clamped(want);
    if (found.view && found.box >= 0)
      found.box = this.answer.views[found.view].list.findIndex((one) => one.partner === found.box);
    return found;
  }

  clamped(want) {
    const { answer } = this;
    const { h, w } = answer.input;
    const whole = (x, least, most) => Math.max(least, Math.min(most, Math.round(x) || 0));
    const boxes = answer.views[0].list?.length ?? 0;
    return {
      threshold: Math.max(0.05, Math.min(0.95, Number(want.threshold) || 0.3)),
      view: whole(want.view, 0, answer.views.length - 1),
      show: whole(want.show, 0, answer.stages.length + 1),
      sort: SORTS.includes(want.sort) ? want.sort : "score",
      truth: want.truth ? 1 : 0,
      held: Boolean(want.held),
      box: whole(want.box, -1, boxes - 1),
      row: whole(want.row, -1, h - 1),
      col: whole(want.col, -1, w - 1),
    };
  }

  // ---- elements --------------------------------------------------------------------------------------

  buildElements() {
    const { t, answer } = this;
    this.root?.remove();
    this.listed = this.effectsKey = null;
    const choices = (label, items, choose) => {
      const box = segmented(label);
      const choice = new Choice(box, choose);
      choice.fill(items.map((text) => el("button", { type: "button" }, text)));
      return [box, choice];
    };
    const stages = answer.stages.map((_, s) => s);
    const [views, viewChoice] = choices(
      t.view,
      this.without.map((stage) => this.named(stage)),
      (view) => this.set({ view }, true),
    );
    const [shows, showChoice] = choices(
      t.show,
      [
        this.detects ? t.show_boxes : t.show_labels,
        ...stages.map((s) => fill(t.show_stage, { stage: s + 1 })),
        t.show_field,
      ],
      (show) => this.set({ show }, true),
    );
    const sorts = this.detects ? SORTS : SORTS.slice(1);
    const [sortBox, sortChoice] = choices(
      t.sort,
      sorts.map((name) => t[`sort_${name}`]),
      (n) => this.set({ sort: sorts[n] }, true),
    );
    Object.assign(this, { viewChoice, showChoice, sortChoice, sorts });
    this.slider = el("input", { type: "range", min: 5, max: 95, step: 1, "aria-label": t.threshold });
    this.slider.addEventListener("input", () => this.set({ threshold: this.slider.value / 100 }));
    this.slider.addEventListener("change", () => this.commitState());
    this.least = el("span.num");
    const threshold = el("label.strength", {}, el("span", {}, t.threshold), this.slider, this.least);
    threshold.hidden = !this.detects;
    this.truth = el("button.lock", { type: "button", "aria-pressed": "false", title: t.truth_help }, t.truth);
    this.truth.hidden = !answer.truth;
    this.truth.addEventListener("click", () => this.set({ truth: 1 - this.state.truth }, true));
    const take = takeButtons(t, {
      save_picture: () => this.savePicture(),
      save_vector: () => this.saveVector(),
      save_json: () => this.saveNumbers(),
    });
    this.canvas = el("canvas.dn-canvas");
    this.pen = new CanvasPen(this.canvas);
    this.map = mapBox(t.map_label, "dn-keys", this.canvas);
    this.zoom = new Zoom([this.canvas], t, () => this.requestDraw());
    [this.low, this.high] = [el("span.num"), el("span.num")];
    this.ramp = el("div.ramp");
    this.legend = el("div.legend", {}, this.low, this.ramp, this.high);
    this.showNote = el("p.note.under");
    this.changes = el("span", { role: "status" });
    const kept = el("span", { "aria-hidden": "true" }, this.unchanged); // the place of what follows
    const changes = el("p.note.dn-changes", {}, kept, this.changes);
    views.hidden = changes.hidden = this.without.length < 2; // no stage to leave out
    this.value = el("b.value.num");
    this.rank = el("span.rank.num");
    this.lock = el("button.lock", { type: "button", "aria-pressed": "false" });
    this.lock.addEventListener("click", () => this.set({ held: !this.state.held }, true));
    [this.looks, this.where] = [el("p.looks"), el("p.note.dn-where")];
    this.effects = el("div.dn-effects");
    this.list = new List(
      t,
      (one) => this.hover(one ? this.targetOf(one) : null),
      (one) => this.set({ ...this.targetOf(one), held: true }, true),
    );
    this.count = el("span.note");
    this.heads = new HeadBars(t, answer.stages, (place) => this.commitState(place));
    this.live = el("p.live", { "aria-live": "polite", role: "status" });
    const below = el("div.below", {}, this.legend, this.zoom.box);
    this.left = el("div.left", {}, this.map, below, this.showNote);
    this.reasonsBox = el(
      "section.dn-why",
      { "aria-label": t.why, ...(this.header.explained ? { "data-slide": 2 } : { hidden: "" }) },
      el("div.title", {}, el("h4", {}, t.why), el("span.note", {}, t.why_note)),
      shows,
      this.heads.note,
      this.heads.body,
    );
    this.root = el(
      "div.cf.dn",
      {},
      el("div.bar", {}, threshold, views, this.truth, el("span.gap"), take),
      changes,
      el(
        "div.body",
        {},
        this.left,
        el(
          "div.right",
          {},
          el(
            "div.readout",
            {},
            el("div.figure", {}, this.value, this.rank, el("span.gap"), this.lock),
            this.looks,
            this.where,
            this.effects,
          ),
          el(
            "section",
            { "aria-label": t.list, "data-slide": 1 },
            el("div.title", {}, el("h4", {}, t.list), this.count),
            sortBox,
            this.list.body,
          ),
        ),
      ),
      this.reasonsBox,
      el("p.note.keys", { id: "dn-keys" }, this.detects ? t.keys_boxes : t.keys_pixels),
      this.live,
    );
    this.root.figure = this;
    this.parent.append(this.root);
    this.awaitViews();
    this.listen();
    this.watcher = watched(this.watcher, this.left, () => this.layOut());
  }

  listen() {
    const at = (event) => {
      const { times, left, top } = this.zoom;
      const { h, w } = this.answer.input;
      const side = this.scale * times;
      return this.at(event.offsetY / side + top * h, event.offsetX / side + left * w);
    };
    this.canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch" || event.buttons) this.hover(at(event));
    });
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
    this.canvas.addEventListener("click", (event) => {
      const to = at(event);
      this.hovered = null;
      this.set(to ? { ...to, held: true } : { ...NOTHING, held: false }, true);
    });
    this.map.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const step = STEPS[event.key];
    if (step) {
      this.set(this.detects ? this.nextBox(step[0] + step[1]) : this.nextPixel(step, event.shiftKey));
      this.reveal();
    } else if (this.zoom.press(event.key)) return event.preventDefault();
    else if (event.key === "Enter" || event.key === " ") this.set({ held: !this.state.held }, true);
    else if (event.key === "Escape") this.set({ ...NOTHING, held: false }, true);
    else return;
    event.preventDefault();
  }

  /** Bring what is chosen into sight. */
  reveal() {
    const { answer, state } = this;
    const { h, w } = answer.input;
    const [x1, y1, x2, y2] = answer.views[state.view].list?.[state.box]?.box ?? [];
    if (this.detects && x1 !== undefined) this.zoom.reveal((x1 + x2) / 2 / w, (y1 + y2) / 2 / h);
    else if (state.row >= 0) this.zoom.reveal((state.col + 0.5) / w, (state.row + 0.5) / h);
  }

  nextBox(step) {
    const { rows } = this.list;
    if (!rows.length) return NOTHING;
    const now = rows.findIndex((one) => one.i === this.state.box);
    return { ...NOTHING, box: rows[(now + step + rows.length) % rows.length].i };
  }

  nextPixel([down, across], far) {
    const { h, w } = this.answer.input;
    const { row, col } = this.state;
    if (row < 0) return { ...NOTHING, row: h >> 1, col: w >> 1 };
    const step = far ? 8 * CELL : CELL;
    return { ...NOTHING, row: clip(row + step * down, h), col: clip(col + step * across, w) };
  }

  /** Take the colours of the theme around the figure. */
  applyTheme() {
    if (!wear(this, this.root)) return;
    this.tables.signed = colours(diverging(this.theme));
    this.heats = new Map();
    if (this.photo) this.requestDraw();
  }

  // ---- choices ---------------------------------------------------------------------------------------

  /** What lies at a point of the input: a box, or a pixel; null beside the photo and between boxes. */
  at(row, col) {
    const { h, w } = this.answer.input;
    const [r, c] = [Math.floor(row), Math.floor(col)];
    if (!(r >= 0 && c >= 0 && r < h && c < w)) return null;
    if (!this.detects) return { ...NOTHING, row: r, col: c };
    const one = this.answer.boxAt(this.state.view, this.state.threshold, r, c);
    return one ? { ...NOTHING, box: one.i } : null;
  }

  /** Where a row of the list points. */
  targetOf(one) {
    return this.detects
      ? { ...NOTHING, box: one.i }
      : { ...NOTHING, ...this.answer.middle(this.state.view, one.i) };
  }

  hover(to) {
    if (JSON.stringify(to) === JSON.stringify(this.hovered)) return;
    this.hovered = to;
    this.requestDraw();
  }

  set(change, commit = false) {
    const before = this.state;
    const want = { ...before, ...change };
    if (want.view !== before.view && this.detects && change.box === undefined) {
      // Boxes are numbered in each view: stay with the same thing.
      const { list } = this.answer.views[before.view];
      const first = before.view ? list[before.box]?.partner : before.box;
      const { list: next } = this.answer.views[want.view];
      want.box = before.box < 0 ? -1 : next.findIndex((one) => (want.view ? one.partner : one.i) === first);
    }
    this.state = this.clampedIn(want);
    if (this.state.box < 0 && this.state.row < 0) this.state.held = false;
    this.requestDraw();
    if (commit) this.commitState();
  }

  clampedIn(want) {
    const found = this.clamped(want);
    const there = this.answer.views[found.view].list?.length ?? 0;
    return { ...found, box: want.box < there ? want.box : -1 };
  }

  /** The target in the first view: what reasons are computed for. */
  get first() {
    const { view, box } = this.pointed;
    if (box < 0 || !view) return box;
    return this.answer.views[view].list[box]?.partner ?? -1;
  }

  /** The state, with what the pointer is on. */
  get pointed() {
    return { ...this.state, ...this.hovered };
  }

  commitState(place = {}) {
    const { state } = this;
    const first =
      state.view && state.box >= 0 ? this.answer.views[state.view].list[state.box].partner : state.box;
    this.commit({
      threshold: Math.round(100 * state.threshold),
      view: state.view,
      show: state.show,
      sort: state.sort,
      truth: state.truth,
      held: state.held,
      box: first,
      row: state.row,
      col: state.col,
      seq: (this.seq = (this.seq ?? 0) + 1),
      ...place,
    });
  }

  /** What the score in question rests on; null if it has not been computed. */
  reason() {
    const { row, col, box } = this.pointed;
    if (this.detects) return box < 0 ? null : (this.reasons.get(`box.${this.first}`) ?? null);
    if (row < 0) return null;
    const own = this.reasons.get(`pixel.${row}.${col}`);
    if (own) return own;
    return this.reasons.get(`region.${this.answer.pixel(row, col).regions[0]}`) ?? null;
  }

  // ---- drawing ---------------------------------------------------------------------------------------

  layOut() {
    const width = this.left.clientWidth;
    if (!width || !this.photo) return;
    const { h, w } = this.answer.input;
    const height = room(this.map, Math.max(260, Math.min(600, window.innerHeight * 0.68)), this.reasonsBox);
    this.scale = Math.min(width / w, height / h);
    this.pen.size(w * this.scale, h * this.scale);
    this.requestDraw();
  }

  requestDraw() {
    this.drawRequest ??= requestAnimationFrame(() => {
      this.drawRequest = null;
      this.draw();
    });
  }

  /** The heat of what is shown: tokens of a stage, or the field of pixels; null without reasons. */
  heat(found) {
    const { show } = this.state;
    if (!show || !found) return null;
    const { stages, input } = this.answer;
    const stage = stages[show - 1];
    const kept = this.heats.get(found) ?? new Map();
    this.heats.set(found, kept);
    if (!kept.has(show))
      kept.set(
        show,
        stage
          ? {
              ...signedRaster(found.maps[show - 1], stage.W, stage.H, this.tables.signed),
              stride: stage.stride,
            }
          : {
              ...heatRaster(
                found.field,
                Math.floor(input.W / CELL),
                Math.floor(input.H / CELL),
                this.tables.heat,
              ),
              stride: CELL,
            },
      );
    return kept.get(show);
  }

  labelPicture(view) {
    if (!this.labels.has(view)) {
      const { h, w } = this.answer.input;
      this.labels.set(view, labelRaster(this.answer, this.answer.views[view].labels, w, h));
    }
    return this.labels.get(view);
  }

  /** What is drawn, so many times as large. */
  look({ times } = WHOLE) {
    const { answer, state } = this;
    const { view, box, row, col } = this.pointed;
    const found = this.reason();
    const heat = this.heat(found);
    const target = { box, row, col };
    if (!this.detects && row >= 0) {
      const of = heat ? 0 : view; // what the heat is about is the region with all stages
      const region = answer.pixel(row, col).regions[of];
      const own = this.reasons.has(`pixel.${row}.${col}`);
      if (region !== null && !own) target.cells = answer.cells(of, region);
    }
    return {
      answer,
      scale: this.scale * times,
      boxes: this.detects ? answer.visible(view, state.threshold) : [],
      labels: this.detects ? null : this.labelPicture(view),
      target,
      heat,
      truth: state.truth ? answer.truth : null,
      photo: this.photo,
      theme: this.theme,
    };
  }

  /** Draw the part of the photo that is shown. */
  drawPart(ink) {
    const { zoom, pen } = this;
    this.frame = this.look(zoom);
    ink.save();
    ink.translate(-zoom.left * zoom.times * pen.width, -zoom.top * zoom.times * pen.height);
    drawScene(pen, this.frame);
    ink.restore();
  }

  draw() {
    if (!this.photo || !this.scale) return;
    const { state, t } = this;
    this.pen.clear();
    this.drawPart(this.pen.ink);
    this.slider.value = Math.round(100 * state.threshold);
    say(this.least, `${Math.round(100 * state.threshold)}\u00a0%`);
    this.viewChoice.choose(state.view);
    this.showChoice.choose(state.show);
    this.sortChoice.choose(Math.max(0, this.sorts.indexOf(state.sort)));
    this.truth.setAttribute("aria-pressed", Boolean(state.truth));
    this.lock.hidden = this.pointed.box < 0 && this.pointed.row < 0;
    say(this.lock, state.held ? t.unlock : t.lock);
    this.lock.setAttribute("aria-pressed", state.held);
    this.fillList();
    if (this.detects) this.readBox();
    else this.readPixel();
    const found = this.reason();
    this.heads.paint(found, this.tables.signed, this.served && state.held && !this.hovered);
    this.readLegend(this.frame.heat, found);
    Object.assign(this.root.dataset, { boxes: this.frame.boxes.length, reason: found ? "yes" : "no" });
    this.describeSoon();
  }

  fillList() {
    const { answer, state } = this;
    const key = `${state.view}/${state.threshold}/${state.sort}`;
    if (key !== this.listed) this.refillList();
    this.listed = key;
    const { box, row, col } = this.pointed;
    const chosen = this.detects ? box : row < 0 ? -1 : (answer.pixel(row, col).regions[state.view] ?? -1);
    this.list.choose(chosen);
  }

  refillList() {
    const { answer, state, t } = this;
    const boxes = this.detects
      ? answer.visible(state.view, state.threshold)
      : answer.views[state.view].regions;
    const things = boxes.map((one) => ({
      ...one,
      title: answer.name(one.label),
      colour: answer.colour(one.label),
      note: this.detects ? answer.levels[one.level].name : "",
    }));
    this.list.fill(things, this.detects || state.sort !== "score" ? state.sort : "size");
    const levels = answer.levels.map(({ name }, level) => {
      const n = boxes.filter((one) => one.level === level).length;
      return `${name}: ${n}`;
    });
    say(
      this.count,
      this.detects
        ? fill(t.count, { n: boxes.length, levels: levels.join(" · ") })
        : fill(t.count_regions, { n: boxes.length }),
    );
    this.readChange();
  }

  /** How a view is called. */
  named(without) {
    return without === null ? this.t.view_all : fill(this.t.view_without, { stage: without + 1 });
  }

  get unchanged() {
    return this.detects ? this.t.change_none : this.t.change_none_pixels;
  }

  /** What the answer is like without each stage, at this threshold. */
  readChange() {
    const { answer, state, t } = this;
    if (!state.view) {
      say(this.changes, answer.pending.length ? t.change_wait : this.unchanged);
      return;
    }
    const told = answer.change(state.view, state.threshold);
    const stage = answer.views[state.view].without + 1;
    say(
      this.changes,
      this.detects
        ? fill(t.change_boxes, { stage, n: told.n, lost: told.lost, fresh: told.fresh })
        : fill(t.change_pixels, { stage, share: percentOf(told.share) }),
    );
  }

  readBox() {
    const { answer, state, t } = this;
    const { view, box } = this.pointed;
    const one = answer.views[view].list[box];
    if (!one) return this.readNothing();
    const level = answer.levels[one.level];
    const [wide, high] = [one.box[2] - one.box[0], one.box[3] - one.box[1]].map(Math.round);
    say(this.value, chance(one.score));
    say(this.rank, fill(t.level, { level: level.name, stride: level.stride }));
    say(this.looks, fill(t.box, { name: answer.name(one.label), wide, high, share: percentOf(one.area) }));
    const { first } = this;
    const scores = first < 0 ? [] : answer.scores(first, state.threshold);
    this.readEffects(scores.map((p) => (p === null ? t.lost : chance(p))));
    const about = this.reason() ? (view ? t.of_box_all : "") : this.onClick;
    say(this.where, first < 0 ? t.fresh_box : about);
    Object.assign(this.root.dataset, { score: one.score, label: one.label });
  }

  readPixel() {
    const { answer, t } = this;
    const { row, col, view } = this.pointed;
    if (row < 0) return this.readNothing();
    const { likely, regions, labels } = answer.pixel(row, col);
    const [best] = likely;
    const here = labels[view];
    say(this.value, view ? answer.short(here) : chance(best.p));
    say(this.rank, fill(t.pixel, { row, col }));
    say(this.looks, this.likeliest(likely, view));
    this.readEffects(labels.map((label) => answer.short(label)));
    const lone = regions[view] === null ? t.no_region : "";
    say(this.where, together(lone, this.restsOn(row, col, answer.name(best.label), view ? "_all" : "")));
    Object.assign(this.root.dataset, { score: best.p, label: here });
  }

  /** A pixel's likeliest classes; where a stage is left out above, those of the whole model. */
  likeliest([best, ...rest], view) {
    const { answer, t } = this;
    const [name, p] = [answer.name(best.label), chance(best.p)];
    const others = rest.map((one) => `${answer.name(one.label)} ${chance(one.p)}`).join(" · ");
    if (rest.length) return fill(view ? t.pixel_class_all : t.pixel_class, { name, p, others });
    return view ? fill(t.pixel_alone_all, { name, p }) : name;
  }

  /** What the bars beside a pixel are about: itself, its region, or nothing before a click. */
  restsOn(row, col, name, all) {
    const { t } = this;
    if (this.reasons.has(`pixel.${row}.${col}`)) return fill(t[`of_pixel${all}`], { name });
    if (!this.reason()) return this.onClick;
    return together(fill(t[`of_region${all}`], { name }), this.served ? t.click_pixel : "");
  }

  /** What a click computes; nothing where no reasons follow, or no click is answered. */
  get onClick() {
    return this.header.explained && this.served ? this.t.needs_click : "";
  }

  readNothing() {
    const { t } = this;
    say(this.value, "–");
    say(this.rank, "");
    const { view, threshold } = this.state;
    const none = this.detects && !this.answer.visible(view, threshold).length;
    const point = this.detects ? t.point_box : t.point_pixel;
    say(this.looks, none ? t.no_box : point);
    say(this.where, "");
    this.readEffects([]);
    delete this.root.dataset.score;
  }

  /** The score or class in each view, in a row; that with all stages only beside another. */
  readEffects(texts) {
    const from = this.state.view ? 0 : 1;
    const all = texts.length ? [...texts, ...this.answer.pending.map(() => "…")] : [];
    const key = JSON.stringify([from, all]);
    if (key === this.effectsKey) return;
    this.effectsKey = key;
    const said = (text, n) =>
      el("span", {}, el("small", {}, this.named(this.without[n])), el("b.num", {}, text));
    this.effects.replaceChildren(...all.map(said).slice(from));
  }

  readLegend(heat, found) {
    const { t, state, header } = this;
    this.legend.hidden = !heat;
    const stage = state.show <= this.answer.stages.length ? state.show : 0;
    if (heat) {
      const scale = stage ? diverging(this.theme) : header.palette.sequential;
      this.ramp.style.background = `linear-gradient(90deg, ${scale.join(",")})`;
      say(this.low, stage ? signed(-heat.top) : "0");
      say(this.high, stage ? signed(heat.top) : heat.top.toPrecision(2));
    }
    const what = stage ? fill(t.note_stage, { stage }) : t.note_field;
    const none = this.detects ? t.note_boxes : t.note_labels;
    say(this.showNote, state.show ? (found ? what : t.note_point) : none);
  }

  describeSoon() {
    clearTimeout(this.speech);
    this.speech = setTimeout(() => {
      const why = this.header.explained ? [this.heads.note] : [];
      const parts = [this.looks, this.value, this.rank, this.where, ...why];
      say(
        this.live,
        parts
          .map((part) => part.textContent)
          .filter(Boolean)
          .join(" "),
      );
    }, 500);
  }

  // ---- taking it away --------------------------------------------------------------------------------

  get file() {
    const { box, row, col } = this.state;
    const place = box >= 0 ? `-box-${this.first}` : row >= 0 ? `-${row}-${col}` : "";
    return `cfviz-${this.answer.task}${place}`;
  }

  caption() {
    const { state, t } = this;
    const heat = this.reason() && state.show ? this.showNote.textContent : "";
    const told = heat && state.view ? `${heat} (${t.view_all})` : heat;
    const view = state.view ? fill(t.view_without, { stage: this.answer.views[state.view].without + 1 }) : "";
    const least = this.detects ? `${t.threshold} ${Math.round(100 * state.threshold)}\u00a0%` : "";
    return [this.looks.textContent, least, view, told].filter(Boolean).join(" · ");
  }

  /** Draw the scene and its caption with another pen. */
  draft(pen) {
    const height = this.answer.input.h * this.scale;
    pen.rect(0, 0, pen.width, pen.height, this.theme.paper);
    drawScene(pen, this.look());
    pen.text(4, height + 20, this.caption(), { size: 12, fill: this.theme.ink });
  }

  savePicture() {
    const pen = new CanvasPen(el("canvas"));
    pen.size(this.pen.width, this.pen.height + 30, 2);
    this.draft(pen);
    saveCanvas(this.file, pen.canvas);
  }

  saveVector() {
    const pen = new SvgPen(this.pen.width, this.pen.height + 30);
    this.draft(pen);
    saveDrawing(this.file, pen);
  }

  saveNumbers() {
    const { answer, state } = this;
    const { view, threshold } = state;
    const { h, w } = answer.input;
    const told = { input: [h, w], without_stage: view ? answer.views[view].without + 1 : null };
    const found = this.detects
      ? answer.visible(view, threshold).map((one) => ({
          class: one.label,
          name: answer.name(one.label),
          score: one.score,
          box: one.box,
          level: answer.levels[one.level].name,
        }))
      : answer.views[view].regions.map((one) => ({
          class: one.label,
          name: answer.name(one.label),
          share: one.area,
        }));
    const rests = this.reason();
    const why = rests && {
      of: this.detects ? `box ${this.first}` : `pixel ${state.row} ${state.col}`,
      without_stage: null, // reasons are those of the whole model, whatever is left out above
      logit: rests.logit,
      heads: rests.heads.map((blocks) => blocks.map((heads) => [...heads])),
    };
    const text = JSON.stringify({ ...told, ...(this.detects ? { threshold } : {}), found, why }, null, 1);
    save(`${this.file}.json`, new Blob([text], { type: "application/json" }));
  }

  close() {
    this.picture.close();
    this.watcher?.disconnect();
    clearTimeout(this.speech);
  }
}

/** A score or a share of it as text: "64.8 %". */
function chance(p) {
  return `${(100 * p).toFixed(1)}\u00a0%`;
}

// The attention figure: what is chosen, and the one frame that draws everything.

import { Groups } from "../shared/groups.js";
import { Scheme } from "./scheme.js";
import { Block, clip, percent, rank, softmax } from "../shared/maths.js";
import { saveCanvas, saveDrawing, saveTable } from "../save/files.js";
import { build, Choice, el, isWide, position, say, title, watched, words } from "../shared/markup.js";
import { colours, css, diverging, PhotoMap, shade, wear } from "../shared/paint.js";
import { STEPS } from "../shared/near.js";
import { Blocks, Heads, LEAK, Why } from "./panels.js";
import { Quiz } from "./quiz.js";
import { decode } from "../shared/payload.js";
import { showPhoto } from "../shared/photo.js";
import { fill } from "../shared/text.js";
import { vector } from "./vector.js";
import { Zoom } from "../zoom/zoom.js";
import { room } from "../deck/deck.js";

const KINDS = ["sda", "lda"];

export class Figure {
  constructor(parent, message, commit) {
    this.parent = parent;
    this.served = Boolean(commit);
    this.commit = commit ?? (() => {});
    this.state = { stage: 0, block: 0, head: 0, row: 0, col: 0, locked: false };
    this.key = null; // the group's member under the pointer; null: the strongest
    this.fixed = false;
    this.load(message);
    this.tour();
  }

  get root() {
    return this.ui.root;
  }

  // ---- data ------------------------------------------------------------------------------------------

  load(message) {
    const { header, array } = decode(message);
    if (header.id === this.id) return;
    const first = this.id === undefined;
    const known = !first && header.source === this.header.source ? this.stages : [];
    if (known.length) header.error = Math.max(header.error, this.header.error);
    this.header = header;
    this.id = header.id;
    this.key = null;
    this.outside = null;
    const groups = header.groupings.map((g) =>
      g.keys ? new Scheme(g, array) : new Groups(g, array(g.index)),
    );
    this.stages = header.stages.map((s) => ({
      ...s,
      blocks: s.blocks.map((entry) => {
        const block = new Block(entry, groups[entry.grouping], array);
        const before = known.find((old) => old.s === s.s)?.blocks.find((old) => old.b === block.b);
        return !block.ready && before?.ready ? before : block;
      }),
    }));
    this.t = words(header.strings);
    this.tables = { heat: colours(header.palette.sequential) };
    this.heatCss = css(this.tables.heat);
    this.buildElements();
    this.loadPhoto(header.photo, array);
    this.state = this.clamped(
      first ? { ...this.state, ...middle(this.stages), ...header.start } : this.state,
    );
    this.showStage();
    this.ready = true;
  }

  /** Add the blocks of another message: the rest of the first one's stage, or a stage that was visited. */
  join(message) {
    const { header, array } = decode(message);
    if (header.source !== this.header.source) return;
    let came = 0;
    for (const { s, blocks } of header.stages) {
      const mine = this.stages.find((stage) => stage.s === s).blocks;
      for (const entry of blocks) {
        const i = mine.findIndex((block) => block.b === entry.b);
        if (!Block.brings(entry) || mine[i].ready) continue;
        mine[i] = new Block(entry, mine[i].groups, array);
        came += 1;
      }
    }
    if (!came) return;
    this.header.error = Math.max(header.error, this.header.error);
    this.showPrecision();
    this.showBlock();
  }

  loadPhoto(meta, array) {
    this.photo = null;
    if (meta) {
      showPhoto(this, this.ui.root, meta.of, array(meta.file));
      return;
    }
    this.picture?.close();
    this.picture = null;
    this.ui.root.dataset.ready = "";
  }

  // ---- elements --------------------------------------------------------------------------------------

  buildElements() {
    const ui = build(this.t, {
      save_picture: () => this.savePicture(),
      save_vector: () => this.saveVector(),
      save_numbers: () => this.saveNumbers(),
    });
    this.ui?.root.remove();
    this.ui = ui;
    this.parent.append(ui.root);
    ui.root.figure = this;
    this.map = new PhotoMap(ui.base, ui.over);
    this.zoom = new Zoom([ui.over], this.t, () => {
      this.stopTour();
      this.layOut();
    });
    ui.zoom.replaceWith(this.zoom.box);
    this.applyTheme();
    this.heads = new Heads(
      ui.heads,
      this.t,
      (head) => this.chooseHead(head),
      (key) => this.point(key),
    );
    this.blocks = new Blocks(ui.blocks, this.t, (i) => this.set({ block: this.stage.blocks[i].b }, true));
    this.why = new Why(ui.why, this.t, (key) => this.point(key));
    this.stageChoice = new Choice(ui.stages, (i) => this.set({ stage: this.stages[i].s }, true));
    this.stageChoice.fill(
      this.stages.map((s) =>
        el(
          "button",
          { type: "button", title: fill(this.t.stage_size, { ...s, s1: s.s + 1 }) },
          `${s.s + 1}`,
          el("small.num", {}, `${s.H}×${s.W}`),
        ),
      ),
    );
    this.kindChoice = new Choice(ui.kind, (i) => {
      const to = this.stage.blocks.find((block) => block.kind === KINDS[i]);
      if (to) this.set({ block: to.b }, true);
    });
    const helps = { sda: this.t.kind_sda, lda: this.t.kind_lda };
    this.kindChoice.fill(
      KINDS.map((kind) =>
        el("button", { type: "button", "data-kind": kind, title: helps[kind] }, kind.toUpperCase()),
      ),
    );
    this.scaleChoice = new Choice(ui.scale, (i) => {
      this.fixed = i === 1;
      this.requestDraw();
    });
    this.scaleChoice.fill([
      el("button", { type: "button", title: this.t.scale_row_help }, this.t.scale_row),
      el("button", { type: "button", title: this.t.scale_fixed_help }, this.t.scale_fixed),
    ]);
    ui.strength.addEventListener("input", () => this.requestDraw());
    ui.lock.addEventListener("click", () => this.set({ locked: !this.state.locked }, true));
    this.listen();
    const attention = this.stages.some((s) => s.heads > 0);
    ui.root.classList.toggle("groups-only", !attention);
    ui.root.classList.toggle("wide", isWide(this.header.input));
    this.showQuiz();
    ui.stages.hidden = this.stages.length < 2;
    this.showPrecision();
    this.watcher = watched(this.watcher, ui.left, () => this.layOut());
  }

  /** Say how far the numbers shown are from the model's own, and why in a tooltip. */
  showPrecision() {
    const attention = this.stages.some((s) => s.heads > 0);
    const error = (100 * this.header.error).toPrecision(2);
    say(this.ui.fine, attention ? fill(this.t.fine, { error }) : "");
    this.ui.fine.title = attention ? this.t.fine_help : "";
  }

  /** Take the colours of the theme around the figure. */
  applyTheme() {
    if (!wear(this, this.ui.root)) return;
    this.tables.signed = colours(diverging(this.theme));
    const stops = this.header.palette.sequential.join(",");
    this.ui.ramp.style.background = `linear-gradient(90deg, ${stops})`;
    if (this.map?.groups) this.layOut();
  }

  listen() {
    const { map, over } = this.ui;
    over.addEventListener("pointermove", (e) => {
      this.stopTour();
      if (this.test?.point(this.map.token(e.offsetX, e.offsetY))) return;
      if (e.pointerType !== "touch" || e.buttons) this.hover(this.map.token(e.offsetX, e.offsetY));
    });
    over.addEventListener("pointerleave", () => this.test?.point(null) || this.point(null));
    over.addEventListener("click", (e) => {
      const at = this.map.token(e.offsetX, e.offsetY);
      const { H, W } = this.stage;
      if (!at || at.row >= H || at.col >= W) return;
      if (this.test?.pick(at)) return;
      const same = this.state.locked && at.row === this.state.row && at.col === this.state.col;
      this.set({ ...at, locked: !same }, true);
    });
    map.addEventListener("keydown", (e) => this.press(e));
  }

  press(e) {
    const { state, stage } = this;
    const step = STEPS[e.key];
    const block = stage.blocks.findIndex((b) => b.b === state.block);
    this.stopTour();
    if (this.test?.press(e.key, step)) return e.preventDefault();
    if (step && e.shiftKey) this.walkKey(step);
    else if (step) this.set({ row: state.row + step[0], col: state.col + step[1] });
    else if (this.zoom.press(e.key)) return e.preventDefault();
    else if (e.key === "Enter" || e.key === " ") this.set({ locked: !state.locked }, true);
    else if (e.key === "Escape") this.set({ locked: false }, true);
    else if (e.key === "[" || e.key === "]") this.set({ head: state.head + (e.key === "]" ? 1 : -1) }, true);
    else if (e.key === "," || e.key === ".") {
      this.set({ block: stage.blocks[block + (e.key === "." ? 1 : -1)]?.b ?? state.block }, true);
    } else return;
    const { groups } = this;
    this.zoom.reveal((this.state.col + 0.5) / groups.Wp, (this.state.row + 0.5) / groups.Hp);
    e.preventDefault();
  }

  walkKey([dr, dc]) {
    const { Gh, Gw } = this.groups;
    const at = this.key ?? this.frame?.slot ?? 0;
    const [r, c] = [Math.floor(at / Gw) + dr, (at % Gw) + dc];
    if (r >= 0 && c >= 0 && r < Gh && c < Gw) this.point(r * Gw + c);
  }

  // ---- a lesson's question ---------------------------------------------------------------------------

  /** Ask a lesson's question, or stop asking (null); see quiz.js. */
  quiz(what) {
    const text = JSON.stringify(what);
    if (text === this.quizText) return;
    this.quizText = text;
    const quiet = this.test?.quiet;
    this.test = what ? new Quiz(this, what) : null;
    if (this.test?.quiet && !quiet) say(this.ui.live, ""); // what was said before may be the answer
    this.showQuiz();
    this.layOut();
  }

  showQuiz() {
    if (this.test) this.test.show();
    else delete this.ui.root.dataset.lesson;
  }

  chooseHead(head) {
    this.set({ head });
    if (!this.test?.choose(String(head + 1))) this.commitState();
  }

  // ---- choices ---------------------------------------------------------------------------------------

  get stage() {
    return this.stages.find((s) => s.s === this.state.stage);
  }

  get block() {
    return this.stage.blocks.find((b) => b.b === this.state.block);
  }

  get groups() {
    return this.block.groups;
  }

  /** The existing choice that is nearest to the one wanted. */
  clamped(want) {
    const stage = this.stages.find((s) => s.s === want.stage) ?? this.stages[0];
    const block = stage.blocks.find((b) => b.b === want.block) ?? stage.blocks[0];
    const near = (x, n) => clip(Math.round(x) || 0, n);
    return {
      stage: stage.s,
      block: block.b,
      head: near(want.head, Math.max(1, stage.heads)),
      row: near(want.row, stage.H),
      col: near(want.col, stage.W),
      locked: Boolean(want.locked),
    };
  }

  /** Change what is chosen; `commit` also sends it to Python, once. */
  set(change, commit = false) {
    const before = this.state;
    const want = { ...before, ...change };
    if (change.stage !== undefined && change.stage !== before.stage && change.row === undefined) {
      const next = this.stages.find((s) => s.s === change.stage) ?? this.stage;
      // Stay at the same place of the photo.
      want.row = Math.floor(((before.row + 0.5) * next.H) / this.stage.H);
      want.col = Math.floor(((before.col + 0.5) * next.W) / this.stage.W);
    }
    this.state = this.clamped(want);
    if (commit) this.stopTour();
    if (["stage", "block", "row", "col", "locked"].some((name) => this.state[name] !== before[name]))
      Object.assign(this, { key: null, outside: null });
    if (this.state.stage !== before.stage) this.showStage();
    else if (this.state.block !== before.block) this.showBlock();
    else this.requestDraw();
    if (commit) this.commitState();
  }

  commitState() {
    const need = this.stage.heads > 0 && !this.block.ready;
    this.commit({ ...this.state, ...(need ? { need: true } : {}) });
  }

  hover(at) {
    if (!at) return;
    if (!this.state.locked) {
      if (at.row < this.stage.H && at.col < this.stage.W) this.set(at);
      return;
    }
    const { group, slot } = this.groups.at(at.row, at.col);
    const inside = group === this.frame.group;
    const on = inside && slot >= 0;
    this.point(on ? slot : null, on ? null : at);
  }

  point(key, outside = null) {
    if (key === this.key && outside === this.outside) return;
    this.key = key;
    this.outside = outside;
    this.requestDraw();
  }

  /** Walk slowly over the photo until the reader points at it. */
  tour() {
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still || this.state.locked || !this.header.start.tour) return;
    let n = 0;
    this.walk = setInterval(() => {
      n += 1;
      const { H, W } = this.stage;
      const at = { row: H * (0.5 + 0.33 * Math.sin(0.45 * n)), col: W * (0.5 + 0.36 * Math.sin(0.3 * n)) };
      if (n > 40 || !this.ui.root.isConnected) this.stopTour();
      else this.set({ row: Math.floor(at.row), col: Math.floor(at.col) });
    }, 450);
  }

  stopTour() {
    if (this.walk) clearInterval(this.walk);
    this.walk = null;
  }

  // ---- drawing ---------------------------------------------------------------------------------------

  showStage() {
    this.stageChoice.choose(this.stages.indexOf(this.stage));
    this.blocks.build(this.stage, this.picture?.url);
    this.ui.kind.hidden = !KINDS.every((kind) => this.stage.blocks.some((block) => block.kind === kind));
    this.showBlock();
  }

  showBlock() {
    const { block, stage, groups, ui } = this;
    this.blocks.choice.choose(stage.blocks.indexOf(block));
    this.kindChoice.choose(KINDS.indexOf(block.kind));
    if (stage.heads) this.heads.build(stage.heads, groups.Gh, groups.Gw);
    this.why.build(groups);
    ui.root.classList.toggle("others", Boolean(groups.keys));
    ui.root.classList.toggle("no-position", Boolean(groups.keys) && !block.bias);
    ui.root.dataset.kind = block.kind;
    ui.absent.hidden = block.ready || !stage.heads;
    say(ui.absent, this.served ? this.t.absent : this.t.not_here);
    this.layOut();
  }

  layOut() {
    const { ui, stage, header } = this;
    const width = ui.left.clientWidth;
    if (!width) return;
    this.heads.fit();
    this.why.fit();
    const usual = this.test?.room ?? Math.max(260, Math.min(640, window.innerHeight * 0.72));
    const height = room(ui.map, usual, ...(this.test ? this.test.below : []));
    this.map.layout(
      { width, height },
      this.groups,
      stage.stride,
      header.input,
      this.photo,
      this.theme,
      this.zoom,
    );
    this.requestDraw();
  }

  requestDraw() {
    this.drawRequest ??= requestAnimationFrame(() => {
      this.drawRequest = null;
      this.draw();
    });
  }

  /** Attention of the query in one block: every head, their mean, and the chosen head's terms. */
  look(block) {
    const { groups } = block;
    const { N } = groups;
    const heads = block.ready ? block.heads : 0;
    const { group, slot } = groups.at(this.state.row, this.state.col);
    block.room ??= {
      valid: new Uint8Array(N),
      shown: new Uint8Array(N),
      mask: new Float64Array(N),
      probs: new Float64Array(heads * N),
      tops: new Float64Array(heads),
      mean: new Float64Array(N),
      content: new Float64Array(N),
      position: new Float64Array(N),
      a: new Float64Array(N),
      b: new Float64Array(N),
    };
    const room = block.room;
    const token = this.state.row * groups.W + this.state.col;
    for (let k = 0; k < N; k++) {
      room.valid[k] = groups.takes(group, k) ? 1 : 0;
      room.shown[k] = room.valid[k] && groups.joined(group, slot, k) ? 1 : 0;
      room.mask[k] = groups.mask(group, slot, k);
    }
    const { row, col } = this.state;
    const where = { block, groups, group, slot, row, col };
    if (!heads) return { ...where, valid: room.valid, shown: room.shown, mean: null };
    room.mean.fill(0);
    for (let h = 0; h < heads; h++) {
      const mine = h === this.state.head;
      const [a, b] = mine ? [room.content, room.position] : [room.a, room.b];
      block.logits(h, group, slot, token, a, b);
      room.tops[h] = softmax(room.probs, h * N, a, b, room.valid, groups.region ? room.mask : null);
      for (let k = 0; k < N; k++) room.mean[k] += room.probs[h * N + k] / heads;
    }
    return { ...where, ...room };
  }

  /** The colour of the block's kind; other models' have one of their own. */
  get colour() {
    return this.header.palette[this.block.kind] ?? this.theme.good;
  }

  draw() {
    if (!this.map.pen) return;
    const { state, tables, ui } = this;
    const frames = this.stage.blocks.map((block) => this.look(block));
    const frame = frames[this.stage.blocks.indexOf(this.block)];
    const { N } = frame.groups;
    const from = state.head * N;
    this.frame = frame;
    ui.root.classList.toggle("padded", frame.shown.includes(0));
    const colour = this.colour;
    const ready = this.block.ready;
    frame.top = ready ? (this.fixed ? this.block.peak : frame.tops[state.head]) : 0;
    frame.key = this.key ?? (ready ? strongest(frame.probs, from, N) : frame.slot);
    frame.lit = lit(frame, from);
    const heat = ready && !this.test?.cold ? (k) => shade(frame.probs[from + k], frame.top) : null;
    const blank = this.test?.blank;
    this.map.paint({
      ...frame,
      key: this.key,
      shown: frame.lit,
      heat,
      scale: this.heatCss,
      strength: ui.strength.value / 100,
      colour,
      blank,
    });
    this.test?.paint(this.map);
    this.blocks.paint(frames, tables.heat, this.fixed, inks(this.header.palette));
    if (ready) {
      this.heads.paint(frame, tables.heat, this.fixed, this.key);
      this.why.paint(frame, tables, frame.key, this.key);
      this.heads.choice.choose(state.head);
    }
    this.scaleChoice.choose(this.fixed ? 1 : 0);
    say(ui.heads.caption, this.fixed ? this.t.heads_note_fixed : this.t.heads_note);
    this.read(frame);
    this.describeSoon();
  }

  // ---- words -----------------------------------------------------------------------------------------

  read(frame) {
    const { ui, t, state } = this;
    const { groups, group, key, valid } = frame;
    const count = groups.count(group, frame.slot);
    const kr = groups.row(group, key);
    const kc = groups.col(group, key);
    const padding = groups.keys ? 0 : groups.N - count;
    const keys = count === 1 ? t.key_one : fill(t.key_count, { n: count });
    const where = fill(padding ? t.where_padded : groups.nG > 1 ? t.where : t.where_one, {
      block: title(t, frame.block),
      group: group + 1,
      groups: groups.nG,
      keys,
      padding,
    });
    ui.where.title = t.where_help;
    say(ui.lock, state.locked ? t.unlock : t.lock);
    ui.lock.setAttribute("aria-pressed", state.locked);
    if (!frame.block.ready) {
      say(ui.value, `${count}`);
      say(ui.rank, count === 1 ? t.member : t.members);
      say(ui.looks, fill(t.token, { q: position(state.row, state.col) }));
      say(ui.where, where);
      this.pair = ui.looks.textContent;
      this.scaleNote = "";
      return;
    }
    const from = state.head * groups.N;
    const p = frame.probs[from + key];
    const place = rank(frame.probs, from, groups.N, key, valid);
    const { outside } = this;
    const beyond = outside && position(outside.row, outside.col);
    const fields = {
      q: position(state.row, state.col),
      k: beyond || keyName(t, groups, group, key),
      head: state.head + 1,
      times: times(p * count),
      even: percent(1 / count),
    };
    const [seen, most] = [!outside && valid[key], this.key === null];
    const hidden = seen && !frame.shown[key];
    say(ui.value, outside ? "–" : percent(p));
    const ranked = fill(t.rank, { rank: place, keys: count });
    say(ui.rank, outside ? t.outside : hidden ? t.hidden : valid[key] ? ranked : t.padding);
    this.pair = fill(outside ? t.not_in_group : most ? t.looks_most : t.looks, fields);
    say(ui.looks, seen ? fill(most ? t.share_most : t.share, fields) : this.pair);
    say(ui.where, (seen ? `${fields.q} → ${fields.k} · ${where}` : where) + elsewhere(t, frame, from));
    Object.assign(ui.readout.dataset, {
      value: p,
      rank: place,
      key: kr * groups.Wp + kc,
      group,
      row: kr,
      col: kc,
    });
    say(ui.high, percent(frame.top));
    const shared = { even: percent(1 / count), keys };
    this.scaleNote = fill(this.fixed ? t.legend_fixed : t.legend_row, shared);
    say(ui.legendNote, fill(t.legend, shared));
    ui.legendNote.title = ui.legend.title = this.scaleNote;
    ui.pin.style.transform = `translateX(${100 * Math.min(1, p / frame.top)}%)`;
    ui.even.style.transform = `translateX(${100 * Math.min(1, 1 / count / frame.top)}%)`;
  }

  summary() {
    const { state, t } = this;
    return fill(t.summary, { stage: state.stage + 1, block: title(t, this.block), head: state.head + 1 });
  }

  describeSoon() {
    clearTimeout(this.speech);
    if (this.walk || this.test?.quiet) return;
    this.speech = setTimeout(() => {
      const { state, ui, t } = this;
      say(
        ui.live,
        [
          this.summary(),
          ui.value.textContent,
          ui.looks.textContent,
          ui.rank.textContent,
          ui.where.textContent,
          state.locked ? t.is_locked : "",
        ].join(" "),
      );
    }, 500);
  }

  // ---- taking it away --------------------------------------------------------------------------------

  caption() {
    const { state } = this;
    return (
      `stage ${state.stage + 1} block ${state.block + 1} ${this.block.label} ` +
      `head ${state.head + 1} query (${state.row}, ${state.col})`
    );
  }

  get file() {
    return this.caption()
      .replace(/[ (),]+/g, "-")
      .replace(/-$/, "");
  }

  savePicture() {
    const { over } = this.ui;
    const foot = 34 * this.map.ratio;
    const page = el("canvas", { width: over.width, height: over.height + foot });
    const pen = page.getContext("2d");
    pen.fillStyle = this.theme.paper;
    pen.fillRect(0, 0, page.width, page.height);
    pen.drawImage(over, 0, 0);
    pen.fillStyle = this.theme.ink;
    pen.font = `${13 * this.map.ratio}px sans-serif`;
    pen.fillText(
      `${this.summary()} ${this.pair}   0 – ${percent(this.frame.top)}`,
      4,
      over.height + foot * 0.65,
    );
    saveCanvas(this.file, page);
  }

  saveVector() {
    saveDrawing(this.file, vector(this));
  }

  saveNumbers() {
    const { groups, group, valid, mask, content, position: bias, probs } = this.frame;
    const from = this.state.head * groups.N;
    const placed = (k) => !groups.keys || groups.valid(group, k);
    const rows = Array.from({ length: groups.N }, (_, k) => [
      placed(k) ? groups.row(group, k) : "",
      placed(k) ? groups.col(group, k) : "",
      groups.pads(group, k) ? 1 : 0,
      ...(content ? [valid[k] ? content[k] : "", bias[k], mask[k], probs[from + k]] : []),
    ]);
    const names = ["row", "column", "padding"];
    if (content) names.push("content", "position", "mask", "attention");
    saveTable(this.file, [names, ...rows], this.caption());
  }

  close() {
    this.stopTour();
    this.watcher?.disconnect();
    clearTimeout(this.speech);
    this.picture?.close();
  }
}

/** How many times an even share: 4.7, 0.62, 0. */
function times(x) {
  return x >= 9.95 ? x.toFixed(0) : x >= 0.995 ? x.toFixed(1) : x.toPrecision(2);
}

/** A key in words: its row and column, a square's corners, padding, or a token without a place. */
function keyName(t, groups, group, key) {
  if (key < 0) return "–";
  if (groups.keys && !groups.valid(group, key)) {
    if (groups.pads(group, key)) return t.key_padding;
    return groups.prefix > 1 ? t.key_extras : t.key_extra;
  }
  const [row, col] = [groups.row(group, key), groups.col(group, key)];
  if (groups.side === 1) return position(row, col);
  return `${position(row, col)}–${position(row + groups.side - 1, col + groups.side - 1)}`;
}

/** The keys that are drawn: those that the token scores, and any that it attends to in spite of the mask. */
function lit({ groups, shown, valid, probs }, from) {
  if (!groups.region || !probs) return shown;
  return shown.map((on, k) => (on || (valid[k] && probs[from + k] > LEAK) ? 1 : 0));
}

/** What a head gives to keys that the map cannot show, and how many keys the mask hides. */
function elsewhere(t, { groups, group, shown, probs }, from) {
  if (!groups.keys) return "";
  let [padding, extra, pads, hidden] = [0, 0, 0, 0];
  for (let k = 0; k < groups.N; k++) {
    if (!shown[k]) hidden += 1;
    else if (groups.pads(group, k)) [padding, pads] = [padding + probs[from + k], pads + 1];
    else if (!groups.valid(group, k)) extra += probs[from + k];
  }
  const told = [];
  if (pads) told.push(fill(t.padding_share, { n: pads, share: percent(padding) }));
  if (groups.prefix)
    told.push(fill(groups.prefix > 1 ? t.extras_share : t.extra_share, { share: percent(extra) }));
  if (hidden) told.push(fill(t.hidden_count, { n: hidden }));
  return told.map((text) => ` · ${text}`).join("");
}

function strongest(probs, from, n) {
  let best = 0;
  for (let k = 1; k < n; k++) if (probs[from + k] > probs[from + best]) best = k;
  return best;
}

function middle(stages) {
  return { row: Math.floor(stages[0].H / 2), col: Math.floor(stages[0].W / 2) };
}

function inks(palette) {
  const pack = (hex) =>
    (150 << 24) |
    (parseInt(hex.slice(5, 7), 16) << 16) |
    (parseInt(hex.slice(3, 5), 16) << 8) |
    parseInt(hex.slice(1, 3), 16);
  return { sda: pack(palette.sda), lda: pack(palette.lda) };
}

// What each block already knows: the path from the first block to the answer, and the class each token reads.

import { Plane } from "../plane/plane.js";
import {
  Choice,
  el,
  isWide,
  mapBox,
  position,
  save,
  say,
  takeButtons,
  watched,
  words,
} from "../shared/markup.js";
import { percent, whole } from "../shared/maths.js";
import { wear } from "../shared/paint.js";
import { decode } from "../shared/payload.js";
import { showPhoto } from "../shared/photo.js";
import { fill } from "../shared/text.js";

const SENT = 3; // classes of each token in the message

export class ReadingFigure {
  constructor(parent, message) {
    Object.assign(this, { parent, chosen: 0, at: null });
    this.load(message);
  }

  get root() {
    return this.ui.root;
  }

  load(message) {
    const { header, array } = decode(message);
    if (header.id === this.id) return;
    const first = this.id === undefined;
    Object.assign(this, { header, id: header.id, t: words(header.strings) });
    this.blocks = header.blocks.map((block) => ({
      ...block,
      top: array(block.top),
      p: array(block.p),
      stride: header.input.h / block.H,
    }));
    if (first) this.chosen = header.start.block;
    this.chosen = Math.min(this.chosen, this.blocks.length - 1);
    this.buildElements();
    this.choose(this.chosen);
    showPhoto(this, this.ui.root, header.photo.of, array(header.photo.file));
  }

  buildElements() {
    const { t, header } = this;
    const ui = {
      base: el("canvas"),
      over: el("canvas.over"),
      token: el("p.rd-token"),
      legend: el("ul.rd-legend"),
      note: el("p.note.under"),
      rows: el("div.rd-rows", { role: "radiogroup", "aria-label": t.rows }),
      what: el("p.rd-what"),
      more: el("p.note"),
      live: el("p.live", { "aria-live": "polite", role: "status" }),
    };
    const take = takeButtons(t, {
      save_picture: () => ui.base.toBlob((blob) => save("cfviz-block.png", blob)),
      save_numbers: () => this.saveNumbers(),
    });
    ui.map = mapBox(t.map_label, "rd-keys", ui.base, ui.over);
    ui.left = el("div.left", {}, ui.map, ui.token, ui.legend, ui.note);
    const key = el("p.note.rd-key", {}, fill(t.key, { label: header.labels[header.target] }));
    ui.right = el("div.right.rd-right", {}, key, ui.rows, el("div", {}, ui.what, ui.more));
    ui.root = el(
      isWide(header.input) ? "div.cf.rd.wide" : "div.cf.rd",
      {},
      el("div.bar", {}, el("span.gap"), take),
      el("div.body", {}, ui.left, ui.right),
      el("p.note.keys", { id: "rd-keys" }, t.keys),
      ui.live,
    );
    this.ui?.root.remove();
    this.ui = ui;
    this.parent.append(ui.root);
    ui.root.figure = this;
    this.plane = new Plane(ui.base, ui.over);
    this.rowChoice = new Choice(ui.rows, (i) => this.choose(i));
    this.rowChoice.fill(this.blocks.map((block) => this.row(block)));
    ui.rows.append(this.answerRow());
    say(ui.note, t.map_note);
    this.applyTheme();
    this.plane.follow(
      ui.map,
      () => this.at,
      (at) => this.point(at),
    );
    this.watcher = watched(this.watcher, ui.left, () => this.layOut());
  }

  row(block) {
    const { labels, target } = this.header;
    const best = largest(block.photo);
    return el(
      "button.rd-row",
      { type: "button" },
      el("b.num", {}, `${block.stage + 1}.${block.block + 1}`),
      el("span.rd-name", {}, el("i.rd-chip", { style: `background:${this.hue(best)}` }), labels[best]),
      track(block.photo[best], block.photo[target], this.hue(best)),
      el("span.num", {}, percent(block.photo[best])),
    );
  }

  /** The model's own answer, below the blocks. */
  answerRow() {
    const { labels, target, answer } = this.header;
    const best = largest(answer);
    return el(
      "div.rd-row.rd-answer",
      {},
      el("b", {}, this.t.answer),
      el("span.rd-name", {}, el("i.rd-chip", { style: `background:${this.hue(best)}` }), labels[best]),
      track(answer[best], answer[target], this.hue(best)),
      el("span.num", {}, percent(answer[best])),
    );
  }

  /** The colour of a class; those that few tokens read share one. */
  hue(label) {
    return this.header.colours[label] ?? this.header.rest;
  }

  applyTheme() {
    if (wear(this, this.ui.root) && this.plane.pen) this.layOut();
  }

  get block() {
    return this.blocks[this.chosen];
  }

  choose(i) {
    this.chosen = i;
    this.at = null;
    this.rowChoice.choose(i);
    this.layOut();
    this.tell();
  }

  tell() {
    const { t, ui, block, header } = this;
    const best = largest(block.photo);
    const name = `${block.stage + 1}.${block.block + 1}`;
    const share = (score) => `${(100 * score.value).toFixed(1)}\u00a0%`; // in the digits of its bounds
    const [low, high] = [block.accuracy.low, block.accuracy.high].map((x) => (100 * x).toFixed(1));
    say(ui.what, fill(t.what, { block: name, label: header.labels[best], p: percent(block.photo[best]) }));
    say(
      ui.more,
      fill(t.right, {
        photo: share(block.accuracy),
        low,
        high,
        n: whole(block.accuracy.n),
        token: share(block.token_accuracy),
        chance: percent(1 / header.labels.length),
      }),
    );
    say(ui.live, ui.what.textContent);
    this.fillLegend();
  }

  /** The classes that most tokens of the block read, with their shares. */
  fillLegend() {
    const { block, header, t } = this;
    const count = new Map();
    const n = block.H * block.W;
    for (let i = 0; i < n; i++) {
      const label = block.top[SENT * i];
      const known = label in header.colours ? label : -1;
      count.set(known, (count.get(known) ?? 0) + 1);
    }
    const order = [...count].sort((a, b) => (a[0] < 0) - (b[0] < 0) || b[1] - a[1]);
    this.ui.legend.replaceChildren(
      ...order.map(([label, many]) =>
        el(
          "li",
          {},
          el("i.rd-chip", { style: `background:${this.hue(label)}` }),
          fill(t.share, { label: label < 0 ? t.others : header.labels[label], p: percent(many / n) }),
        ),
      ),
    );
  }

  point(at) {
    this.at = at;
    this.mark();
  }

  layOut() {
    const { ui, header, block, plane } = this;
    if (!ui.left.clientWidth || !this.theme) return;
    plane.fit(block, header.input, ui.left.clientWidth);
    plane.drawBackground(this.photo, this.theme, null);
    const pen = plane.base.getContext("2d");
    const side = block.stride * plane.zoom;
    pen.fillStyle = "rgba(13,16,20,0.35)";
    pen.fillRect(0, 0, plane.base.width, plane.base.height);
    for (let i = 0; i < block.H * block.W; i++) {
      pen.fillStyle = this.hue(block.top[SENT * i]);
      pen.globalAlpha = 0.1 + (0.55 * block.p[SENT * i]) / 65535;
      const [x, y] = [(i % block.W) * side, Math.floor(i / block.W) * side];
      pen.fillRect(
        Math.round(x),
        Math.round(y),
        Math.round(x + side) - Math.round(x),
        Math.round(y + side) - Math.round(y),
      );
    }
    pen.globalAlpha = 1;
    this.mark();
  }

  mark() {
    const { plane, block, ui, t, header, at } = this;
    if (!plane.pen) return;
    plane.frame(at);
    if (!at) return say(ui.token, t.point);
    const from = SENT * (at.row * block.W + at.col);
    const best = Array.from({ length: Math.min(SENT, header.labels.length) }, (_, n) => {
      return `${header.labels[block.top[from + n]]} ${percent(block.p[from + n] / 65535)}`;
    });
    say(ui.token, fill(t.token, { at: position(at.row, at.col), best: best.join(", ") }));
  }

  saveNumbers() {
    const { labels } = this.header;
    const quoted = labels.map((label) => `"${label.replaceAll('"', '""')}"`);
    const lines = this.blocks.map((b) => [`${b.stage + 1}.${b.block + 1}`, ...b.photo].join(","));
    const text = [`block,${quoted.join(",")}`, ...lines, ""].join("\n");
    save("cfviz-blocks.csv", new Blob(["\ufeff", text], { type: "text/csv" }));
  }

  close() {
    this.watcher?.disconnect();
    this.picture?.close();
  }
}

/** A bar of a probability, and a mark at the one of the predicted class. */
function track(p, mark, hue) {
  const bar = el("i.fill", { style: `width:${100 * p}%;background:${hue}` });
  const line = el("i.mark", { style: `left:${100 * mark}%` });
  return el("span.rd-track", {}, bar, line);
}

function largest(values) {
  return values.indexOf(Math.max(...values));
}

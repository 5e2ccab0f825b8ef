// What each block already knows: the path from the first block to the answer, and the class each token reads.

import { blockName, PlaneFigure } from "../plane/figure.js";
import { saveTable } from "../save/files.js";
import { Choice, el, position, say } from "../shared/markup.js";
import { percent, whole } from "../shared/maths.js";
import { fill } from "../shared/text.js";

const SENT = 3; // classes of each token in the message

export class ReadingFigure extends PlaneFigure {
  file = "cfviz-blocks";

  constructor(parent, message) {
    super(parent);
    Object.assign(this, { chosen: 0, at: null });
    this.load(message);
  }

  read(array, first) {
    const { header } = this;
    this.blocks = header.blocks.map((block) => ({
      ...block,
      top: array(block.top),
      p: array(block.p),
      stride: header.input.h / block.H,
    }));
    if (first) this.chosen = header.start.block;
    this.chosen = Math.min(this.chosen, this.blocks.length - 1);
  }

  begin() {
    this.choose(this.chosen);
  }

  elements() {
    const { t, header } = this;
    const ui = {
      ...this.surface("rd"),
      token: el("p.rd-token"),
      legend: el("ul.rd-legend"),
      note: el("p.note.under"),
      rows: el("div.rd-rows", { role: "radiogroup", "aria-label": t.rows }),
      what: el("p.rd-what"),
      more: el("p.note"),
    };
    ui.left = el("div.left", {}, ui.map, ui.token, ui.legend, ui.note);
    const key = el("p.note.rd-key", {}, fill(t.key, { label: header.labels[header.target] }));
    ui.right = el("div.right.rd-right", {}, key, ui.rows, el("div", {}, ui.what, ui.more));
    this.mount("rd", ui, [], el("div.body", {}, ui.left, ui.right));
    this.rowChoice = new Choice(ui.rows, (i) => this.choose(i));
    this.rowChoice.fill(this.blocks.map((block) => this.row(block)));
    ui.rows.append(this.answerRow());
    say(ui.note, t.map_note);
    this.plane.follow(
      ui.map,
      () => this.at,
      (at) => this.point(at),
    );
  }

  row(block) {
    const { labels, target } = this.header;
    const best = largest(block.photo);
    return el(
      "button.rd-row",
      { type: "button" },
      el("b.num", {}, blockName(block)),
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
    const name = blockName(block);
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
    const rows = this.blocks.map((block) => [blockName(block), ...block.photo]);
    saveTable(this.file, [["block", ...this.header.labels], ...rows]);
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

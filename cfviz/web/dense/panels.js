// Beside the photo: the list of what was found, and the heads that a score rests on.

import { Choice, el, say } from "../shared/markup.js";
import { signed } from "../shared/maths.js";
import { fill, together } from "../shared/text.js";
import { largest } from "./answer.js";

const ORDER = {
  score: (a, b) => b.score - a.score,
  size: (a, b) => b.area - a.area,
  class: (a, b) => a.title.localeCompare(b.title) || b.area - a.area,
};

/** A list of boxes or regions, of which one can be chosen. */
export class List {
  constructor(t, onPoint, onChoose) {
    this.t = t;
    this.body = el("div.dn-rows", { role: "radiogroup", "aria-label": t.list_label });
    this.choice = new Choice(this.body, (n) => onChoose(this.rows[n]));
    this.body.addEventListener("pointerover", (event) => {
      const n = this.choice.items.indexOf(event.target.closest("[role=radio]"));
      if (n >= 0) onPoint(this.rows[n]);
    });
    this.body.addEventListener("pointerleave", () => onPoint(null));
    this.rows = [];
  }

  /** Show things in an order; each is {i, title, colour, score, area, note}. */
  fill(things, sort) {
    this.rows = [...things].sort(ORDER[sort]);
    const key = JSON.stringify(this.rows.map((one) => [one.i, one.title, one.score, one.note]));
    if (key === this.key) return;
    this.key = key;
    this.choice.fill(
      this.rows.map((one) => {
        const swatch = el("i.dn-swatch", { "aria-hidden": "true" });
        swatch.style.background = one.colour;
        const score = one.score === undefined ? "" : `${(100 * one.score).toFixed(1)}\u00a0%`;
        return el(
          "button.dn-row",
          { type: "button" },
          swatch,
          el("span.dn-name", {}, one.title),
          el("span.num", {}, score),
          el("span.num.dn-area", {}, fill(this.t.area, { share: percentOf(one.area) })),
          el("span.num.dn-level", {}, one.note ?? ""),
        );
      }),
    );
  }

  choose(i) {
    this.choice.choose(this.rows.findIndex((one) => one.i === i));
    if (this.choice.chosen < 0 && this.choice.items[0]) this.choice.items[0].tabIndex = 0;
  }
}

export function percentOf(share) {
  const x = 100 * share;
  return `${x >= 9.95 ? x.toFixed(0) : x.toFixed(1)}`;
}

/** The heads of all blocks as bars: right of the middle they speak for the score, left against it. */
export class HeadBars {
  constructor(t, stages, onChoose) {
    this.t = t;
    this.stages = stages;
    this.body = el("div.dn-heads", { role: "radiogroup", "aria-label": t.heads_label });
    this.note = el("p.note.dn-heads-note");
    this.places = stages.flatMap((stage, s) =>
      stage.blocks.flatMap((block, b) =>
        Array.from({ length: block.heads }, (_, h) => ({ stage: s, block: b, head: h, kind: block.kind })),
      ),
    );
    this.choice = new Choice(this.body, (n) => onChoose(this.places[n]));
    this.bars = this.places.map(({ kind }) =>
      el("button.dn-head", { type: "button", "data-kind": kind }, el("i", { "aria-hidden": "true" })),
    );
    this.choice.fill(this.bars);
    let n = 0;
    const columns = stages.map((stage, s) => {
      const blocks = stage.blocks.map((block, b) => {
        const bars = this.bars.slice(n, (n += block.heads));
        const name = `${s + 1}.${b + 1} ${block.kind.toUpperCase()}`;
        return el(`div.dn-block.${block.kind}`, {}, el("small", {}, name), el("div.dn-bars", {}, ...bars));
      });
      return el("div.dn-stage", {}, ...blocks);
    });
    this.body.replaceChildren(...columns);
  }

  /** Show the bars of a reason; `asked` says whether a click on one is answered. */
  paint(reason, table, asked) {
    const values = reason ? reason.heads.flatMap((blocks) => blocks.flatMap((heads) => [...heads])) : [];
    const top = largest(values) || 1;
    this.bars.forEach((bar, n) => {
      const value = values[n] ?? 0;
      const { stage, block, head, kind } = this.places[n];
      const share = value / top;
      const ink = bar.firstChild.style;
      ink.height = `${Math.round(50 * Math.abs(share))}%`;
      ink[value < 0 ? "top" : "bottom"] = "50%";
      ink[value < 0 ? "bottom" : "top"] = "auto";
      const c = table[Math.round(127.5 + 76 * Math.sign(value))];
      ink.background = `rgb(${c & 255},${(c >> 8) & 255},${(c >> 16) & 255})`;
      const words = fill(this.t.head_name, {
        stage: stage + 1,
        block: block + 1,
        kind: kind.toUpperCase(),
        head: head + 1,
        value: reason ? signed(value) : "–",
      });
      if (bar.title !== words) {
        bar.title = words;
        bar.setAttribute("aria-label", words);
      }
    });
    if (!reason) return say(this.note, this.t.heads_none);
    const best = values.reduce((most, x, n) => (x > values[most] ? n : most), 0);
    const { stage, block, head, kind } = this.places[best];
    const told = fill(this.t.heads_best, {
      stage: stage + 1,
      block: block + 1,
      kind: kind.toUpperCase(),
      head: head + 1,
      value: signed(values[best]),
      logit: signed(reason.logit),
    });
    say(this.note, asked ? together(told, this.t.heads_click) : told);
  }
}

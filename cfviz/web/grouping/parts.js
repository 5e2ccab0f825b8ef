// What the figures share: a frame with a sentence, code and downloads; fields; numbers as text.

import { saveCanvas, saveDrawing, saveTable } from "../save/files.js";
import { button, el, say } from "../shared/markup.js";
import { whole } from "../shared/maths.js";
import { CanvasPen, SvgPen } from "../shared/pen.js";

/** Three digits and a unit: 29.5 M, 1.89 G. */
export function compact(n) {
  const [unit, name] = [
    [1e12, " T"],
    [1e9, " G"],
    [1e6, " M"],
    [1e3, " k"],
  ].find(([u]) => n >= u * 0.9995) ?? [1, ""];
  return `${Number((n / unit).toPrecision(3))}${name}`;
}

export function times(x) {
  return x >= 99.5 ? whole(x) : x >= 9.95 ? x.toFixed(0) : String(Number(x.toFixed(1)));
}

/** One figure: title, a sentence on what to look at, a body, a row of downloads; all but the first close. */
export class Plate {
  constructor(name, t, parts, app = null) {
    Object.assign(this, { name, t, parts });
    this.refresh = () => app?.refresh(name);
    this.body = el(`div.plate-body.${name}`);
    this.code = el("pre.code");
    const details = el("details.show", {}, el("summary", {}, t.show_code), this.code);
    const tools = el(
      "div.tools",
      {},
      details,
      el("span.gap"),
      button("PNG", () => this.png(), t.png_help),
      button("SVG", () => this.svg(), t.svg_help),
      button(t.save_numbers, () => this.csv(), t.csv_help),
    );
    const title = el("h3", { id: `gr-${name}` }, t[`${name}_title`]);
    this.look = el("p.look", {}, t[`${name}_look`]);
    this.root = el(
      app ? "details.plate" : "section.plate",
      { "aria-labelledby": `gr-${name}` },
      app ? el("summary", {}, title, el("span", {}, t[`${name}_inside`])) : title,
      this.look,
      this.body,
      tools,
    );
    if (app) {
      this.root.open = app.opens(name);
      this.root.addEventListener("toggle", () => app.turned(name, this.root.open));
    }
    this.recode = () => details.open && say(this.code, parts.code());
    details.addEventListener("toggle", () => {
      if (details.open) this.refresh();
      this.recode();
    });
  }

  /** Whether the figure can be seen: the first always, the others while their section is open. */
  get open() {
    return this.root.open ?? true;
  }

  get file() {
    return `cfviz-${this.name}`;
  }

  png() {
    this.refresh();
    const { width, height, draw, paper } = this.parts.picture();
    const canvas = el("canvas");
    const pen = new CanvasPen(canvas);
    pen.size(width, height, 2);
    pen.rect(0, 0, width, height, paper);
    draw(pen);
    saveCanvas(this.file, canvas);
  }

  svg() {
    this.refresh();
    const { width, height, draw, paper } = this.parts.picture();
    const pen = new SvgPen(width, height);
    pen.rect(0, 0, width, height, paper);
    draw(pen);
    saveDrawing(this.file, pen);
  }

  csv() {
    this.refresh();
    saveTable(this.file, this.parts.table());
  }
}

/** A whole number with a slider and a box to type it in. */
export class Field {
  constructor(label, { min, max, help = null, slider = true }, onChange) {
    Object.assign(this, { min, max });
    this.range = el("input", { type: "range", min, max, tabindex: -1, "aria-hidden": "true" });
    this.number = el("input.num", {
      type: "number",
      min,
      max,
      inputmode: "numeric",
      "aria-label": help ?? label,
    });
    this.root = el(
      "label.field",
      { title: help },
      el("span", {}, label),
      ...(slider ? [this.range] : []),
      this.number,
    );
    const take = (text) => {
      const n = Math.round(Number(text));
      if (text !== "" && Number.isFinite(n)) onChange(Math.max(min, Math.min(max, n)));
    };
    this.range.addEventListener("input", () => take(this.range.value));
    this.number.addEventListener("input", () => take(this.number.value));
    this.number.addEventListener("blur", () => this.show(this.value, true));
  }

  show(value, always = false) {
    this.value = value;
    if (this.range.value !== String(value)) this.range.value = value;
    const typing =
      this.number.getRootNode().activeElement === this.number && Number(this.number.value) !== value;
    if (always || !typing || this.number.value !== "") {
      if (this.number.value !== String(value)) this.number.value = value;
    }
  }

  enable(on) {
    this.range.disabled = this.number.disabled = !on;
    this.root.classList.toggle("off", !on);
  }
}

/** Names and values, aligned. */
export class Facts {
  constructor(names) {
    this.values = {};
    this.root = el("dl.facts");
    for (const [key, name] of Object.entries(names)) {
      this.values[key] = el("dd.num");
      this.root.append(el("dt", {}, name), this.values[key]);
    }
  }

  show(key, text) {
    say(this.values[key], text);
  }
}

// One set of strokes for two papers: a canvas on the screen, and an SVG file to save.

import { hatch } from "./paint.js";
import { esc } from "./text.js";

const FAMILY = '"Source Sans 3", "Source Sans", "Noto Sans TC", "Noto Sans CJK TC", system-ui, sans-serif';

export class CanvasPen {
  constructor(canvas) {
    this.canvas = canvas;
    this.ink = canvas.getContext("2d");
    this.patterns = new Map();
  }

  /** Set the size in CSS pixels, at the screen's resolution or at `ratio`. */
  size(width, height, ratio = Math.min(2, window.devicePixelRatio || 1)) {
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    [this.width, this.height] = [width, height];
    if (this.canvas.width !== w || this.canvas.height !== h || this.ratio !== ratio) {
      [this.canvas.width, this.canvas.height] = [w, h];
      Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
      this.ratio = ratio;
      this.patterns.clear();
    }
    this.ink.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.ink.clearRect(0, 0, width, height);
  }

  clear() {
    this.ink.clearRect(0, 0, this.width, this.height);
  }

  rect(x, y, w, h, fill, alpha = 1) {
    this.ink.globalAlpha = alpha;
    this.ink.fillStyle = fill;
    this.ink.fillRect(x, y, w, h);
  }

  frame(x, y, w, h, stroke, width = 1, alpha = 1, dash = []) {
    this.stroke(stroke, width, alpha);
    this.ink.setLineDash(dash);
    this.ink.strokeRect(x, y, w, h);
    this.ink.setLineDash([]);
  }

  /** A bitmap or a canvas; without `smooth`, its pixels stay squares. */
  image(picture, x, y, w, h, smooth = true) {
    this.ink.globalAlpha = 1;
    this.ink.imageSmoothingEnabled = smooth;
    if (smooth) this.ink.imageSmoothingQuality = "high";
    this.ink.drawImage(picture, x, y, w, h);
  }

  /** The width of a text. */
  measure(words, size) {
    this.ink.font = `400 ${size}px ${FAMILY}`;
    return this.ink.measureText(words).width;
  }

  /** Straight lines, each [x0, y0, x1, y1]. */
  lines(list, stroke, width = 1, alpha = 1) {
    this.stroke(stroke, width, alpha);
    this.ink.beginPath();
    for (const [x0, y0, x1, y1] of list) {
      this.ink.moveTo(x0, y0);
      this.ink.lineTo(x1, y1);
    }
    this.ink.stroke();
  }

  /** Draw the query: a white ring with a dark outline. */
  ring(x, y, r) {
    this.ink.beginPath();
    this.ink.arc(x, y, r, 0, 2 * Math.PI);
    this.stroke("#14171B", 4.5, 1);
    this.ink.stroke();
    this.stroke("#FFFFFF", 2.25, 1);
    this.ink.stroke();
  }

  hatch(x, y, w, h, colour) {
    if (!this.patterns.has(colour)) {
      const pattern = hatch(this.ink, colour, this.ratio);
      pattern.setTransform(new DOMMatrix().scale(1 / this.ratio));
      this.patterns.set(colour, pattern);
    }
    this.rect(x, y, w, h, this.patterns.get(colour));
  }

  text(x, y, words, { size = 12, fill = "#000", anchor = "start", weight = 400 } = {}) {
    this.ink.globalAlpha = 1;
    this.ink.fillStyle = fill;
    this.ink.font = `${weight} ${size}px ${FAMILY}`;
    this.ink.textAlign = { start: "left", middle: "center", end: "right" }[anchor];
    this.ink.textBaseline = "alphabetic";
    this.ink.fillText(words, x, y);
  }

  stroke(colour, width, alpha) {
    this.ink.globalAlpha = alpha;
    this.ink.strokeStyle = colour;
    this.ink.lineWidth = width;
  }
}

export class SvgPen {
  constructor(width, height) {
    Object.assign(this, { width, height, parts: [], hatches: new Map() });
  }

  rect(x, y, w, h, fill, alpha = 1) {
    this.add("rect", { x, y, width: w, height: h, fill, "fill-opacity": alpha });
  }

  frame(x, y, w, h, stroke, width = 1, alpha = 1, dash = []) {
    this.add("rect", {
      x,
      y,
      width: w,
      height: h,
      fill: "none",
      stroke,
      "stroke-width": width,
      "stroke-opacity": alpha,
      ...(dash.length ? { "stroke-dasharray": dash.join(" ") } : {}),
    });
  }

  /** A bitmap or a canvas, embedded; without `smooth`, its pixels stay squares. */
  image(picture, x, y, w, h, smooth = true) {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.width, picture.height];
    canvas.getContext("2d").drawImage(picture, 0, 0);
    const rendering = smooth ? {} : { style: "image-rendering:pixelated" };
    const place = { x, y, width: w, height: h, preserveAspectRatio: "none", ...rendering };
    this.add("image", { href: canvas.toDataURL("image/png"), ...place });
  }

  /** The width of a text, as the screen has it. */
  measure(words, size) {
    this.ruler ??= document.createElement("canvas").getContext("2d");
    this.ruler.font = `400 ${size}px ${FAMILY}`;
    return this.ruler.measureText(words).width;
  }

  lines(list, stroke, width = 1, alpha = 1) {
    const d = list.map(([x0, y0, x1, y1]) => `M${short(x0)} ${short(y0)}L${short(x1)} ${short(y1)}`).join("");
    if (d) this.add("path", { d, fill: "none", stroke, "stroke-width": width, "stroke-opacity": alpha });
  }

  ring(x, y, r) {
    this.add("circle", { cx: x, cy: y, r, fill: "none", stroke: "#14171B", "stroke-width": 4.5 });
    this.add("circle", { cx: x, cy: y, r, fill: "none", stroke: "#FFFFFF", "stroke-width": 2.25 });
  }

  hatch(x, y, w, h, colour) {
    if (!this.hatches.has(colour)) this.hatches.set(colour, `hatch${this.hatches.size}`);
    this.rect(x, y, w, h, `url(#${this.hatches.get(colour)})`);
  }

  text(x, y, words, { size = 12, fill = "#000", anchor = "start", weight = 400 } = {}) {
    const style = { x, y, fill, "font-size": size, "font-weight": weight, "text-anchor": anchor };
    this.parts.push(`<text${attributes(style)}>${esc(words)}</text>`);
  }

  add(tag, values) {
    this.parts.push(`<${tag}${attributes(values)}/>`);
  }

  toString() {
    const patterns = [...this.hatches].map(
      ([colour, id]) =>
        `<pattern id="${id}" width="8" height="8" patternUnits="userSpaceOnUse">` +
        `<rect width="8" height="8" fill="${colour}" fill-opacity=".28"/>` +
        `<path d="M-8 8L0 0M0 8L8 0M8 8L16 0" stroke="${colour}" stroke-width="1.25"/></pattern>`,
    );
    const [w, h] = [short(this.width), short(this.height)];
    return (
      `<svg xmlns="http://www.w3.org/2000/svg" width="${w}" height="${h}" viewBox="0 0 ${w} ${h}" ` +
      `font-family='${FAMILY}'><defs>${patterns.join("")}</defs>${this.parts.join("\n")}</svg>\n`
    );
  }
}

function attributes(values) {
  return Object.entries(values)
    .filter(([name, value]) => !(name.endsWith("opacity") && value === 1))
    .map(([name, value]) => ` ${name}="${typeof value === "number" ? short(value) : esc(value)}"`)
    .join("");
}

function short(x) {
  return String(Math.round(x * 100) / 100);
}

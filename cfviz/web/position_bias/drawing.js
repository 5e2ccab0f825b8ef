// Drawings of a surface: a map by the key's place, a solid to turn, and two cross-sections.
//
// In a map the query is in the middle and each cell is a key: a cell to the right is a key to the right. The
// table's offset is query minus key, so a map is its surface rotated by 180 degrees.

import { el, say } from "../shared/markup.js";
import { STEPS } from "../shared/near.js";
import { colours, css, diverging, hatch, outline } from "../shared/paint.js";

/** The cell of a (2Gh-1) x (2Gw-1) surface for the key at (down, right) from the query. */
export function entryAt(Gh, Gw, down, right) {
  return (Gh - 1 - down) * (2 * Gw - 1) + (Gw - 1 - right);
}

export function level(x, top) {
  return Math.max(0, Math.min(255, Math.round(127.5 + (127.5 * x) / (top || 1))));
}

/** Paint a surface into a canvas with one pixel per cell. */
export function paintCells(canvas, values, Gh, Gw, top, table) {
  const [h, w] = [2 * Gh - 1, 2 * Gw - 1];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(w, h);
  const cells = new Uint32Array(image.data.buffer);
  for (let i = 0; i < h * w; i++) cells[h * w - 1 - i] = table[level(values[i], top)];
  pen.putImageData(image, 0, 0);
}

/** A map of one surface, the trained range framed and the rest hatched, in which to point at a cell. */
export class OffsetMap {
  constructor(label, onPoint) {
    this.base = el("canvas", { role: "img", "aria-label": label });
    this.over = el("canvas.over");
    this.root = el("div.pb-map", {}, this.base, this.over);
    this.cells = document.createElement("canvas");
    if (!onPoint) return;
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "application");
    this.root.setAttribute("aria-label", label);
    this.over.addEventListener("pointermove", (e) => onPoint(this.place(e.offsetX, e.offsetY)));
    this.root.addEventListener("keydown", (e) => {
      const move = STEPS[e.key];
      if (!move) return;
      e.preventDefault();
      onPoint({ down: (this.at?.down ?? 0) + move[0], right: (this.at?.right ?? 0) + move[1] });
    });
  }

  draw(values, Gh, Gw, top, look, width) {
    Object.assign(this, { Gh, Gw, look });
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [w, h] = [2 * Gw - 1, 2 * Gh - 1];
    const cell = Math.max(1, Math.floor((width * ratio) / Math.max(w, h)));
    Object.assign(this, { ratio, cell });
    for (const canvas of [this.base, this.over]) {
      if (canvas.width !== w * cell || canvas.height !== h * cell)
        [canvas.width, canvas.height] = [w * cell, h * cell];
      [canvas.style.width, canvas.style.height] = [`${(w * cell) / ratio}px`, `${(h * cell) / ratio}px`];
    }
    paintCells(this.cells, values, Gh, Gw, top, look.signed);
    const pen = this.base.getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.cells, 0, 0, w * cell, h * cell);
    this.frame(pen, look.G);
    this.ring(pen);
  }

  frame(pen, G) {
    const { Gh, Gw, cell, ratio, look } = this;
    const [top, left] = [Math.max(0, Gh - G) * cell, Math.max(0, Gw - G) * cell];
    const [wide, high] = [pen.canvas.width - 2 * left, pen.canvas.height - 2 * top];
    if (!top && !left) return;
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, pen.canvas.width, pen.canvas.height);
    pen.rect(left, top, wide, high);
    pen.clip("evenodd");
    pen.fillStyle = hatch(pen, look.theme.padding, ratio);
    pen.globalAlpha = 0.8;
    pen.fillRect(0, 0, pen.canvas.width, pen.canvas.height);
    pen.restore();
    for (const [ink, thick] of [
      ["#FFFFFF", 3.5],
      ["#14171B", 1.5],
    ]) {
      pen.strokeStyle = ink;
      pen.lineWidth = thick * ratio;
      pen.strokeRect(left, top, wide, high);
    }
  }

  /** Draw the query in the middle: a white ring with a dark outline. */
  ring(pen) {
    const [x, y] = [pen.canvas.width / 2, pen.canvas.height / 2];
    const r = Math.max(2.5 * this.ratio, Math.min(this.cell * 0.38, 8 * this.ratio));
    outline(pen, this.ratio, [3, 1.6], () => pen.arc(x, y, r, 0, 2 * Math.PI));
  }

  /** Mark the key's cell, or none if it lies outside this map. */
  mark(at) {
    this.at = at;
    const { over, Gh, Gw, cell, ratio } = this;
    if (!Gh) return;
    const pen = over.getContext("2d");
    pen.clearRect(0, 0, over.width, over.height);
    if (!at || Math.abs(at.down) >= Gh || Math.abs(at.right) >= Gw) return;
    const [x, y] = [(at.right + Gw - 1) * cell, (at.down + Gh - 1) * cell];
    outline(pen, ratio, [4, 2], () => pen.rect(x, y, cell, cell));
  }

  place(x, y) {
    const { cell, ratio, Gh, Gw } = this;
    const clip = (d, G) => Math.max(1 - G, Math.min(G - 1, d));
    return {
      down: clip(Math.floor((y * ratio) / cell) - Gh + 1, Gh),
      right: clip(Math.floor((x * ratio) / cell) - Gw + 1, Gw),
    };
  }
}

/** A surface as a solid that is turned by dragging or with the arrow keys, and `beside` with it. */
export const SOLID = 0.82; // a solid's height, of its width

export class Solid {
  constructor(label) {
    this.canvas = el("canvas.pb-solid", { tabindex: 0, role: "application", "aria-label": label });
    [this.yaw, this.pitch] = [0.65, 0.62];
    let from = null;
    this.canvas.addEventListener("pointerdown", (e) => {
      from = [e.clientX, e.clientY, this.yaw, this.pitch];
      this.canvas.setPointerCapture(e.pointerId);
    });
    this.canvas.addEventListener(
      "pointermove",
      (e) => from && this.turn(from[2] + (e.clientX - from[0]) / 120, from[3] + (e.clientY - from[1]) / 160),
    );
    this.canvas.addEventListener("pointerup", () => (from = null));
    this.canvas.addEventListener("pointercancel", () => (from = null));
    this.canvas.addEventListener("keydown", (e) => {
      const move = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[
        e.key
      ];
      if (!move) return;
      e.preventDefault();
      this.turn(this.yaw + move[0], this.pitch + move[1]);
    });
  }

  turn(yaw, pitch) {
    for (const solid of [this, this.beside ?? this]) {
      [solid.yaw, solid.pitch] = [yaw, Math.max(0.08, Math.min(1.5, pitch))];
      solid.paint();
    }
  }

  draw(values, Gh, Gw, top, look, width) {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [w, h] = [Math.round(width * ratio), Math.round(width * SOLID * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    this.canvas.style.width = `${w / ratio}px`;
    Object.assign(this, { values, Gh, Gw, top, look, ratio });
    this.paint();
  }

  mark(at) {
    this.at = at;
    if (this.values) this.paint();
  }

  project(x, z, y) {
    const { canvas } = this;
    const [c, s] = [Math.cos(this.yaw), Math.sin(this.yaw)];
    const [u, v] = [c * x - s * z, s * x + c * z];
    const size = canvas.width * 0.31;
    return [
      canvas.width / 2 + size * u,
      canvas.height / 2 + size * (v * Math.sin(this.pitch) - y * 0.62 * Math.cos(this.pitch)),
      v,
    ];
  }

  paint() {
    const { canvas, values, Gh, Gw, top, look, ratio } = this;
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const [h, w] = [2 * Gh - 1, 2 * Gw - 1];
    const far = Math.max(1, Math.max(Gh, Gw) - 1);
    const points = [];
    for (let down = 1 - Gh; down < Gh; down++) {
      for (let right = 1 - Gw; right < Gw; right++) {
        const x = values[entryAt(Gh, Gw, down, right)] / top;
        points.push(this.project(right / far, down / far, Math.max(-1.4, Math.min(1.4, x))));
      }
    }
    this.floor(pen, Gh / far - 1 / far, Gw / far - 1 / far);
    const quads = [];
    for (let r = 0; r + 1 < h; r++) {
      for (let c = 0; c + 1 < w; c++) {
        const corners = [r * w + c, r * w + c + 1, (r + 1) * w + c + 1, (r + 1) * w + c];
        quads.push([corners, corners.reduce((sum, i) => sum + points[i][2], 0)]);
      }
    }
    quads.sort((a, b) => a[1] - b[1]);
    pen.lineJoin = "round";
    pen.lineWidth = Math.max(0.5, ratio * (w > 30 ? 0.35 : 0.7));
    for (const [corners] of quads) {
      const mean = corners.reduce((sum, i) => sum + values[h * w - 1 - i], 0) / 4;
      const [row, col] = [Math.floor(corners[0] / w) - Gh + 1, (corners[0] % w) - Gw + 1];
      const known = row >= 1 - look.G && row + 1 < look.G && col >= 1 - look.G && col + 1 < look.G;
      pen.beginPath();
      corners.forEach((i, n) =>
        n ? pen.lineTo(points[i][0], points[i][1]) : pen.moveTo(points[i][0], points[i][1]),
      );
      pen.closePath();
      pen.globalAlpha = known ? 1 : 0.5;
      pen.fillStyle = look.signedCss[level(mean, top)];
      pen.fill();
      pen.strokeStyle = known ? look.theme.muted : look.theme.line;
      pen.stroke();
    }
    pen.globalAlpha = 1;
    this.dot(pen, points, w);
  }

  floor(pen, high, wide) {
    const corners = [
      [-wide, -high],
      [wide, -high],
      [wide, high],
      [-wide, high],
    ].map(([x, z]) => this.project(x, z, 0));
    pen.beginPath();
    corners.forEach(([x, y], i) => (i ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.strokeStyle = this.look.theme.line;
    pen.lineWidth = this.ratio;
    pen.stroke();
  }

  dot(pen, points, w) {
    const { at, Gh, Gw, ratio } = this;
    if (!at || Math.abs(at.down) >= Gh || Math.abs(at.right) >= Gw) return;
    const [x, y] = points[(at.down + Gh - 1) * w + at.right + Gw - 1];
    pen.beginPath();
    pen.arc(x, y, 4.5 * ratio, 0, 2 * Math.PI);
    pen.fillStyle = "#FFFFFF";
    pen.fill();
    pen.strokeStyle = "#14171B";
    pen.lineWidth = 1.5 * ratio;
    pen.stroke();
  }
}

/** One line through a surface, in the surface's colours, hatched outside the trained range. */
export class Section {
  constructor(name) {
    this.name = el("span.note");
    this.canvas = el("canvas.pb-section", { role: "img", "aria-label": name });
    this.root = el("div", {}, this.name, this.canvas);
  }

  draw(line, at, top, look, text) {
    say(this.name, text);
    const { canvas } = this;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const [w, h] = [Math.round((canvas.clientWidth || 260) * ratio), Math.round(74 * ratio)];
    if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, w, h);
    const far = (line.length - 1) / 2;
    const x = (d) => ((d + far + 0.5) * w) / line.length;
    const y = (v) => h / 2 - (Math.max(-1, Math.min(1, v / top)) * h) / 2.25;
    if (far >= look.G) {
      pen.fillStyle = hatch(pen, look.theme.padding, ratio);
      pen.fillRect(0, 0, x(1 - look.G - 0.5), h);
      pen.fillRect(x(look.G - 0.5), 0, w, h);
    }
    pen.fillStyle = look.theme.line;
    pen.fillRect(0, h / 2, w, ratio);
    const wide = Math.max(1, w / line.length - ratio);
    line.forEach((v, i) => {
      pen.fillStyle = look.signedCss[level(v, top)];
      const [zero, end] = [h / 2, y(v)];
      pen.fillRect(x(i - far) - wide / 2, Math.min(zero, end), wide, Math.max(ratio, Math.abs(end - zero)));
    });
    pen.beginPath();
    line.forEach((v, i) => (i ? pen.lineTo(x(i - far), y(v)) : pen.moveTo(x(0 - far), y(v))));
    pen.strokeStyle = look.theme.ink;
    pen.lineWidth = 1.5 * ratio;
    pen.stroke();
    pen.beginPath();
    pen.arc(x(at), y(line[at + far]), 3.6 * ratio, 0, 2 * Math.PI);
    pen.fillStyle = look.theme.ink;
    pen.fill();
  }
}

/** What all drawings need of a theme, and G, outside which they hatch. */
export function looks(palette, mode, G) {
  const signed = colours(diverging(palette[mode]));
  const heat = colours(palette.sequential);
  return { theme: palette[mode], signed, signedCss: css(signed), heat, heatCss: css(heat), G };
}

// The current figure as an SVG: photo, the group's members, rings, outline and scale.

import { SvgPen } from "../shared/pen.js";
import { percent } from "../shared/maths.js";
import { shade, VEIL } from "../shared/paint.js";

const FOOT = { size: 13, line: 19, ramp: 260 };

/** The SVG of a figure: the whole map, in the CSS pixels that it has on the screen unless enlarged. */
export function vector(figure) {
  const { map, frame, theme, ui } = figure;
  const { groups, fitted: cell } = map;
  const { colour } = figure;
  const heat = figure.block.ready;
  const width = groups.Wp * cell;
  const high = groups.Hp * cell;
  const lines = [figure.summary(), figure.pair, heat ? figure.scaleNote : ui.where.textContent].flatMap(
    (text) => wrapped(text, 0.9 * Math.max(width, FOOT.ramp)),
  ); // another reader's font may be wider
  const top = high + (heat ? 34 : 8);
  const pen = new SvgPen(Math.max(width, FOOT.ramp), top + FOOT.line * lines.length + 8);
  pen.rect(0, 0, pen.width, pen.height, theme.paper);
  drawBackground(pen, figure, width, high);
  members(pen, figure, colour);
  if (groups.keys) edges(pen, map, frame, colour);
  else outline(pen, map, frame.group, colour);
  marks(pen, figure);
  if (heat) scale(pen, figure, high + 10);
  lines.forEach((text, i) =>
    pen.text(4, top + FOOT.line * (i + 0.75), text, { size: FOOT.size, fill: i ? theme.muted : theme.ink }),
  );
  return pen.toString();
}

/** Padding, the photo, the veil over all but the group, and the grid of tokens. */
function drawBackground(pen, { map, photo, header, theme, stage, frame }, width, high) {
  const { groups, fitted: cell } = map;
  const [w, h] = [(header.input.w / stage.stride) * cell, (header.input.h / stage.stride) * cell];
  if (w < width || h < high) pen.hatch(0, 0, width, high, theme.padding);
  if (photo) {
    pen.add("image", { width: w, height: h, preserveAspectRatio: "none", href: embedded(photo) });
    const holes = boxes(frame, cell)
      .map(([x, y]) => box(x, y, groups.side * cell, groups.side * cell))
      .join("");
    pen.add("path", { class: "veil", d: box(0, 0, w, h) + holes, fill: VEIL, "fill-rule": "evenodd" });
  } else {
    pen.rect(0, 0, w, h, theme.panel);
  }
  if (cell < 5) return;
  const grid = [
    ...Array.from({ length: groups.W - 1 }, (_, c) => [(c + 1) * cell, 0, (c + 1) * cell, h]),
    ...Array.from({ length: groups.H - 1 }, (_, r) => [0, (r + 1) * cell, w, (r + 1) * cell]),
  ];
  pen.lines(grid, photo ? "#FFFFFF" : theme.line, 1, photo ? 0.11 : 1);
}

/** One rectangle a token of the group, as opaque as on the screen. */
function members(pen, { map, frame, block, state, heatCss, ui }, colour) {
  const { groups, fitted: cell } = map;
  const strength = ui.strength.value / 100;
  const side = groups.side * cell;
  for (const [x, y, slot] of boxes(frame, cell)) {
    const p = block.ready ? frame.probs[state.head * groups.N + slot] : null;
    const level = p === null ? 0 : shade(p, frame.top);
    const look =
      p === null
        ? { fill: colour, "fill-opacity": 0.42 }
        : {
            fill: heatCss[level],
            "fill-opacity": strength ** (4 - level / 85),
            "data-attention": p.toPrecision(6),
          };
    pen.add("rect", { class: "member", x, y, width: side, height: side, ...look });
  }
}

/** An outline of the window, or of each member where they lie apart; outside the cells, as on the screen. */
function outline(pen, { groups, fitted: cell }, group, colour) {
  const thick = groups.I === 1 ? 3 : Math.max(1.5, Math.min(2.5, cell / 6));
  const [high, wide] = groups.I === 1 ? [groups.Gh * cell, groups.Gw * cell] : [cell, cell];
  const all = groups.I === 1 ? [0] : Array.from({ length: groups.N }, (_, k) => k);
  const path = (out) =>
    all
      .map((k) =>
        box(
          groups.col(group, k) * cell - out,
          groups.row(group, k) * cell - out,
          wide + 2 * out,
          high + 2 * out,
        ),
      )
      .join("");
  pen.add("path", {
    d: path(thick + 0.5),
    fill: "none",
    stroke: "#FFFFFF",
    "stroke-opacity": 0.8,
    "stroke-width": 1,
  });
  pen.add("path", {
    class: "group",
    d: path(thick / 2),
    fill: "none",
    stroke: colour,
    "stroke-width": thick,
  });
}

/** Solid around the keys that the token scores, dashed around those that the mask hides from it. */
function edges(pen, { groups, fitted: cell }, { group, slot }, colour) {
  const thick = groups.side > 1 ? 1.5 : 3;
  for (const joined of [false, true]) {
    const lines = groups.edges(group, slot, joined);
    if (!lines.length) continue;
    const d = lines
      .map(([x0, y0, x1, y1]) => `M${x0 * cell} ${y0 * cell}L${x1 * cell} ${y1 * cell}`)
      .join("");
    const look = { d, fill: "none" };
    pen.add("path", { ...look, stroke: "#FFFFFF", "stroke-opacity": 0.8, "stroke-width": thick + 2 });
    const dash = joined ? {} : { "stroke-dasharray": "5 4" };
    const name = joined ? "group" : "hidden";
    pen.add("path", { ...look, class: name, stroke: colour, "stroke-width": thick, ...dash });
  }
}

/** The key under the pointer, and the query's ring. */
function marks(pen, { map, frame, key }) {
  const { groups, fitted: cell } = map;
  if (key !== null && groups.valid(frame.group, key) && (key !== frame.slot || groups.side > 1)) {
    const at = [groups.col(frame.group, key) * cell, groups.row(frame.group, key) * cell];
    const side = groups.side * cell;
    pen.frame(...at, side, side, "#14171B", 4);
    pen.frame(...at, side, side, "#FFFFFF", 1.75);
  }
  const [x, y] = [frame.col * cell, frame.row * cell];
  pen.ring(x + cell / 2, y + cell / 2, Math.max(6, Math.min(cell / 2, 11)));
}

/** The colours from 0 to the largest attention, with a dashed line at even attention. */
function scale(pen, { header, theme, frame }, y) {
  const stops = header.palette.sequential;
  const parts = stops.map((c, i) => `<stop offset="${i / (stops.length - 1)}" stop-color="${c}"/>`).join("");
  pen.parts.push(`<linearGradient id="scale">${parts}</linearGradient>`);
  const look = { size: FOOT.size, fill: theme.ink };
  const [from, length] = [20, FOOT.ramp - 90];
  pen.text(4, y + 10, "0", look);
  pen.add("rect", { class: "scale", x: from, y, width: length, height: 10, fill: "url(#scale)" });
  pen.text(from + length + 8, y + 10, percent(frame.top), look);
  const even = from + length * Math.min(1, 1 / frame.groups.count(frame.group, frame.slot) / frame.top);
  pen.add("path", {
    d: `M${even} ${y - 4}V${y + 14}`,
    stroke: theme.ink,
    "stroke-width": 1.5,
    "stroke-dasharray": "3 2",
  });
}

/** Upper left corner and member number of each key that is shown, padding left out. */
function boxes({ groups, group, lit }, cell) {
  return Array.from({ length: groups.N }, (_, k) => k)
    .filter((k) => groups.valid(group, k) && lit[k])
    .map((k) => [groups.col(group, k) * cell, groups.row(group, k) * cell, k]);
}

function box(x, y, w, h) {
  const n = (value) => Math.round(value * 100) / 100;
  return `M${n(x)} ${n(y)}h${n(w)}v${n(h)}h${n(-w)}z`;
}

/** A bitmap as a data URI, at its own resolution. */
function embedded(bitmap) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.toDataURL("image/png");
}

/** Break a text into lines no wider than `width`; Chinese may break between any two characters. */
function wrapped(text, width) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.font = `${FOOT.size}px sans-serif`;
  const lines = [""];
  for (const word of text.match(/[\u3000-\uffef]|[^\s\u3000-\uffef]+\s*|\s+/g) ?? []) {
    if (lines.at(-1) && pen.measureText(lines.at(-1) + word.trimEnd()).width > width) lines.push("");
    lines[lines.length - 1] += word;
  }
  return lines.map((line) => line.trim()).filter(Boolean);
}

// The photo with boxes, masks and labels, or with what a score rests on; for the screen and for SVG files.

import { rim } from "../shared/paint.js";
import { showsInput } from "../shared/photo.js";
import { CELL, largest } from "./answer.js";

const SIDE = 28; // of a mask
const VEIL = "rgba(13,16,20,0.5)";

/** A small canvas with one pixel per cell. */
function raster(width, height, colour) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const found = colour(i);
    if (found) image.data.set(found, 4 * i);
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

function rgb(hex) {
  return [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
}

function channels(packed) {
  return [packed & 255, (packed >> 8) & 255, (packed >> 16) & 255];
}

/** A signed map over tokens, nearly clear at zero; its scale is symmetrical. */
export function signedRaster(values, width, height, table) {
  const top = largest(values) || 1;
  const picture = raster(width, height, (i) => {
    const x = values[i] / top;
    return [...channels(table[Math.round(127.5 + 127.5 * x)]), Math.round(255 * (0.25 + 0.7 * Math.abs(x)))];
  });
  return { picture, top: largest(values) };
}

/** A map of sizes; what is small is clear. */
export function heatRaster(values, width, height, table) {
  const top = largest(values) || 1;
  const picture = raster(width, height, (i) => {
    const x = Math.sqrt(values[i] / top); // most of a field is faint
    return [...channels(table[Math.round(255 * x)]), Math.round(255 * (0.25 + 0.6 * x))];
  });
  return { picture, top: largest(values) };
}

/** A label map in the colours of its classes; the ground stays clear. */
export function labelRaster(answer, labels, width, height) {
  const colours = new Map(answer.classes.map(({ index, colour }) => [index, rgb(colour)]));
  return raster(width, height, (i) =>
    labels[i] === answer.ground ? [124, 136, 148, 60] : [...(colours.get(labels[i]) ?? [0, 0, 0]), 150],
  );
}

/** A mask of probabilities in a colour. */
function maskRaster(mask, colour) {
  const ink = rgb(colour);
  return raster(SIDE, SIDE, (i) => (mask[i] >= 127.5 ? [...ink, 130] : null));
}

/**
 * Everything on the photo, drawn with one of two pens that know `image`, `frame`, `rect` and `text`.
 *
 * @param pen see `ScreenPen`; coordinates are CSS pixels
 * @param look {answer, scale, view, boxes, target, heat, labels, truth, photo, theme}
 */
export function drawScene(pen, look) {
  const { answer, scale } = look;
  const { h, w } = answer.input;
  pen.image(look.photo, 0, 0, w * scale, h * scale, !showsInput());
  if (look.heat) {
    pen.rect(0, 0, w * scale, h * scale, VEIL);
    const { picture, stride } = look.heat;
    pen.image(picture, 0, 0, picture.width * stride * scale, picture.height * stride * scale, false);
  } else if (look.labels) pen.image(look.labels, 0, 0, w * scale, h * scale, false);
  if (!look.heat) {
    for (const one of [...look.boxes].reverse())
      if (one.mask) {
        const [x1, y1, x2, y2] = one.box.map((n) => n * scale);
        pen.image(
          (one.picture ??= maskRaster(one.mask, answer.colour(one.label))),
          x1,
          y1,
          x2 - x1,
          y2 - y1,
          true,
        );
      }
  }
  if (look.truth)
    for (const { box } of look.truth) {
      const [x1, y1, x2, y2] = Array.from(box, (n) => n * scale);
      pen.frame(x1, y1, x2 - x1, y2 - y1, "#14171B", 3, 1, [7, 5]);
      pen.frame(x1, y1, x2 - x1, y2 - y1, "#FFFFFF", 1.5, 1, [7, 5]);
    }
  const drawn = look.heat ? look.boxes.filter((one) => one.i === look.target?.box) : look.boxes;
  const chosen = (one) => one.i === look.target?.box;
  for (const one of [...drawn].reverse()) frame(pen, answer, one, scale, chosen(one));
  labels(pen, answer, [...drawn.filter(chosen), ...drawn.filter((one) => !chosen(one))], scale, look);
  if (look.target?.cells) {
    const edge = rim(look.target.cells, CELL).map((line) => line.map((n) => n * scale));
    pen.lines(edge, "#14171B", 4);
    pen.lines(edge, "#FFFFFF", 2);
  }
  if (look.target?.row >= 0) pen.ring((look.target.col + 0.5) * scale, (look.target.row + 0.5) * scale, 6);
}

function frame(pen, answer, one, scale, chosen) {
  const [x1, y1, x2, y2] = one.box.map((n) => n * scale);
  pen.frame(x1, y1, x2 - x1, y2 - y1, chosen ? "#FFFFFF" : "#14171B", chosen ? 6 : 4);
  pen.frame(x1, y1, x2 - x1, y2 - y1, answer.colour(one.label), 2.5);
}

/** Class and score of each box, the most important first: one that would cover another's is left out. */
function labels(pen, answer, boxes, scale, look) {
  const size = 12;
  const high = size + 6;
  const taken = [];
  for (const one of boxes) {
    const [x1, y1] = one.box.map((n) => n * scale);
    const chosen = one.i === look.target?.box;
    const words = `${answer.short(one.label)} ${Math.round(100 * one.score)}\u00a0%`;
    const wide = pen.measure(words, size) + 8;
    const left = Math.max(0, Math.min(x1, answer.input.w * scale - wide));
    const top = y1 >= high ? y1 - high : y1;
    if (taken.some(([x, y, w]) => left < x + w && x < left + wide && Math.abs(top - y) < high)) continue;
    taken.push([left, top, wide]);
    pen.rect(left, top, wide, high, "#14171B");
    pen.rect(left, top, 3, high, answer.colour(one.label));
    pen.text(left + 6, top + size, words, { size, fill: "#FFFFFF", weight: chosen ? 700 : 400 });
    if (chosen && look.fresh?.has(one.i))
      pen.text(left + wide + 4, top + size, "+", { size, fill: "#FFFFFF" });
  }
}

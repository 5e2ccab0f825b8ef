// Interventions as links write them: "3.2.h5-zero", "~1.k4-mean", "2.x.G-5". Python reads the same grammar.

import { fill } from "../shared/text.js";

export const FILLS = ["zero", "mean", "shuffle", "replace"];
/** A number with its sign: "+1.32", "−0.40"; what rounds to zero has none. */
export function signed(x, digits = 2) {
  const size = Math.abs(x).toFixed(digits);
  return Number(size) === 0 ? size : `${x < 0 ? "−" : "+"}${size}`;
}

/** One of them as {on, place, how, rest}; `rest` is the number after the fill. */
function read(word) {
  const on = !word.startsWith("~");
  const text = on ? word : word.slice(1);
  const cut = text.indexOf("-");
  const [, how, rest] = text.slice(cut + 1).match(/^([a-z]*?)(-?\d.*)?$/);
  return { on, place: text.slice(0, cut), how: how || "set", rest: rest ?? "" };
}

function write({ on, place, how, rest }) {
  return `${on ? "" : "~"}${place}-${how === "set" ? "" : how}${rest}`;
}

export const readAll = (text) => (text ? text.split("_").map(read) : []);
export const writeAll = (items) => items.map(write).join("_");

/** A place as {part, stage, block, index}, counted from 1; 0 means all. */
export function parse(place) {
  const bits = place.split(".");
  const [, letters, number] = bits.at(-1).match(/^([a-zA-Z]+)(\d*)$/);
  const part = { h: "head", k: "kernel" }[letters] ?? letters;
  const count = (text) => (text && text !== "x" ? +text : 0);
  return { part, stage: count(bits[0]), block: bits.length > 2 ? count(bits[1]) : 0, index: count(number) };
}

/** A place in the reader's words: "Stage 3 · block 2 · head 5". */
export function name(place, data) {
  const { part, stage, block, index } = parse(place);
  const t = data.text;
  const parts = [stage ? fill(t.stage, { n: stage }) : t.all_stages];
  if (block) parts.push(fill(t.block, { n: block }));
  else if (!["kernel", "G", "I"].includes(part)) parts.push(t.all_blocks);
  if (part === "kernel") {
    const k = index && stage ? data.stages[stage - 1].kernels[index - 1] : 0;
    parts.push(k ? fill(t.kernel, { k }) : t.all_kernels);
  } else if (part === "head") parts.push(index ? fill(t.head, { n: index }) : t.all_heads);
  else if (part === "bias") parts.push(index ? `${t.bias} · ${fill(t.head, { n: index })}` : t.bias);
  else if (part !== "block") parts.push(t[part]);
  else parts[parts.length - 1] = fill(block ? t.whole_block : t.whole_blocks, { n: block });
  return parts.join(" · ");
}

/** What the intervention does, in the reader's words. */
export function deed({ how, rest }, data) {
  const t = data.text;
  if (how === "set") return `→ ${rest}`;
  if (how === "sda" || how === "lda") return `→ ${how.toUpperCase()}`;
  if (how === "replace" && rest !== "") return fill(t.by_number, { x: rest.replace("-", "−") });
  return t[`how_${how}`];
}

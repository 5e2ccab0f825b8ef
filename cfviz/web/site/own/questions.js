// The questions of the lessons whose answer depends on the photo, of a photo of the reader's own: computed
// from what the model made of it, as in `cfviz/lessons/tensors.py`; a test compares both. All else is the
// gallery's.

import { decode } from "../../shared/payload.js";
import { attention, blockOf, distances } from "./attention.js";

const EXACT = 1e-5; // relative; closer ones are ties
const CLOSE = 5; // a guess is right if it is among this many of the strongest

/** Name of a question -> a function that makes it of another photo. */
export const COMPUTED = {
  farthest_head: farthestHead,
  strongest_token: strongestToken,
  carries_most: carriesMost,
};

/** The rank of each value, from 1: one plus the number of values that are larger by more than `apart`. */
function ranks(values, apart) {
  return values.map((x) => 1 + values.filter((other) => other > x + apart).length);
}

/** A share with one decimal, as Python writes it. */
function share(p) {
  const digits = 0 < p && p < 0.0005 ? "<\u00a00.1" : (100 * p).toFixed(1);
  return `${digits}\u00a0%`;
}

/** The question with another answer; the sentence on a right option names that option, by `instead`. */
function answered(question, good, fields, said, instead = {}) {
  const own = (code) =>
    Object.fromEntries(
      Object.entries(instead).map(([name, from]) => [name, from === "code" ? code : said[code][from]]),
    );
  const told = Object.entries(said).map(([code, one]) => [
    code,
    good.includes(code) ? { ...one, ...own(code) } : one,
  ]);
  return {
    ...question,
    good: [...good].sort(),
    fields: { ...question.fields, ...fields },
    said: Object.fromEntries(told),
  };
}

/** A block of a message that brings one. */
function only(message) {
  const { header, array } = decode(message);
  const [stage] = header.stages;
  const [entry] = stage.blocks;
  const brought = { ...entry, content: array(entry.content), bias: array(entry.bias) };
  return { stage, block: blockOf(header, array, brought) };
}

async function farthestHead(question, of) {
  const { stage, block } = only(await of(question.from.block));
  const far = [...distances(block, stage.stride)];
  const [most, least] = [Math.max(...far), Math.min(...far)];
  const [best, nearest] = [far.indexOf(most), far.indexOf(least)];
  const place = ranks(far, EXACT * most);
  const codes = far.map((_, head) => String(head + 1));
  const good = codes.filter((_, head) => place[head] === 1);
  const px = far.map((value) => value.toFixed(1));
  const said = Object.fromEntries(codes.map((code, head) => [code, { its: px[head] }]));
  const fields = { best: best + 1, px: px[best], least: nearest + 1, least_px: px[nearest] };
  return answered(question, good, fields, said, { best: "code", px: "its" });
}

async function strongestToken(question, of) {
  const { block } = only(await of(question.from.block));
  const { groups } = block;
  const { group, slot } = groups.at(question.fields.row, question.fields.col);
  const probs = Float64Array.from(attention(block)(0, group, slot));
  const order = [...probs.keys()].filter((k) => groups.valid(group, k)).sort((a, b) => probs[b] - probs[a]);
  const codes = order.map((k) => `${groups.row(group, k)}.${groups.col(group, k)}`);
  const values = order.map((k) => probs[k]);
  const place = ranks(values, EXACT * values[Math.min(CLOSE, values.length) - 1]);
  const good = codes.filter((_, n) => place[n] <= CLOSE);
  const said = Object.fromEntries(codes.map((code, n) => [code, { rank: place[n], its: share(values[n]) }]));
  const [row, col] = codes[0].split(".").map(Number);
  const fields = { best_row: row, best_col: col, best: share(values[0]) };
  const made = answered(question, good, fields, { ...question.said, ...said });
  return { ...made, told: { ...made.told, quiz: { ...made.told.quiz, right: made.good } } };
}

async function carriesMost(question, of) {
  const { header, array } = decode(await of(question.from.file));
  const [cel] = header.cels;
  const { row, col } = question.fields;
  const carried = array(cel.carried);
  const shares = cel.kernels.map((_, k) => carried[k * cel.H * cel.W + row * cel.W + col]);
  const most = Math.max(...shares);
  const place = ranks(shares, EXACT * most);
  const codes = question.options.map(({ code }) => code);
  const good = codes.filter((_, k) => place[k] === 1);
  const said = Object.fromEntries(
    codes.map((code, k) => [code, { ...question.said[code], its: share(shares[k]) }]),
  );
  const best = codes[shares.indexOf(most)];
  const wide = (code) => ({ its: said[code].its, wide: said[code].wide });
  for (const code of codes) said[code] = wide(code);
  const fields = { k: best, share: said[best].its, part: said[best].wide };
  return answered(question, good, fields, said, { k: "code", share: "its", part: "wide" });
}

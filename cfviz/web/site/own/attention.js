// The attention of a block from its content logits: what several parts of the own photo's code ask of it.

import { Groups } from "../../shared/groups.js";
import { Block, softmax } from "../../shared/maths.js";

/**
 * A block with its attention.
 *
 * @param header of a message of the attention figure
 * @param array gives an array of the message
 * @param entry the block's, with `grouping`, and with its content and its bias as arrays
 */
export function blockOf(header, array, entry) {
  const g = header.groupings[entry.grouping];
  return new Block(entry, new Groups(g, array(g.index)), (values) => values);
}

/** Call `visit(group, slot)` for every token of a block's map. */
function everyToken({ groups }, visit) {
  for (let group = 0; group < groups.nG; group++)
    for (let slot = 0; slot < groups.N; slot++) if (groups.valid(group, slot)) visit(group, slot);
}

/** A function that gives a token's attention in one head, over its group; always in the same array. */
export function attention(block) {
  const { groups } = block;
  const { N, W } = groups;
  const [content, position, probs] = [new Float64Array(N), new Float64Array(N), new Float64Array(N)];
  return (head, group, slot) => {
    const valid = Uint8Array.from({ length: N }, (_, k) => groups.valid(group, k));
    const token = groups.row(group, slot) * W + groups.col(group, slot);
    block.logits(head, group, slot, token, content, position);
    softmax(probs, 0, content, position, valid);
    return probs;
  };
}

/** The largest attention of a block. */
export function peak(block) {
  const of = attention(block);
  let most = 0;
  everyToken(block, (group, slot) => {
    for (let head = 0; head < block.heads; head++)
      for (const p of of(head, group, slot)) most = Math.max(most, p);
  });
  return most;
}

/** The largest difference between the attention of two runs of a block; NaN if one is no number. */
export function apart(one, other) {
  const [first, second] = [one, other].map(attention);
  let most = 0;
  everyToken(one, (group, slot) => {
    for (let head = 0; head < one.heads; head++) {
      const [p, q] = [first(head, group, slot), second(head, group, slot)];
      for (let k = 0; k < p.length; k++) most = Math.max(most, Math.abs(p[k] - q[k]));
    }
  });
  return most;
}

/** How far each head looks, in pixels, on average over all tokens; as `distance` in `cfviz/analysis`. */
export function distances(block, stride) {
  const { groups } = block;
  const of = attention(block);
  const sums = new Float64Array(block.heads);
  let count = 0;
  everyToken(block, (group, slot) => {
    count += 1;
    const [row, col] = [groups.row(group, slot), groups.col(group, slot)];
    const far = Float64Array.from({ length: groups.N }, (_, k) =>
      Math.hypot(groups.row(group, k) - row, groups.col(group, k) - col),
    );
    for (let head = 0; head < block.heads; head++) {
      const probs = of(head, group, slot);
      for (let k = 0; k < far.length; k++) sums[head] += probs[k] * far[k] * stride;
    }
  });
  return sums.map((sum) => sum / count);
}

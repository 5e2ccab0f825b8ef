// Whether two runs of the model on a photo are the same to a reader, in every output that a figure draws.

import { apart, blockOf } from "./attention.js";
import { quantised } from "./shares.js";

/**
 * What differs by more than a figure can show.
 *
 * @param there, here outputs of the model by name; a map of tokens may differ by half a step of the 8 bits in
 *   which its channels are drawn
 * @param within the largest difference of one of the `logits`, and of an `attention`
 * @param template decoded, see `cfviz/site/own.py`
 * @returns [name of the output, difference] of each
 */
export function differences(there, here, within, { header, array }) {
  const { stages } = header.attention;
  const content = (name) => {
    const [, s, b] = name.split("_").map(Number);
    const { grouping } = stages.find((one) => one.s === s).blocks.find((one) => one.b === b);
    const bias = array(header.biases[`${s + 1}-${b + 1}`]);
    const blocks = [there, here].map((out) =>
      blockOf(header.attention, array, { b, grouping, content: out[name], bias }),
    );
    return [apart(...blocks), within.attention];
  };
  const map = (name) => {
    const { H, W } = stages.find(({ s }) => s === Number(name.split("_")[1]));
    return [inSteps(there[name], here[name], here[name].length / (H * W)), 0.5];
  };
  const found = [];
  for (const name of Object.keys(here)) {
    const [most, allowed] =
      there[name]?.length !== here[name].length
        ? [NaN, 0]
        : name === "logits"
          ? [largest(there[name], here[name]), within.logits]
          : (name.startsWith("content_") ? content : map)(name);
    if (!(most <= allowed)) found.push([name, most]); // also if it is no number
  }
  return found;
}

function largest(a, b) {
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i])), 0);
}

function inSteps(a, b, C) {
  const { step } = quantised(b, C);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]) / (step[i % C] || 1)), 0);
}

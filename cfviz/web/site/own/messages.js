// What the model makes of the reader's own photo, as the messages that the site has of the gallery's photos.

import { Groups } from "../../shared/groups.js";
import { Block, softmax } from "../../shared/maths.js";
import { Arrays, decode } from "../../shared/payload.js";

/**
 * The messages of a photo, by the names that a photo's files have: one without any block, and one per block.
 *
 * @param id stands for the photo
 * @param input width and height of the input
 * @param png the input's pixels
 * @param out outputs of the model, see `export_with_attention` in `cfviz/models/export.py`
 * @param template see `cfviz/site/own.py`
 */
export function messages(id, input, png, out, template) {
  const { header, array } = decode(template);
  const { biases, ...shared } = header;
  const own = (part) => ({ ...shared, id: `${id}-${part}`, source: id });
  const files = new Map();

  const base = new Arrays();
  const photo = { of: id, w: input.width, h: input.height, file: base.add(png, "image/png") };
  const groupings = header.groupings.map((g) => ({ ...g, index: base.add(array(g.index), g.index.type) }));
  files.set("attention.bin", base.packed({ ...own("base"), photo, groupings }));

  for (const stage of header.stages) {
    for (const { b, grouping } of stage.blocks) {
      const [arrays, place] = [new Arrays(), `${stage.s + 1}-${b + 1}`];
      const g = header.groupings[grouping];
      const entry = {
        b,
        grouping: 0,
        content: arrays.add(out[`content_${stage.s}_${b}`], "float32"),
        bias: arrays.add(array(biases[place]), "float32"),
      };
      const index = arrays.add(array(g.index), g.index.type);
      const block = { ...own(place), groupings: [{ ...g, index }], stages: [{ ...stage, blocks: [entry] }] };
      entry.peak = peak(arrays.packed(block));
      files.set(`attention-${place}.bin`, arrays.packed(block));
    }
  }
  return files;
}

/** The largest attention of a block's message. */
function peak(message) {
  const { header, array } = decode(message);
  const [g] = header.groupings;
  const groups = new Groups(g, array(g.index));
  const block = new Block(header.stages[0].blocks[0], groups, array);
  const { N, W } = groups;
  const [content, position, probs] = [new Float64Array(N), new Float64Array(N), new Float64Array(N)];
  let most = 0;
  for (let group = 0; group < g.nG; group++) {
    const valid = Uint8Array.from({ length: N }, (_, slot) => groups.valid(group, slot));
    for (let slot = 0; slot < N; slot++) {
      if (!valid[slot]) continue;
      const token = groups.row(group, slot) * W + groups.col(group, slot);
      for (let head = 0; head < block.heads; head++) {
        block.logits(head, group, slot, token, content, position);
        most = Math.max(most, softmax(probs, 0, content, position, valid));
      }
    }
  }
  return most;
}

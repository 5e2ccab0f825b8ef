// What the model makes of the reader's own photo, as the files that the site has of the gallery's photos.

import { Arrays } from "../../shared/payload.js";
import { blockOf, peak } from "./attention.js";
import { featureColours } from "./colours.js";
import { measured, quantised } from "./shares.js";

/** The files of one photo; each is made when it is asked for, from outputs that are then let go. */
export class Messages {
  /**
   * @param id stands for the photo
   * @param input width and height of the input
   * @param png the input's pixels
   * @param out outputs of the model, see `export_watched` in `cfviz/models/export.py`
   * @param template decoded, see `cfviz/site/own.py`
   * @param error what an attention may be off by, beside what the template says
   */
  constructor(id, input, png, out, template, error = 0) {
    Object.assign(this, { id, input, png, out: { ...out }, error, ...template });
  }

  /** A file by the name that it has in the folder of a photo of the gallery. */
  make(file) {
    if (file === "attention.bin") return this.base();
    if (file === "embedding.bin") return this.embedding();
    const [, s, b] = /^attention-(\d+)-(\d+)\.bin$/.exec(file);
    return this.block(s - 1, b - 1);
  }

  /** An output of the model, for the last time. */
  take(name) {
    const found = this.out[name];
    delete this.out[name];
    return found;
  }

  own(figure, part) {
    const made = { ...this.header[figure], id: `${this.id}-${part}` };
    return figure === "attention" ? { ...made, error: made.error + this.error } : made;
  }

  photo(arrays) {
    const { id, input, png } = this;
    return { of: id, w: input.width, h: input.height, file: arrays.add(png, "image/png") };
  }

  /** The attention figure without any block. */
  base() {
    const [arrays, own] = [new Arrays(), this.own("attention", "base")];
    const photo = this.photo(arrays);
    const groupings = own.groupings.map((g) => ({
      ...g,
      index: arrays.add(this.array(g.index), g.index.type),
    }));
    return arrays.packed({ ...own, source: this.id, photo, groupings });
  }

  /** One block of the attention figure. */
  block(s, b) {
    const [arrays, place] = [new Arrays(), `${s + 1}-${b + 1}`];
    const own = this.own("attention", place);
    const stage = own.stages.find((one) => one.s === s);
    const g = own.groupings[stage.blocks.find((one) => one.b === b).grouping];
    const content = this.take(`content_${s}_${b}`);
    const bias = this.array(this.header.biases[place]);
    const entry = {
      b,
      grouping: 0,
      content: arrays.add(content, "float32"),
      bias: arrays.add(bias, "float32"),
      peak: peak(blockOf({ groupings: [g] }, this.array, { b, grouping: 0, content, bias })),
    };
    const index = arrays.add(this.array(g.index), g.index.type);
    const block = {
      ...own,
      source: this.id,
      groupings: [{ ...g, index }],
      stages: [{ ...stage, blocks: [entry] }],
    };
    return arrays.packed(block);
  }

  /** The figure of the embedding layers. */
  embedding() {
    const [arrays, own] = [new Arrays(), this.own("embedding", "embedding")];
    const photo = this.photo(arrays);
    const cels = own.cels.map(({ gain, eps, ...cel }) => {
      const tokens = this.take(`cel_${cel.stage}`);
      const channels = cel.kernels.map((kernel) => kernel.channels);
      const { codes, step } = quantised(tokens, tokens.length / (cel.H * cel.W));
      const found = Object.entries(measured(tokens, channels, this.array(gain), eps));
      const measures = found.map(([name, values]) => [name, arrays.add(values, "float32")]);
      return {
        ...cel,
        codes: arrays.add(codes, "int8"),
        step: arrays.add(step, "float32"),
        ...Object.fromEntries(measures),
      };
    });
    return arrays.packed({ ...own, photo, cels });
  }

  /** What each stage made of the photo, for the figure of the whole model: pictures as width, height, rgb. */
  pictures() {
    return this.header.attention.stages.map(({ s, H, W }) => ({
      width: W,
      height: H,
      rgb: featureColours(this.take(`stage_${s}`), H * W),
    }));
  }
}

// Two curves over the blocks: how large the numbers are, on a logarithmic scale, and how far the heads look.

const SVG = "http://www.w3.org/2000/svg";
export const LEFT = 44; // room for the numbers of the scale
const GAP = 30; // between the two curves
const [SIZES, DISTANCES] = [190, 110]; // heights

function draw(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A number with three digits; very small and very large ones as powers of ten. */
export function short(x) {
  if (x === 0) return "0";
  if (x >= 1e6 || x < 1e-3) return x.toExponential(1).replace("e+", "e");
  if (x >= 100) return Math.round(x).toLocaleString("en-US");
  return x.toPrecision(3);
}

/** A tick's number, without digits that say nothing. */
function plain(x) {
  return x >= 1e6 || x < 1e-3
    ? short(x)
    : Number(x.toPrecision(1)).toLocaleString("en-US", { maximumFractionDigits: 3 });
}

/** Even distances from 0, at most four. */
function even(far) {
  const step = [1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000].find((one) => far / one <= 4) ?? far;
  return Array.from({ length: Math.floor(far / step) + 1 }, (_, i) => i * step);
}

/** The powers of ten around some sizes, closer steps if there are few. */
function steps(low, high) {
  const found = [];
  const wide = Math.log10(high / low) > 3;
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (const m of wide ? [1] : [1, 2, 5]) {
      const at = m * 10 ** e;
      if (at >= low * 0.999 && at <= high * 1.001) found.push(at);
    }
  return found;
}

/** The drawing and what it knows: where each block is. */
export class Curve {
  constructor(blocks, t) {
    Object.assign(this, { blocks, t });
    const sizes = blocks.flatMap((b) =>
      [...b.steps.map((s) => s[1]), b.largest, b.mean, ...(b.without ? [b.without[0]] : [])].filter(
        (x) => x > 0,
      ),
    );
    this.low = Math.min(...sizes, 1) / 1.25;
    this.high = Math.max(...sizes, 1.01) * 1.25;
    this.far = 1.08 * Math.max(...blocks.flatMap((b) => [...b.heads, b.even]));
  }

  get height() {
    return SIZES + GAP + DISTANCES + 40;
  }

  x(i) {
    return LEFT + ((i + 0.5) * (this.width - LEFT)) / this.blocks.length;
  }

  /** Where a size is; a size of 0, which has no place on the scale, lies on its lower edge. */
  y(size) {
    const share = Math.log(Math.max(size, this.low) / this.low) / Math.log(this.high / this.low);
    return 18 + SIZES * (1 - share);
  }

  yFar(pixels) {
    return 18 + SIZES + GAP + DISTANCES * (1 - pixels / this.far);
  }

  svg(width, theme, heads) {
    this.width = width;
    const svg = draw("svg", { width, height: this.height, "aria-hidden": "true" });
    const put = (...what) => svg.append(draw(...what));
    const { blocks, t } = this;
    const right = width;
    const label = (x, y, text, anchor = "end") =>
      put("text", { x, y, fill: theme.muted, "font-size": 11, "text-anchor": anchor }, text);
    label(0, 10, t.axis_size, "start");
    label(0, SIZES + GAP + 10, t.axis_far, "start");
    for (const at of steps(this.low, this.high)) {
      put("line", { x1: LEFT, x2: right, y1: this.y(at), y2: this.y(at), stroke: theme.line });
      label(LEFT - 6, this.y(at) + 4, plain(at));
    }
    for (const at of even(this.far)) {
      put("line", { x1: LEFT, x2: right, y1: this.yFar(at), y2: this.yFar(at), stroke: theme.line });
      label(LEFT - 6, this.yFar(at) + 4, at);
    }
    blocks.forEach((block, i) => {
      if (block.block) return;
      const x = this.x(i) - (width - LEFT) / blocks.length / 2;
      for (const [y1, y2] of [
        [18, 18 + SIZES],
        [18 + SIZES + GAP, this.height - 22],
      ])
        put("line", { x1: x, x2: x, y1, y2, stroke: theme.muted, "stroke-opacity": 0.6 });
      const wide = (blocks.filter((b) => b.stage === block.stage).length * (width - LEFT)) / blocks.length;
      const name = wide < 60 ? block.stage + 1 : `${t.stage}\u00a0${block.stage + 1}`;
      label(x + 5, this.height - 6, name, "start");
    });
    const line = (values, stroke, extra = {}) =>
      put("polyline", {
        points: values.map(([x, y]) => `${x},${y}`).join(" "),
        fill: "none",
        stroke,
        "stroke-width": 2,
        "stroke-linejoin": "round",
        ...extra,
      });
    const over = (read) => blocks.map((b, i) => [this.x(i), this.y(read(b))]);
    if (blocks[0].without)
      line(
        over((b) => b.without[0]),
        theme.muted,
        { "stroke-dasharray": "5 4" },
      );
    line(
      over((b) => b.mean),
      theme.muted,
      { "stroke-width": 1.5 },
    );
    line(
      over((b) => b.largest),
      theme.ink,
      { "stroke-width": 2.5 },
    );
    blocks.forEach((block, i) => this.point(put, block, i, theme));
    line(
      blocks.map((b, i) => [this.x(i), this.yFar(b.even)]),
      theme.muted,
      { "stroke-dasharray": "2 4" },
    );
    blocks.forEach((block, i) => {
      for (const far of block.heads)
        put("circle", {
          cx: this.x(i),
          cy: this.yFar(far),
          r: 3.2,
          fill: heads[block.kind],
          "fill-opacity": 0.8,
        });
    });
    return svg;
  }

  /** The largest number after a block; where a layer cools, also what came into it. */
  point(put, block, i, theme) {
    const [x, y] = [this.x(i), this.y(block.largest)];
    const before = block.cooled ? this.y(block.steps[1][1]) : null;
    if (before === null) return put("circle", { cx: x, cy: y, r: 3.5, fill: theme.ink });
    put("line", { x1: x, x2: x, y1: before, y2: y, stroke: theme.ink, "stroke-width": 1.5 });
    put("circle", { cx: x, cy: before, r: 3.5, fill: theme.paper, stroke: theme.ink, "stroke-width": 1.5 });
    put("path", {
      d: `M${x} ${y - 7}l7 7l-7 7l-7 -7z`,
      fill: theme.ink,
      stroke: theme.paper,
      "stroke-width": 1.5,
    });
  }
}

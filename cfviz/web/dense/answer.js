// What the model answers, read from the message: boxes, label maps, regions, and what scores rest on.

const NONE = 255;
const STEPS = 65535;
export const CELL = 4; // pixels of a cell of the regions and of the field

export class Answer {
  constructor(header, array) {
    Object.assign(this, { task: header.task, input: header.input, stages: header.stages });
    Object.assign(this, { levels: header.levels, ground: header.ground, classes: header.classes });
    this.known = new Map(header.classes.map((one) => [one.index, one]));
    this.views = header.views.map((view) => this.read(view, array));
    this.pending = header.pending; // stages, from 0, whose views follow
    if (header.likely)
      this.likely = { labels: array(header.likely.labels), probs: array(header.likely.probs) };
    if (header.truth) {
      const boxes = array(header.truth.boxes);
      this.truth = header.truth.labels.map((label, i) => ({ label, box: boxes.subarray(4 * i, 4 * i + 4) }));
      if (header.truth.map) this.truthMap = array(header.truth.map);
    }
  }

  read(view, array) {
    const labels = array(view.labels);
    if (!view.boxes) {
      const { which, labels: of, shares } = view.regions;
      const regions = of.map((label, i) => ({ i, label, area: shares[i] }));
      return { without: view.without, labels, which: array(which), regions, cells: new Map() };
    }
    const [boxes, scores, levels, partners] = ["boxes", "scores", "levels", "partners"].map((name) =>
      array(view[name]),
    );
    const masks = view.masks ? array(view.masks) : null;
    const list = Array.from(scores, (score, i) => {
      const box = Array.from(boxes.subarray(4 * i, 4 * i + 4));
      const area = ((box[2] - box[0]) * (box[3] - box[1])) / (this.input.h * this.input.w);
      const mask = masks?.subarray(784 * i, 784 * (i + 1));
      return { i, box, score, label: labels[i], level: levels[i], partner: partners[i], area, mask };
    });
    return { without: view.without, list };
  }

  /** Take the views that follow, from another message. */
  add({ views, classes }, array) {
    this.views = [this.views[0], ...views.map((view) => this.read(view, array))];
    this.pending = [];
    this.classes = classes;
    this.known = new Map(classes.map((one) => [one.index, one]));
  }

  name(label) {
    return this.known.get(label)?.name ?? `${label}`;
  }

  /** The first of a class's names, as far as it tells it from the others. */
  short(label) {
    return this.known.get(label)?.short ?? this.name(label);
  }

  colour(label) {
    return this.known.get(label)?.colour ?? "#7C8894";
  }

  /** The boxes of a view at or above a score, best first. */
  visible(view, threshold) {
    const least = Math.fround(threshold); // scores are float32
    return this.views[view].list.filter((one) => one.score >= least);
  }

  /** The smallest visible box around a point of the input; null if there is none. */
  boxAt(view, threshold, row, col) {
    const around = this.visible(view, threshold).filter(
      ({ box }) => box[0] <= col && col < box[2] && box[1] <= row && row < box[3],
    );
    return around.sort((a, b) => a.area - b.area)[0] ?? null;
  }

  /** The same thing in every view: its score; null where it is not found without a stage. */
  scores(first, threshold) {
    return this.views.map((view, v) => {
      if (!v) return view.list[first].score;
      const same = view.list.find((one) => one.partner === first);
      return same && same.score >= Math.fround(threshold) ? same.score : null;
    });
  }

  /** How a view differs from the first: what is lost and new at this threshold, or the share of pixels. */
  change(view, threshold) {
    if (this.task === "segment") {
      const [a, b] = [this.views[0].labels, this.views[view].labels];
      let n = 0;
      for (let i = 0; i < a.length; i++) n += a[i] !== b[i];
      return { share: n / a.length };
    }
    const now = this.visible(view, threshold);
    const before = this.visible(0, threshold);
    const kept = new Set(view ? now.map((one) => one.partner) : now.map((one) => one.i));
    const old = new Set(before.map((one) => one.i));
    return {
      lost: before.filter((one) => !kept.has(one.i)).length,
      fresh: view ? now.filter((one) => !old.has(one.partner)).length : 0,
      n: now.length,
    };
  }

  /** The likeliest classes of one pixel with all stages, and its class and region in each view. */
  pixel(row, col) {
    const { h, w, W } = this.input;
    const at = row * w + col;
    const told = this.likely.labels.length / (h * w); // 3, or all classes if there are fewer
    const likely = Array.from({ length: told }, (_, n) => ({
      label: this.likely.labels[n * h * w + at],
      p: this.likely.probs[n * h * w + at] / STEPS,
    }));
    const cell = Math.floor(row / CELL) * Math.floor(W / CELL) + Math.floor(col / CELL);
    const regions = this.views.map(({ which }) => (which[cell] === NONE ? null : which[cell]));
    return { likely, regions, labels: this.views.map((v) => v.labels[at]) };
  }

  /** Upper left corners of the cells of a view's region, in pixels of the input. */
  cells(view, region) {
    const { cells } = this.views[view];
    if (!cells.has(region)) cells.set(region, this.collected(view, region));
    return cells.get(region);
  }

  collected(view, region) {
    const across = Math.floor(this.input.W / CELL);
    const found = [];
    this.views[view].which.forEach((one, i) => {
      if (one === region) found.push([(i % across) * CELL, Math.floor(i / across) * CELL]);
    });
    return found;
  }

  /** A pixel inside a view's region, as near its middle as there is one. */
  middle(view, region) {
    const cells = this.cells(view, region);
    const mean = (n) => cells.reduce((sum, cell) => sum + cell[n], 0) / cells.length;
    const [x, y] = [mean(0), mean(1)];
    const far = ([u, v]) => (u - x) ** 2 + (v - y) ** 2;
    const [col, row] = cells.reduce((best, cell) => (far(cell) < far(best) ? cell : best));
    const { h, w } = this.input;
    return { row: Math.min(row + CELL / 2, h - 1), col: Math.min(col + CELL / 2, w - 1) };
  }
}

/** What one score rests on, with its arrays read. */
export function reason(entry, array) {
  return {
    logit: entry.logit,
    maps: entry.maps.map(array),
    heads: entry.heads.map((blocks) => blocks.map(array)),
    field: array(entry.field),
  };
}

/** The largest size of a value in an array. */
export function largest(values) {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

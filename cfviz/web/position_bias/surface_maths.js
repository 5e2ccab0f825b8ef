// A position bias at any offset: the MLP evaluated anew, or the trained table cut, clamped or stretched.
//
// Surfaces are (2Gh-1) x (2Gw-1) in the order of the offsets (dh, dw), query minus key, from -(G-1) up.

const ANY = 4096; // no group is wider: no offset is called untrained

const SURFACE_WAYS = ["own", "rescaled", "bicubic", "clamp", "cut", "twin", "none"];

/** The MLP's inputs for groups of Gh x Gw: pair after pair, each `shrink` times the offset. */
export function offsetsOf(Gh, Gw, shrinkH = 1, shrinkW = 1) {
  const out = new Float64Array(2 * (2 * Gh - 1) * (2 * Gw - 1));
  let i = 0;
  for (let dh = 1 - Gh; dh < Gh; dh++) {
    for (let dw = 1 - Gw; dw < Gw; dw++) {
      out[i++] = dh * shrinkH;
      out[i++] = dw * shrinkW;
    }
  }
  return out;
}

function linear(x, n, wide, weight, bias) {
  const out = new Float64Array(n * bias.length);
  for (let i = 0; i < n; i++) {
    for (let o = 0; o < bias.length; o++) {
      let sum = bias[o];
      for (let k = 0; k < wide; k++) sum += weight[o * wide + k] * x[i * wide + k];
      out[i * bias.length + o] = sum;
    }
  }
  return out;
}

function normRelu(x, n, wide, gain, shift, eps) {
  const out = new Float64Array(n * wide);
  for (let i = 0; i < n; i++) {
    let [mean, power] = [0, 0];
    for (let k = 0; k < wide; k++) mean += x[i * wide + k] / wide;
    for (let k = 0; k < wide; k++) power += (x[i * wide + k] - mean) ** 2 / wide;
    const scale = 1 / Math.sqrt(power + eps);
    for (let k = 0; k < wide; k++)
      out[i * wide + k] = Math.max(0, (x[i * wide + k] - mean) * scale * gain[k] + shift[k]);
  }
  return out;
}

/** Every step of the MLP: [{name, wide, values (n, wide)}]; the last gives the heads. */
export function steps(mlp, x) {
  const n = x.length / 2;
  let values = linear(x, n, 2, mlp.proj[0], mlp.proj[1]);
  let wide = mlp.proj[1].length;
  const out = [{ name: "proj", wide, values }];
  mlp.layers.forEach(([gain, shift, weight, bias], i) => {
    values = normRelu(values, n, wide, gain, shift, mlp.eps);
    out.push({ name: `relu${i + 1}`, wide, values });
    values = linear(values, n, wide, weight, bias);
    wide = bias.length;
    out.push({ name: `linear${i + 1}`, wide, values });
  });
  return out;
}

/** From (n, wide) to one array per unit. */
export function unitsOf({ wide, values }) {
  return Array.from({ length: wide }, (_, u) =>
    Float64Array.from({ length: values.length / wide }, (_, i) => values[i * wide + u]),
  );
}

/** Keys' cubic kernel with a = -0.75, corners not aligned, edges repeated, as torch does it. */
function taps(old, fresh) {
  const a = -0.75;
  return Array.from({ length: fresh }, (_, i) => {
    const at = ((i + 0.5) * old) / fresh - 0.5;
    const base = Math.floor(at);
    return [-1, 0, 1, 2].map((shift) => {
      const x = Math.abs(at - base - shift);
      const weight =
        x <= 1 ? (a + 2) * x ** 3 - (a + 3) * x ** 2 + 1 : a * x ** 3 - 5 * a * x ** 2 + 8 * a * x - 4 * a;
      return [Math.max(0, Math.min(old - 1, base + shift)), weight];
    });
  });
}

/** A square table of `side` cut, clamped or stretched to groups of Gh x Gw. */
function resizeTable(table, side, Gh, Gw, way) {
  const [H, W, far] = [2 * Gh - 1, 2 * Gw - 1, (side - 1) / 2];
  const out = new Float64Array(H * W);
  if (way === "bicubic") {
    const [rows, cols] = [taps(side, H), taps(side, W)];
    const half = new Float64Array(side * W);
    for (let r = 0; r < side; r++)
      for (let c = 0; c < W; c++) for (const [k, w] of cols[c]) half[r * W + c] += w * table[r * side + k];
    for (let r = 0; r < H; r++)
      for (const [k, w] of rows[r]) for (let c = 0; c < W; c++) out[r * W + c] += w * half[k * W + c];
    return out;
  }
  const clip = (d) => Math.max(-far, Math.min(far, d));
  for (let r = 0; r < H; r++) {
    for (let c = 0; c < W; c++) {
      const [dh, dw] = [r - Gh + 1, c - Gw + 1];
      const known = Math.abs(dh) <= far && Math.abs(dw) <= far;
      out[r * W + c] = known || way === "clamp" ? table[(clip(dh) + far) * side + clip(dw) + far] : 0;
    }
  }
  return out;
}

/** One block's bias: the trained table, and its surfaces at other sizes. */
export class Bias {
  constructor(entry, array) {
    Object.assign(this, entry);
    this.side = 2 * entry.G - 1;
    this.known = entry.trained !== null; // how large groups were in training
    this.trained = entry.trained ?? ANY;
    const split = (part) =>
      part
        ? Array.from({ length: entry.heads }, (_, h) =>
            array(part).subarray(h * this.side ** 2, (h + 1) * this.side ** 2),
          )
        : null;
    this.tables = split(entry.table);
    this.twin = split(entry.twin);
    this.mlp = entry.mlp && {
      eps: entry.mlp.eps,
      proj: entry.mlp.proj.map(array),
      layers: entry.mlp.layers.map((layer) => layer.map(array)),
    };
    this.kept = new Map();
    const mean = (t) => t.reduce((sum, x) => sum + x, 0) / t.length;
    this.means = { own: this.tables.map(mean), twin: this.twin?.map(mean) };
    this.tops = [0, 1].map((raw) =>
      Math.max(1e-9, ...this.tables.map((t, h) => farthest(t, raw ? 0 : this.means.own[h]))),
    );
  }

  /** The largest distance of any head's bias from its mean or, if `raw`, from zero. */
  top(raw) {
    return this.tops[raw];
  }

  /** The difference between a head's largest and smallest bias. */
  spread(head) {
    return this.measures[head].spread;
  }

  /** What colours are measured from: the mean of the head's trained table; zero if `raw`. */
  shift(head, way, raw) {
    return raw || way === "none" ? 0 : this.means[way === "twin" ? "twin" : "own"][head];
  }

  /** The values that colour a surface. */
  view(head, Gh, Gw, way, raw) {
    const [values, shift] = [this.surface(head, Gh, Gw, way), this.shift(head, way, raw)];
    return shift ? Float64Array.from(values, (x) => x - shift) : values;
  }

  get ways() {
    return SURFACE_WAYS.filter((way) =>
      way === "rescaled" ? this.mlp : way === "twin" ? this.twin : way === "own" ? this.mlp : true,
    );
  }

  /** A head's surface for groups of Gh x Gw. At the trained size, every method but "none" gives the table. */
  surface(head, Gh, Gw, way) {
    const key = `${way} ${Gh} ${Gw}`;
    if (!this.kept.has(key)) {
      if (this.kept.size > 40) this.kept.clear();
      this.kept.set(key, this.make(Gh, Gw, way));
    }
    return this.kept.get(key)[head];
  }

  make(Gh, Gw, way) {
    const same = Gh === this.G && Gw === this.G;
    if (way === "none") return this.tables.map(() => new Float64Array((2 * Gh - 1) * (2 * Gw - 1)));
    if (way === "twin")
      return this.twin.map((t) => (same ? t : resizeTable(t, this.side, Gh, Gw, "bicubic")));
    if (same) return this.tables;
    if (way === "own" && !this.mlp) return this.make(Gh, Gw, "bicubic");
    if (way !== "own" && way !== "rescaled")
      return this.tables.map((t) => resizeTable(t, this.side, Gh, Gw, way));
    const shrink = (side) => (way === "own" ? 1 : (this.G - 1) / Math.max(1, side - 1));
    const made = steps(this.mlp, offsetsOf(Gh, Gw, shrink(Gh), shrink(Gw)));
    const surfaces = unitsOf(made[made.length - 1]);
    if (way === "own") surfaces.forEach((s, h) => this.keepTrained(s, this.tables[h], Gh, Gw));
    return surfaces;
  }

  /** Put the model's own numbers at trained offsets, in place of those computed here. */
  keepTrained(surface, table, Gh, Gw) {
    const far = this.G - 1;
    for (let dh = -Math.min(far, Gh - 1); dh <= Math.min(far, Gh - 1); dh++) {
      for (let dw = -Math.min(far, Gw - 1); dw <= Math.min(far, Gw - 1); dw++) {
        surface[(dh + Gh - 1) * (2 * Gw - 1) + dw + Gw - 1] = table[(dh + far) * this.side + dw + far];
      }
    }
  }
}

export function farthest(values, from = 0) {
  return values.reduce((most, x) => Math.max(most, Math.abs(x - from)), 0);
}

/** Which share of the n * n pairs of places on a line are less than `trained` apart. */
export function nearPairs(n, trained) {
  let count = n;
  for (let d = 1; d < Math.min(n, trained); d++) count += 2 * (n - d);
  return count / n ** 2;
}

/** Root mean square and range of the values at which `take(dh, dw)` holds. */
export function summary(values, Gh, Gw, take) {
  let [n, sum, square, low, high] = [0, 0, 0, Infinity, -Infinity];
  for (let r = 0; r < 2 * Gh - 1; r++) {
    for (let c = 0; c < 2 * Gw - 1; c++) {
      if (!take(r - Gh + 1, c - Gw + 1)) continue;
      const x = values[r * (2 * Gw - 1) + c];
      n++;
      sum += x;
      square += x * x;
      low = Math.min(low, x);
      high = Math.max(high, x);
    }
  }
  return n
    ? { n, low, high, rms: Math.sqrt(square / n), sd: Math.sqrt(Math.max(0, square / n - (sum / n) ** 2)) }
    : null;
}

// The same as cfviz/geometry and cfviz/analysis/reach.py, so that pointing needs no server.
// A test compares every number of the two on many maps.

/** How one block divides an H x W map into groups of Gh x Gw; a region has `down` x `across` tokens. */
export function grouping(kind, H, W, Gh, interval = 1, Gw = Gh) {
  const I = kind === "sda" ? 1 : interval;
  const [down, across] = [Gh * I, Gw * I];
  const [Hp, Wp] = [Math.ceil(H / down) * down, Math.ceil(W / across) * across];
  const [N, nG] = [Gh * Gw, (Hp * Wp) / (Gh * Gw)];
  const index = new Int32Array(Hp * Wp);
  let at = 0;
  for (let r1 = 0; r1 < Hp / down; r1++)
    for (let r2 = 0; r2 < Wp / across; r2++)
      for (let i1 = 0; i1 < I; i1++)
        for (let i2 = 0; i2 < I; i2++)
          for (let g1 = 0; g1 < Gh; g1++)
            for (let g2 = 0; g2 < Gw; g2++)
              index[at++] = (r1 * down + g1 * I + i1) * Wp + r2 * across + g2 * I + i2;
  const members = index.map((flat) => {
    const [row, col] = [Math.floor(flat / Wp), flat % Wp];
    return row < H && col < W ? row * W + col : -1;
  });
  return { kind, H, W, Gh, Gw, I, down, across, Hp, Wp, N, nG, index, members };
}

export function adaptive(H, W, G) {
  return Math.ceil(Math.max(H, W) / G);
}

/** Long distance attention within regions, in groups of G x G, or over the whole map, in I x I groups. */
export function long(H, W, G, I, form = "regions") {
  if (form === "regions") return grouping("lda", H, W, G, I);
  return grouping("lda", H, W, Math.ceil(H / I), I, Math.ceil(W / I));
}

/** The model's rule: even blocks SDA, odd ones LDA; SDA alone if the shorter side is at most G. */
export function lsda(H, W, block, G, I, form = "regions") {
  if (Math.min(H, W) <= G) return grouping("sda", H, W, form === "regions" ? Math.max(H, W) : Math.min(H, W));
  if (block % 2 === 0) return grouping("sda", H, W, G);
  return long(H, W, G, I === "adaptive" ? adaptive(H, W, G) : I, form);
}

/** A token's address digit by digit: region, member and offset, down and across. */
export function digits(g, row, col) {
  const one = (x, step) => [Math.floor(x / step), Math.floor((x % step) / g.I), x % g.I];
  const [[r1, g1, i1], [r2, g2, i2]] = [one(row, g.down), one(col, g.across)];
  const group = ((r1 * (g.Wp / g.across) + r2) * g.I + i1) * g.I + i2;
  return { r1, g1, i1, r2, g2, i2, group, slot: g1 * g.Gw + g2 };
}

/** One attention layer of any method: queries (nG, Nq), keys (nG, Nk, S), -1 for padding. */
function scheme(name, H, W, queries, keys, shape, more = {}) {
  const [nG, Nq, Nk, S] = shape;
  const where = new Int32Array(H * W);
  queries.forEach((token, i) => {
    if (token >= 0) where[token] = i;
  });
  return {
    name,
    H,
    W,
    queries,
    keys,
    nG,
    Nq,
    Nk,
    S,
    where,
    region: null,
    pads: false,
    reduction: 1,
    cropFirst: false,
    ...more,
  };
}

export function crossformer(g) {
  return scheme(g.kind, g.H, g.W, g.members, g.members, [g.nG, g.N, g.N, 1], { grouping: g });
}

/** Swin as timm computes it: rolled, then padded; the mask lies over the padded map. */
function swin(H, W, window, shift = 0) {
  const [wh, sh] = H <= window ? [H, 0] : [window, shift];
  const [ww, sw] = W <= window ? [W, 0] : [window, shift];
  const [rows, cols] = [rolled(H, wh, sh), rolled(W, ww, sw)];
  const queries = cut(rows, cols, wh, ww, (r, c) =>
    rows[r] < 0 || cols[c] < 0 ? -1 : rows[r] * W + cols[c],
  );
  const shape = [queries.length / (wh * ww), wh * ww, wh * ww, 1];
  if (!sh && !sw) return scheme("swin", H, W, queries, queries, shape, { pads: true });
  const band = (x, length, w, s) => (s ? (x >= length - w) + (x >= length - s) : 0);
  const region = cut(
    rows,
    cols,
    wh,
    ww,
    (r, c) => 3 * band(r, rows.length, wh, sh) + band(c, cols.length, ww, sw),
  );
  return scheme("swin_shifted", H, W, queries, queries, shape, { region, pads: true });
}

function twinsLocal(H, W, window) {
  const [rows, cols] = [rolled(H, window, 0), rolled(W, window, 0)];
  const queries = cut(rows, cols, window, window, (r, c) =>
    rows[r] < 0 || cols[c] < 0 ? -1 : rows[r] * W + cols[c],
  );
  const N = window * window;
  return scheme("twins_local", H, W, queries, queries, [queries.length / N, N, N, 1], {
    pads: true,
    cropFirst: true,
  });
}

/** The global layer of PVT and Twins: one key for every ratio x ratio tokens; the rest are in no key. */
function reduced(name, H, W, ratio) {
  const [h, w] = [Math.floor(H / ratio), Math.floor(W / ratio)];
  const keys = cut({ length: h * ratio }, { length: w * ratio }, ratio, ratio, (r, c) => r * W + c);
  return scheme(name, H, W, every(H * W), keys, [1, H * W, h * w, ratio * ratio], { reduction: ratio });
}

export function vit(H, W) {
  return scheme("vit", H, W, every(H * W), every(H * W), [1, H * W, H * W, 1]);
}

/** The layers that each method alternates between. */
export function families(H, W, G, I, window, ratio, form = "regions") {
  const pair = [0, 1].map((block) => crossformer(lsda(H, W, block, G, I, form)));
  return {
    crossformer: pair,
    swin: [swin(H, W, window, 0), swin(H, W, window, Math.floor(window / 2))],
    pvt: [reduced("pvt", H, W, ratio)],
    twins: [twinsLocal(H, W, window), reduced("twins_global", H, W, ratio)],
    vit: [vit(H, W)],
  };
}

/** What one query scores: tokens heard (1) or masked (2), the keys in its softmax, the padding among them. */
export function heard(s, row, col) {
  const at = s.where[row * s.W + col];
  const group = Math.floor(at / s.Nq);
  const tokens = new Uint8Array(s.H * s.W);
  let [keys, padding] = [0, 0];
  for (let k = 0; k < s.Nk; k++) {
    const open = !s.region || s.region[group * s.Nk + k] === s.region[at];
    let real = false;
    for (let j = 0; j < s.S; j++) {
      const token = s.keys[(group * s.Nk + k) * s.S + j];
      if (token >= 0) tokens[token] = open ? 1 : 2;
      real ||= token >= 0;
    }
    if (!open || (!real && !s.pads)) continue;
    keys++;
    if (!real) padding++;
  }
  return { group, slot: at % s.Nq, tokens, keys, padding };
}

/** The tokens one layer earlier from which those in `reached` are computed, `reached` included. */
function stepBack(s, reached) {
  const out = reached.slice();
  const { queries, keys, region, Nq, Nk, S } = s;
  const asked = new Uint8Array(9); // Swin's mask has at most nine regions
  for (let group = 0; group < s.nG; group++) {
    asked.fill(0);
    let any = false;
    for (let q = group * Nq; q < (group + 1) * Nq; q++) {
      if (queries[q] < 0 || !reached[queries[q]]) continue;
      any = true;
      if (!region) break;
      asked[region[q]] = 1;
    }
    if (!any) continue;
    for (let k = group * Nk; k < (group + 1) * Nk; k++) {
      if (region && !asked[region[k]]) continue;
      for (let j = k * S; j < (k + 1) * S; j++) if (keys[j] >= 0) out[keys[j]] = 1;
    }
  }
  return out;
}

/**
 * The number of blocks after which each token first reaches the query (255: not within `blocks`), and the
 * number of tokens reached after each block. The walk back from block n takes the same first steps as
 * the walk back from the last block of the same kind, so that walk is continued.
 */
export function arrival(schemes, row, col, blocks) {
  const { H, W } = schemes[0];
  const all = H * W;
  const period = schemes.length;
  const first = new Uint8Array(all).fill(255);
  first[row * W + col] = 0;
  const counts = [1];
  const walks = schemes.map(() => {
    const start = new Uint8Array(all);
    start[row * W + col] = 1;
    return { reached: start, steps: 0 };
  });
  for (let n = 1; n <= blocks; n++) {
    const walk = walks[n % period];
    if (counts[n - 1] === all) {
      counts.push(all); // another block never reaches fewer
      continue;
    }
    for (; walk.steps < n; walk.steps++) {
      walk.reached = stepBack(schemes[(n - 1 - walk.steps) % period], walk.reached);
    }
    let count = 0;
    for (let i = 0; i < all; i++) {
      count += walk.reached[i];
      if (walk.reached[i] && first[i] === 255) first[i] = n;
    }
    counts.push(count);
  }
  return { first, counts, cover: counts.indexOf(all) };
}

/** Multiply-adds of one layer for one image, padding included. */
export function multiplyAdds(s, C) {
  const [asking, answering] = [s.nG * s.Nq, s.nG * s.Nk];
  const leaving = s.cropFirst ? s.H * s.W : asking;
  const attention = 2 * asking * s.Nk * C;
  const projections = (asking + 2 * answering + leaving) * C * C;
  const reduction = s.reduction > 1 ? answering * s.reduction ** 2 * C * C : 0;
  return { attention, projections, reduction, total: attention + projections + reduction };
}

function rolled(side, window, shift) {
  const from = new Int32Array(Math.ceil(side / window) * window).fill(-1);
  for (let x = 0; x < side; x++) from[x] = (x + shift) % side;
  return from;
}

/** A map of rows x cols cut into windows of h x w, row by row. */
function cut(rows, cols, h, w, value) {
  const out = new Int32Array(rows.length * cols.length);
  let at = 0;
  for (let r = 0; r < rows.length; r += h)
    for (let c = 0; c < cols.length; c += w)
      for (let a = 0; a < h; a++) for (let b = 0; b < w; b++) out[at++] = value(r + a, c + b);
  return out;
}

function every(n) {
  return Int32Array.from({ length: n }, (_, i) => i);
}

// A map of features as a picture, as `feature_colours` in `cfviz/figures/plots/architecture.py` makes it: its
// first three principal components as red, green and blue. A test compares both.

const [COLOURS, MORE] = [3, 9]; // components wanted, and those sought beside them: the search is then short
const [ENOUGH, MOST] = [1e-11, 600]; // of what is missed of the largest component, and steps of the search

/** @returns the picture's bytes, RGB */
export function featureColours(features, count) {
  const C = features.length / count;
  const x = centred(features, count, C);
  const rgb = new Uint8Array(3 * count);
  principal(x, count, C).forEach((part, at) => {
    const skew = part.reduce((sum, value) => sum + value ** 3, 0);
    if (skew < 0) part.forEach((value, n) => (part[n] = -value));
    const sorted = Float64Array.from(part).sort();
    const [low, high] = [percentile(sorted, 0.01), percentile(sorted, 0.99)];
    const span = Math.max(high - low, 1e-12);
    for (let n = 0; n < count; n++)
      rgb[3 * n + at] = Math.round(255 * Math.max(0, Math.min(1, (part[n] - low) / span)));
  });
  return rgb;
}

/** Each channel without its mean. */
function centred(features, count, C) {
  const mean = new Float64Array(C);
  for (let i = 0; i < features.length; i++) mean[i % C] += features[i] / count;
  return Float64Array.from(features, (value, i) => value - mean[i % C]);
}

/** Between neighbours in proportion, as NumPy does. */
function percentile(sorted, share) {
  const at = share * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (at - low) * (sorted[high] - sorted[low]);
}

/** Every token's coordinate along the first principal components, component by component. */
function principal(x, count, C) {
  const few = count < C; // tokens: then those of the products of tokens are the same, and quicker to find
  const size = few ? count : C;
  const products = few ? outer(x, count, C) : inner(x, count, C);
  return strongest(products, size).map(({ value, vector }) => {
    if (few) return vector.map((u) => u * Math.sqrt(Math.max(0, value)));
    return product(x, vector);
  });
}

/** Products of channels, summed over tokens: (C, C). */
function inner(x, count, C) {
  const out = new Float64Array(C * C);
  for (let n = 0; n < count; n++) {
    for (let i = 0; i < C; i++) {
      const value = x[n * C + i];
      for (let j = i; j < C; j++) out[i * C + j] += value * x[n * C + j];
    }
  }
  return mirrored(out, C);
}

/** Products of tokens, summed over channels: (count, count). */
function outer(x, count, C) {
  const out = new Float64Array(count * count);
  for (let i = 0; i < count; i++) {
    const one = x.subarray(i * C, (i + 1) * C);
    for (let j = i; j < count; j++) out[i * count + j] = dot(one, x, j * C);
  }
  return mirrored(out, count);
}

function mirrored(matrix, size) {
  for (let i = 0; i < size; i++) for (let j = 0; j < i; j++) matrix[i * size + j] = matrix[j * size + i];
  return matrix;
}

/**
 * The largest eigenvalues of a symmetric matrix without negative ones, and their eigenvectors: a few vectors
 * are multiplied by the matrix until the space that they span stays; its own eigenvectors are those.
 */
function strongest(matrix, size) {
  const many = Math.min(size, COLOURS + MORE);
  let found = Array.from({ length: many }, (_, k) => ({
    vector: Float64Array.from({ length: size }, (__, i) => Math.sin(1 + (k + 1) * (i + 1) * 1.618)),
  }));
  for (let n = 0; n < MOST; n++) {
    const basis = orthonormal(found.map(({ vector }) => product(matrix, vector)));
    if (n % 4) {
      found = basis.map((vector) => ({ vector }));
      continue;
    }
    found = within(matrix, basis);
    if (found.slice(0, COLOURS).every(({ missed }) => missed <= ENOUGH * found[0].value)) break;
  }
  return found.slice(0, COLOURS);
}

/** Of a vector with each row of a matrix. */
function product(matrix, vector) {
  const size = vector.length;
  const out = new Float64Array(matrix.length / size);
  for (let i = 0; i < out.length; i++) out[i] = dot(vector, matrix, i * size);
  return out;
}

/** Of a vector with the numbers of another from a place on. */
function dot(a, b, from = 0) {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[from + i];
  return sum;
}

/** The same space, by vectors of length 1 at right angles; what is left of a vector within it becomes 0. */
function orthonormal(vectors) {
  const found = [];
  for (const vector of vectors) {
    const before = Math.sqrt(dot(vector, vector));
    for (let twice = 0; twice < 2; twice++)
      for (const other of found) {
        const along = dot(vector, other);
        for (let i = 0; i < vector.length; i++) vector[i] -= along * other[i];
      }
    const length = Math.sqrt(dot(vector, vector));
    const scale = length > 1e-12 * before ? 1 / length : 0;
    found.push(vector.map((value) => value * scale));
  }
  return found;
}

/** Eigenvectors of a matrix within a space, the strongest first, and what each misses of being one at all. */
function within(matrix, basis) {
  const images = basis.map((vector) => product(matrix, vector));
  const small = basis.map((one) => images.map((image) => dot(one, image)));
  const turns = turned(small);
  const mixed = (vectors, k) => {
    const out = new Float64Array(vectors[0].length);
    vectors.forEach((vector, j) => vector.forEach((value, i) => (out[i] += turns[j][k] * value)));
    return out;
  };
  const found = basis.map((_, k) => {
    const [vector, image, value] = [mixed(basis, k), mixed(images, k), small[k][k]];
    const off = image.map((one, i) => one - value * vector[i]);
    return { value, vector, missed: Math.sqrt(dot(off, off)) };
  });
  return found.sort((a, b) => b.value - a.value);
}

/** Make a small symmetric matrix diagonal in place (Jacobi); returns its eigenvectors as columns. */
function turned(a) {
  const size = a.length;
  const vectors = a.map((_, i) => a.map((__, j) => Number(i === j)));
  for (let sweep = 0; sweep < 30; sweep++) {
    let off = 0;
    for (let p = 0; p < size; p++)
      for (let q = p + 1; q < size; q++) {
        off = Math.max(off, Math.abs(a[p][q]));
        if (a[p][q]) rotate(a, vectors, p, q);
      }
    if (off <= 1e-15 * Math.max(...a.map((row, i) => Math.abs(row[i])))) break;
  }
  return vectors;
}

function rotate(a, vectors, p, q) {
  const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
  const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta ** 2 + 1));
  const c = 1 / Math.sqrt(t ** 2 + 1);
  const s = t * c;
  const turn = (row) => {
    [row[p], row[q]] = [c * row[p] - s * row[q], s * row[p] + c * row[q]];
  };
  a.forEach(turn);
  for (let i = 0; i < a.length; i++)
    [a[p][i], a[q][i]] = [c * a[p][i] - s * a[q][i], s * a[p][i] + c * a[q][i]];
  vectors.forEach(turn);
}

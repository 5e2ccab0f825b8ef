// What each kernel contributes to a token, as `cfviz/analysis/embedding.py` measures it, and a token's
// channels in 8 bits, as `cfviz/figures/live/embedding.py` packs them. A test compares both with the library.

const TINY = 1e-30;

/**
 * Length, carried and caused share of each kernel's part of every token.
 *
 * @param tokens the concatenated tokens, one after the other
 * @param channels of each kernel
 * @param gain of the LayerNorm that mixes them, and its epsilon
 * @returns `norm`, `carried`, `caused`: Float32Array, kernel by kernel
 */
export function measured(tokens, channels, gain, eps) {
  const C = gain.length;
  const count = tokens.length / C;
  const [norm, carried, caused] = [0, 1, 2].map(() => new Float32Array(channels.length * count));
  for (let n = 0; n < count; n++) {
    const x = tokens.subarray(n * C, (n + 1) * C);
    const found = ofToken(x, channels, gain, eps);
    for (let k = 0; k < channels.length; k++) {
      norm[k * count + n] = found[k].norm;
      carried[k * count + n] = found[k].carried;
      caused[k * count + n] = found[k].caused;
    }
  }
  return { norm, carried, caused };
}

function ofToken(x, channels, gain, eps) {
  const C = x.length;
  let mean = 0;
  for (let c = 0; c < C; c++) mean += x[c] / C;
  let [spread, total] = [0, 0]; // of the token, of the normalised token
  let pull = 0; // what every channel's mean pulls
  for (let c = 0; c < C; c++) {
    const centred = x[c] - mean;
    spread += centred ** 2 / C;
    total += (gain[c] * centred) ** 2;
    pull += gain[c] ** 2 * centred;
  }
  const whole = total / (spread + eps);
  let end = 0;
  return channels.map((d) => {
    const first = end;
    end += d;
    let [length, energy, sum, inside] = [0, 0, 0, 0];
    for (let c = first; c < end; c++) {
      const centred = x[c] - mean;
      length += x[c] ** 2;
      energy += (gain[c] * centred) ** 2;
      sum += x[c];
      inside += gain[c] ** 2 * centred * x[c];
    }
    return {
      norm: Math.sqrt(length),
      carried: whole > TINY ? energy / (spread + eps) / whole : d / C,
      caused: total > TINY ? (inside - (sum / C) * pull) / total : d / C,
    };
  });
}

/** Channels in 8 bits: channel = code * step of its channel, off by at most half a step. */
export function quantised(tokens, C) {
  const step = new Float32Array(C);
  for (let i = 0; i < tokens.length; i++) step[i % C] = Math.max(step[i % C], Math.abs(tokens[i]));
  for (let c = 0; c < C; c++) step[c] /= 127;
  const codes = Int8Array.from(tokens, (x, i) =>
    Math.max(-127, Math.min(127, Math.round(x / (step[i % C] || 1)))),
  );
  return { codes, step };
}

// Which keys a token scores in models other than CrossFormer, as cfviz/geometry/schemes.py counted them.
//
// The interface is that of `Groups`: keys are numbered within their group. A key may stand for a square of
// `side` x `side` tokens, for padding, or for a token without a place (class, registers), which come last.

import { offsets } from "../shared/groups.js";

const PADDING = 0xffffffff;
const PREFIX = 0xfffffffe;

export class Scheme {
  constructor(meta, array) {
    Object.assign(this, meta);
    [this.Hp, this.Wp] = [meta.H, meta.W]; // what is padded has no place in the map
    this.keys = array(meta.keys);
    this.region = meta.region ? array(meta.region) : null;
    this.N = this.keys.length / meta.nG;
    this.cells = meta.Gh * meta.Gw;
    this.where = new Int32Array(meta.H * meta.W).fill(-1); // token -> group * N + the key it is part of
    for (let i = 0; i < this.keys.length; i++) {
      if (this.keys[i] >= PREFIX) continue;
      const [row, col] = [Math.floor(this.keys[i] / this.W), this.keys[i] % this.W];
      for (let r = row; r < row + this.side; r++)
        for (let c = col; c < col + this.side; c++) this.where[r * this.W + c] = i;
    }
    this.offset = meta.bias ? offsets(meta.Gh, meta.Gw) : null;
  }

  /** The group of a token and the key that it is part of; -1 if it is in none, beyond the last square. */
  at(row, col) {
    const i = this.where[row * this.W + col];
    return i < 0 ? { group: 0, slot: -1 } : { group: Math.floor(i / this.N), slot: i % this.N };
  }

  row(group, slot) {
    return Math.floor(this.keys[group * this.N + slot] / this.W);
  }

  col(group, slot) {
    return this.keys[group * this.N + slot] % this.W;
  }

  /** Whether a key has a place in the map. */
  valid(group, slot) {
    return this.keys[group * this.N + slot] < PREFIX;
  }

  pads(group, slot) {
    return this.keys[group * this.N + slot] === PADDING;
  }

  /** Whether a key takes part in the softmax: padding does in Swin and Twins. */
  takes() {
    return true;
  }

  /** Whether the mask of a shifted window lets one member score another. */
  joined(group, slot, other) {
    if (!this.region) return true;
    return this.region[group * this.N + slot] === this.region[group * this.N + other];
  }

  /** What is added to the logit of a pair that the mask separates. */
  mask(group, slot, other) {
    return this.joined(group, slot, other) ? 0 : this.masked;
  }

  /** How many keys a token scores, padding that takes part included. */
  count(group, slot) {
    let n = 0;
    for (let k = 0; k < this.N; k++) n += this.joined(group, slot, k);
    return n;
  }

  /** The places of a group's keys that a token scores (`joined`) or that the mask hides from it. */
  places(group, slot, joined = true) {
    const found = [];
    for (let k = 0; k < this.N; k++)
      if (this.valid(group, k) && this.joined(group, slot, k) === joined)
        found.push([this.row(group, k), this.col(group, k)]);
    return found;
  }

  /** The edges of some keys against all others, as [row, col, row, col] in tokens. */
  edges(places) {
    const { side } = this;
    const inside = new Set(places.map(([r, c]) => r * this.W + c));
    const lines = [];
    for (const [r, c] of places) {
      const [down, right] = [r + side, c + side];
      if (side > 1 || r === 0 || !inside.has((r - 1) * this.W + c)) lines.push([r, c, r, right]);
      if (side > 1 || down === this.H || !inside.has(down * this.W + c)) lines.push([down, c, down, right]);
      if (side > 1 || c === 0 || !inside.has(r * this.W + c - 1)) lines.push([r, c, down, c]);
      if (side > 1 || right === this.W || !inside.has(r * this.W + right))
        lines.push([r, right, down, right]);
    }
    return lines;
  }
}

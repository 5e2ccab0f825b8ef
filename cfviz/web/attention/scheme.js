// Which keys a token scores in models other than CrossFormer, as cfviz/geometry/schemes.py counted them.
//
// The interface is that of `Groups`: keys are numbered within their group. A key may stand for a square of
// `side` x `side` tokens, for padding, or for a token without a place (class, registers), which come last.

import { offsets } from "../shared/groups.js";
import { rim } from "../shared/paint.js";

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

  /**
   * The edges of a group's keys that a token scores (`joined`) or that the mask hides from it, against all
   * others, as [x, y, x, y] in tokens; a key that is a square of several tokens has an edge of its own.
   */
  edges(group, slot, joined) {
    const squares = [];
    for (let k = 0; k < this.N; k++)
      if (this.valid(group, k) && this.joined(group, slot, k) === joined)
        squares.push([this.col(group, k), this.row(group, k)]);
    return this.side > 1 ? squares.flatMap((one) => rim([one], this.side)) : rim(squares, 1);
  }
}

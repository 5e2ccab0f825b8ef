// Which token is in which group, read from the index that cfviz/geometry/groups.py made.

/** How one block divides its map. `index` (nG, N) holds each member's flat position in the padded map. */
export class Groups {
  constructor(meta, index) {
    Object.assign(this, meta);
    this.N = meta.Gh * meta.Gw;
    this.index = index;
    [this.side, this.cells, this.prefix] = [1, this.N, 0];
    this.where = new Int32Array(meta.Hp * meta.Wp); // position in the padded map -> group * N + member
    for (let i = 0; i < index.length; i++) this.where[index[i]] = i;
    this.offset = offsets(meta.Gh, meta.Gw);
  }

  /** The group and member number of the token at a row and column of the padded map. */
  at(row, col) {
    const i = this.where[row * this.Wp + col];
    return { group: Math.floor(i / this.N), slot: i % this.N };
  }

  row(group, slot) {
    return Math.floor(this.index[group * this.N + slot] / this.Wp);
  }

  col(group, slot) {
    return this.index[group * this.N + slot] % this.Wp;
  }

  /** Whether a member is a token of the map, not padding. */
  valid(group, slot) {
    return this.row(group, slot) < this.H && this.col(group, slot) < this.W;
  }

  pads(group, slot) {
    return !this.valid(group, slot);
  }

  /** Whether a key takes part in the softmax: padding does not. */
  takes(group, slot) {
    return this.valid(group, slot);
  }

  /** Whether one member may score another: within a group, nothing separates tokens. */
  joined() {
    return true;
  }

  /** What is added to a member's logit. */
  mask(group, slot, other) {
    return this.valid(group, other) ? 0 : MASKED;
  }

  /** How many members of a group are tokens of the map. */
  count(group) {
    let n = 0;
    for (let slot = 0; slot < this.N; slot++) n += this.valid(group, slot);
    return n;
  }
}

const MASKED = -1e6; // what the authors add to the logits of padded keys
const tables = new Map();

/** The offset's number for each (query, key): (N, N), query minus key, h-major. */
export function offsets(Gh, Gw) {
  const name = `${Gh}x${Gw}`;
  if (!tables.has(name)) {
    const N = Gh * Gw;
    const table = new Uint32Array(N * N);
    for (let q = 0; q < N; q++) {
      for (let k = 0; k < N; k++) {
        const dh = Math.floor(q / Gw) - Math.floor(k / Gw) + Gh - 1;
        table[q * N + k] = dh * (2 * Gw - 1) + (q % Gw) - (k % Gw) + Gw - 1;
      }
    }
    tables.set(name, table);
  }
  return tables.get(name);
}

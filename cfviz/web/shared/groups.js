// Which token is in which group: the same counting as cfviz/geometry/groups.py, from the index it sends.

/** How one block cuts its map. `index` is (nG, N): the flat position of each member in the padded map. */
export class Groups {
  constructor(meta, index) {
    Object.assign(this, meta);
    this.N = meta.G * meta.G;
    this.index = index;
    this.where = new Int32Array(meta.Hp * meta.Wp); // position in the padded map -> group * N + member
    for (let i = 0; i < index.length; i++) this.where[index[i]] = i;
    this.offset = offsets(meta.G);
  }

  /** Group and member of the token at a row and column of the padded map. */
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

  /** Whether a member is a token of the map rather than padding. */
  valid(group, slot) {
    return this.row(group, slot) < this.H && this.col(group, slot) < this.W;
  }

  /** How many members of a group are tokens. */
  count(group) {
    let n = 0;
    for (let slot = 0; slot < this.N; slot++) n += this.valid(group, slot);
    return n;
  }
}

const tables = new Map();

/** (query, key) -> which offset: N x N, h-major, query minus key. */
function offsets(G) {
  if (!tables.has(G)) {
    const N = G * G;
    const table = new Uint32Array(N * N);
    for (let q = 0; q < N; q++) {
      for (let k = 0; k < N; k++) {
        const dh = Math.floor(q / G) - Math.floor(k / G) + G - 1;
        table[q * N + k] = dh * (2 * G - 1) + (q % G) - (k % G) + G - 1;
      }
    }
    tables.set(G, table);
  }
  return tables.get(G);
}

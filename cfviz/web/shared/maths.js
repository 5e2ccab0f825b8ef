// Logits and attention of one query, from the content, or queries and keys, and the position bias.

// How a message may bring content logits, by the names of the arrays; see `cfviz/figures/live/attention.py`.
const FORMS = [["content"], ["codes", "high", "span"], ["q", "k", "q_step", "k_step"]];

/** One block of one stage; without content, its grouping alone. */
export class Block {
  constructor(entry, groups, array) {
    this.b = entry.b;
    this.groups = groups;
    this.kind = groups.kind;
    this.label = groups.short ?? groups.kind.toUpperCase();
    this.ready = Block.brings(entry);
    this.peak = entry.peak ?? 1;
    if (!this.ready) return;
    this.bias = entry.bias ? array(entry.bias) : null;
    for (const name of FORMS.find(([first]) => entry[first])) this[name] = array(entry[name]);
    const lines = this.content ? this.content.length / groups.N : (this.high ?? this.q_step).length;
    this.heads = lines / (groups.H * groups.W);
  }

  /** Whether a message's entry brings a block's attention, not its grouping alone. */
  static brings(entry) {
    return FORMS.some(([first]) => entry[first]);
  }

  /** Write the content and position logits of a token, member `slot` of its group, into two arrays of N. */
  logits(head, group, slot, token, content, position) {
    const { N, Gh, Gw, offset } = this.groups;
    const line = token * this.heads + head;
    const table = head * (2 * Gh - 1) * (2 * Gw - 1);
    for (let k = 0; k < N; k++) position[k] = this.bias ? this.bias[table + offset[slot * N + k]] : 0;
    if (this.content) {
      for (let k = 0; k < N; k++) content[k] = this.content[line * N + k];
    } else if (this.codes) {
      const [high, span] = [this.high[line], this.span[line]];
      for (let k = 0; k < N; k++) content[k] = high - span * (this.codes[line * N + k] / 65535) ** 2;
    } else this.products(head, group, line, content);
  }

  /** Write the products of one query with the keys of its group; 0 for padding, which is masked. */
  products(head, group, line, content) {
    const { groups, q, k } = this;
    const d = k.length / this.k_step.length;
    for (let slot = 0; slot < groups.N; slot++) {
      content[slot] = 0;
      if (!groups.valid(group, slot)) continue;
      const other = (groups.row(group, slot) * groups.W + groups.col(group, slot)) * this.heads + head;
      let sum = 0;
      for (let i = 0; i < d; i++) sum += q[line * d + i] * k[other * d + i];
      content[slot] = sum * this.q_step[line] * this.k_step[other];
    }
  }
}

/** Softmax of a + b + c over the valid keys; the others get 0. Returns the largest probability. */
export function softmax(out, from, a, b, valid, c = null) {
  const n = valid.length;
  let top = -Infinity;
  for (let k = 0; k < n; k++) {
    const x = (a ? a[k] : 0) + (b ? b[k] : 0) + (c ? c[k] : 0);
    out[from + k] = x;
    if (valid[k] && x > top) top = x;
  }
  let sum = 0;
  for (let k = 0; k < n; k++) {
    const p = valid[k] ? Math.exp(out[from + k] - top) : 0;
    out[from + k] = p;
    sum += p;
  }
  for (let k = 0; k < n; k++) out[from + k] /= sum;
  return 1 / sum; // the largest one was exp(0)
}

/** The key's rank among the valid ones, 1 for the largest; ties share the better rank. */
export function rank(probs, from, n, key, valid) {
  let above = 1;
  for (let k = 0; k < n; k++) if (valid[k] && probs[from + k] > probs[from + key]) above++;
  return above;
}

/** The nearest of 0 to n - 1. */
export function clip(x, n) {
  return Math.max(0, Math.min(n - 1, x));
}

/** 12,544 */
export function whole(n) {
  return Math.round(n).toLocaleString("en-US");
}

/** A share as text with three significant digits, two below one per cent: "8.12 %", "0.51 %". */
export function percent(p) {
  if (p === 0) return "0\u00a0%";
  const x = 100 * p;
  if (x < 1e-4)
    return `${x
      .toExponential(1)
      .replace("e-", " × 10⁻")
      .replace(/⁻(\d+)/, (_, d) => `⁻${raised(d)}`)}\u00a0%`;
  return `${x >= 99.95 ? x.toFixed(1) : x.toPrecision(x < 0.995 ? 2 : 3)}\u00a0%`;
}

/** A number with its sign, in as many digits as it needs: "+1.32", "−0.0045". */
export function signed(x) {
  if (x === 0) return "0";
  const size = Math.abs(x);
  const digits = size >= 1 ? size.toFixed(2) : size >= 0.001 ? size.toPrecision(2) : size.toFixed(4);
  return `${x < 0 ? "−" : "+"}${digits}`;
}

/** Relative luminance of [r, g, b], each 0 to 255, after WCAG 2: 0 for black, 1 for white. */
export function luminance(rgb) {
  const [r, g, b] = rgb
    .map((c) => c / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function raised(digits) {
  return [...digits].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("");
}

// Which axis goes where: reshape gives every axis a letter, permute carries the letters to their new places.

import { Choice, el, say } from "../shared/markup.js";
import { fill } from "../shared/text.js";
import { digits } from "./geo.js";

const SVG = "http://www.w3.org/2000/svg";
const ORDERS = {
  sda: {
    letters: ["B", "r1", "g1", "r2", "g2", "C"],
    order: [0, 1, 3, 2, 4, 5],
    own: 3,
    einops: "b (r1 g1) (r2 g2) c -> (b r1 r2) (g1 g2) c",
  },
  lda: {
    letters: ["B", "r1", "g1", "i1", "r2", "g2", "i2", "C"],
    order: [0, 1, 4, 3, 6, 2, 5, 7],
    own: 5,
    einops: "b (r1 g1 i1) (r2 g2 i2) c -> (b r1 r2 i1 i2) (g1 g2) c",
  },
  article: {
    letters: ["B", "g1", "h", "g2", "w", "C"],
    order: [0, 2, 4, 1, 3, 5],
    own: 3,
    einops: "b (g1 h) (g2 w) c -> (b h w) (g1 g2) c",
  },
};
const PER_AXIS = 620; // milliseconds

/** One of the three partitions of a map: its axes' letters and sizes, the permutation, PyTorch's lines. */
export function steps(kind, { sda, lda }) {
  const { letters, order, own, einops } = ORDERS[kind];
  const { Gh, Gw, I, down, across, Hp, Wp } = kind === "lda" ? lda : sda;
  const [r1, r2] = [Hp / down, Wp / across];
  const sizes = {
    sda: { B: 1, r1, g1: Gh, r2, g2: Gw, C: 1 },
    lda: { B: 1, r1, g1: Gh, i1: I, r2, g2: Gw, i2: I, C: 1 },
    article: { B: 1, g1: Gh, h: r1, g2: Gw, w: r2, C: 1 },
  }[kind];
  const shape = letters.map((name) => (name === "B" || name === "C" ? name : sizes[name]));
  const groups = order
    .slice(1, own)
    .map((i) => sizes[letters[i]])
    .reduce((a, b) => a * b, 1);
  const lines = [
    `p.reshape(${shape.join(", ")})`.padEnd(38) + `# ${letters.join(" ")}`,
    `.permute(${order.join(", ")})`.padEnd(38) + `# ${order.map((i) => letters[i]).join(" ")}`,
    `.reshape(${groups > 1 ? `B * ${groups}` : "B"}, ${Gh * Gw}, C)`.padEnd(38) + "# B*nG N C",
  ];
  const closed = lines.map((line, i) => (i < 2 ? line : line.replace("C) ", "C))")));
  return { letters, order, own, sizes, einops, lines, code: `(${closed.join("\n ")}` };
}

export class Axes {
  constructor(app, example) {
    Object.assign(this, { app, example, kind: "lda", progress: 99 });
    const { t } = app;
    const kinds = Object.keys(ORDERS);
    this.choice = new Choice(el("div.seg", { role: "radiogroup", "aria-label": t.axes_kind }), (i) =>
      this.pick(kinds[i]),
    );
    this.choice.fill(kinds.map((kind) => el("button", { type: "button" }, t[`axes_${kind}`])));
    this.kinds = kinds;
    this.play = el("button.go", { type: "button" }, t.axes_play);
    this.play.addEventListener("click", () => this.run());
    this.scrub = el("input", { type: "range", min: 0, step: 0.01, "aria-label": t.axes_scrub });
    this.scrub.addEventListener("input", () => {
      this.stop();
      this.progress = Number(this.scrub.value);
      this.draw();
    });
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("role", "img");
    this.svg.setAttribute("aria-label", t.axes_title);
    this.svg.classList.add("chips");
    this.lines = el("pre.code.axes-code");
    this.einops = el("pre.code.axes-code");
    this.now = el("p.note.axes-now");
    this.note = el("p.note");
    this.root = el(
      "div.axes",
      {},
      el("h4", {}, t.axes_title),
      el("p.note", {}, t.axes_look),
      el("div.bar", {}, this.choice.box, this.play, this.scrub),
      el("div.chips-box", {}, this.svg),
      this.now,
      el(
        "div.pair",
        {},
        el("div", {}, el("p.note", {}, t.axes_torch), this.lines),
        el("div", {}, el("p.note", {}, t.axes_einops), this.einops),
      ),
      this.note,
    );
  }

  pick(kind) {
    this.stop();
    this.kind = kind;
    this.progress = 99;
    this.layOut();
    this.draw();
  }

  run() {
    if (this.frame) return this.stop();
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    const n = this.plan.order.length;
    this.progress = 0;
    let before = performance.now();
    say(this.play, this.app.t.pause);
    const tick = (now) => {
      const passed = (now - before) / PER_AXIS;
      before = now;
      this.progress = Math.min(n, this.progress + passed);
      this.draw(still);
      this.frame = this.progress < n && this.root.isConnected ? requestAnimationFrame(tick) : null;
      if (!this.frame) say(this.play, this.app.t.axes_play);
    };
    this.frame = requestAnimationFrame(tick);
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    say(this.play, this.app.t.axes_play);
  }

  /** The query's index along every axis. */
  indices() {
    const { query, size } = this.example;
    const { row, col } = query;
    if (this.kind === "article") {
      const { h, w } = this.plan.sizes;
      return { B: 0, g1: Math.floor(row / h), h: row % h, g2: Math.floor(col / w), w: col % w, C: 0 };
    }
    return { B: 0, C: 0, ...digits(this.example.groups[this.kind], row, col), size };
  }

  layOut() {
    this.plan = steps(this.kind, this.example.groups);
    const { letters, order, own } = this.plan;
    const wide = Math.max(300, Math.min(760, this.root.clientWidth || 700));
    const gap = wide / letters.length;
    const chip = Math.min(64, gap - 6);
    Object.assign(this, { gap, chip });
    this.svg.setAttribute("viewBox", `0 0 ${wide} 196`);
    Object.assign(this.svg.style, { width: `${wide}px`, maxWidth: "100%" });
    const make = (tag, values, text) => {
      const node = document.createElementNS(SVG, tag);
      for (const [name, value] of Object.entries(values)) node.setAttribute(name, value);
      if (text !== undefined) node.textContent = text;
      return node;
    };
    const centre = (i) => (i + 0.5) * gap;
    const token = (name) => {
      const node = make("g", { class: `chip axis-${name[0].toLowerCase()}` });
      node.append(
        make("rect", { x: -chip / 2, y: 0, width: chip, height: 46, rx: 7 }),
        make("text", { y: 19, "text-anchor": "middle", class: "letter" }, name),
        make("text", { y: 37, "text-anchor": "middle", class: "value" }),
      );
      return node;
    };
    this.wires = order.map((from, to) =>
      make("path", {
        class: "wire",
        d: `M${centre(from)} 64C${centre(from)} 104 ${centre(to)} 86 ${centre(to)} 122`,
      }),
    );
    this.top = letters.map((name, i) => {
      const g = token(name);
      g.setAttribute("transform", `translate(${centre(i)} 18)`);
      return g;
    });
    this.fly = order.map((from) => token(letters[from]));
    const brace = (a, b, text) => {
      const [x0, x1] = [a * gap + 5, b * gap - 5];
      return [
        make("path", { class: "brace", d: `M${x0} 172v5H${x1}v-5` }),
        make("text", { x: (x0 + x1) / 2, y: 192, "text-anchor": "middle", class: "brace-text" }, text),
      ];
    };
    const last = letters.length - 1;
    const half = (last - 1) / 2 + 1;
    const head = (a, b, text) =>
      make("text", { x: ((a + b) * gap) / 2, y: 11, "text-anchor": "middle", class: "brace-text" }, text);
    this.svg.replaceChildren(
      head(1, half, "H"),
      head(half, last, "W"),
      ...this.wires,
      ...this.top,
      ...this.fly,
      ...brace(0, own, this.app.t.axes_group),
      ...brace(own, last, this.app.t.axes_member),
    );
    this.choice.choose(this.kinds.indexOf(this.kind));
    this.scrub.max = order.length;
    this.progress = Math.min(this.progress, order.length);
    this.spans = this.plan.order.map((i) => el("span", {}, String(i)));
    const [first, , third] = this.plan.lines;
    const permuted = this.plan.lines[1];
    this.lines.replaceChildren(
      `${first.replace("#", " #")}\n .permute(`,
      ...this.spans.flatMap((s, k) => (k ? [", ", s] : [s])),
      `${permuted.slice(permuted.indexOf(")"))}\n ${third}`,
    );
    say(this.einops, this.einopsLine());
    const { H, W, G, I } = this.example.size;
    const fits = this.plan.sizes.h === I && this.plan.sizes.w === I && H % G === 0 && W % G === 0;
    say(
      this.note,
      this.kind === "article"
        ? fill(fits ? this.app.t.axes_article_same : this.app.t.axes_article_other, {
            h: this.plan.sizes.h,
            w: this.plan.sizes.w,
            I,
          })
        : "",
    );
  }

  einopsLine() {
    const { Gh, Gw, I } = this.example.groups[this.kind === "lda" ? "lda" : "sda"];
    const sizes = `g1=${Gh}, g2=${Gw}${this.kind === "lda" ? `, i1=${I}, i2=${I}` : ""}`;
    const [from, to] = this.plan.einops.split("-> ");
    return `rearrange(p, "${from}-> "\n             "${to}",\n          ${sizes})`;
  }

  draw(still = false) {
    if (!this.plan) return;
    const now = JSON.stringify([this.kind, this.example.size, this.example.form]);
    if (this.planFor !== now) {
      this.planFor = now;
      this.layOut();
    }
    const { letters, order } = this.plan;
    const at = this.indices();
    const value = (node, name) =>
      say(node.lastChild, name === "B" || name === "C" ? "" : `${at[name]} / ${this.plan.sizes[name]}`);
    this.top.forEach((node, i) => value(node, letters[i]));
    this.fly.forEach((node, to) => {
      const from = order[to];
      const raw = Math.max(0, Math.min(1, this.progress - to));
      const p = still ? Math.round(raw) : raw * raw * (3 - 2 * raw);
      const x = (from + (to - from) * p + 0.5) * this.gap;
      node.setAttribute("transform", `translate(${x} ${18 + 104 * p})`);
      node.style.opacity = raw > 0 ? 1 : 0;
      this.wires[to].style.opacity = raw;
      value(node, letters[from]);
      this.spans[to].classList.toggle("now", raw > 0 && raw < 1);
    });
    const step = Math.min(order.length - 1, Math.floor(this.progress));
    const done = this.progress >= order.length;
    say(
      this.now,
      done
        ? fill(this.app.t.axes_done, { row: this.example.query.row, col: this.example.query.col })
        : fill(this.app.t.axes_now, { letter: letters[order[step]], from: order[step], to: step }),
    );
    if (this.scrub.value !== String(this.progress)) this.scrub.value = this.progress;
  }
}

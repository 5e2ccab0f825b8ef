// Beside the photo: one row per kernel, how the photo's tokens spread, and the token's own channels.

import { el, say } from "../shared/markup.js";
import { percent, signed } from "../shared/maths.js";
import { shade } from "../shared/paint.js";
import { fill } from "../shared/text.js";

/** 28.9 M, 1.89 G */
function amount(n) {
  const [unit, name] = [
    [1e9, " G"],
    [1e6, " M"],
    [1e3, " k"],
  ].find(([u]) => n >= u * 0.9995) ?? [1, ""];
  return `${Number((n / unit).toPrecision(3))}${name}`;
}

function fit(canvas, height) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const [w, h] = [Math.round(canvas.clientWidth * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

/** One row per kernel: size, share at the token and over the photo, channels, cost. */
export class Rows {
  constructor(t, onKernel) {
    this.t = t;
    this.onKernel = onKernel;
    this.root = el("div.em-rows", { role: "group", "aria-label": t.kernels });
  }

  build(cel, colours, unit) {
    const { t } = this;
    const channels = cel.kernels.reduce((n, kernel) => n + kernel.channels, 0);
    const equal = cel.kernels.reduce(
      (n, kernel) => n + (kernel.macs / kernel.channels) * (channels / cel.kernels.length),
      0,
    );
    this.even = cel.kernels.map((kernel) => kernel.channels / channels);
    this.rows = cel.kernels.map((kernel, i) => {
      const row = {
        value: el("b.num"),
        middle: el("span.num.note"),
        strip: el("canvas.em-strip"),
        pin: el("i.em-pin"),
      };
      const size = kernel.k * cel.unit;
      row.root = el(
        "button.em-row",
        { type: "button", "aria-pressed": "false", style: `--colour:${colours[i]}` },
        el(
          "span.em-name",
          {},
          el("i.em-chip"),
          el("b.num", {}, `${kernel.k}×${kernel.k}`),
          el("span.note", {}, unit(kernel.k, size)),
        ),
        el("span.em-track", {}, row.strip, row.pin),
        row.value,
        el(
          "span.em-facts.note.num",
          {},
          row.middle,
          el("span", {}, fill(t.channels_of, { n: kernel.channels, all: channels })),
          el(
            "span",
            {
              title: fill(t.equal_help, {
                equal: amount((kernel.macs / kernel.channels) * (channels / cel.kernels.length)),
                total: amount(equal),
              }),
            },
            fill(t.macs_of, {
              n: amount(kernel.macs),
              equal: amount((kernel.macs / kernel.channels) * (channels / cel.kernels.length)),
            }),
          ),
        ),
      );
      row.root.addEventListener("click", () => this.onKernel(i));
      return row;
    });
    this.root.replaceChildren(...this.rows.map((row) => row.root));
  }

  /** How the photo's tokens spread: one histogram per kernel, all on one scale. */
  spread(maps, low, high, colours, theme, marks) {
    Object.assign(this, { low, high });
    this.middles = maps.map((values) => [...values].sort((a, b) => a - b)[values.length >> 1]);
    this.rows.forEach((row, i) => {
      const height = 34;
      const pen = fit(row.strip, height);
      const wide = row.strip.clientWidth;
      const bins = new Float64Array(Math.max(24, Math.min(90, Math.floor(wide / 4))));
      for (const x of maps[i])
        bins[Math.max(0, Math.min(bins.length - 1, Math.floor(((x - low) / (high - low)) * bins.length)))] +=
          1;
      const top = Math.max(...bins);
      pen.clearRect(0, 0, wide, height);
      pen.fillStyle = theme.line;
      pen.fillRect(0, height - 1, wide, 1);
      pen.fillStyle = colours[i];
      bins.forEach(
        (n, b) =>
          n &&
          pen.fillRect(
            (b * wide) / bins.length,
            height - 1 - (n / top) * (height - 4),
            wide / bins.length - 0.5,
            (n / top) * (height - 4),
          ),
      );
      if (!marks) return;
      pen.strokeStyle = theme.ink;
      pen.setLineDash([3, 3]);
      pen.beginPath();
      const x = ((this.even[i] - low) / (high - low)) * wide;
      pen.moveTo(x, 0);
      pen.lineTo(x, height);
      pen.stroke();
      pen.setLineDash([]);
    });
  }

  paint(values, number, chosen) {
    this.rows.forEach((row, i) => {
      say(row.value, number(values[i]));
      say(row.middle, fill(this.t.median, { x: number(this.middles[i]) }));
      const along = (values[i] - this.low) / (this.high - this.low);
      row.pin.style.left = `${100 * Math.max(0, Math.min(1, along))}%`;
      row.root.setAttribute("aria-pressed", String(chosen === i));
    });
  }
}

/** The token as one bar: a cell per channel, in bands by kernel. */
export class Vector {
  constructor(t, onChannel, onHold) {
    this.t = t;
    this.canvas = el("canvas.em-vector", {
      tabindex: 0,
      role: "slider",
      "aria-label": t.vector,
      "aria-valuemin": 1,
      "aria-valuenow": 1,
    });
    this.line = el("p.note.num");
    this.root = el("div.em-token", {}, this.canvas, this.line);
    const which = (e) =>
      Math.max(0, Math.min(this.count - 1, Math.floor((e.offsetX / this.canvas.clientWidth) * this.count)));
    this.canvas.addEventListener("pointermove", (e) => this.count && onChannel(which(e)));
    this.canvas.addEventListener("pointerleave", () => onChannel(null));
    this.canvas.addEventListener("click", (e) => this.count && onHold(which(e)));
    this.canvas.addEventListener("keydown", (e) => {
      const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 }[e.key];
      if (!step || !this.count) return;
      e.preventDefault();
      onHold(Math.max(0, Math.min(this.count - 1, (this.shown ?? -1) + step)), true);
    });
  }

  paint(cel, token, table, colours, theme, channel) {
    const { codes, step, kernels } = cel;
    if (!codes) return this.clear(); // on their way
    const C = step.length;
    Object.assign(this, { count: C, shown: channel });
    const [pen, wide] = [fit(this.canvas, 46), this.canvas.clientWidth];
    pen.clearRect(0, 0, wide, 46);
    let top = 0;
    for (let c = 0; c < C; c++) top = Math.max(top, Math.abs(codes[token * C + c] * step[c]));
    for (let c = 0; c < C; c++) {
      pen.fillStyle = table[shade(codes[token * C + c] * step[c] + top, 2 * top || 1)];
      pen.fillRect((c * wide) / C, 0, wide / C + 0.6, 30);
    }
    let from = 0;
    let owner = 0;
    kernels.forEach((kernel, i) => {
      pen.fillStyle = colours[i];
      pen.fillRect((from * wide) / C, 33, (kernel.channels * wide) / C - 1.5, 6);
      if (channel !== null && channel >= from) owner = i;
      from += kernel.channels;
    });
    this.canvas.setAttribute("aria-valuemax", C);
    if (channel === null) return this.showNote(fill(this.t.vector_note, { top: signed(top).slice(1) }));
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 2;
    pen.strokeRect((channel * wide) / C - 1, 1, wide / C + 2, 40);
    this.canvas.setAttribute("aria-valuenow", channel + 1);
    const value = signed(codes[token * C + channel] * step[channel]);
    return this.showNote(
      fill(this.t.channel_line, {
        c: channel + 1,
        k: kernels[owner].k,
        value,
        error: (step[channel] / 2).toPrecision(1),
      }),
    );
  }

  clear() {
    this.count = 0;
    fit(this.canvas, 46).clearRect(0, 0, this.canvas.clientWidth, 46);
    this.showNote("\u00a0");
  }

  showNote(text) {
    say(this.line, text);
    this.canvas.setAttribute("aria-valuetext", text);
  }
}

export function number(measure) {
  return measure === "norm" ? (x) => x.toPrecision(3) : (x) => (x < 0 ? `−${percent(-x)}` : percent(x));
}

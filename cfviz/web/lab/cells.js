// The model's parts as buttons, one column per stage, in colours that show what a click would do.

import { luminance } from "../shared/maths.js";
import { about, esc, fill } from "../shared/text.js";
import { deed, name, parse, signed } from "./words.js";

const cell = (place, text, more = "", kind = "") =>
  `<button class="cell ${kind}" data-place="${place}" tabindex="-1" aria-pressed="false"
    ${more}>${text}</button>`;

export function stagesMarkup(data) {
  return data.stages.map((stage, s) => stageMarkup(stage, s + 1, data)).join("");
}

function stageMarkup(stage, s, data) {
  const t = data.text;
  const kernels = stage.kernels.map((k, i) => cell(`${s}.k${i + 1}`, k)).join("");
  const blocks = stage.blocks.map((block, b) => blockMarkup(stage, block, s, b + 1, data)).join("");
  return `<section class="stage" data-stage="${s}">
    <header><b>${esc(fill(t.stage, { n: s }))}</b>
      <span class="num">${stage.H}\u00a0×\u00a0${stage.W}\u00a0×\u00a0${stage.C}</span></header>
    <div class="steps">${stepper(s, "G", stage.G, t)}${stage.long ? stepper(s, "I", stage.I, t) : ""}</div>
    <div class="line"><span class="label" title="${esc(t.cel_title)}">CEL</span>
      <div class="cells wide">${kernels}</div></div>
    ${blocks}</section>`;
}

function blockMarkup(stage, block, s, b, data) {
  const t = data.text;
  const at = `${s}.${b}`;
  const other = block.kind === "sda" ? "lda" : "sda";
  const flip = block.whole
    ? `<span class="kind ${block.kind} fixed" title="${esc(t.whole_map)}">${block.kind.toUpperCase()}</span>`
    : `<button class="cell kind ${block.kind}" data-place="${at}.kind" data-how="${other}" tabindex="-1"
        aria-pressed="false">${block.kind.toUpperCase()}<i aria-hidden="true">⇄</i></button>`;
  const heads = Array.from({ length: stage.heads }, (_, h) => cell(`${at}.h${h + 1}`, h + 1)).join("");
  const parts = [
    cell(`${at}.attn`, esc(t.attn_short)),
    cell(`${at}.mlp`, "MLP"),
    cell(`${at}.bias`, data.bias),
    ...(block.padded ? [cell(`${at}.mask`, esc(t.mask_short))] : []),
  ];
  return `<div class="block">
    <div class="cells top">${cell(`${at}.block`, esc(fill(t.block_short, { n: b })), "", "blk")}${flip}</div>
    <div class="cells parts">${parts.join("")}</div>
    <div class="cells heads" data-style="--n:${Math.min(stage.heads, 12)}">${heads}</div></div>`;
}

function stepper(s, letter, value, t) {
  const place = `${s}.x.${letter}`;
  const spoken = (text) => esc(fill(text, { name: t[letter] }));
  return `<span class="step" data-place="${place}" title="${esc(t[letter])}"><i>${letter}</i>
    <button class="cell" data-step="-1" tabindex="-1" aria-label="${spoken(t.less)}">−</button>
    <output class="num" data-plain="${value}">${value}</output>
    <button class="cell" data-step="1" tabindex="-1" aria-label="${spoken(t.more)}">+</button></span>`;
}

/** The intervention that a click on a part stands for now. */
export function wanted(button, how) {
  const place = button.dataset.place;
  const { part } = parse(place);
  if (part === "kind") return { on: true, place, how: button.dataset.how, rest: "" };
  const one = how === "replace" && (part === "bias" || part === "mask") ? "zero" : how;
  return { on: true, place, how: one, rest: "" };
}

/** Colour every part by its measured effect, and mark those in the list. */
export function paint(host, data, items, how) {
  const listed = new Map(items.map((item) => [item.place, item]));
  for (const button of host.querySelectorAll("button[data-place]")) {
    const item = listed.get(button.dataset.place);
    const value = data.effects?.[button.dataset.place]?.[0];
    button.setAttribute("aria-pressed", item ? "true" : "false");
    button.dataset.how_ = item ? item.how : "";
    button.classList.toggle("off", Boolean(item && !item.on));
    button.setAttribute("aria-label", label(button, data, items, how));
    const kind = button.classList.contains("kind");
    const [ground, ink] = value === undefined || kind ? ["", ""] : colour(value / data.top, data.dark);
    button.style.background = ground;
    button.style.color = ink;
    if (!kind) continue;
    const own = button.classList.contains("sda") ? "sda" : "lda";
    button.firstChild.data = (item?.on ? item.how : own).toUpperCase();
    const bar = value === undefined ? "transparent" : colour(value / data.top, data.dark)[0];
    button.style.setProperty("--bar", bar);
  }
  for (const step of host.querySelectorAll(".step")) {
    const item = listed.get(step.dataset.place);
    const output = step.querySelector("output");
    output.textContent = item ? item.rest : output.dataset.plain;
    step.classList.toggle("changed", Boolean(item));
    step.classList.toggle("off", Boolean(item && !item.on));
  }
}

const MIX = {
  light: [
    [243, 241, 236],
    [118, 42, 131],
    [27, 120, 55],
  ],
  dark: [
    [38, 43, 50],
    [206, 150, 222],
    [110, 200, 122],
  ],
};

/** -1 to 1 as [background, ink]: purple below zero, green above; the square root lets small effects show. */
function colour(x, dark) {
  const [mid, low, high] = MIX[dark ? "dark" : "light"];
  const t = Math.sqrt(Math.min(1, Math.abs(x)));
  const end = x < 0 ? low : high;
  const rgb = mid.map((m, i) => Math.round(m + (end[i] - m) * t));
  // The theme's ink where it is legible; of white and black, one always is.
  const inks = [dark ? "#E6E8EB" : "#1F2630", "#FFFFFF", "#000000"];
  const ink = inks.find((one) => contrast(one, rgb) >= 4.5);
  return [`rgb(${rgb.join(",")})`, ink];
}

/** Contrast of a colour with a ground of [r, g, b], after WCAG 2. */
function contrast(hex, rgb) {
  const ink = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const [one, other] = [luminance(rgb) + 0.05, luminance(ink) + 0.05];
  return Math.max(one, other) / Math.min(one, other);
}

/** What is said about a part, in the line above the board and to a screen reader. */
export function label(button, data, items, how) {
  const t = data.text;
  const place = button.dataset.place;
  const item = items.find((one) => one.place === place);
  const would = wanted(button, how);
  const parts = [about(name(place, data), deed(would, data))];
  const found = data.effects?.[place];
  if (found) {
    const form = { share: t.moves, probability: t.costs_points }[data.unit] ?? t.costs;
    parts.push(
      fill(form, {
        x: amount(found[0], data),
        label: data.label,
        p: found[1],
      }),
    );
    if (found[2]) parts.push(fill(t.now, { label: found[2] }));
  }
  parts.push(item ? t.click_remove : t.click_add);
  return parts.join(t.stop);
}

/** An effect with its unit: a share of the way, percentage points, or a logit. */
function amount(x, data) {
  if (data.unit === "share") return `${signed(100 * x, 0)}\u00a0%`;
  return data.unit === "probability" ? fill(data.text.points, { x: signed(x, 1) }) : signed(x);
}

export function legend(data) {
  const stops = Array.from({ length: 21 }, (_, i) => colour(i / 10 - 1, data.dark)[0]);
  const end = (sign) =>
    data.unit === "probability" ? signed(sign * data.top, 1) : amount(sign * data.top, data);
  const scale = { share: data.text.scale_share, probability: data.text.scale_points }[data.unit];
  return `<span class="num">${end(-1)}</span>
    <i data-style="background:linear-gradient(90deg,${stops.join(",")})"></i>
    <span class="num">${end(1)}</span>
    <span>${esc(fill(scale ?? data.text.scale, { label: data.label }))}</span>`;
}

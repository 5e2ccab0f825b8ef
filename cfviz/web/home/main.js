// The whole model in one figure: the photo, each stage's features, and which tokens attend to which.
// One token of the photo is followed through all four stages. Everything is drawn from geometry and from the
// pictures in the message, so pointing never asks the server.

import { searchable } from "../known/known.js";
import { onPage } from "../shared/mount.js";
import { WAYS } from "../shared/near.js";
import { onOriginal } from "../shared/photo.js";
import { esc, fill } from "../shared/text.js";

const REST = 650; // ms per step while nobody points
const [ACROSS, DOWN] = [8, 4]; // tokens that the walk goes to the right and down
const LAP = 2 * (ACROSS + DOWN);

export default onPage("whole-host", create, (figure, { setTriggerValue }) => {
  figure.go = (where) => setTriggerValue("go", where);
});

const START = { x: 0.42, y: 0.3 };
const within = (share) => Math.min(0.9999, Math.max(0, share));

/** A stage's first block of long distance attention, which is what CrossFormer adds; else its first. */
const longOf = (blocks) =>
  Math.max(
    0,
    blocks.findIndex(({ kind }) => kind === "lda"),
  );

/** Where the walk is after some steps of a lap: tokens to the right and down of its start. */
function walked(n) {
  if (n <= ACROSS) return [n, 0];
  if (n <= ACROSS + DOWN) return [ACROSS, n - ACROSS];
  if (n <= 2 * ACROSS + DOWN) return [2 * ACROSS + DOWN - n, DOWN];
  return [0, LAP - n];
}

function create(box, data) {
  const host = document.createElement("div");
  host.className = "whole";
  box.replaceChildren(host);
  const state = { stage: 0, block: null, ...START, held: false, data: null, tick: 0 };
  let timer = 0;
  let frame = 0;
  let unwatch = () => {};
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

  const paint = () => {
    frame = 0;
    if (!state.data || !host.isConnected) return;
    drawPhoto(host, state);
    drawStages(host, state);
    showSentence(host, state);
  };
  const soon = () => {
    frame = frame || requestAnimationFrame(paint);
  };

  const choose = (stage, block, held = true) => {
    state.stage = stage;
    state.block = Math.min(block, state.data.stages[stage].blocks.length - 1);
    state.held = state.held || held;
    mark(host, state);
    soon();
  };
  const point = (x, y) => {
    [state.x, state.y] = [within(x), within(y)];
    state.held = true;
    soon();
  };
  const idle = () => {
    clearInterval(timer);
    if (still) return;
    timer = setInterval(() => {
      if (!host.isConnected) return clearInterval(timer);
      if (state.held || document.hidden || !state.data) return;
      state.tick += 1;
      const { blocks, H, W } = state.data.stages[0];
      const [right, down] = walked(state.tick % LAP);
      [state.x, state.y] = [within(START.x + right / W), within(START.y + down / H)];
      // One lap of long distance attention, half a lap of short distance attention.
      choose(0, state.tick % (1.5 * LAP) < LAP ? longOf(blocks) : 0, false);
    }, REST);
  };

  const figure = {
    root: host,
    close() {
      clearInterval(timer);
      unwatch();
    },
    load(data) {
      const fresh = state.data?.id !== data.id;
      state.data = data;
      for (const [name, value] of Object.entries(data.css)) host.style.setProperty(`--${name}`, value);
      host.style.setProperty("--shape", data.stages[0].W / data.stages[0].H);
      if (fresh) {
        state.stage = Math.min(state.stage, data.stages.length - 1);
        const { blocks } = data.stages[state.stage];
        state.block = Math.min(state.block ?? longOf(blocks), blocks.length - 1);
        host.innerHTML = markup(data);
        for (const one of host.querySelectorAll("[data-style]")) one.style.cssText = one.dataset.style;
        searchable(host);
        listen(host, state, { choose, point, go: (where) => figure.go(where) });
        for (const image of host.querySelectorAll("img"))
          image.addEventListener("load", soon, { once: true });
        new ResizeObserver(soon).observe(host);
        unwatch();
        const photo = host.querySelector(".photo img");
        unwatch = onOriginal(data.of, (original, exact) => {
          photo.src = original?.url ?? data.photo;
          photo.style.imageRendering = exact ? "pixelated" : "";
        });
      }
      mark(host, state);
      soon();
      idle();
    },
  };
  figure.load(data);
  return figure;
}

/** The figure as HTML; `data-style` stands for styles, which not every page allows in HTML. */
function markup(data) {
  const t = data.text;
  const [{ W, H }] = data.stages; // as wide to high as the photo, whose place is kept while it is decoded
  const bars = data.top
    .map(
      ([name, p], i) => `
    <li class="${i ? "" : "first"}"><span class="name">${esc(name)}</span>
      <span class="track"><i data-style="width:${Math.max(0.5, 100 * p)}%"></i></span>
      <span class="num">${(100 * p).toFixed(1)}&thinsp;%</span></li>`,
    )
    .join("");
  const stages = data.stages
    .map(
      (stage, s) => `
    <section class="stage" data-stage="${s}">
      <button class="head" data-stage="${s}" aria-pressed="false">
        <b>${esc(fill(t.stage, { n: s + 1 }))}</b>
        <span class="num">${stage.H}\u00a0×\u00a0${stage.W}\u00a0×\u00a0${stage.C}</span></button>
      <div class="map" data-stage="${s}" data-style="aspect-ratio:${stage.W}/${stage.H}">
        <img src="${stage.picture}" alt="${esc(fill(t.map_alt, { n: s + 1, H: stage.H, W: stage.W }))}">
        <canvas aria-hidden="true"></canvas></div>
      <div class="row"><span class="label" title="${esc(t.cel_title)}">CEL</span>${kernels(stage, data)}</div>
      <div class="row blocks"><span class="label">${esc(t.blocks)}</span><span class="chips">${stage.blocks
        .map((block, b) => blockChip(block, s, b, t))
        .join("")}</span></div>
      <dl><dt>${esc(t.params)}</dt><dd class="num">${stage.params_text}</dd>
        <dt>${esc(t.macs)}</dt><dd class="num">${stage.macs_text}</dd></dl>
    </section>`,
    )
    .join("");
  return `
    <div class="top">
      <div class="photo" data-slide="1">
        <div class="frame" data-style="aspect-ratio:${W}/${H}" tabindex="0" role="application"
          aria-label="${esc(t.photo_label)}">
        <img alt="${esc(data.photo_alt)}"><canvas aria-hidden="true"></canvas></div></div>
      <div class="side">
        <p class="said" aria-live="off"></p>
        <div class="legend"><span><i class="q"></i>${esc(t.query)}</span>
          <span><i class="sda"></i>${esc(t.sda)}</span><span><i class="lda"></i>${esc(t.lda)}</span>
          <span>${esc(t.hint)}</span></div>
        <div class="answer" data-slide="1">${answer(data, bars)}
          <p class="note">${esc(data.weights)}</p></div>
        <div class="more" data-slide="0"></div>
      </div>
    </div>
    <div class="stages" data-slide="2">${stages}</div>`;
}

/** The likeliest classes, what is known about them, and a list of all; `known` is HTML from Python. */
function answer(data, bars) {
  if (!bars) return "";
  const head = fill(data.none ? data.text.answer_none : data.text.answer, { n: data.classes });
  const line = data.line ? `<p class="note">${esc(data.line)}</p>` : "";
  return `<h3>${esc(head)}</h3><ol>${bars}</ol>${line}${data.known}`;
}

function blockChip(block, s, b, t) {
  const kind = block.kind.toUpperCase();
  return `
        <button class="chip ${block.kind}" data-stage="${s}" data-block="${b}" aria-pressed="false"
          aria-label="${esc(fill(t.chip, { n: s + 1, b: b + 1, kind }))}">${kind[0]}</button>`;
}

function kernels(stage, data) {
  const most = Math.max(...stage.kernels);
  const squares = stage.kernels
    .map((k) => {
      const side = 4 + 18 * Math.sqrt(k / most);
      return `<i class="kernel" data-style="width:${side}px;height:${side}px"></i>`;
    })
    .join("");
  const text = `<span class="num">${stage.kernels.join(" · ")}</span>`;
  return data.links.embedding
    ? `<button class="kernels" data-go="embedding">${squares}${text}</button>`
    : `<span class="kernels">${squares}${text}</span>`;
}

function listen(host, state, act) {
  const at = (event, box) => [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  const frame = host.querySelector(".photo .frame");
  const follow = (element) => {
    const move = (event) => act.point(...at(event, element.getBoundingClientRect()));
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerdown", move);
  };
  follow(frame);
  frame.addEventListener("keydown", (event) => {
    const stage = state.data.stages[state.stage];
    const step = WAYS[event.key];
    if (!step) return;
    event.preventDefault();
    act.point(
      (Math.floor(state.x * stage.W) + 0.5 + step[0]) / stage.W,
      (Math.floor(state.y * stage.H) + 0.5 + step[1]) / stage.H,
    );
    host.querySelector(".said").setAttribute("aria-live", "polite");
  });
  for (const map of host.querySelectorAll(".map")) {
    follow(map);
    map.addEventListener("pointerenter", () =>
      act.choose(+map.dataset.stage, state.stage === +map.dataset.stage ? state.block : 0),
    );
  }
  for (const button of host.querySelectorAll("button.head"))
    button.addEventListener("click", () => act.choose(+button.dataset.stage, 0));
  for (const chip of host.querySelectorAll(".chip")) {
    const pick = () => act.choose(+chip.dataset.stage, +chip.dataset.block);
    chip.addEventListener("pointerenter", pick);
    chip.addEventListener("focus", pick);
    chip.addEventListener("click", pick);
  }
  host.addEventListener("click", (event) => {
    const button = event.target.closest("[data-go]");
    if (!button) return;
    const stage = +(button.closest("section.stage")?.dataset.stage ?? state.stage);
    const block = stage === state.stage ? state.block : 0;
    act.go({ page: button.dataset.go, stage, block, x: state.x, y: state.y });
  });
}

function mark(host, state) {
  const stage = state.data.stages[state.stage];
  const kind = stage.blocks[state.block].kind;
  for (const section of host.querySelectorAll(".stage"))
    section.classList.toggle("on", +section.dataset.stage === state.stage);
  for (const button of host.querySelectorAll("button.head"))
    button.setAttribute("aria-pressed", +button.dataset.stage === state.stage);
  for (const chip of host.querySelectorAll(".chip"))
    chip.setAttribute(
      "aria-pressed",
      +chip.dataset.stage === state.stage && +chip.dataset.block === state.block,
    );
  host.dataset.kind = kind;
  const t = state.data.text;
  const links = state.data.links;
  const button = (page, text) => (links[page] ? `<button data-go="${page}">${esc(text)}</button>` : "");
  host.querySelector(".more").innerHTML =
    button("grouping", t.go_grouping) +
    button("attention", t.go_attention) +
    button("position_bias", t.go_position_bias) +
    button("predict", t.go_predict);
}

/** The tokens of the query's group, as [row, col]; padding is left out. */
function members(stage, block, row, col) {
  const axis = (position, length, side) => {
    const span = side * block.I;
    const first = Math.floor(position / span) * span + (block.kind === "lda" ? position % block.I : 0);
    return Array.from({ length: side }, (_, k) => first + k * block.I).filter((p) => p < length);
  };
  const cols = axis(col, stage.W, block.Gw);
  return axis(row, stage.H, block.Gh).flatMap((r) => cols.map((c) => [r, c]));
}

const token = (state, stage) => [Math.floor(state.y * stage.H), Math.floor(state.x * stage.W)];

function prepare(canvas, image) {
  const box = image.getBoundingClientRect();
  const ratio = Math.min(3, devicePixelRatio || 1);
  const [w, h] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, w, h);
  return { context, w, h, ratio };
}

function drawGroup(context, w, h, ratio, stage, block, row, col, css, dim) {
  const [cw, ch] = [w / stage.W, h / stage.H];
  const kin = members(stage, block, row, col);
  if (dim) {
    context.fillStyle = "rgba(10,12,16,.46)";
    context.beginPath();
    context.rect(0, 0, w, h);
    for (const [r, c] of kin) context.rect(c * cw, r * ch, cw, ch);
    context.fill("evenodd");
  }
  context.strokeStyle = context.fillStyle = css[block.kind];
  if (block.kind === "sda") outlineWindow(context, kin, cw, ch, ratio, dim);
  else for (const [r, c] of kin) outlineToken(context, r, c, cw, ch, ratio);
  const side = Math.max(cw, ch, 7 * ratio);
  const [x, y] = [(col + 0.5) * cw - side / 2, (row + 0.5) * ch - side / 2];
  context.lineWidth = 4.5 * ratio;
  context.strokeStyle = css.outline;
  context.strokeRect(x, y, side, side);
  context.lineWidth = 2 * ratio;
  context.strokeStyle = css.ring;
  context.strokeRect(x, y, side, side);
}

/** A window as one rectangle, with faint lines between the tokens if there is room. */
function outlineWindow(context, kin, cw, ch, ratio, dim) {
  const [[top, left], [bottom, right]] = [kin[0], kin[kin.length - 1]];
  if (cw > 9 * ratio) {
    context.globalAlpha = 0.55;
    context.lineWidth = ratio;
    for (const [r, c] of kin) context.strokeRect(c * cw, r * ch, cw, ch);
    context.globalAlpha = 1;
  }
  context.lineWidth = (dim ? 3 : 2.5) * ratio;
  const t = context.lineWidth / 2;
  context.strokeRect(
    left * cw + t,
    top * ch + t,
    (right - left + 1) * cw - 2 * t,
    (bottom - top + 1) * ch - 2 * t,
  );
}

function outlineToken(context, r, c, cw, ch, ratio) {
  if (cw < 5 * ratio)
    return context.fillRect((c + 0.5) * cw - 2 * ratio, (r + 0.5) * ch - 2 * ratio, 4 * ratio, 4 * ratio);
  context.lineWidth = 2 * ratio;
  const t = cw > 9 * ratio ? ratio : 0;
  context.strokeRect(c * cw + t, r * ch + t, cw - 2 * t, ch - 2 * t);
}

function drawPhoto(host, state) {
  const frame = host.querySelector(".photo .frame");
  const { context, w, h, ratio } = prepare(frame.querySelector("canvas"), frame.querySelector("img"));
  const stage = state.data.stages[state.stage];
  const [row, col] = token(state, stage);
  drawGroup(context, w, h, ratio, stage, stage.blocks[state.block], row, col, state.data.css, true);
}

function drawStages(host, state) {
  for (const map of host.querySelectorAll(".map")) {
    const s = +map.dataset.stage;
    const stage = state.data.stages[s];
    const { context, w, h, ratio } = prepare(map.querySelector("canvas"), map.querySelector("img"));
    const block =
      stage.blocks[s === state.stage ? state.block : Math.min(state.block, stage.blocks.length - 1)];
    drawGroup(context, w, h, ratio, stage, block, ...token(state, stage), state.data.css, false);
  }
}

function showSentence(host, state) {
  const { text: t, stages } = state.data;
  const stage = stages[state.stage];
  const block = stage.blocks[state.block];
  const [row, col] = token(state, stage);
  const n = members(stage, block, row, col).length;
  const values = {
    stage: state.stage + 1,
    block: state.block + 1,
    n,
    G: block.Gw, // of short distance attention, whose groups are square
    I: block.I,
    row: row + 1,
    col: col + 1,
    stride: stage.stride,
    H: stage.H,
    W: stage.W,
    px: block.I * stage.stride,
    side: block.Gw * stage.stride,
  };
  const whole = block.I === 1 && block.Gh >= stage.H && block.Gw >= stage.W;
  const sentence = whole ? t.said_whole : block.kind === "sda" ? t.said_sda : t.said_lda;
  const html =
    esc(fill(sentence, values)).replace(/\*\*(.+?)\*\*/g, `<b class="${block.kind}">$1</b>`) +
    (block.padded ? ` <span class="pad">${esc(t.padded)}</span>` : "");
  const said = host.querySelector(".said");
  if (said.innerHTML !== html) said.innerHTML = html;
}

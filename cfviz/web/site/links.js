// The address of a page: the same parameters as in the app, read and written in the browser.
// A value that is missing or not allowed gives the default; a test compares these rules with the app's.

/** A whole number of the link from `low` to `high`; a range may be open. */
function whole(query, name, usual, low, high = Infinity) {
  const text = query.get(name) ?? "";
  const number = /^-?\d{1,16}$/.test(text) ? Number(text) + 0 : NaN; // -0 becomes 0
  return number >= low && number <= Math.min(high, Number.MAX_SAFE_INTEGER) ? number : usual;
}

/** The lesson and the step, counted from 1. */
export function lessonPlace(query, places) {
  const lesson = whole(query, "lesson", 1, 1, Math.max(...places.map(([i]) => i)));
  const steps = places.filter(([i]) => i === lesson).length;
  return [lesson, whole(query, "step", 1, 1, steps)];
}

/** Where the attention figure starts; the link counts stages, blocks and heads from 1. */
export function attentionPlace(query, { stages, groupings }) {
  const stage = whole(query, "stage", 1, 1, stages.length) - 1;
  const { blocks, H, W, heads } = stages[stage];
  const kinds = blocks.map((block) => groupings[block.grouping].kind);
  const long = Math.max(0, kinds.indexOf("lda")); // what CrossFormer adds
  const locked = whole(query, "held", 0, 0, 1) === 1;
  return {
    stage,
    block: whole(query, "block", long + 1, 1, blocks.length) - 1,
    head: Math.min(whole(query, "head", 1, 1), heads) - 1,
    row: Math.min(whole(query, "row", Math.floor(0.45 * H), 0), H - 1),
    col: Math.min(whole(query, "col", Math.floor(0.55 * W), 0), W - 1),
    locked,
    tour: !locked && !query.has("row"),
  };
}

export function attentionLink({ stage, block, head, row, col, locked }) {
  return { stage: stage + 1, block: block + 1, head: head + 1, row, col, held: locked ? 1 : 0 };
}

/** Where the embedding figure starts; the link counts layers from 1. */
export function embeddingPlace(query, { cels }, measures) {
  const cel = whole(query, "cel", 1, 1, cels.length) - 1;
  const { H, W } = cels[cel];
  const measure = query.get("measure");
  return {
    cel,
    measure: measures.includes(measure) ? measure : "carried",
    row: whole(query, "row", Math.floor(0.4 * H), 0, H - 1),
    col: whole(query, "col", Math.floor(0.45 * W), 0, W - 1),
  };
}

export function embeddingLink({ cel, measure, row, col }) {
  return { cel: cel + 1, measure, row, col };
}

/**
 * Where the figures of position bias start: the number of a block, a head, and the figures' own choices.
 *
 * @param choices name -> default, lowest, highest
 */
export function biasPlace(query, { blocks }, choices) {
  const stage = whole(query, "stage", 2, 1, 1 + Math.max(...blocks.map(({ s }) => s))) - 1;
  const depth = blocks.filter(({ s }) => s === stage).length;
  const b = whole(query, "block", 1, 1, depth) - 1;
  const block = blocks.findIndex((one) => one.s === stage && one.b === b);
  const own = Object.entries(choices).map(([name, [usual, low, high]]) => [
    name,
    whole(query, name, usual, low, high),
  ]);
  return { block, head: whole(query, "head", 1, 1, blocks[block].heads) - 1, ...Object.fromEntries(own) };
}

/** What differs from the defaults, and null for the rest. */
export function biasLink(state, { blocks }, choices) {
  const { s, b } = blocks[state.block];
  const own = Object.entries(choices).map(([name, [usual]]) => {
    const value = Number(state[name] ?? usual);
    return [name, value === usual ? null : value];
  });
  return { stage: s + 1, block: b + 1, head: state.head + 1, ...Object.fromEntries(own) };
}

function pair(text, mark, low, high) {
  const parts = (text ?? "").split(mark);
  if (parts.length !== 2 || !parts.every((part) => /^\d{1,4}$/.test(part))) return null;
  const found = parts.map(Number);
  return found.every((n, i) => n >= low && n <= high[i]) ? found : null;
}

/**
 * The state of the grouping figures from a link, and whether a value in it could not be used; the rules are
 * those of `state_from_link` in `cfviz/figures/live/grouping.py`.
 *
 * @param usual parameters where the link has none
 * @param allowed limits, channels, forms and sections, and the defaults in place of what cannot be used
 */
export function groupingPlace(query, usual, { limits, channels, forms, sections, defaults }) {
  let bad = false;
  const read = (name, parse) => {
    const found = parse(query.get(name) ?? usual[name] ?? defaults[name]);
    bad ||= found === null;
    return found ?? parse(defaults[name]);
  };
  const within = (high) => (text) => {
    const n = /^\d{1,4}$/.test(text) ? Number(text) : 0;
    return n >= 1 && n <= high ? n : null;
  };
  const among = (all) => (text) => (all.includes(text) ? text : null);
  const [h, w] = read("map", (text) => pair(text, "x", 1, [limits.side, limits.side]));
  const start = {
    h,
    w,
    g: read("g", within(limits.group)),
    i: read("i", (text) => (text === "adaptive" ? text : within(limits.interval)(text))),
    form: read("form", among(forms)),
    kind: read("kind", among(["sda", "lda"])),
    c: read("c", (text) => (channels.map(String).includes(text) ? Number(text) : null)),
  };
  const found = query.has("q") ? pair(query.get("q"), ".", 0, [h - 1, w - 1]) : null;
  bad ||= query.has("q") && found === null;
  const [row, col] = found ?? [Math.min(20, h - 1), Math.min(20, w - 1)];
  const stated = new Set((query.get("open") ?? "").split("."));
  const open = [...stated].filter((one) => sections.includes(one.replace(/^-/, ""))).join(".");
  return { start: { ...start, row, col, open }, bad };
}

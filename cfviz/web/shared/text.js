// Texts: their fields filled in, and their marks made harmless.

const HAN = "[\\u3000-\\u303f\\u4e00-\\u9fff\\uff00-\\uffef]"; // as in cfviz/words.py
const BESIDE = new RegExp(`(?<=${HAN}) (?={)|(?<=}) (?=${HAN})`, "g");
const APART = new RegExp(`(?<=${HAN})\0(?=${HAN})`, "g");

/**
 * Fill in the fields of a text such as "{row} of {n}". The spaces around a field are for Latin letters;
 * Chinese ones take them away.
 */
export function fill(text, fields) {
  return String(text ?? "")
    .replace(BESIDE, "\0")
    .replace(/\{(\w+)\}/g, (all, name) => (name in fields ? fields[name] : all))
    .replace(APART, "")
    .replaceAll("\0", " ");
}

const MARKS = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** A text as it stands in HTML and SVG, also inside an attribute. */
export function esc(text) {
  return String(text).replace(/[&<>"]/g, (mark) => MARKS[mark]);
}

/** Sentences one after the other: with a space between, but none after a Chinese full stop. */
export function together(...sentences) {
  return sentences
    .filter(Boolean)
    .reduce((all, one) => (!all || all.endsWith("。") ? all + one : `${all} ${one}`), "");
}

/** A name and what is said of it, with a colon as their language writes it. */
export function about(name, what) {
  return `${name}${/[\u3000-\u9fff\uff00-\uffef]/.test(name + what) ? "：" : ": "}${what}`;
}

// The pattern of cfviz/words.py: where a line must not tear a number from its unit.
const TORN = [
  "(?<=[0-9}]) (?=(?:%|px|ms|s|bits?|points?|[kMG]B|MP|像素|個?百分點|位元|毫秒|秒)(?![A-Za-z]))",
  "(?<=[0-9}]) (?=[×x] [0-9{])",
  "(?<=[0-9}] [×x]) (?=[0-9{])",
];

/** Numbers joined to their units by no-break spaces: 12 %, 320 px, 224 × 224. */
export function unbroken(text) {
  return text.replaceAll(new RegExp(TORN.join("|"), "g"), "\u00a0");
}

// Texts: their fields filled in, and their marks made harmless.

/** Fill in the fields of a text such as "{row} of {n}". */
export function fill(text, fields) {
  return String(text ?? "").replace(/\{(\w+)\}/g, (all, name) => (name in fields ? fields[name] : all));
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

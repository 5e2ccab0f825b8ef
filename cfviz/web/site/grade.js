// Answers to the questions of the lessons, judged as in `cfviz/lessons/question.py`; a test compares them.

import { esc, fill, unbroken } from "../shared/text.js";

/** Where a code stands among others: tokens by row and column, numbers by size, words first. */
function inOrder(a, b) {
  const [first, second] = [a, b].map((code) => code.split(".").map((part) => Number(part) || 0));
  return first[0] - second[0] || (first[1] ?? 0) - (second[1] ?? 0);
}

/**
 * Judge an answer.
 *
 * @param question as in `cfviz/site/lessons.py`
 * @param answer codes of options, or tokens as "row.col"; at least one
 * @returns whether it is right, the fields of the sentence about it, and the reason, [key, fields], or null
 */
export function grade(question, answer) {
  const given = answer.filter((code) => !question.free.includes(code));
  const inside = given.every((code) => question.good.includes(code));
  const single = question.kind === "one" || question.kind === "token";
  const right = inside && given.length === (single ? 1 : question.good.length);
  const names = new Map(question.options.map(({ code, fields }) => [code, String(fields.text ?? code)]));
  const fields = { ...question.fields, chosen: answer.map((code) => names.get(code) ?? code) };
  if (given.length === 1) Object.assign(fields, question.said[given[0]]);
  return { right, fields, reason: right ? null : reason(question, given) };
}

/** One more sentence on a wrong answer: about the first mistake, or how many tokens are missing. */
function reason({ kind, good, why }, given) {
  const lost = good.filter((code) => !given.includes(code));
  const extra = given.filter((code) => !good.includes(code));
  const first = [...lost, ...extra].sort(inOrder).find((code) => code in why);
  if (first !== undefined) return why[first];
  if (kind !== "tokens" || !lost.length) return null;
  return ["reason.missed", { missed: lost.length, n: good.length }];
}

/** The part of an answer that can be judged: what the question knows, each once; one if it expects one. */
export function accepted({ kind, options, good, why, free, said }, answer) {
  const known = options.length
    ? options.map(({ code }) => code)
    : [...good, ...free, ...Object.keys(why), ...Object.keys(said)];
  const kept = [...new Set(answer)].filter((code) => known.includes(code));
  return kept.length > 1 && (kind === "one" || kind === "token") ? [] : kept;
}

/** The sentences of one language, as HTML. */
export class Sentences {
  constructor(texts, words) {
    Object.assign(this, { texts, words });
  }

  /** A sentence with its fields filled in; lists are joined by commas. */
  text(key, fields = {}) {
    return unbroken(fill(this.texts[key], this.safe(fields)));
  }

  /** One of the page's words with its fields filled in; `html` are fields that are HTML already. */
  word(name, fields = {}, html = {}) {
    return fill(this.words[name], { ...this.safe(fields), ...html });
  }

  safe(fields) {
    const listed = (value) => (Array.isArray(value) ? value.join(this.texts["list.comma"]) : value);
    return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, esc(listed(value))]));
  }

  option({ key, fields }) {
    return key ? this.text(key, fields) : esc(fields.text);
  }

  /** Right or wrong, and why. */
  verdict(step, question, { right, fields, reason: found }) {
    const said = this.text(`${step}.${right ? "right" : "wrong"}`, fields);
    if (!found) return said;
    const why = this.text(...found);
    return question.kind === "token" ? why : this.word("and_why", {}, { said, why });
  }
}

// The files of results of a self-test, one record per answer, as `cfviz/ui/pages/learn/selftest_room.py`
// writes them; a test compares the two.

import { tableText } from "../save/files.js";

/** One record per answer; right answers are given away only once the second half is done. */
export function records({ phases, unsure, told, columns, words }, lang, set, sittings, asked) {
  const [, second] = phases;
  const rows = [];
  for (const phase of phases.filter((one) => one in sittings)) {
    const { form, of: edition, at: begun, told: answers } = sittings[phase];
    let last = begun;
    answers.forEach(([code, at], n) => {
      const { topic, ask, options, good } = asked[form][n];
      const name = (wanted) => options.find((one) => one.code === wanted)?.text ?? words.unsure;
      const found = {
        set,
        phase,
        form,
        number: n + 1,
        topic,
        edition,
        question: ask,
        options: options.map(({ text }) => text),
        answer: code === unsure ? "" : name(code),
        right: Number(code === good),
        unsure: Number(code === unsure),
        begun: exact(begun),
        answered: exact(at),
        seconds: at - last,
        right_answer: second in sittings ? name(good) : "",
        ...told,
        language: lang,
      };
      rows.push(Object.fromEntries(columns.map((column) => [column, found[column]])));
      last = at;
    });
  }
  return rows;
}

function exact(seconds) {
  return `${new Date(1000 * seconds).toISOString().slice(0, 19)}Z`;
}

/** The records as a table; the options of a question share a cell. */
export function csv(columns, rows) {
  const cell = (value) => (Array.isArray(value) ? value.join(" / ") : value);
  return tableText([columns, ...rows.map((row) => Object.values(row).map(cell))]);
}

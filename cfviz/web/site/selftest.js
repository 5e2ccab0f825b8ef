// The self-test on the site: the app's questions (`cfviz/site/selftest.py`), one at a time, with no way back,
// marked by the rules of `cfviz/lessons/selftest.py`; then before and after compared, and taken away.

import { save } from "../save/files.js";
import { el, html } from "../shared/markup.js";
import { esc, fill, together } from "../shared/text.js";
import { json } from "./files.js";
import { Tests } from "./progress.js";
import { csv, records } from "./results.js";

const NAME = /^[A-Za-z0-9-]{1,24}$/;
const USUAL = "1";

export async function selftest(page) {
  const about = await json(page.address(`selftest-${page.site.lang}.bin`));
  new SelfTest(page, about).show();
}

function button(what, text, act) {
  const made = html(what, text, { type: "button" });
  made.addEventListener("click", act);
  return made;
}

class SelfTest {
  constructor(page, about) {
    const { query } = page;
    Object.assign(this, { page, about, book: new Tests(about) });
    this.name = NAME.test(query.get("set") ?? "") ? query.get("set") : USUAL;
    this.order = about.orders.includes(query.get("order")) ? query.get("order") : about.orders[0];
    this.asked = about.sets[this.name];
    this.box = page.document.querySelector(".test");
    page.again.push(() => this.colour());
    window.addEventListener("storage", () => this.show()); // answered in another tab
  }

  word(name, fields = {}) {
    const safe = Object.entries(fields).map(([field, value]) => [field, esc(value)]);
    return fill(this.about.words[name], Object.fromEntries(safe));
  }

  get all() {
    return Object.keys(this.about.topics).length;
  }

  get sittings() {
    return this.book.of(this.name);
  }

  /** The questions of a sitting. */
  of(sitting) {
    return this.asked[sitting.form];
  }

  marks(sitting) {
    return sitting.told.map(([code], n) => code === this.of(sitting)[n].good);
  }

  /** Draw what is to be done now. */
  show(focus = false) {
    const { sittings, about } = this;
    const kept = this.book.kept ? [] : [html("p.small", this.word("lesson_unkept"))];
    const running = about.phases.find((phase) => sittings[phase] && sittings[phase].told.length < this.all);
    const stale = Object.values(sittings).some((one) => one.of !== about.edition);
    const parts = !this.asked
      ? this.elsewhere()
      : stale
        ? [html("p.warn", this.word("stale", { name: this.name })), this.forget()]
        : running
          ? this.question(running, sittings[running])
          : this.overview(sittings);
    this.box.replaceChildren(...parts, ...kept);
    this.colour();
    if (!focus) return;
    const first = this.box.querySelector("[tabindex='-1']");
    first?.focus({ preventScroll: true });
    if (first && first.getBoundingClientRect().top < 0) first.scrollIntoView({ block: "start" });
  }

  /** A set that this site was not made with. */
  elsewhere() {
    const here = Object.keys(this.about.sets).map((name) => {
      const url = new URL(location.href);
      url.searchParams.set("set", name);
      return el("li", {}, html("a", this.word("test_here", { name }), { href: url.href }));
    });
    const { app, lang } = this.page.site;
    const url = app && new URL(`${app}/learn${location.search}`);
    if (url) url.searchParams.set("lang", lang);
    return [
      html("p.warn", this.word("test_elsewhere", { name: this.name })),
      ...(url ? [el("p", {}, html("a", this.word("open"), { href: url.href }))] : []),
      el("ul", {}, ...here),
    ];
  }

  forget() {
    return button("button", this.word("forget"), () => {
      this.book.forget(this.name);
      this.show(true);
    });
  }

  // ---- before, between and after -----------------------------------------------------------------------

  overview(sittings) {
    const { about } = this;
    const full = this.book.full(this.name);
    const half = (phase) => {
      const title = html("h2", this.word(phase), phase === about.phases[0] ? { tabindex: -1 } : {});
      const sitting = sittings[phase];
      if (sitting) {
        const right = this.marks(sitting).filter(Boolean).length;
        const when = new Date(1000 * sitting.at).toISOString();
        const taken = this.word("taken", { when: `${when.slice(0, 10)} ${when.slice(11, 16)} UTC` });
        const score = this.word("score", { right, all: this.all });
        return el("section", {}, title, html("p", score), html("p.small", taken));
      }
      const missed = phase === about.phases[0] && about.phases[1] in sittings;
      const begin = button("button.begin", this.word("begin"), () => this.begin(phase));
      begin.disabled = missed || full;
      const next = phase === about.phases[0] || about.phases[0] in sittings;
      begin.classList.toggle("next", next && !begin.disabled);
      return el("section", {}, title, html("p", this.word(missed ? "missed" : `${phase}_is`)), begin);
    };
    const taken = Object.keys(sittings).length > 0;
    const honest = el(
      "details",
      {},
      html("summary", this.word("honest")),
      html("div", this.word("honest_is", { name: this.name, guess: this.asked.guess })),
      ...(taken ? [this.forget()] : []),
    );
    return [
      html("p", this.word("about")),
      el("div.halves", {}, ...about.phases.map(half)),
      ...(full ? [html("p.warn", this.word("full", { most: about.most }))] : []),
      ...(taken ? [...this.results(sittings), ...this.take(sittings)] : []),
      honest,
    ];
  }

  begin(phase) {
    const [first, second] = this.about.phases;
    const forms = this.order === this.about.orders[0] ? ["A", "B"] : ["B", "A"];
    let form = forms[this.about.phases.indexOf(phase)];
    const { [first]: before } = this.sittings;
    if (before && phase === second) form = forms.find((one) => one !== before.form); // whatever the link says
    this.book.begin(this.name, phase, { form, of: this.about.edition, at: now(), told: [] });
    this.show(true);
  }

  // ---- one question ------------------------------------------------------------------------------------

  question(phase, sitting) {
    const n = sitting.told.length;
    const item = this.of(sitting)[n];
    const number = this.word("number", { phase: this.about.words[phase], n: n + 1, all: this.all });
    const answer = button("button.check", this.word("answer"), () => {
      const chosen = this.box.querySelector("input:checked");
      if (chosen && this.book.answer(this.name, phase, n, [chosen.value, now()])) this.show(true);
    });
    answer.disabled = true;
    const choices = [...item.options.map(({ code }) => code), this.about.unsure].map((code) => {
      const input = el("input", { type: "radio", name: "choice", value: code });
      input.addEventListener("change", () => (answer.disabled = false));
      return el("label", {}, input, el("span", {}, this.option(item, code)));
    });
    return [
      html("h2", number, { tabindex: -1, id: "number" }),
      el("progress", { value: n, max: this.all, "aria-labelledby": "number" }),
      el("p.ask", { id: "ask" }, item.ask),
      el(
        "div.item",
        {},
        ...this.picture(item),
        el(
          "div",
          {},
          el("fieldset", { "aria-labelledby": "ask" }, ...choices),
          answer,
          html("p.small", this.word("final")),
        ),
      ),
    ];
  }

  option({ options }, code) {
    return options.find((one) => one.code === code)?.text ?? this.about.words.unsure;
  }

  picture({ map, biases }) {
    if (map) {
      const image = el("img.cf-still", { alt: map.said });
      image.drawings = map;
      return [image];
    }
    if (!biases) return [];
    const four = el("div.surfaces");
    four.drawings = biases;
    return [el("div", {}, four, html("p.small", this.word("bias_scale")))];
  }

  /** The pictures of maps in the colours of the page. */
  colour() {
    for (const image of this.box.querySelectorAll(".cf-still"))
      image.src = `data:image/svg+xml,${encodeURIComponent(image.drawings[this.page.theme])}`;
    for (const four of this.box.querySelectorAll(".surfaces"))
      four.replaceChildren(html("div", four.drawings[this.page.theme]));
  }

  // ---- results -----------------------------------------------------------------------------------------

  /** Before and after by topic; right answers only once both are done. */
  results(sittings) {
    const phases = this.about.phases.filter((phase) => phase in sittings);
    const marks = Object.fromEntries(phases.map((phase) => [phase, this.marks(sittings[phase])]));
    const topics = Object.keys(this.about.topics);
    const row = (topic, n) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, this.about.topics[topic]),
        ...phases.map((phase) => html("td", this.mark(sittings[phase], n, marks[phase][n]))),
      );
    const head = [this.word("topic"), ...phases.map((phase) => this.word(phase))];
    const table = el(
      "table",
      {},
      el("thead", {}, el("tr", {}, ...head.map((text) => html("th", text, { scope: "col" })))),
      el("tbody", {}, ...topics.map(row)),
    );
    const last = marks[phases.at(-1)];
    const [before, after] = phases.map((phase) => marks[phase].filter(Boolean).length);
    const both = phases.length === 2;
    return [
      ...(both
        ? [html("p", this.word("change", { before, after, all: this.all, by: by(after - before) }))]
        : []),
      table,
      ...(this.about.phases[1] in marks ? phases.map((phase) => this.review(phase, sittings[phase])) : []),
      ...this.where(topics.filter((_, n) => !last[n])),
    ];
  }

  mark(sitting, n, right) {
    const unsure = sitting.told[n][0] === this.about.unsure;
    return this.word(`mark_${right ? "right" : unsure ? "unsure" : "wrong"}`);
  }

  review(phase, sitting) {
    const one = (item, n) => {
      const fields = { answer: this.option(item, sitting.told[n][0]), right: this.option(item, item.good) };
      return el(
        "li",
        {},
        el("p", {}, el("b", {}, this.about.topics[item.topic])),
        el("p", {}, item.ask),
        ...this.picture(item),
        html("p", together(this.word("answers", fields), item.why)),
      );
    };
    const title = this.word("review", { phase: this.about.words[phase] });
    return el("details", {}, html("summary", title), el("ol.review", {}, ...this.of(sitting).map(one)));
  }

  /** Links to the steps that teach these topics. */
  where(topics) {
    const taught = topics.map((topic) => this.about.taught[topic]).filter(Boolean);
    const places = new Map(
      taught.map(([lesson, step, title]) => [`${lesson}.${step}`, { lesson, step, title }]),
    );
    if (!places.size) return [];
    const links = [...places].map(([place, { title, ...at }]) => {
      const url = new URL(location.href);
      for (const name of ["room", "set", "order"]) url.searchParams.delete(name);
      for (const [name, value] of Object.entries(at)) url.searchParams.set(name, value);
      return el("li", {}, el("a", { href: url.href }, `${place} ${title}`));
    });
    return [html("p", this.word("where")), el("ul", {}, ...links)];
  }

  take(sittings) {
    const { about, name } = this;
    const rows = () => records(about, this.page.site.lang, name, sittings, this.asked);
    const take = (kind, type, text) =>
      button("button", this.word(kind), () =>
        save(`cfviz-selftest-${name}.${kind}`, new Blob([text()], { type })),
      );
    const answers = () => JSON.stringify({ kind: "cfviz self-test", answers: rows() }, null, 1);
    return [
      el(
        "p.ways",
        {},
        take("csv", "text/csv", () => csv(about.columns, rows())),
        take("json", "application/json", answers),
      ),
      html("p.small", this.word("inside")),
    ];
  }
}

/** A difference with its sign. */
function by(n) {
  return n ? `${n < 0 ? "−" : "+"}${Math.abs(n)}` : "0";
}

/** Seconds since 1970. */
function now() {
  return Math.floor(Date.now() / 1000);
}

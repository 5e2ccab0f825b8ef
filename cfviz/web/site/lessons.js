// The page of lessons: one step at a time, predict first, then reveal, as in the app. Questions and sentences
// are the app's (`cfviz/site/lessons.py`); answers are judged here.

import { el, html, send } from "../shared/markup.js";
import { Arrays, changed, decode } from "../shared/payload.js";
import { bytes, json, mounted } from "./files.js";
import { Sentences, accepted, grade } from "./grade.js";
import { lessonPlace } from "./links.js";
import { COMPUTED } from "./own/questions.js";
import { Progress } from "./progress.js";

export async function lessons(page) {
  const about = await json(page.address(`lessons-${page.site.lang}.bin`));
  return new Lessons(page, about).start();
}

/** The message of a made-up map on the photo of another message. */
function onPhoto(maps, other, n) {
  const [made, { header, array }] = [decode(maps), decode(other)];
  const arrays = new Arrays();
  const copied = (part, from) => arrays.add(from(part), part.type);
  const photo = { ...header.photo, file: copied(header.photo.file, array) };
  const groupings = made.header.groupings.map((one) => ({ ...one, index: copied(one.index, made.array) }));
  const stage = made.header.stages.find(({ s }) => s === n);
  return arrays.packed({ ...made.header, photo, groupings, stages: [{ ...stage, s: 0 }] });
}

class Lessons {
  constructor(page, about) {
    const { steps, places, texts, words, store } = about;
    Object.assign(this, { page, steps, places, about });
    this.says = new Sentences(texts, words);
    this.progress = new Progress(
      store,
      steps.map(({ id }) => id),
    );
    this.given = new Map(); // photo and step -> the answer that was checked
    this.tries = 0;
    this.seq = 0;
    const find = (name) => page.document.querySelector(`.lesson > .${name}`);
    this.box = { say: find("say"), shown: find("shown"), answer: find("answer") };
    this.score = page.document.querySelector("details.score");
  }

  async start() {
    this.at = lessonPlace(this.page.query, this.places);
    this.page.document.addEventListener("click", (event) => this.follow(event));
    window.addEventListener("popstate", () => this.open(this.linked(), false));
    this.page.change = (photo) => this.show(photo);
    this.page.again.push(() => this.colours?.());
    await this.show(this.page.photo);
  }

  get step() {
    return this.steps[this.places.findIndex(([i, j]) => i === this.at[0] && j === this.at[1])];
  }

  get key() {
    return `${this.of} ${this.step.id}`;
  }

  // ---- the place in the course -------------------------------------------------------------------------

  linked() {
    return lessonPlace(new URLSearchParams(location.search), this.places);
  }

  /** A link to a step changes the step without loading the page again, unless it opens another tab. */
  follow(event) {
    const link = event.target.closest?.("a[data-step]");
    if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    history.pushState(null, "", link.href);
    this.open(this.linked(), true);
  }

  async open(at, focus) {
    this.at = at;
    try {
      await this.show(this.page.photo);
    } catch (error) {
      this.page.failed(error);
    }
    if (!focus) return;
    const title = this.box.say.querySelector("h2");
    title?.focus({ preventScroll: true });
    if (title && title.getBoundingClientRect().top < 0) title.scrollIntoView({ block: "start" });
  }

  address([lesson, step]) {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries({ lesson, step })) url.searchParams.set(name, value);
    return url.href;
  }

  beside(by) {
    return this.places[this.places.findIndex(([i, j]) => i === this.at[0] && j === this.at[1]) + by];
  }

  /** The lists of lessons and steps: where the reader is, and what was answered. */
  mark() {
    const { first } = this.progress;
    for (const item of this.page.document.querySelectorAll("[data-lesson]")) {
      item.querySelector(".steps").hidden = Number(item.dataset.lesson) !== this.at[0];
      item.classList.toggle("here", Number(item.dataset.lesson) === this.at[0]);
    }
    this.places.forEach((place, n) => {
      const name = place.join(".");
      const right = first[this.steps[n].id];
      for (const link of this.page.document.querySelectorAll(`[data-step="${name}"]`)) {
        link.href = this.address(place);
        if (!link.closest(".steps")) continue;
        link.toggleAttribute("aria-current", name === this.at.join("."));
        if (link.hasAttribute("aria-current")) link.setAttribute("aria-current", "step");
        link.dataset.first = right === undefined ? "" : right ? "✓" : "✕";
        link.setAttribute("aria-label", `${link.title} ${link.dataset.first}`.trim());
      }
    });
    this.tellScore();
  }

  tellScore() {
    const { right, done, known, kept } = this.progress;
    const fields = { right, done, all: known.length };
    const reset = html("button", this.says.word("reset"), { type: "button" });
    reset.addEventListener("click", () => {
      this.progress.reset();
      this.given.clear();
      this.again();
      this.score.querySelector("summary").focus();
    });
    const [summary] = this.score.children;
    summary.textContent = this.says.word("score", fields);
    this.score.replaceChildren(
      summary,
      html("p", this.says.word("progress", fields)),
      html("p.small", this.says.word(kept ? "kept" : "lesson_unkept")),
      html("p.small", this.says.word("link")),
      reset,
    );
    this.score.hidden = false;
  }

  // ---- a step ------------------------------------------------------------------------------------------

  /**
   * Show the step on a photo. Of a photo of the reader's own, the browser computes what depends on the photo;
   * a step on changes of the model stays with a photo of the gallery, and says so.
   */
  async show(photo) {
    const { step, page } = this;
    this.mark();
    page.links();
    const own = page.own?.has(photo);
    const of = own && step.own === "gallery" ? page.usual : photo;
    const file = `photos/${own ? page.usual : photo}/lessons-${page.site.lang}.bin`;
    const found = await json(page.address(file));
    const made = own && COMPUTED[step.own]?.(found[step.id], (name) => page.of(photo, name));
    const question = (await made) || found[step.id];
    if (photo !== page.photo || step !== this.step) return;
    Object.assign(this, { of, question });
    this.again();
    await this.draw(of, step);
    if (of === photo) await page.sharpen(photo);
    this.ahead(photo, found).catch(() => {}); // what does not come is asked for again at its step
  }

  /** That a step shows a photo of the gallery in place of the reader's own. */
  instead() {
    if (this.of === this.page.photo) return [];
    const { title } = this.page.site.photos.find(({ id }) => id === this.of);
    return [html("p.small", this.says.word("lesson_gallery", { photo: title }))];
  }

  /** Load what the photo's other steps need, but for the attention of their blocks, which is large. */
  async ahead(photo, found) {
    if (this.fetched === photo || navigator.connection?.saveData) return;
    this.fetched = photo;
    const files = new Set(Object.values(found).map(({ from }) => from.file));
    for (const file of files) {
      if (photo !== this.page.photo) return;
      if (file) await this.page.of(photo, file);
    }
    for (const file of ["maps.bin", "position_bias.bin"]) await bytes(this.page.address(file));
  }

  /** Ask the question, for the first time or once more. */
  again() {
    const { question, step } = this;
    this.tries += 1;
    this.id = `${this.key} ${this.tries}`;
    this.picked = this.given.get(this.key) ?? [];
    this.open_ = !this.given.has(this.key);
    const { fields } = question;
    const formula = step.formula
      ? [
          el(
            "p.formula",
            {},
            el("img", { src: this.page.address(`code/formulas/${step.id}.svg`), alt: step.formula }),
          ),
        ]
      : [];
    this.box.say.replaceChildren(
      html("h2", this.says.text(`${step.id}.title`), { tabindex: -1 }),
      ...this.instead(),
      html("p", this.says.text(`${step.id}.say`, fields)),
      ...formula,
      this.terms(),
      html("p.ask", this.says.text(`${step.id}.ask`, fields), { id: "ask" }),
    );
    this.verdict = el("p.verdict", { role: "status" });
    this.box.answer.replaceChildren(...this.choices(), this.verdict, this.ways());
    this.tell();
    this.order();
  }

  terms() {
    const cards = this.step.terms.map((term) => {
      const is = this.page.document.getElementById(`term-${term}`);
      const name = el("summary", {}, is.previousElementSibling.textContent);
      return el("details.term", {}, name, ...[...is.children].map((one) => one.cloneNode(true)));
    });
    return el("div.terms", {}, ...cards);
  }

  /** What there is to choose from, and the button that checks the choice. */
  choices() {
    const { question, step } = this;
    const type = question.kind === "many" ? "checkbox" : "radio";
    const inputs = question.options.map((option) => {
      const input = el("input", { type, name: "choice", value: option.code });
      input.addEventListener("change", () =>
        this.pick([...this.box.answer.querySelectorAll("input:checked")].map((one) => one.value)),
      );
      return el("label", {}, input, html("span", this.says.option(option)));
    });
    const either = step.either ? [html("p.small", this.says.word("or_click"))] : [];
    this.list = inputs.length
      ? el("fieldset", { "aria-labelledby": "ask" }, ...inputs, ...either)
      : el("p.small", {});
    this.check = html("button.check", this.says.word("check"), { type: "button" });
    this.check.addEventListener("click", () => this.judge());
    return [this.list, this.check];
  }

  /** Buttons and links: back, on, once more, and to the figure on a page of its own. */
  ways() {
    const [before, after] = [this.beside(-1), this.beside(1)];
    const link = (at, word, what) =>
      html(what, this.says.word(word), { href: this.address(at), "data-step": at.join(".") });
    const ways = el("p.ways");
    if (before) ways.append(link(before, "back", "a.before"));
    if (after) ways.append(link(after, after[0] === this.at[0] ? "next" : "next_lesson", "a.after"));
    this.more = html("button.again", this.says.word("again"), { type: "button" });
    this.more.addEventListener("click", () => {
      this.given.delete(this.key);
      this.again();
      this.box.say.querySelector("h2").focus({ preventScroll: true });
    });
    ways.append(this.more);
    this.done = el("p.done", {});
    this.free = el("p", {});
    return el("div", {}, ways, this.done, this.free);
  }

  pick(answer) {
    if (!this.open_) return;
    this.picked = accepted(this.question, answer);
    this.tell();
    this.order();
  }

  judge() {
    if (!this.open_ || !this.picked.length) return;
    this.given.set(this.key, this.picked);
    this.open_ = false;
    this.progress.record(this.step.id, grade(this.question, this.picked).right);
    this.mark();
    this.tell();
    this.order();
    const on = this.box.answer.querySelector("a.after") ?? this.more;
    on.focus({ preventScroll: true });
  }

  /** What was picked and, once it is checked, whether it is right and why. */
  tell() {
    const { question, picked, says, open_ } = this;
    for (const input of this.list.querySelectorAll("input")) {
      input.checked = picked.includes(input.value);
      input.disabled = !open_;
    }
    if (!question.options.length) {
      const shown = picked
        .map((code) => code.split(".").map(Number))
        .sort((a, b) => a[0] - b[0] || a[1] - b[1]);
      const list = shown.map(([row, col]) => `(${row}, ${col})`).join(", ");
      const none = question.kind === "token" ? "pick_one" : "pick_many";
      this.list.innerHTML = picked.length ? says.word("picked", { n: picked.length, list }) : says.word(none);
    }
    this.check.disabled = !picked.length;
    this.check.hidden = !open_;
    this.more.hidden = open_;
    this.box.answer.dataset.told = open_ ? "" : "told";
    if (open_) this.verdict.replaceChildren();
    else {
      const found = grade(question, picked);
      this.verdict.dataset.right = found.right;
      this.verdict.innerHTML = says.verdict(this.step.id, question, found);
    }
    const { right, known } = this.progress;
    const last = !open_ && !this.beside(1);
    this.done.innerHTML = last ? says.word("done", { right, all: known.length }) : "";
    this.tellFree();
  }

  /** A link to the same figure on a page of its own, in the app if the site has no such page. */
  tellFree() {
    const [name, query] = this.asked.go;
    const [file, page] = this.about.addresses[name];
    const { app, lang } = this.page.site;
    if (!file && !app) return (this.free.innerHTML = this.says.word("sandbox_app", { page }));
    const url = new URL(file || `${app}/${name}`, location.href);
    const photo = this.page.query.has("photo") ? { photo: this.page.photo } : {};
    const more = file ? {} : { lang };
    for (const [one, value] of Object.entries({ ...photo, ...query, ...more }))
      url.searchParams.set(one, value);
    this.free.replaceChildren(html("a", this.says.word("sandbox", { page }), { href: url.href }));
  }

  // ---- the figure --------------------------------------------------------------------------------------

  close() {
    this.drawn?.show?.close?.(); // it may still be on the way
    this.drawn = this.colours = null;
    this.box.shown.replaceChildren();
  }

  /** Draw the step's figure, unless it is there already. */
  async draw(photo, step) {
    if (this.drawn?.key === this.key) return;
    this.close();
    const mine = { key: this.key };
    this.drawn = mine;
    const place = el("div.figure", { "data-figure": step.figure });
    this.box.shown.append(place);
    const about = this.page.site.figures[step.figure];
    const [show, message, block] = await Promise.all([
      mounted(about, place, (_, value) => {
        if (value?.quiz === this.id && value.picked) this.pick(this.codes(value.picked));
      }),
      this.message(photo, step),
      this.question.from.block && this.page.of(photo, this.question.from.block),
    ]);
    if (this.drawn !== mine) return;
    mine.show = show;
    this.colours = () => show(message());
    const element = show(message());
    place.dataset.photo = photo;
    mine.open = this.open_;
    if (block) element.figure.join(block);
    this.order();
  }

  /** A function that returns the message of the step's figure. */
  async message(photo, step) {
    const { from } = this.question;
    if (step.figure === "grouping") return () => this.map();
    if (step.figure === "lab") return () => this.board();
    const strings = this.about.strings[step.figure];
    const base = from.file
      ? await this.page.of(photo, from.file)
      : await bytes(this.page.address(from.shared));
    const entries = { name: this.key, strings };
    if (from.map !== undefined) {
      const made = onPhoto(await bytes(this.page.address("maps.bin")), base, from.map);
      return () => changed(made, { ...entries, start: this.to });
    }
    const { header } = decode(base);
    if (step.figure === "dense") return () => this.scene(base, entries);
    if (step.figure === "embedding") entries.cels = header.cels.slice(0, 1);
    else if (step.figure === "position_bias") {
      entries.part = from.part;
      entries.blocks = header.blocks.filter(({ s, b }) => s === from.s && from.b.includes(b));
    } else {
      const stage = header.stages.find(({ s }) => s === from.s);
      const blocks = stage.blocks.filter(({ b }) => from.b.includes(b));
      entries.stages = [{ ...stage, blocks, heads: from.block ? stage.heads : 0 }];
    }
    return () => changed(base, { ...entries, start: { ...header.start, ...this.to } });
  }

  get asked() {
    return this.open_ ? this.question.open : this.question.told;
  }

  /** The figure's state with the option on show: the one picked or, once answered, a right one. */
  get to() {
    const { good } = this.question;
    const fine = this.open_ || this.picked.every((code) => good.includes(code));
    const [shown] = fine ? this.picked : good;
    return { ...this.asked.to, ...this.asked.by[shown] };
  }

  map() {
    return { ...this.about.grouping, start: this.to, lesson: this.asked.quiz.lesson };
  }

  /** The board: what was picked and what is right are places on it. */
  board() {
    const { page, about, question, picked } = this;
    const { at, places, open } = this.asked.quiz;
    const on = (codes) => codes.filter((code) => code in at).map((code) => at[code]);
    const right = this.open_ ? [] : on(question.good);
    const quiz = { id: this.id, open, places, picked: on(picked), right };
    return { ...about.board, css: page.colours, dark: page.theme === "dark", ...this.to, quiz };
  }

  /** Options that a figure reports: on the board they are places. */
  codes(picked) {
    const { at } = this.asked.quiz;
    if (!at) return picked;
    return Object.keys(at).filter((code) => picked.includes(at[code]));
  }

  /** The segmenter's answers on a scene, those that are shown now. */
  scene(base, entries) {
    const { views, start, ...header } = decode(base).header;
    const { views: most, classes } = this.asked.quiz;
    const shown = { views: views.slice(0, most), classes, start: { ...start, ...this.to } };
    // With the same names the figure would stay as it is.
    const [id, source] = [header.id, header.source].map((one) => `${one} ${this.open_}`);
    return changed(base, { ...entries, ...shown, id, source });
  }

  /** Send the figure to its place and ask it the question. */
  order() {
    if (!this.drawn?.show || this.drawn.key !== this.key) return;
    const { figure } = this.step;
    if (figure === "grouping" || figure === "lab") return this.colours();
    if (figure === "dense") {
      if (this.drawn.open !== this.open_) this.colours(); // else it stays as the reader has left it
      this.drawn.open = this.open_;
      return;
    }
    const { map_label: label, map_on: on, map_off: off } = this.says.words;
    const own = { id: this.id, open: this.open_, picked: this.picked, words: { label, on, off } };
    this.seq += 1;
    send({ name: this.key, seq: this.seq, to: this.to, quiz: { ...own, ...this.asked.quiz } });
  }
}

// The board: the choice of what a click does, the parts, and the list, which is kept here and sent to Python.

import { esc, fill } from "../shared/text.js";
import { name, readAll, signed, writeAll } from "./words.js";
import { label, legend, paint, stagesMarkup, wanted } from "./cells.js";
import { listMarkup, listen } from "./list.js";
import { asked, Steps } from "./steps.js";
import { nearest, WAYS } from "../shared/near.js";

/** Put HTML into an element; `data-style` stands for styles, which not every page allows in HTML. */
function styled(place, html) {
  place.innerHTML = html;
  for (const one of place.querySelectorAll("[data-style]")) one.style.cssText = one.dataset.style;
}

export class LabBoard {
  constructor(host, data, commit) {
    this.commit = commit;
    this.items = [];
    this.seq = 0;
    host.innerHTML = `<div class="lab">
      <div class="tools"><fieldset class="hows"></fieldset><div class="undo"></div>
        <div class="legend"></div></div>
      <p class="said" aria-live="polite"></p>
      <div class="stages" role="group"></div>
      <div class="list"></div></div>`;
    this.root = host.firstElementChild;
    [this.hows, this.undo, this.scale, this.said, this.stages, this.list] = [
      "hows",
      "undo",
      "legend",
      "said",
      "stages",
      "list",
    ].map((c) => this.root.querySelector(`.${c}`));
    this.listenToParts();
    this.hows.addEventListener("change", (event) => {
      this.how = event.target.value;
      this.send();
    });
    listen(
      this.list,
      () => this.items,
      (items) => this.change(items),
    );
    this.undo.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.go(+button.dataset.go);
    });
    const press = (event) => {
      if (this.go(asked(event))) event.preventDefault();
    };
    document.addEventListener("keydown", press);
    this.leave = () => document.removeEventListener("keydown", press);
    this.load(data);
  }

  /** Take a new message; its list only if Python has seen the latest one from here. */
  load(data) {
    if (!this.data || data.seq >= this.seq) {
      this.items = readAll(data.do);
      this.how = data.how;
      this.seq = data.seq;
    }
    const fresh = this.data?.shape !== data.shape || this.data?.lang !== data.lang;
    this.data = data;
    if (!data.quiz) this.remember();
    for (const [name, value] of Object.entries(data.css)) this.root.style.setProperty(`--${name}`, value);
    if (fresh) {
      styled(this.stages, stagesMarkup(data));
      this.stages.setAttribute("aria-label", data.text.board);
      this.rove(this.stages.querySelector("button"));
    }
    this.draw();
    this.root.dataset.ready = "true";
  }

  /** Follow the list that the message brought; models with other parts have steps of their own. */
  remember() {
    const { data } = this;
    const parts = data.stages.map((stage) => [stage.kernels.length, stage.blocks.length, stage.heads]);
    const store = `cfviz.lab.${parts.flat().join(".")}`;
    if (this.steps?.store !== store) this.steps = new Steps(store);
    const now = writeAll(this.items);
    if (data.seq < this.seq) return; // Python has yet to see the latest change
    if (this.waits && !data.moved) this.steps.settle(now);
    else this.steps.meet(now);
    this.waits = false;
  }

  draw() {
    const { data } = this;
    const t = data.text;
    if (data.quiz) return this.drawQuiz();
    this.drawUndo();
    this.hows.innerHTML =
      `<legend>${esc(t.click)}</legend>` +
      data.hows
        .map((how) => {
          const [chosen, checked] = how === this.how ? ["chosen", "checked"] : ["", ""];
          return `<label class="${chosen}"><input type="radio" name="how" value="${how}"
            ${checked}>${esc(t[`how_${how}`])}</label>`;
        })
        .join("");
    const measured = data.effects && data.measured === this.how;
    styled(
      this.scale,
      measured ? legend(data) : `<span>${esc(data.waits ? t.unmeasured : t.measuring)}</span>`,
    );
    paint(this.stages, measured ? data : { ...data, effects: null }, this.items, this.how);
    this.list.innerHTML = listMarkup(this.items, data);
    this.say(this.pointed);
  }

  drawUndo() {
    const t = this.data.text;
    const button = (way, sign, word, keys) => {
      const title = fill(word, { keys: keys.replace("Control", "Ctrl") });
      return `<button data-go="${way}" aria-disabled="${!this.steps.has(way)}" title="${esc(title)}"
        aria-keyshortcuts="${keys}"><i aria-hidden="true">${sign}</i>
        ${esc(way < 0 ? t.undo : t.redo)}</button>`;
    };
    const at = this.root.getRootNode().activeElement;
    const focused = this.undo.contains(at) ? at.dataset.go : null;
    this.undo.innerHTML =
      button(-1, "↶", t.undo_keys, "Control+Z") + button(1, "↷", t.redo_keys, "Control+Y");
    if (focused) this.undo.querySelector(`[data-go="${focused}"]`).focus();
  }

  /** Undo (-1) or redo (1) a change of the list; return whether there was one. */
  go(way) {
    if (!way || this.data.quiz || !this.steps.has(way)) return false;
    const before = this.items;
    this.items = readAll(this.steps.go(way));
    this.news = this.told(way, before);
    this.send();
    return true;
  }

  /** What undoing or redoing did, in words: the part if it is one, else only that it happened. */
  told(way, before) {
    const t = this.data.text;
    const apart = (these, those) => {
      const known = new Set(those.map((item) => item.place));
      return these.filter((item) => !known.has(item.place));
    };
    const changed = [...apart(before, this.items), ...apart(this.items, before)];
    const part = changed.length === 1 ? name(changed[0].place, this.data) : "";
    if (part) return fill(way < 0 ? t.undone_part : t.redone_part, { part });
    return way < 0 ? t.undone : t.redone;
  }

  /** For a lesson's question: only the parts asked about can be clicked, and a click answers. */
  drawQuiz() {
    const { data } = this;
    const { quiz, effects } = data;
    this.root.classList.add("quiz");
    styled(this.scale, effects ? legend(data) : "");
    paint(this.stages, data, this.items, "zero");
    for (const button of this.stages.querySelectorAll("button")) {
      const { place } = button.dataset;
      const asked = quiz.places.includes(place);
      button.disabled = !asked;
      button.classList.toggle("right", quiz.right.includes(place));
      if (!asked && place) button.setAttribute("aria-label", name(place, data)); // no click adds it
      if (!asked) continue;
      const found = effects?.[place];
      button.setAttribute(
        "aria-pressed",
        quiz.picked.includes(place) || this.items.some((item) => item.place === place),
      );
      button.setAttribute(
        "aria-label",
        [
          name(place, data),
          ...(found ? [fill(data.text.costs, { x: signed(found[0]), label: data.label, p: found[1] })] : []),
        ].join(data.text.stop),
      );
    }
    if (this.stages.querySelector('[tabindex="0"]')?.disabled !== false)
      this.rove(this.stages.querySelector("button:not(:disabled)"));
    this.say(this.pointed);
  }

  change(items) {
    this.items = items;
    this.steps.add(writeAll(items));
    this.news = "";
    this.send();
  }

  send() {
    this.seq += 1;
    this.waits = true;
    const focused = this.hows.contains(this.root.getRootNode().activeElement);
    this.draw();
    if (focused) this.hows.querySelector("input:checked")?.focus();
    this.commit({ do: writeAll(this.items), how: this.how, seq: this.seq });
  }

  /** Add the intervention that a click on a part stands for, or remove it. */
  toggle(button) {
    const place = button.dataset.place;
    if (this.data.quiz)
      return this.data.quiz.open && this.commit({ quiz: this.data.quiz.id, picked: [place] });
    const there = this.items.some((item) => item.place === place);
    this.change(
      there ? this.items.filter((item) => item.place !== place) : [...this.items, wanted(button, this.how)],
    );
  }

  step(button) {
    const place = button.closest(".step").dataset.place;
    const output = button.closest(".step").querySelector("output");
    const value = Math.min(99, Math.max(1, +output.textContent + +button.dataset.step));
    const rest = this.items.filter((item) => item.place !== place);
    const at = this.items.findIndex((item) => item.place === place);
    const item = { on: true, place, how: "set", rest: String(value) };
    if (value === +output.dataset.plain) return this.change(rest);
    this.change(at < 0 ? [...rest, item] : this.items.map((one, i) => (i === at ? item : one)));
  }

  say(button) {
    const known = button?.dataset?.place && this.stages.contains(button);
    const words = () =>
      this.data.quiz ? button.getAttribute("aria-label") : label(button, this.data, this.items, this.how);
    const rest = this.data.quiz ? "" : this.news || this.data.text.point;
    this.said.textContent = known && !this.news ? words() : rest;
    this.said.classList.toggle("quiet", !known && !this.news);
    this.keepHeight();
  }

  /** Give no line back: the part pointed at would move away, and the one below it move it back again. */
  keepHeight() {
    const { height } = this.said.getBoundingClientRect();
    if (height > (this.tall ?? 0)) this.said.style.minHeight = `${(this.tall = height)}px`;
  }

  listenToParts() {
    const { stages } = this;
    stages.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      this.rove(button);
      if (button.dataset.step) this.step(button);
      else this.toggle(button);
    });
    const point = (event) => {
      const button = event.target.closest("button[data-place]");
      if (button === this.pointed) return;
      this.news = "";
      this.say((this.pointed = button));
    };
    stages.addEventListener("pointerover", point);
    stages.addEventListener("focusin", point);
    stages.addEventListener("pointerleave", () => this.say((this.pointed = null)));
    stages.addEventListener("keydown", (event) => {
      const way = WAYS[event.key];
      const from = event.target.closest("button");
      if (!way || !from) return;
      event.preventDefault();
      const to = nearest(from, [...stages.querySelectorAll("button:not(:disabled)")], way);
      if (to) {
        this.rove(to);
        to.focus();
      }
    });
  }

  /** Keep one part in the tab order; the arrow keys go on from there. */
  rove(button) {
    this.stages.querySelector('[tabindex="0"]')?.setAttribute("tabindex", "-1");
    button?.setAttribute("tabindex", "0");
  }
}

// The page's state, controls and link, and the one frame that draws the figures in sight.

import { Choice, el, say, words } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";
import { wear } from "../shared/paint.js";
import { fill } from "../shared/text.js";
import { Example } from "./example.js";
import { Explorer } from "./explorer.js";
import { adaptive, families, lsda } from "./geo.js";
import { Growth } from "./growth.js";
import { Methods } from "./methods.js";
import { Field } from "./parts.js";

const MEMORY = "cfviz.grouping"; // on window: keeps the state while the tab is open, across the app's pages
const KINDS = ["sda", "lda"];
const FORMS = ["regions", "whole"];
const VIEWS = [[1, 2], [3, 4], [5], [6, 7]]; // of a presenter, by figure
const MAP = ["h", "w", "g", "i", "c", "form"]; // what tells one map on offer from another
const CHANNELS = [32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];
const PRESETS = [
  ["s1", 56, 56, 7, 8, 96],
  ["s2", 28, 28, 7, 4, 192],
  ["s3", 14, 14, 7, 2, 384],
  ["s4", 7, 7, 7, 1, 768],
  ["pp1", 56, 56, 4, 4, 64],
  ["big", 112, 112, 7, "adaptive", 96],
  ["rect", 30, 45, 7, 4, 96],
  ["dense", 50, 76, 7, 2, 384, "whole"],
];

class App {
  constructor(parent, data) {
    this.parent = parent;
    const memory = (window[MEMORY] ??= { links: [] });
    const link = JSON.stringify(data.start);
    // A map kept from another model or size is not one of these stages.
    const chosen = JSON.stringify(data.stages ?? []);
    const known = !data.lesson && memory.chosen === chosen && memory.links.includes(link);
    memory.links.push(link);
    this.state = known && memory.state ? memory.state : { locked: false, ...data.start };
    this.pointing = {
      point: (token, hold) => this.point(token, hold),
      press: (key) => this.press(key),
    };
    this.scheme = window.matchMedia("(prefers-color-scheme: dark)");
    this.themeLater = () => setTimeout(() => this.applyTheme(), 150); // once the page has changed its colours
    this.scheme.addEventListener("change", this.themeLater);
    this.load(data);
  }

  load(data) {
    const of = (one) => JSON.stringify([one.stages, one.of]);
    if (this.root && of(data) !== of(this.data)) {
      this.offer(data);
      this.nameMap();
    }
    if (this.root && data.lesson) this.follow(data);
    else if (this.root) {
      const news = MAP.filter((name) => data.start[name] !== this.data.start[name]);
      if (news.length) this.change(Object.fromEntries(news.map((name) => [name, data.start[name]])));
    }
    this.data = data;
    if (!data.lesson) window[MEMORY].chosen = JSON.stringify(data.stages ?? []);
    const shown = JSON.stringify([data.strings, data.limits]);
    if (shown === this.shown) return;
    this.shown = shown;
    this.t = words(data.strings);
    this.limits = data.limits;
    this.buildElements();
    this.change({});
  }

  buildElements() {
    const { t, limits } = this;
    this.root?.remove();
    this.figures?.[2]?.stop();
    this.kind = new Choice(el("div.seg.kind", { role: "radiogroup", "aria-label": t.kind }), (i) =>
      this.change({ kind: KINDS[i] }),
    );
    this.kind.fill(
      KINDS.map((kind) =>
        el("button", { type: "button", "data-kind": kind, title: t[`${kind}_help`] }, kind.toUpperCase()),
      ),
    );
    this.fields = {
      h: new Field(t.name_H, { min: 1, max: limits.side, help: t.help_H }, (h) => this.change({ h })),
      w: new Field(t.name_W, { min: 1, max: limits.side, help: t.help_W }, (w) => this.change({ w })),
      g: new Field(t.name_G, { min: 1, max: limits.group, help: t.help_G }, (g) => this.change({ g })),
      i: new Field(t.name_I, { min: 1, max: limits.interval, help: t.help_I }, (i) => this.change({ i })),
    };
    this.auto = el("input", { type: "checkbox" });
    this.auto.addEventListener("change", () =>
      this.change({ i: this.auto.checked ? "adaptive" : this.interval }),
    );
    this.form = el(
      "select",
      { "aria-label": t.form },
      ...FORMS.map((form) => el("option", { value: form }, t[`form_${form}`])),
    );
    this.form.addEventListener("change", () => this.change({ form: this.form.value }));
    this.preset = el("select", { "aria-label": t.preset });
    this.offer(this.data);
    this.preset.addEventListener("change", () => {
      const found = this.maps.find(({ name }) => name === this.preset.value);
      if (!found) return;
      this.change(Object.fromEntries(MAP.map((name) => [name, found[name]])));
    });
    this.channels = el(
      "select.num",
      { "aria-label": t.help_C },
      ...CHANNELS.map((c) => el("option", { value: c }, `${c}`)),
    );
    this.channels.addEventListener("change", () => this.change({ c: Number(this.channels.value) }));
    const controls = el(
      "div.controls",
      {},
      this.kind.box,
      el("label.field", {}, el("span", {}, t.preset), this.preset),
      ...Object.values(this.fields).map((f) => f.root),
      el("label.field.auto", { title: t.help_adaptive }, this.auto, el("span", {}, t.adaptive)),
      el("label.field", { title: t.help_form }, el("span", {}, t.form), this.form),
      el("label.field", { title: t.help_C }, el("span", {}, t.name_C), this.channels),
    );
    this.bad = el("p.note.bad", { role: "status" });
    this.bad.hidden = !this.data.bad;
    say(this.bad, this.data.bad ? t.bad_link : "");
    const { lesson } = this.data;
    this.figures = lesson
      ? [new Explorer(this)]
      : [new Explorer(this), new Example(this), new Growth(this), new Methods(this)];
    const [first, ...others] = this.figures;
    first.plate.root.insertBefore(controls, first.plate.body);
    if (!lesson) this.figures.forEach((one, n) => (one.plate.root.dataset.slide = VIEWS[n].join(" ")));
    this.keys = el("p.note.keys", {}, t.keys);
    first.plate.body.after(this.keys);
    this.live = el("p.live", { "aria-live": "polite", role: "status" });
    this.root = el(
      "div.cf.gr",
      {},
      this.bad,
      first.plate.root,
      ...others.map((f) => f.plate.root),
      this.live,
    );
    this.root.app = this;
    if (lesson) this.root.dataset.lesson = lesson;
    this.parent.append(this.root);
    this.applyTheme();
    this.seen = new Set();
    this.sight?.disconnect();
    this.sight = new IntersectionObserver(
      (entries) => {
        for (const e of entries) {
          const figure = this.figures.find((f) => f.plate.root === e.target);
          if (e.isIntersecting) this.seen.add(figure);
          else this.seen.delete(figure);
        }
        this.requestDraw();
      },
      { rootMargin: "120px" },
    );
    this.figures.forEach((f) => this.sight.observe(f.plate.root));
    this.watcher?.disconnect();
    this.watcher = new ResizeObserver(() => this.width !== this.root.clientWidth && this.layOut());
    this.watcher.observe(this.root);
  }

  /** Offer the maps of the chosen model's stages, then others. */
  offer({ stages = [], of = "" }) {
    const { t } = this;
    const own = stages.map((stage) => ({ ...stage, name: `stage${stage.number}` }));
    this.maps = [
      ...own,
      ...PRESETS.map(([name, h, w, g, i, c, form = "regions"]) => ({ name, h, w, g, i, c, form })),
    ];
    const stage = ({ name, number, h, w }) =>
      el("option", { value: name }, fill(t.preset_stage, { number, h, w }));
    const other = ([name]) => el("option", { value: name }, t[`preset_${name}`]);
    this.preset.replaceChildren(
      el("option", { value: "" }, t.preset_own),
      ...(own.length ? [el("optgroup", { label: of }, ...own.map(stage))] : []),
      el("optgroup", { label: t.preset_others }, ...PRESETS.map(other)),
    );
  }

  /** Take the colours of the theme around the figures. */
  applyTheme() {
    if (wear(this, this.root, this.data.palette) && this.families) this.layOut();
  }

  // ---- state -----------------------------------------------------------------------------------------

  get interval() {
    const { h, w, g, i } = this.state;
    return i === "adaptive" ? adaptive(h, w, g) : i;
  }

  /** What the model does with this map: a single SDA group if the shorter side is at most G. */
  get grouping() {
    return this.cut;
  }

  /** Whether the groups shown are of long distance attention over the whole map, and grow with it. */
  get whole() {
    return this.state.form === "whole" && this.cut.kind === "lda";
  }

  /** The form of long distance attention in shown code, where it is not the default. */
  get formCode() {
    return this.state.form === "whole" ? ', lda="whole"' : "";
  }

  /** The long distance layer of the pair, whichever kind is shown. */
  get pairLong() {
    return this.families.crossformer[1].grouping;
  }

  /** The sentence under the figure; it says when the rule turns LDA into SDA. */
  note() {
    const { t, cut, whole } = this;
    const { h, w, g, kind, form } = this.state;
    const [side, longer] = [Math.min(h, w), Math.max(h, w)];
    if (side <= g) return fill(form === "whole" ? t.note_small_whole : t.note_small, { side, G: g, longer });
    if (kind === "sda") return t.note_sda;
    const fields = { I: cut.I, G: g, Gh: cut.Gh, Gw: cut.Gw };
    if (cut.I > g) return fill(whole ? t.note_wide_whole : t.note_wide, fields);
    return fill(whole ? t.note_whole : t.note_lda, fields);
  }

  change(change) {
    const next = { ...this.state, ...change };
    next.row = Math.max(0, Math.min(next.h - 1, next.row));
    next.col = Math.max(0, Math.min(next.w - 1, next.col));
    this.state = next;
    const { h, w, g, form } = next;
    this.window = Math.max(2, g);
    // What PVT and Twins use at 56, 28, 14 and 7 tokens a side.
    this.ratio = [8, 4, 2].find((r) => Math.min(h, w) >= 7 * r) ?? 1;
    this.cut = lsda(h, w, KINDS.indexOf(next.kind), g, this.interval, form);
    this.families = families(h, w, g, this.interval, this.window, this.ratio, form);
    this.kind.choose(KINDS.indexOf(next.kind));
    for (const name of ["h", "w", "g"]) this.fields[name].show(next[name]);
    this.fields.i.show(this.interval);
    this.fields.i.enable(next.i !== "adaptive" && next.kind === "lda");
    this.auto.checked = next.i === "adaptive";
    this.auto.disabled = next.kind === "sda";
    this.form.value = form;
    this.channels.value = next.c;
    this.nameMap();
    this.layOut();
    this.remember();
  }

  /** Which of the maps on offer is shown, if any. */
  nameMap() {
    this.map = this.maps.find((map) => MAP.every((name) => map[name] === this.state[name]));
    this.preset.value = this.map?.name ?? "";
  }

  /** Follow a lesson to another map, or from the question to its answer. */
  follow(data) {
    this.root.dataset.lesson = data.lesson;
    if (JSON.stringify(data.start) !== JSON.stringify(this.data.start))
      this.change({ locked: false, ...data.start });
  }

  point(token, hold) {
    const { state } = this;
    const same = token.row === state.row && token.col === state.col;
    if (!hold && (state.locked || same)) return;
    const locked = hold ? !(state.locked && same) : state.locked;
    this.state = { ...state, ...token, locked };
    this.requestDraw();
    this.remember();
  }

  press(key) {
    const { state } = this;
    if (Array.isArray(key)) {
      const row = Math.max(0, Math.min(state.h - 1, state.row + key[0]));
      const col = Math.max(0, Math.min(state.w - 1, state.col + key[1]));
      this.state = { ...state, row, col };
    } else this.state = { ...state, locked: key === "Escape" ? false : !state.locked };
    this.requestDraw();
    this.remember();
  }

  /** Keep the state while the tab is open, and put it into the link without a rerun. */
  remember() {
    if (this.data.lesson) return;
    window[MEMORY].state = this.state;
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      if (!this.root.isConnected) return;
      const { h, w, g, i, form, kind, c, row, col, open } = this.state;
      const url = new URL(window.location.href);
      const query = { map: `${h}x${w}`, g, i, form, kind, c, q: `${row}.${col}` };
      for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
      for (const [name, value] of Object.entries({ open, stage: this.map?.number })) {
        if (value) url.searchParams.set(name, value);
        else url.searchParams.delete(name);
      }
      if (url.href !== window.location.href) window.history.replaceState(window.history.state, "", url);
      window[MEMORY].links.push(JSON.stringify({ h, w, g, i, form, kind, c, row, col, open }));
      say(this.live, this.speech());
    }, 350);
  }

  speech() {
    const first = this.figures.find((f) => this.seen.has(f) && f.plate.open) ?? this.figures[0];
    return first.summary ?? "";
  }

  // ---- sections, as on the app's other pages (see `section`) ----

  /** Whether a section is open: as the link says. */
  opens(name) {
    const stated = (this.state.open ?? "").split(".");
    return stated.includes(name) || (stated.includes("all") && !stated.includes(`-${name}`));
  }

  /** A presenter sees one figure at a time, opened; the link stays as it is. */
  present(number) {
    this.projected = number;
    this.figures.forEach(({ plate }, n) => {
      if (n) plate.root.open = number ? VIEWS[n].includes(number) : this.opens(plate.name);
    });
  }

  turned(name, open) {
    if (this.projected || open === this.opens(name)) return;
    const others = (this.state.open ?? "")
      .split(".")
      .filter((one) => one && one !== name && one !== `-${name}`);
    const all = others.includes("all");
    if (open !== all) others.push(open ? name : `-${name}`);
    this.state = { ...this.state, open: others.join(".") };
    this.stale.add(this.figures.find((figure) => figure.plate.name === name));
    this.requestDraw();
    this.remember();
  }

  // ---- frames ----------------------------------------------------------------------------------------

  /** Lay all figures out anew: those in sight at once, the others when they come into sight. */
  layOut() {
    if (!this.root.isConnected || !this.theme) return;
    this.width = this.root.clientWidth;
    this.stale = new Set(this.figures);
    this.requestDraw();
  }

  /** Take the width of maps out of sight away until they are drawn anew: they would keep the page as wide. */
  narrow() {
    const away = this.figures.filter((figure) => !this.seen.has(figure));
    const maps = away.flatMap(({ plate }) => [...plate.root.querySelectorAll(".map canvas")]);
    for (const map of maps) {
      map.width = 0;
      map.style.width = "0";
    }
  }

  /** Draw a figure now: its code and files may be asked for before the frame that would draw it. */
  refresh(name) {
    const figure = this.figures.find((one) => one.plate.name === name);
    if (this.stale.delete(figure)) figure.layOut();
    else figure.draw();
  }

  requestDraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (!this.root.isConnected) return;
      // here: what is in sight may have changed since the figures were to be laid out anew
      if (this.drawnWidth !== this.width) this.narrow();
      this.drawnWidth = this.width;
      for (const figure of this.seen) {
        if (!figure.plate.open) continue;
        if (this.stale.delete(figure)) figure.layOut();
        else figure.draw();
        this.drawn = (this.drawn ?? 0) + 1;
      }
    });
  }

  close() {
    this.scheme.removeEventListener("change", this.themeLater);
    this.sight.disconnect();
    this.watcher.disconnect();
    this.figures[2]?.stop();
    clearTimeout(this.later);
  }
}

export default onPage("gr-host", (box, data) => new App(box, data));

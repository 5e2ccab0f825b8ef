// A page of the site without a server: its tools, the strip of photos, and its figures.
// The page's element `site` holds what `cfviz/site/pages.py` writes; each figure is the app's own.

import { changed, decode } from "../shared/payload.js";
import { putOriginal, showInput } from "../shared/photo.js";
import { bytes, mounted, parsed } from "./files.js";
import {
  attentionLink,
  attentionPlace,
  biasLink,
  biasPlace,
  embeddingLink,
  embeddingPlace,
  groupingPlace,
} from "./links.js";
import { lessons } from "./lessons.js";
import { OwnPhotos } from "./own/own.js";
import { selftest } from "./selftest.js";
import { keepTheme } from "./theme.js";

export default function (document) {
  const site = JSON.parse(document.getElementById("site").textContent);
  const page = new Page(document, site);
  page.start();
}

class Page {
  constructor(document, site) {
    this.document = document;
    this.site = site;
    // Of a name that stands there twice the last one counts, as in the app.
    this.query = new URLSearchParams(Object.fromEntries(new URLSearchParams(location.search)));
    this.again = []; // what takes the colours of another theme
    const known = site.photos.map(({ id }) => id);
    this.test = site.page === "learn" && this.query.get("room") === "test";
    [this.usual] = known; // what is shown if nothing else is chosen
    this.photo = known.includes(this.query.get("photo")) ? this.query.get("photo") : this.usual;
    if (site.own && !this.test && this.document.documentElement.dataset.embed === undefined)
      this.own = new OwnPhotos(site.own);
  }

  async start() {
    this.themes();
    this.links();
    this.frame();
    const show = { home, grouping, attention, embedding, position_bias: bias, learn }[this.site.page];
    try {
      await this.recall();
      this.laid = this.strip();
      const drawn = this.present(this.photo).then(() => show(this));
      await Promise.all([this.laid, drawn]);
    } catch (error) {
      this.failed(error);
    }
    this.keep();
  }

  /** In a frame of another page: tell that page how high the figure is, see `embed.js`. */
  frame() {
    const { documentElement: html, body } = this.document;
    if (html.dataset.embed === undefined || parent === window) return;
    const tell = () => parent.postMessage({ cfvizHeight: body.getBoundingClientRect().height }, "*");
    new ResizeObserver(tell).observe(body);
  }

  /** Let the service worker keep the site for when there is no connection, once everything is shown. */
  keep() {
    const { serviceWorker } = navigator; // not there over http, except on the reader's own machine
    serviceWorker?.register(`${this.site.root}offline.js`).catch((error) => console.warn(error));
  }

  /** Say that something could not be loaded; the page stays as it is. */
  failed(error) {
    const said = this.document.getElementById("failed");
    said.hidden = false;
    said.textContent = this.site.words.failed;
    console.error(error);
  }

  place(name) {
    return this.document.querySelector(`[data-figure="${name}"]`);
  }

  address(file) {
    return `${this.site.root}${file}?v=${this.site.version}`;
  }

  /** The bytes of one of a photo's files. */
  of(photo, file) {
    if (this.own?.has(photo)) return this.own.of(photo, file);
    return bytes(this.address(`photos/${photo}/${file}`));
  }

  // ---- the link ----------------------------------------------------------------------------------------

  /** Put values into the link, or take those that are null out of it. */
  put(values) {
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(values)) {
      if (value === null) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    history.replaceState(history.state, "", url);
    this.links();
  }

  /** Other pages show the same photo; the other language and the app show the same place, too. */
  links() {
    for (const link of this.document.querySelectorAll("a[data-keeps]")) {
      const url = new URL(link.href);
      url.search = link.dataset.keeps === "photo" ? "" : location.search;
      if (link.dataset.keeps === "whole")
        for (const name of ["embed", "theme"]) url.searchParams.delete(name);
      if (link.dataset.lang) url.searchParams.set("lang", link.dataset.lang);
      if (link.dataset.keeps === "photo" && this.query.has("photo"))
        url.searchParams.set("photo", this.photo);
      link.href = url.href;
    }
    for (const link of this.document.querySelectorAll("a[data-room]")) {
      const url = new URL(location.href);
      if (link.dataset.room === "test") url.searchParams.set("room", "test");
      else url.searchParams.delete("room");
      link.href = url.href;
      if ((link.dataset.room === "test") === this.test) link.setAttribute("aria-current", "page");
    }
  }

  // ---- tools -------------------------------------------------------------------------------------------

  get theme() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    return this.document.documentElement.dataset.theme ?? (dark ? "dark" : "light");
  }

  get colours() {
    return this.site.palette[this.theme];
  }

  themes() {
    const button = this.document.getElementById("theme");
    const tell = () => button.setAttribute("aria-pressed", this.theme === "dark");
    const changed = () => {
      tell();
      for (const one of this.again) one();
    };
    tell();
    button.addEventListener("click", () => {
      const next = this.theme === "dark" ? "light" : "dark";
      this.document.documentElement.dataset.theme = next;
      this.put({ theme: null });
      keepTheme(next);
      changed();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
    const exact = this.document.getElementById("exact");
    exact?.addEventListener("click", () => {
      const pressed = exact.getAttribute("aria-pressed") !== "true";
      exact.setAttribute("aria-pressed", pressed);
      showInput(pressed);
    });
  }

  async strip() {
    const place = this.place("picker");
    if (!place || this.test) return;
    const { figures, photos, words } = this.site;
    const credits = () => {
      for (const one of this.document.querySelectorAll("[data-credit]"))
        one.hidden = one.dataset.credit !== this.photo;
    };
    credits();
    const show = await mounted(figures.picker, place, (_, id) => this.choose(id));
    const draw = () => show({ photos, chosen: this.photo, label: words.photo, css: this.colours });
    draw();
    this.again.push(draw);
    this.chosen = () => {
      draw();
      credits();
      this.tellOwn();
    };
    this.takeOwn();
  }

  /** Show another photo; one of the reader's own is in no link, but the tab remembers it. */
  choose(id) {
    this.photo = id;
    const mine = this.own?.has(id);
    if (mine) this.query.delete("photo");
    else this.query.set("photo", id);
    this.put({ photo: mine ? null : id });
    if (this.own) this.own.kept.chosen = mine ? id : null;
    this.chosen();
    this.draw(id).catch((error) => this.failed(error));
  }

  async draw(id) {
    await this.present(id);
    if (this.photo === id) await this.change?.(id);
  }

  // ---- the reader's own photos -------------------------------------------------------------------------

  /** Offer the photos that this browser keeps; the one chosen last is shown unless the link names another. */
  async recall() {
    if (!this.own) return;
    this.site.photos.unshift(...(await this.own.recall()));
    const last = this.own.kept.chosen;
    if (this.own.has(last) && !this.query.has("photo")) this.photo = last;
  }

  /** Before a photo is shown: run the model on it if it is the reader's own; if that fails, show another. */
  async present(id) {
    if (!this.own?.has(id) || !this.own.waits(id)) return;
    try {
      await this.own.ready(id, (step) => this.photo === id && this.say(this.site.own.words[step]));
      if (this.photo === id) this.tellOwn();
    } catch (error) {
      console.warn(error);
      await this.laid; // which tells what there is to tell of photos
      if (this.photo !== id) return;
      this.photo = this.usual;
      this.chosen?.();
      this.say(error.message);
      await this.change?.(this.usual);
    }
  }

  say(text) {
    const said = this.document.getElementById("own-said");
    if (said) said.textContent = text;
  }

  tellOwn() {
    if (!this.own) return;
    const { words } = this.site.own;
    this.document.getElementById("forget").hidden = !this.own.offered.size;
    if (!this.own.has(this.photo)) this.say(words.note);
    else if (!this.own.waits(this.photo)) this.say(this.own.answer(this.photo));
  }

  /** Take photos of the reader's own, where the site can run the model. */
  takeOwn() {
    const [input, forget] = ["own", "forget"].map((id) => this.document.getElementById(id));
    if (!this.own) return;
    const { photos } = this.site;
    input.photos = this.own;
    input.addEventListener("change", async () => {
      const [file] = input.files;
      if (!file) return;
      input.disabled = forget.disabled = true;
      try {
        const id = await this.own.add(file, (step) => this.say(this.site.own.words[step]));
        photos.unshift({ id, title: this.own.title(id), src: this.own.picture(id) });
        this.choose(id);
      } catch (error) {
        this.say(error.message);
        console.warn(error);
      }
      input.disabled = forget.disabled = false;
      input.value = ""; // so that the same file can be chosen again
    });
    // The model comes while the reader looks for a file: passing over the button loads nothing. Where data
    // are to be saved, it comes once a photo is chosen.
    if (!navigator.connection?.saveData) input.addEventListener("click", () => this.own.warm());
    const drop = async (everywhere) => {
      const mine = this.own.has(this.photo);
      photos.splice(0, photos.length, ...photos.filter(({ id }) => !this.own.has(id)));
      if (mine) this.choose(this.usual);
      await this.own.forget(everywhere);
      this.chosen();
      this.say(this.site.own.words.forgotten);
    };
    forget.addEventListener("click", async () => {
      input.focus(); // the button goes
      await drop(true);
    });
    this.own.kept.whenForgotten(() => drop(false));
    this.tellOwn();
    input.disabled = false;
  }

  /** Draw photos from the original once it is here. */
  async sharpen(photo) {
    if (this.own?.has(photo)) return putOriginal(photo, await this.own.of(photo, "original.jpg"));
    const { header, array } = decode(await this.of(photo, "original.bin"));
    if (photo === this.photo) await putOriginal(header.of, array(header.file));
  }

  /**
   * Show a figure of the chosen photo, and of each photo chosen later.
   *
   * @param name the figure
   * @param on called with the name and the value of what the reader chooses
   * @param load photo -> the figure's message
   * @param drawn called with the figure's element after it has changed
   */
  async follow(name, on, load, drawn = () => {}) {
    const show = await mounted(this.site.figures[name], this.place(name), on);
    let data = null;
    this.change = async (photo) => {
      const found = await load(photo);
      if (photo !== this.photo) return; // another was chosen meanwhile
      data = found;
      await drawn(show(data()));
      this.place(name).dataset.photo = photo;
      await this.sharpen(photo);
    };
    this.again.push(() => data && show(data()));
    await this.change(this.photo);
  }
}

// ---- the pages -----------------------------------------------------------------------------------------

function learn(page) {
  return page.test ? selftest(page) : lessons(page);
}

function home(page) {
  const { lang, addresses } = page.site;
  const go = (_, where) => {
    const url = new URL(addresses[where.page], location.href);
    if (page.query.has("photo")) url.searchParams.set("photo", page.photo);
    const { H, W } = page.stages[where.stage];
    const at = { row: Math.floor(where.y * H), col: Math.floor(where.x * W) };
    const there = {
      attention: { stage: where.stage + 1, block: where.block + 1, ...at },
      embedding: { cel: where.stage + 1, ...at },
    }[where.page];
    for (const [name, value] of Object.entries(there ?? {})) url.searchParams.set(name, value);
    location.assign(url);
  };
  return page.follow("home", go, async (photo) => {
    const data = parsed(await page.of(photo, `home-${lang}.bin`));
    page.stages = data.stages;
    return () => ({ ...data, css: page.colours });
  });
}

async function grouping(page) {
  const { figures, data, usual, allowed } = page.site;
  const show = await mounted(figures.grouping, page.place("grouping"), () => {});
  const draw = () => show({ ...data, ...groupingPlace(page.query, usual, allowed) });
  draw();
  page.again.push(draw);
  page.document.addEventListener("click", () => page.links(), true); // the figure writes its own link
}

function attention(page) {
  const { strings } = page.site;
  let shown = null; // the photo and the figure of it
  const block = (photo, s, b) => page.of(photo, `attention-${s + 1}-${b + 1}.bin`);
  const join = async (photo, s, b) => {
    const message = await block(photo, s, b);
    if (shown?.photo === photo) shown.figure.join(message);
  };
  /** The blocks of a stage, the one wanted first. */
  const stage = async (photo, s, first) => {
    try {
      await join(photo, s, first);
      for (const { b } of shown.figure.stages.find((one) => one.s === s).blocks) {
        if (shown.photo !== photo) return;
        if (b !== first) await join(photo, s, b);
      }
    } catch (error) {
      if (page.photo === photo) throw error; // else it may be forgotten
    }
  };
  let first = null; // the block that the figure starts with
  return page.follow(
    "attention",
    (_, state) => {
      page.put(attentionLink(state));
      if (state.need && shown)
        stage(shown.photo, state.stage, state.block).catch((error) => page.failed(error));
    },
    async (photo) => {
      const base = await page.of(photo, "attention.bin");
      const { header } = decode(base);
      const start = shown?.figure.state ?? attentionPlace(page.query, header);
      first = { s: start.stage, b: start.block, message: await block(photo, start.stage, start.block) };
      return () => changed(base, { strings, start });
    },
    async (element) => {
      const { figure } = element;
      const known = shown?.photo === page.photo;
      shown = { photo: page.photo, figure };
      figure.join(first.message);
      const at = figure.state; // the reader may have moved on while the photo came
      if (!known) stage(page.photo, at.stage, at.block).catch((error) => page.failed(error));
    },
  );
}

function embedding(page) {
  const { strings, measures } = page.site;
  let start = null;
  return page.follow(
    "embedding",
    (_, state) => page.put(embeddingLink(state)),
    async (photo) => {
      const message = await page.of(photo, "embedding.bin");
      start ??= embeddingPlace(page.query, decode(message).header, measures);
      return () => changed(message, { strings, start });
    },
  );
}

async function bias(page) {
  const { strings, choices, figures } = page.site;
  const message = await bytes(page.address("position_bias.bin"));
  const { header } = decode(message);
  const start = biasPlace(page.query, header, choices);
  const show = async (part) => {
    const draw = await mounted(figures.position_bias, page.place(part), (name, state) => {
      if (name === "commit") page.put(biasLink(state, header, choices));
    });
    const again = () => draw(changed(message, { part, strings, start }));
    again();
    page.again.push(again);
  };
  const opened = (page.query.get("open") ?? "").split(".");
  for (const section of page.document.querySelectorAll("details[data-section]")) {
    const part = section.dataset.section;
    let there = null;
    const turned = () => {
      if (section.open) there ??= show(part).catch((error) => page.failed(error));
      const open = [...page.document.querySelectorAll("details[data-section][open]")];
      page.put({ open: open.map((one) => one.dataset.section).join(".") || null });
    };
    section.open = opened.includes("all") || opened.includes(part);
    if (section.open) turned();
    section.addEventListener("toggle", turned);
  }
  await show("surfaces");
}

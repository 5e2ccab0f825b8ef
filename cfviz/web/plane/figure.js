// What figures over a photo do alike: take a message, put their elements together, end.

import { saveCanvas } from "../save/files.js";
import { el, isWide, mapBox, takeButtons, watched, words } from "../shared/markup.js";
import { wear } from "../shared/paint.js";
import { decode } from "../shared/payload.js";
import { showPhoto } from "../shared/photo.js";
import { Plane } from "./plane.js";

const TAKES = { save_picture: "savePicture", save_vector: "saveVector", save_numbers: "saveNumbers" };

/**
 * A figure with a photo on the left. It is told of a message by `load`, and says itself
 *
 * - `read(array, first)`: what the message holds, from `this.header` and its arrays;
 * - `elements()`: its elements, with `mount`;
 * - `begin(first)`: what is chosen; `first`: the figure is new;
 * - `layOut()`: draw everything at the size that there is;
 * - `file`: the name of what it saves, without an ending.
 */
export class PlaneFigure {
  constructor(parent, commit) {
    Object.assign(this, { parent, commit });
  }

  get root() {
    return this.ui.root;
  }

  load(message) {
    const { header, array } = decode(message);
    if (header.id === this.id) return;
    const first = this.id === undefined;
    Object.assign(this, { header, id: header.id, t: words(header.strings) });
    this.read(array, first);
    this.elements();
    this.begin(first);
    showPhoto(this, this.root, header.photo.of, array(header.photo.file));
  }

  /** The photo's canvases and their box; `name` is what the style sheet calls the figure. */
  surface(name) {
    const [base, over] = [el("canvas"), el("canvas.over")];
    return { base, over, map: mapBox(this.t.map_label, `${name}-keys`, base, over) };
  }

  /**
   * Show these elements instead of those before.
   *
   * @param name what the style sheet calls the figure
   * @param ui elements by name, those of `surface` and `left`, the photo's column, among them
   * @param bar elements on the left of the bar
   * @param body elements under it
   */
  mount(name, ui, bar, ...body) {
    const { t } = this;
    const can = Object.entries(TAKES).filter(([, act]) => this[act]);
    const take = takeButtons(t, Object.fromEntries(can.map(([word, act]) => [word, () => this[act]()])));
    ui.live = el("p.live", { "aria-live": "polite", role: "status" });
    ui.root = el(
      isWide(this.header.input) ? `div.cf.${name}.wide` : `div.cf.${name}`,
      {},
      el("div.bar", {}, ...bar, el("span.gap"), take),
      ...body,
      el("p.note.keys", { id: `${name}-keys` }, t.keys),
      ui.live,
    );
    this.ui?.root.remove();
    this.ui = ui;
    this.parent.append(ui.root);
    ui.root.figure = this;
    this.plane = new Plane(ui.base, ui.over);
    this.applyTheme();
    this.watcher = watched(this.watcher, ui.left, () => this.layOut());
  }

  /** Take the colours of the theme around the figure. */
  applyTheme() {
    if (!wear(this, this.root)) return;
    this.dress?.();
    if (this.plane.pen) this.layOut();
  }

  /** Save the photo as it is seen, with what is marked on it. */
  savePicture() {
    const { base, over } = this.ui;
    const page = el("canvas", { width: base.width, height: base.height });
    const pen = page.getContext("2d");
    pen.fillStyle = this.theme.paper;
    pen.fillRect(0, 0, page.width, page.height);
    for (const layer of [base, over]) pen.drawImage(layer, 0, 0);
    saveCanvas(this.file, page);
  }

  close() {
    this.watcher?.disconnect();
    this.picture?.close();
  }
}

/** A block's name, from 1: "2.1". */
export function blockName({ stage, block }) {
  return `${stage + 1}.${block + 1}`;
}

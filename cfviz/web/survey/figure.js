// What many photos show: the patches that a channel responds to, receptive fields, heads beside their bias.

import { saveTable } from "../save/files.js";
import { Choice, el, say, segmented, takeButtons, watched, words } from "../shared/markup.js";
import { percent } from "../shared/maths.js";
import { colours, hatch, shade, Tile, wear } from "../shared/paint.js";
import { decode, peek } from "../shared/payload.js";
import { about, fill } from "../shared/text.js";

const VIEWS = ["channel", "fields", "head"];

export class SurveyFigure {
  constructor(parent, message, commit) {
    Object.assign(this, { parent, commit, opened: new Map() });
    this.load(message);
  }

  load(message) {
    if (peek(message) === this.id) return;
    const { header, array } = decode(message);
    Object.assign(this, { id: header.id, header, array, t: words(header.strings) });
    this.opened.clear();
    this.kernels = header.kernels.map((one) => ({
      ...one,
      ...Object.fromEntries(["value", "photo", "row", "col"].map((name) => [name, array(one[name])])),
    }));
    this.heads = header.heads.flatMap((block) => {
      const [mean, alone] = [array(block.mean), array(block.alone)];
      const n = block.rows * block.cols;
      return block.r.map((r, h) => ({
        block,
        head: h,
        r,
        maps: [mean, alone].map((all) => all.subarray(h * n, (h + 1) * n)),
      }));
    });
    this.read(header.start.place);
    this.build();
    this.show();
    this.applyTheme();
    this.root.dataset.ready = "";
  }

  /** Take a place as a link writes it, as far as there is one. */
  read(place) {
    const [view, ...numbers] = place.split(".");
    const [a, b, c] = numbers.map((n) => Number(n) - 1);
    this.view = VIEWS.includes(view) && (view !== "head" || this.heads.length) ? view : "channel";
    this.kernel = 0;
    this.channel = 0;
    this.head = 0;
    if (view === "channel") {
      const of = this.kernels.filter((one) => one.stage === a);
      const found = of[b] ?? this.kernels[0];
      this.kernel = this.kernels.indexOf(found);
      this.channel = c >= 0 && c < found.channels ? c : 0;
    }
    if (view === "head") {
      const at = this.heads.findIndex(
        ({ block, head }) => block.stage === a && block.block === b && head === c,
      );
      this.head = Math.max(0, at);
    }
  }

  get place() {
    const { stage } = this.kernels[this.kernel];
    if (this.view === "channel") {
      const first = this.kernels.findIndex((one) => one.stage === stage);
      return `channel.${stage + 1}.${this.kernel - first + 1}.${this.channel + 1}`;
    }
    if (this.view === "fields") return "fields";
    const { block, head } = this.heads[this.head];
    return `head.${block.stage + 1}.${block.block + 1}.${head + 1}`;
  }

  build() {
    const { t, header } = this;
    this.root?.remove();
    this.views = new Choice(segmented(t.views), (i) => this.turn({ view: this.names[i] }));
    this.names = VIEWS.filter((view) => view !== "head" || this.heads.length);
    this.views.fill(this.names.map((view) => el("button", { type: "button" }, t[`view_${view}`])));
    this.said = el("p.sv-said", { role: "status", "aria-live": "polite" });
    this.room = el("div.sv-room");
    const take = takeButtons(t, { csv: () => this.save() });
    this.root = el("div.cf.sv", {}, el("div.bar", {}, this.views.box), this.said, this.room, take);
    this.root.figure = this;
    this.parent.append(this.root);
    this.watcher = watched(this.watcher, this.root, () => this.draw());
    this.rooms = { channel: this.channels(), fields: this.fields(), head: this.headsRoom() };
    this.count = header.photos.length;
  }

  /** The choice of a channel, and the cards of its patches. */
  channels() {
    const { t } = this;
    const stages = [...new Set(this.kernels.map((one) => one.stage))];
    this.cels = new Choice(segmented(t.cel), (i) =>
      this.turn({ kernel: this.kernels.findIndex((one) => one.stage === stages[i]), channel: 0 }),
    );
    this.cels.fill(stages.map((s) => el("button", { type: "button" }, `CEL ${s + 1}`)));
    this.sides = new Choice(segmented(t.kernel), (i) => {
      const { stage } = this.kernels[this.kernel];
      const first = this.kernels.findIndex((one) => one.stage === stage);
      this.turn({ kernel: first + i, channel: 0 });
    });
    this.number = el("input", { type: "number", min: 1, step: 1 });
    this.number.addEventListener("change", () => {
      const { channels } = this.kernels[this.kernel];
      const n = Math.round(Number(this.number.value)) || 1;
      this.turn({ channel: Math.min(channels, Math.max(1, n)) - 1 });
    });
    this.of = el("span.note");
    this.cards = el("div.cards");
    const channel = el("label.sv-channel", {}, el("span.note", {}, t.channel), this.number, this.of);
    return el(
      "div",
      {},
      el("div.bar", {}, this.cels.box, this.sides.box, channel),
      this.cards,
      el("p.note.under", {}, t.channel_note),
    );
  }

  fields() {
    const { header, t } = this;
    const { rows, cols, maps, areas } = header.fields;
    const all = this.array(maps);
    const n = rows * cols;
    this.tiles = areas.map((area, s) => {
      const text = fill(t.area, { stage: s + 1, area: percent(area) });
      const canvas = el("canvas", { role: "img", "aria-label": text });
      const values = all.subarray(s * n, (s + 1) * n);
      return { tile: new Tile(canvas), canvas, values, rows, cols, text };
    });
    const cards = this.tiles.map(({ canvas, text }) =>
      el("figure.card", {}, canvas, el("figcaption", {}, text)),
    );
    return el("div", {}, el("div.cards.sv-fields", {}, ...cards), el("p.note.under", {}, t.fields_note));
  }

  headsRoom() {
    const { t, header } = this;
    this.rows = new Choice(el("div.sv-heads", { role: "radiogroup", "aria-label": t.heads }), (i) =>
      this.turn({ head: i }),
    );
    const cells = this.heads.map(({ block, head, r }) => {
      const name = fill(t.head_name, { stage: block.stage + 1, block: block.block + 1, head: head + 1 });
      const bar = el("i");
      bar.style.width = `${100 * Math.max(0, r ?? 0)}%`;
      return el(
        "button.num",
        { type: "button", title: name, "aria-label": about(name, number(r)) },
        number(r),
        bar,
      );
    });
    this.rows.fill(cells);
    let next = 0;
    const lines = header.heads.map((block) => {
      const mine = cells.slice(next, (next += block.r.length));
      const name = `${block.stage + 1}.${block.block + 1} ${block.kind.toUpperCase()}`;
      return el("div.sv-line", {}, el("b.num", {}, name), el("div.sv-cells", {}, ...mine));
    });
    this.rows.box.replaceChildren(...lines);
    this.pair = ["mean", "alone"].map((name) => {
      const canvas = el("canvas", { role: "img", "aria-label": t[name] });
      return {
        tile: new Tile(canvas),
        canvas,
        figure: el("figure.card", {}, canvas, el("figcaption", {}, t[name])),
      };
    });
    const maps = el("div.sv-pair", {}, ...this.pair.map(({ figure }) => figure));
    return el("div", {}, el("div.sv-two", {}, this.rows.box, maps), el("p.note.under", {}, t.head_note));
  }

  applyTheme() {
    if (!wear(this, this.root)) return;
    this.table = colours(this.header.palette.sequential);
    this.draw();
  }

  turn(change) {
    Object.assign(this, change);
    this.show();
    this.commit?.({ place: this.place });
  }

  show() {
    this.views.choose(this.names.indexOf(this.view));
    const room = this.rooms[this.view];
    if (this.room.firstChild !== room) this.room.replaceChildren(room); // else the focus would be lost
    if (this.view === "channel") this.showChannel();
    if (this.view === "fields") {
      const { areas } = this.header.fields;
      const [first, last] = [areas[0], areas.at(-1)].map(percent);
      say(this.said, fill(this.t.fields_said, { n: this.count, first, last }));
    }
    if (this.view === "head") {
      this.rows.choose(this.head);
      const { block, head, r } = this.heads[this.head];
      const at = { stage: block.stage + 1, block: block.block + 1, head: head + 1 };
      say(
        this.said,
        fill(this.t.head_said, { name: fill(this.t.head_name, at), r: number(r), n: this.count }),
      );
    }
    this.draw();
  }

  showChannel() {
    const one = this.kernels[this.kernel];
    const alike = this.kernels.filter(({ stage }) => stage === one.stage);
    this.cels.choose(one.stage);
    this.sides.fill(alike.map(({ side }) => el("button", { type: "button" }, `${side}\u00a0×\u00a0${side}`)));
    this.sides.choose(alike.indexOf(one));
    Object.assign(this.number, { value: this.channel + 1, max: one.channels });
    say(this.of, fill(this.t.of, { n: one.channels }));
    const fields = { channel: this.channel + 1, side: one.side, cel: one.stage + 1, n: this.count };
    say(this.said, fill(this.t.channel_said, { ...fields, shown: one.kept }));
    this.patches = Array.from({ length: one.kept }, (_, i) => {
      const at = this.channel * one.kept + i;
      const [row, col, value] = [one.row[at], one.col[at], one.value[at]];
      const { title } = this.header.photos[one.photo[at]];
      const text = fill(this.t.patch, { title, row, col, value: number(value) });
      const canvas = el("canvas", { role: "img", "aria-label": text });
      const box = [one.top + row * one.step, one.left + col * one.step, one.span];
      return { canvas, photo: one.photo[at], box, value, title, text, row, col };
    });
    this.cards.replaceChildren(
      ...this.patches.map(({ canvas, value, title, text }) =>
        el(
          "figure.card",
          { title: text },
          canvas,
          el("figcaption", {}, el("b.num", {}, number(value)), ` ${title}`),
        ),
      ),
    );
  }

  /** The picture of a photo, opened once. */
  open(photo) {
    if (!this.opened.has(photo)) {
      const bytes = this.array(this.header.photos[photo].file);
      this.opened.set(photo, createImageBitmap(new Blob([bytes], { type: "image/jpeg" })));
    }
    return this.opened.get(photo);
  }

  draw() {
    if (!this.table) return;
    if (this.view === "channel") for (const patch of this.patches) this.drawPatch(patch);
    if (this.view === "fields") for (const one of this.tiles) this.paint(one, one, largest(one.values));
    if (this.view === "head") {
      const { block, maps } = this.heads[this.head];
      const top = Math.max(...maps.map(largest));
      this.pair.forEach((one, i) => this.paint(one, { ...block, values: maps[i] }, top));
    }
  }

  /** What the kernel reads of the photo, with the padding hatched. */
  async drawPatch({ canvas, photo, box: [top, left, span] }) {
    const picture = await this.open(photo);
    const side = Math.round((canvas.clientWidth || 96) * Math.min(2, window.devicePixelRatio || 1));
    if (!side) return;
    canvas.width = canvas.height = side;
    const pen = canvas.getContext("2d");
    pen.fillStyle = this.theme.panel;
    pen.fillRect(0, 0, side, side);
    pen.fillStyle = hatch(pen, this.theme.padding, side / Math.max(1, canvas.clientWidth));
    pen.fillRect(0, 0, side, side);
    pen.imageSmoothingEnabled = false;
    const scale = side / span;
    const { H, W } = this.header;
    const [t, l] = [Math.max(0, top), Math.max(0, left)];
    const [h, w] = [Math.min(H, top + span) - t, Math.min(W, left + span) - l];
    if (h > 0 && w > 0) {
      pen.drawImage(picture, l, t, w, h, (l - left) * scale, (t - top) * scale, w * scale, h * scale);
    }
    canvas.dataset.drawn = "";
  }

  /** A map as a tile: nothing where no pair of tokens has the offset. */
  paint({ tile }, { rows, cols, values }, top) {
    tile.size(cols, rows);
    values.forEach((x, i) => {
      tile.cells[i] = Number.isNaN(x) ? 0 : this.table[shade(x, top)];
    });
    tile.show();
  }

  save() {
    const { t } = this;
    if (this.view === "channel") {
      const one = this.kernels[this.kernel];
      const rows = this.patches.map(({ title, row, col, value }) => [title, row, col, value]);
      saveTable(
        `cfviz-channel-${one.stage + 1}-${one.side}-${this.channel + 1}`,
        [["photo", "row", "column", "response"], ...rows],
        t.channel_note,
      );
    } else if (this.view === "fields") {
      const { cols } = this.header.fields;
      const rows = this.tiles.flatMap(({ values }, s) =>
        Array.from(values, (x, i) => [s + 1, Math.floor(i / cols), i % cols, x]),
      );
      saveTable("cfviz-receptive-fields", [["stage", "row", "column", "share"], ...rows]);
    } else {
      const rows = this.heads.map(({ block, head, r }) => [
        block.stage + 1,
        block.block + 1,
        block.kind,
        head + 1,
        r,
      ]);
      saveTable("cfviz-heads", [["stage", "block", "kind", "head", "correlation"], ...rows]);
    }
  }

  close() {
    this.watcher?.disconnect();
  }
}

function number(x) {
  return x === null || Number.isNaN(x) ? "–" : x.toFixed(2).replace("-", "−");
}

function largest(values) {
  return values.reduce((most, x) => (x > most ? x : most), 0);
}

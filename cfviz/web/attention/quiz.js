// A lesson's question about the figure: what the reader may pick, what stays hidden until then, the answer.
//
// The question is a dict: id; pick ("tokens", "token", "head" or null); picked; right (the right tokens once
// answered, null before); blank (draw no group); cold (draw the group without its attention); panels (what
// stays beside the photo); words. Picks are kept here, each change is sent as
// {quiz: id, picked}.

import { clip } from "../shared/maths.js";
import { say } from "../shared/markup.js";
import { fill } from "../shared/text.js";

export class Quiz {
  constructor(figure, what) {
    const same = figure.picks?.id === what.id;
    Object.assign(this, { figure, what, cursor: same ? (figure.test?.cursor ?? null) : null });
    figure.picks = same ? figure.picks : { id: what.id, list: [...what.picked] };
  }

  get picked() {
    return this.figure.picks.list;
  }

  get open() {
    return !this.what.right && (this.what.pick === "tokens" || this.what.pick === "token");
  }

  /** A height for the photo that keeps the text above it and the heads in sight. */
  get room() {
    return Math.max(260, window.innerHeight * (this.what.panels?.includes("heads") ? 0.52 : 0.66));
  }

  /** What is below the photo: everything beside it elsewhere, unless the heads are above. */
  get below() {
    return this.what.panels?.includes("heads") ? [] : [this.figure.ui.right];
  }

  get blank() {
    return this.what.blank;
  }

  get cold() {
    return this.what.cold;
  }

  get quiet() {
    return this.open || this.what.blank;
  }

  show() {
    const { ui, t } = this.figure;
    ui.root.dataset.lesson = ["on", ...(this.what.panels ?? [])].join(" ");
    ui.map.setAttribute("aria-label", this.open ? this.what.words.label : t.map_label);
  }

  /** Follow the pointer while the question is open. Returns whether the figure should ignore it. */
  point(at) {
    if (!this.open) return this.what.blank;
    this.cursor = at;
    this.figure.requestDraw();
    return true;
  }

  pick(at) {
    if (!this.open) return this.what.blank;
    const token = `${at.row}.${at.col}`;
    const had = this.picked.includes(token);
    if (this.what.pick === "token") this.figure.picks.list = had ? [] : [token];
    else this.figure.picks.list = had ? this.picked.filter((one) => one !== token) : [...this.picked, token];
    this.cursor = at;
    this.send();
    return true;
  }

  press(key, step) {
    if (!this.open) return this.what.blank && step;
    const { state, stage } = this.figure;
    const at = this.cursor ?? { row: state.row, col: state.col };
    if (step) {
      this.cursor = { row: clip(at.row + step[0], stage.H), col: clip(at.col + step[1], stage.W) };
      this.figure.requestDraw();
      this.announce();
      return true;
    }
    if (key === "Enter" || key === " ") return this.pick(at);
    return false;
  }

  /** A head was chosen: that is the answer if the question asks for a head. */
  choose(head) {
    if (this.what.pick !== "head" || this.what.right) return true;
    this.figure.picks.list = [head];
    this.send();
    return true;
  }

  send() {
    this.figure.requestDraw();
    this.announce();
    this.figure.commit({ quiz: this.what.id, picked: this.picked });
  }

  /** What a screen reader says about the token under the cursor. */
  announce() {
    if (!this.open || !this.cursor) return;
    const { row, col } = this.cursor;
    const on = this.picked.includes(`${row}.${col}`);
    say(
      this.figure.ui.live,
      fill(on ? this.what.words.on : this.what.words.off, { row, col, n: this.picked.length }),
    );
  }

  paint(map) {
    const { right } = this.what;
    map.ruler();
    const tokens = this.what.pick === "tokens" || this.what.pick === "token";
    if (!right) {
      if (tokens) for (const token of this.picked) map.tag(token, "picked");
      if (this.open && this.cursor) map.tag(`${this.cursor.row}.${this.cursor.col}`, "cursor");
      return;
    }
    if (!tokens) {
      for (const token of right) map.tag(token, "reached");
      return;
    }
    for (const token of this.picked) map.tag(token, right.includes(token) ? "right" : "wrong");
    if (this.what.pick === "tokens")
      for (const token of right) if (!this.picked.includes(token)) map.tag(token, "missed");
  }
}

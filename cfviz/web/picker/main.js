// The strip of photos: a button for each, arrow keys to move between them; choosing one sends its id.

import { Choice, el } from "../shared/markup.js";
import { onPage } from "../shared/mount.js";

class Strip {
  constructor(box, data) {
    this.root = box;
    box.setAttribute("role", "radiogroup");
    this.choice = new Choice(box, (i) => {
      this.choice.choose(i);
      this.pick(this.data.photos[i].id);
    });
    this.load(data);
  }

  load(data) {
    const all = JSON.stringify(data.photos.map(({ id, title }) => [id, title]));
    const at = data.photos.findIndex(({ id }) => id === data.chosen);
    this.data = data;
    this.root.setAttribute("aria-label", data.label);
    for (const [name, value] of Object.entries(data.css)) this.root.style.setProperty(`--${name}`, value);
    // Filling the choice anew leaves none chosen and the first in the tab order.
    const lost = at < 0 && this.choice.chosen >= 0;
    if (this.all !== all || lost) this.choice.fill(data.photos.map(button));
    this.all = all;
    this.choice.choose(at);
  }
}

function button({ title, src }) {
  return el("button", { type: "button", "aria-label": title, title }, el("img", { src, alt: "" }));
}

export default onPage(
  "picker-host",
  (box, data) => new Strip(box, data),
  (strip, { setTriggerValue }) => {
    strip.pick = (id) => setTriggerValue("pick", id);
  },
);

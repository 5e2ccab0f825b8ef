// The list's past and future, so that every change can be undone. They stay in this tab: a visit to another
// page or a reload keeps them, and no other reader sees them.

const MOST = 100; // steps

export class Steps {
  /** @param store the entry of the tab's storage that keeps them */
  constructor(store) {
    this.store = store;
    [this.all, this.at] = kept(store);
  }

  get now() {
    return this.all[this.at];
  }

  has(way) {
    return this.at + way >= 0 && this.at + way < this.all.length;
  }

  /** The list one step back (-1) or forward (1). */
  go(way) {
    this.at += way;
    this.keep();
    return this.now;
  }

  /** The reader changed the list: what had been undone is gone. */
  add(list) {
    if (list === this.now) return;
    this.all = [...this.all.slice(0, this.at + 1), list].slice(-MOST);
    this.at = this.all.length - 1;
    this.keep();
  }

  /** A list that came from elsewhere: the browser's own Back and Forward only move along the steps. */
  meet(list) {
    if (list === this.now) return;
    const way = [-1, 1].find((one) => this.has(one) && this.all[this.at + one] === list);
    if (way) this.go(way);
    else this.add(list);
  }

  /** What became of the latest change: parts that the model does not have are left out of it. */
  settle(list) {
    if (list === this.now) return;
    const same = this.all[this.at - 1] === list;
    this.all.splice(this.at, 1, ...(same ? [] : [list]));
    this.at -= same ? 1 : 0;
    this.keep();
  }

  keep() {
    try {
      window.sessionStorage.setItem(this.store, JSON.stringify([this.all, this.at]));
    } catch {
      // no room, or a browser that stores nothing: undoing works until the page is left
    }
  }
}

function kept(store) {
  try {
    const [all, at] = JSON.parse(window.sessionStorage.getItem(store));
    if (all.length <= MOST && all.every((list) => typeof list === "string") && typeof all[at] === "string")
      return [all, at];
  } catch {
    // nothing stored yet, or something else
  }
  return [[], -1];
}

/** Whether keys pressed here write text, whose own undoing comes first. */
const writes = (element) =>
  element.isContentEditable ||
  element.matches?.("textarea, input:not([type=radio], [type=checkbox], [type=range], [type=button])");

/** The step that a key press asks for: -1 for Ctrl+Z, 1 for Ctrl+Y and Ctrl+Shift+Z, else 0. */
export function asked(event) {
  if (!(event.ctrlKey || event.metaKey) || event.altKey || writes(event.composedPath()[0])) return 0;
  const key = event.key.toLowerCase();
  if (key === "z") return event.shiftKey ? 1 : -1;
  return key === "y" && !event.shiftKey ? 1 : 0;
}

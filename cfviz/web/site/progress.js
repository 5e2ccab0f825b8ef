// A reader's progress in the lessons, in local storage, which a browser may withhold: in the app's own form,
// `cfviz/ui/pages/learn/progress.py`, so that app and site share it where they share an origin.

export class Progress {
  /**
   * @param store key in the storage
   * @param known names of the steps
   */
  constructor(store, known) {
    Object.assign(this, { store, known, kept: true, own: {} });
    this.write({}); // or nobody is told that nothing will be kept
  }

  /** Name of a step -> 1 or 0: whether the first answer was right. */
  get first() {
    return { ...this.own, ...this.read().first };
  }

  get right() {
    return this.known.filter((name) => this.first[name] === 1).length;
  }

  get done() {
    return this.known.filter((name) => name in this.first).length;
  }

  /** Record an answer; only the first answer to a step counts. */
  record(name, right) {
    this.write({ ...this.first, [name]: this.first[name] ?? Number(right) });
  }

  reset() {
    const others = Object.entries(this.first).filter(([name]) => !this.known.includes(name));
    this.own = {};
    this.write(Object.fromEntries(others), true);
  }

  /** What is stored; anything that cannot be read counts as nothing. */
  read() {
    let found = null;
    try {
      found = JSON.parse(localStorage.getItem(this.store));
    } catch {
      // withheld, or not ours
    }
    if (typeof found !== "object" || Array.isArray(found)) found = null;
    const first = Object.entries(Object(found?.first));
    return {
      ...found,
      v: 1,
      first: Object.fromEntries(first.filter(([, right]) => right === 0 || right === 1)),
    };
  }

  write(first, over = false) {
    this.own = first;
    try {
      const before = this.read();
      const after = { tests: {}, ...before, first: over ? first : { ...before.first, ...first } };
      localStorage.setItem(this.store, JSON.stringify(after));
    } catch {
      this.kept = false;
    }
  }
}

// A reader's progress in the lessons, and the self-tests, in local storage, which a browser may withhold: in
// the app's own form, `cfviz/ui/pages/learn/progress.py`, so that app and site share it where they share an
// origin.

/** What is stored; anything that cannot be read counts as nothing. */
function stored(store) {
  try {
    const found = JSON.parse(localStorage.getItem(store));
    return typeof found === "object" && !Array.isArray(found) ? found : null;
  } catch {
    return null; // withheld, or not ours
  }
}

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

  read() {
    const found = stored(this.store);
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

/** The self-tests: set -> phase -> {form, of, at, told}, as `cfviz/lessons/selftest.py` stores them. */
export class Tests {
  /** @param about see `cfviz/site/selftest.py` */
  constructor(about) {
    Object.assign(this, { about, kept: true, own: {} });
    this.write(this.all); // or nobody is told that nothing will be kept
  }

  get all() {
    return this.kept ? this.wellFormed(stored(this.about.store)?.tests) : this.own;
  }

  of(name) {
    return this.all[name] ?? {};
  }

  /** Whether there is no room for one more. */
  full(name) {
    const { all } = this;
    return !(name in all) && Object.keys(all).length >= this.about.most;
  }

  begin(name, phase, sitting) {
    this.write({ ...this.all, [name]: { [phase]: sitting, ...this.of(name) } });
  }

  /** Keep the answer to question n, unless it has one: in another tab the test may have gone on. */
  answer(name, phase, n, answer) {
    const { [phase]: sitting, ...others } = this.of(name);
    if (sitting?.told.length === n)
      this.write({
        ...this.all,
        [name]: { ...others, [phase]: { ...sitting, told: [...sitting.told, answer] } },
      });
    return Boolean(sitting);
  }

  forget(name) {
    const { [name]: _, ...others } = this.all;
    this.write(others);
  }

  write(all) {
    this.own = all;
    try {
      const before = stored(this.about.store);
      localStorage.setItem(this.about.store, JSON.stringify({ first: {}, ...before, v: 1, tests: all }));
    } catch {
      this.kept = false;
    }
  }

  /** Without what is damaged: anyone can write into a browser's storage. */
  wellFormed(tests) {
    const { phases, most, seconds, topics } = this.about;
    const time = (value) => Number.isInteger(value) && value >= 0 && value < seconds;
    const answer = (one) =>
      Array.isArray(one) && one.length === 2 && /^[A-Za-z0-9]{1,12}$/.test(one[0]) && time(one[1]);
    const fine = ({ form, of, at, told }) =>
      ["A", "B"].includes(form) &&
      /^[0-9a-f.]{1,24}$/.test(of) &&
      time(at) &&
      Array.isArray(told) &&
      told.length <= Object.keys(topics).length &&
      told.every(answer);
    const sets = Object.entries(Object(tests)).map(([name, sittings]) => {
      const read = phases.filter(
        (phase) => Object(sittings?.[phase]) === sittings?.[phase] && fine(sittings[phase]),
      );
      return [
        /^[A-Za-z0-9-]{1,24}$/.test(name) ? name : "",
        Object.fromEntries(read.map((phase) => [phase, sittings[phase]])),
      ];
    });
    return Object.fromEntries(
      sets.filter(([name, sittings]) => name && Object.keys(sittings).length).slice(0, most),
    );
  }
}

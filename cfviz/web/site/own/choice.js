// Where the model runs: by WebAssembly, unless this very machine has shown that its graphics processor
// computes the same and is faster.

/** Milliseconds that a run takes, and what it gives. */
async function timed(run, values) {
  const begun = performance.now();
  const out = await run(values);
  return { out, ms: performance.now() - begun };
}

export class Choice {
  /** @param wasm runs the model by WebAssembly: the input's numbers -> outputs by name */
  constructor(wasm) {
    this.wasm = wasm;
    this.graphics = null; // what runs it from now on, if that was found better
    this.last = Promise.resolve(); // WebAssembly runs on one photo at a time
  }

  /** @returns the outputs, the milliseconds that they took, and where: `on`, "wasm" or "webgpu" */
  async run(values) {
    const { graphics } = this;
    if (graphics) {
      try {
        return { ...(await timed((some) => graphics.run(some), values)), on: "webgpu" };
      } catch (error) {
        console.warn(error); // the device may be gone: the photo is not lost
        this.drop();
      }
    }
    return { ...(await this.inTurn(values)), on: "wasm" };
  }

  inTurn(values) {
    const mine = this.last.catch(() => {}).then(() => timed(this.wasm, values));
    this.last = mine;
    return mine;
  }

  drop() {
    this.graphics?.end();
    this.graphics = null;
  }

  /**
   * Run a photo once more in both places, and choose. The first run on the graphics processor compiles its
   * programs, and the first one by WebAssembly may have been slow, too: the second ones are timed.
   *
   * @param started gives what has `run` and `end`
   * @param values the photo's numbers
   * @param out what WebAssembly made of them
   * @param same whether two sets of outputs are the same to a reader
   * @returns "faster", which is used from now on; else "slower", "unequal" or "failed"
   */
  async compare(started, values, out, same) {
    let [found, graphics] = ["failed", null];
    try {
      graphics = started();
      await graphics.run(values);
      const there = await timed((some) => graphics.run(some), values);
      if (!same(there.out, out)) found = "unequal";
      else {
        const here = await this.inTurn(values);
        found = there.ms < here.ms ? "faster" : "slower";
      }
    } catch (error) {
      console.warn(error);
    }
    if (found === "faster") this.graphics = graphics;
    else graphics?.end();
    return found;
  }
}

// The model as onnxruntime-web runs it: by WebAssembly, or on the graphics processor by WebGPU.

import { once } from "../files.js";

const THREADS = 4; // more do not make a small model faster

/**
 * The model, ready to run.
 *
 * @param files addresses of the `runtime`, its `module` and its `wasm`, and of the `model`
 * @param size side of the input
 * @param on "wasm" or "webgpu", for which another runtime is made
 * @returns `run`: the input's numbers -> outputs by name; `threads`; `ort`, the runtime itself
 */
export async function opened({ runtime, module, wasm, model }, size, on) {
  const [ort, ...files] = await Promise.all([import(runtime), ...[wasm, model].map(once)]);
  const many = self.crossOriginIsolated && on === "wasm";
  ort.env.wasm.wasmBinary = files[0].buffer;
  ort.env.wasm.wasmPaths = { mjs: module };
  ort.env.wasm.numThreads = many ? Math.min(THREADS, navigator.hardwareConcurrency) : 1;
  const session = await ort.InferenceSession.create(files[1], { executionProviders: [on] });
  ort.env.wasm.wasmBinary = undefined; // compiled by now
  const run = async (values) => {
    const found = await session.run({ pixels: new ort.Tensor("float32", values, [1, 3, size, size]) });
    return Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, tensor.data]));
  };
  return { run, threads: ort.env.wasm.numThreads, ort };
}

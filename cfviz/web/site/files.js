// Fetches what a page needs: gzipped files of the site, and figures with their style sheets.

import { beforeWorker, keepFirst } from "./cache.js";

const came = new Map(); // address -> promise of its bytes

/** The bytes of a data file, unpacked; a file that was fetched is kept. */
export function bytes(address) {
  if (!came.has(address)) {
    const promise = once(address);
    promise.catch(() => came.delete(address)); // so that the next try asks again
    came.set(address, promise);
  }
  return came.get(address);
}

/** The same, of a file that is not asked for again. */
export async function once(address) {
  const early = beforeWorker(); // it may take over before the answer is here
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  if (early) keepFirst(address, answer.clone());
  const packed = new Uint8Array(await answer.arrayBuffer());
  // A server that knows the file as compressed has let the browser unpack it already.
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return packed;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** The content of a JSON file. */
export async function json(address) {
  return parsed(await bytes(address));
}

/** The same, from its bytes. */
export function parsed(data) {
  return JSON.parse(new TextDecoder().decode(data));
}

/** A style sheet as an element, and the promise that it has come. */
function sheet(href) {
  const link = document.createElement("link");
  [link.rel, link.href] = ["stylesheet", href];
  const there = new Promise((came, failed) => {
    link.addEventListener("load", came);
    link.addEventListener("error", () => failed(new Error(href)));
  });
  return { link, there };
}

/**
 * Put a figure into an element, inside a shadow root as in the app, so that its styles stay its own.
 *
 * @param about code, sheets and host of the figure, see `cfviz/site/pages.py`
 * @param place the element
 * @param on called with the name and the value of what the reader chooses
 * @returns a function that shows a message, or the next one, and returns the figure's element; its
 *   `close` ends the figure
 */
export async function mounted(about, place, on) {
  const root = place.shadowRoot ?? place.attachShadow({ mode: "open" });
  const box = document.createElement("div");
  box.className = about.host;
  const sheets = about.sheets.map(sheet);
  root.replaceChildren(...sheets.map(({ link }) => link), box);
  const [module] = await Promise.all([
    import(new URL(about.code, document.baseURI).href),
    ...sheets.map(({ there }) => there),
  ]);
  const show = (data) => {
    place.dataset.drawn = "";
    show.close = module.default({ parentElement: root, data, setStateValue: on, setTriggerValue: on });
    return box.firstElementChild;
  };
  return show;
}

// Where the service worker keeps the site, and what a page puts there before the worker is there.

const NAME = "cfviz."; // and the version: the cache of one build

export function nameOf(version) {
  return NAME + version;
}

/** Whether a cache holds another build of the site. */
export function isOlder(name, version) {
  return name.startsWith(NAME) && name !== nameOf(version);
}

/** Whether what is asked for now passes by the service worker: it has not taken over yet. */
export function beforeWorker() {
  const { serviceWorker } = navigator;
  return Boolean(serviceWorker) && !serviceWorker.controller;
}

/** Keep a file that was asked for before the service worker took over, at the first visit. */
export async function keepFirst(address, answer) {
  const version = new URL(address, document.baseURI).searchParams.get("v");
  try {
    const cache = await caches.open(nameOf(version));
    await cache.put(address, answer);
  } catch {
    // withheld, or full: the file is there as long as there is a connection
  }
}

// The service worker: what was loaded once is there without a connection, too.
// The code and the pages are kept from the first visit on, a photo's data once they were shown.

import { isOlder, nameOf } from "./cache.js";

/**
 * @param worker the worker's global scope
 * @param version tells this build from others
 * @param files pages, and other files with their version, kept from the start
 */
export default function (worker, version, files) {
  const name = nameOf(version);
  const home = new URL("./", worker.location.href).href;

  async function keep() {
    const cache = await caches.open(name);
    // A file of this build never changes, so one that the page has loaded is not loaded again.
    const how = (file) => ({ cache: file.includes("?v=") ? "force-cache" : "no-cache" });
    await cache.addAll(files.map((file) => new Request(home + file, how(file))));
    await worker.skipWaiting();
  }

  async function take() {
    const old = (await caches.keys()).filter((one) => isOlder(one, version));
    await Promise.all(old.map((one) => caches.delete(one)));
    await worker.clients.claim();
  }

  /** A page: the newest there is, or the one kept. */
  async function page(request) {
    const url = new URL(request.url);
    const file = url.pathname.endsWith("/") ? `${url.pathname}index.html` : url.pathname;
    try {
      return await fetch(request);
    } catch (error) {
      const kept = await (await caches.open(name)).match(url.origin + file);
      if (!kept) throw error;
      return kept;
    }
  }

  /** A file of this build never changes. */
  async function part(request) {
    const cache = await caches.open(name);
    const kept = await cache.match(request);
    if (kept) return kept;
    const answer = await fetch(request);
    if (answer.ok) await cache.put(request, answer.clone());
    return answer;
  }

  worker.addEventListener("install", (event) => event.waitUntil(keep()));
  worker.addEventListener("activate", (event) => event.waitUntil(take()));
  worker.addEventListener("fetch", (event) => {
    const { request } = event;
    const url = new URL(request.url);
    if (request.method !== "GET" || !request.url.startsWith(home)) return;
    if (request.mode === "navigate") event.respondWith(page(request));
    else if (url.searchParams.get("v") === version) event.respondWith(part(request));
  });
}

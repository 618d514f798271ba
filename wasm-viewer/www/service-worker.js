// Caches the page's own files for use without a network. Images that the user opens are never requested, so never cached. Each
// visit asks the server for this script first: files of another version are not shown, and a page that was withdrawn is removed.

// Replaced by the build.
const VERSION = "__VERSION__";
const FILES = __FILES__;

const PREFIX = "d2r-preview-";
const CACHE = PREFIX + VERSION;
/** A server that does not answer by then counts as no network, milliseconds. */
const ANSWER_MS = 3000;
// The page tells which of the two modules it runs; the other is not cached.
const unused = new URL(self.location).searchParams.get("module") === "relaxed" ? "pkg/simd/" : "pkg/relaxed/";

self.addEventListener("install", (event) => {
  self.skipWaiting();
  event.waitUntil(fill());
});

self.addEventListener("activate", (event) => {
  const begin = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((n) => n.startsWith(PREFIX) && n !== CACHE).map((n) => caches.delete(n)));
    await self.clients.claim();
  };
  event.waitUntil(begin());
});

self.addEventListener("fetch", (event) => {
  if (event.request.method === "GET") event.respondWith(answer(event.request));
});

async function fill() {
  const wanted = ["./", ...FILES.filter((file) => !file.startsWith(unused))];
  const cache = await caches.open(CACHE);
  // The browser's own cache may hold files of another version: the server is asked for each.
  await cache.addAll(wanted.map((file) => new Request(file, { cache: "no-cache" })));
}

async function answer(request) {
  if (request.mode === "navigate") await compareWithServer();
  return (await caches.match(request, { cacheName: CACHE, ignoreSearch: true })) ?? fetch(request);
}

/**
 * Deletes the cache when the server has another version; the page then loads from the server, and registers that version. A
 * cache that is missing, for instance because the server has this version again, is filled.
 */
async function compareWithServer() {
  const found = await serverVersion();
  if (found === null) return;
  if (found === VERSION) {
    if (!(await caches.has(CACHE))) await fill().catch(() => caches.delete(CACHE));
    return;
  }
  await caches.delete(CACHE);
  if (found === "withdrawn") await self.registration.unregister();
}

/** The version in the server's copy of this script; `withdrawn` where there is none, `null` where no server answers. */
async function serverVersion() {
  try {
    const found = await fetch(self.location.href, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_MS) });
    if (found.status === 404 || found.status === 410) return "withdrawn";
    return found.ok ? (/^const VERSION = "([0-9a-f]+)";$/m.exec(await found.text())?.[1] ?? null) : null;
  } catch {
    return null;
  }
}

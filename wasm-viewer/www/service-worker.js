// Caches the page's own files for use without a network. Images that the user opens are never requested, so never cached.

// Replaced by the build.
const VERSION = "__VERSION__";
const FILES = __FILES__;

const CACHE = `d2r-preview-${VERSION}`;
// The page tells which of the two modules it runs; the other is not cached.
const unused = new URL(self.location).searchParams.get("module") === "relaxed" ? "pkg/simd/" : "pkg/relaxed/";

self.addEventListener("install", (event) => {
  const wanted = FILES.filter((file) => !file.startsWith(unused));
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(["./", ...wanted])));
});

self.addEventListener("activate", (event) => {
  const old = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((n) => n.startsWith("d2r-preview-") && n !== CACHE).map((n) => caches.delete(n)));
  };
  event.waitUntil(old());
});

self.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET") return;
  event.respondWith(
    caches.open(CACHE).then(async (cache) => (await cache.match(event.request, { ignoreSearch: true })) ?? fetch(event.request)),
  );
});

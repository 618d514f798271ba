// The service worker and its registration in Node.js: what is cached, and what a visit shows after the server's files changed.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, test } from "node:test";
import { createContext, runInContext } from "node:vm";

const WWW = resolve(import.meta.dirname, "../../wasm-viewer/www");
const ORIGIN = "http://127.0.0.1:8000/";
const FILES = ["index.html", "page.js", "pkg/relaxed/m.wasm", "pkg/simd/m.wasm"];
const SCRIPT = readFileSync(join(WWW, "service-worker.js"), "utf8");

const script = (version) => SCRIPT.replaceAll("__VERSION__", version).replaceAll("__FILES__", JSON.stringify(FILES));

/** A browser with caches, and a server whose answers may be replaced: `server(path)` gives `[status, text]`, or throws. */
function browser(server) {
  const stores = new Map();
  const state = { stores, requests: [], unregistered: 0, claimed: 0, skipped: 0, server };
  const path = (request) => new URL(request.url ?? request, ORIGIN).pathname;
  const fetch = async (request, options = {}) => {
    state.requests.push([path(request), options.cache ?? request.cache]);
    const [status, text] = state.server(path(request));
    return new Response(text, { status });
  };
  const caches = {
    keys: async () => [...stores.keys()],
    has: async (name) => stores.has(name),
    delete: async (name) => stores.delete(name),
    match: async (request, { cacheName }) => stores.get(cacheName)?.get(path(request))?.clone(),
    open: async (name) => {
      if (!stores.has(name)) stores.set(name, new Map());
      const addAll = async (requests) => {
        for (const request of requests) stores.get(name).set(path(request), await fetch(request));
      };
      return { addAll };
    },
  };
  /** Installs and activates the script of a version; its `visit` answers a navigation, its `get` another request. */
  state.install = async (version, module = "relaxed") => {
    const on = {};
    const self = {
      location: new URL(`${ORIGIN}service-worker.js?module=${module}`),
      addEventListener: (kind, listener) => (on[kind] = listener),
      skipWaiting: () => (state.skipped += 1),
      clients: { claim: async () => (state.claimed += 1) },
      registration: { unregister: async () => (state.unregistered += 1) },
    };
    class SiteRequest {
      constructor(url, { cache }) {
        Object.assign(this, { url: new URL(url, ORIGIN).href, cache });
      }
    }
    runInContext(script(version), createContext({ self, caches, fetch, Request: SiteRequest, URL, AbortSignal }));
    for (const kind of ["install", "activate"]) {
      let work;
      on[kind]({ waitUntil: (promise) => (work = promise) });
      await work;
    }
    const request = async (url, mode, method = "GET") => {
      let answer = null;
      on.fetch({ request: { url: new URL(url, ORIGIN).href, mode, method }, respondWith: (promise) => (answer = promise) });
      return answer && (await answer).text();
    };
    return { visit: () => request("./", "navigate"), get: (url) => request(url, "cors"), post: () => request("./", "cors", "POST") };
  };
  return state;
}

/** A server of one version: each file holds the version and its path. */
const site = (version) => (path) => [200, path === "/service-worker.js" ? script(version) : `${version} ${path}`];

describe("the service worker", () => {
  test("caches the page's files, with the module that runs, and serves them without a network", async () => {
    const state = browser(site("aa01"));
    const worker = await state.install("aa01");
    assert.deepEqual([...state.stores.keys()], ["d2r-preview-aa01"]);
    assert.deepEqual([...state.stores.get("d2r-preview-aa01").keys()], ["/", "/index.html", "/page.js", "/pkg/relaxed/m.wasm"]);
    assert.ok(state.requests.every(([, cache]) => cache === "no-cache"));
    assert.deepEqual([state.skipped, state.claimed], [1, 1]);
    state.server = () => {
      throw new TypeError("no network");
    };
    assert.equal(await worker.visit(), "aa01 /");
    assert.equal(await worker.get("page.js?x=1"), "aa01 /page.js");
    assert.equal(await worker.post(), null);
  });

  test("requests nothing but the version when the server has the same files", async () => {
    const state = browser(site("aa01"));
    const worker = await state.install("aa01");
    state.requests.length = 0;
    assert.equal(await worker.visit(), "aa01 /");
    assert.equal(await worker.get("pkg/relaxed/m.wasm"), "aa01 /pkg/relaxed/m.wasm");
    assert.deepEqual(state.requests, [["/service-worker.js", "no-store"]]);
  });

  test("shows changed files at the next visit, all of one version", async () => {
    const state = browser(site("aa01"));
    const old = await state.install("aa01");
    state.server = site("bb02");
    assert.equal(await old.visit(), "bb02 /");
    assert.equal(await old.get("page.js"), "bb02 /page.js");
    assert.deepEqual([...state.stores.keys()], []);
    const next = await state.install("bb02");
    assert.equal(await next.visit(), "bb02 /");
    assert.deepEqual([[...state.stores.keys()], state.unregistered], [["d2r-preview-bb02"], 0]);
  });

  test("fills its cache again when the server has its version again", async () => {
    const state = browser(site("aa01"));
    const worker = await state.install("aa01");
    state.server = site("bb02");
    assert.equal(await worker.visit(), "bb02 /");
    state.server = site("aa01");
    assert.equal(await worker.visit(), "aa01 /");
    state.server = () => {
      throw new TypeError("no network");
    };
    assert.equal(await worker.get("pkg/relaxed/m.wasm"), "aa01 /pkg/relaxed/m.wasm");
  });

  test("removes the caches of other versions, and no other page's", async () => {
    const state = browser(site("bb02"));
    state.stores.set("d2r-preview-aa01", new Map()).set("another", new Map());
    await state.install("bb02");
    assert.deepEqual([...state.stores.keys()], ["another", "d2r-preview-bb02"]);
  });

  test("removes a page that was withdrawn", async () => {
    for (const status of [404, 410]) {
      const state = browser(site("aa01"));
      const worker = await state.install("aa01");
      state.server = () => [status, "gone"];
      assert.equal(await worker.visit(), "gone");
      assert.deepEqual([[...state.stores.keys()], state.unregistered], [[], 1]);
    }
  });

  test("keeps its files when the server fails or another page answers", async () => {
    for (const answer of [[503, script("bb02")], [200, "<title>sign in</title>"]]) {
      const state = browser(site("aa01"));
      const worker = await state.install("aa01");
      state.server = () => answer;
      assert.equal(await worker.visit(), "aa01 /");
      assert.deepEqual([[...state.stores.keys()], state.unregistered], [["d2r-preview-aa01"], 0]);
    }
  });
});

describe("the page's registration", async () => {
  const text = readFileSync(join(WWW, "offline_copy.js"), "utf8");
  const { keepOfflineCopy } = await import(`data:text/javascript,${encodeURIComponent(text)}`);

  /** A registration; a worker that it installs is in the state `end` after a while. `update` may begin one. */
  function registration({ isInstalled = false, end = "activated", update = () => {} } = {}) {
    const made = { updates: 0, active: null, installing: null, waiting: null, filled: false };
    made.install = () => {
      const worker = (made.installing = Object.assign(new EventTarget(), { state: "installing" }));
      setTimeout(() => {
        worker.state = end;
        made.filled = true;
        worker.dispatchEvent(new Event("statechange"));
      }, 20);
    };
    made.update = async () => {
      made.updates += 1;
      update(made);
    };
    if (isInstalled) made.active = Object.assign(new EventTarget(), { state: "activated" });
    else made.install();
    return made;
  }

  const kept = (register) => {
    Object.defineProperty(globalThis, "navigator", { value: register ? { serviceWorker: { register } } : {}, configurable: true });
    return keepOfflineCopy("service-worker.js");
  };

  test("waits until the cache is filled", async () => {
    const made = registration();
    assert.deepEqual([await kept(async () => made), made.filled, made.updates], [true, true, 0]);
  });

  test("waits for the files of a changed page, and for none of an unchanged one", async () => {
    const changed = registration({ isInstalled: true, update: (made) => made.install() });
    assert.deepEqual([await kept(async () => changed), changed.filled], [true, true]);
    const same = registration({ isInstalled: true });
    assert.deepEqual([await kept(async () => same), same.updates], [true, 1]);
  });

  test("keeps the copy when there is no network", async () => {
    const update = () => {
      throw new TypeError("no network");
    };
    assert.equal(await kept(async () => registration({ isInstalled: true, update })), true);
  });

  test("says that there is none where the browser has none, refuses it, or cannot store a file", async () => {
    assert.equal(await kept(null), false);
    assert.equal(await kept(() => Promise.reject(new Error("refused"))), false);
    assert.equal(await kept(async () => undefined), false);
    assert.equal(await kept(async () => registration({ end: "redundant" })), false);
  });
});

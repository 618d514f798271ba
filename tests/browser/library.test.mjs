// The library in Node.js on workers that the test answers for: turns, stops, crashes, requests.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import { pathToFileURL } from "node:url";

const LIBRARY = resolve(import.meta.dirname, "../../wasm-viewer/npm");
const EMPTY_MODULE = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);
const MOST = 1000;
const ANALYSIS = { sentences: [{ links: [[0, 1]] }], report: "." };

/** Takes the place of the browser's class. `answers[verb](worker, message)` decides what a worker does with a call. */
class FakeWorker {
  static all = [];
  static answers = {};
  terminated = false;
  calls = [];

  constructor() {
    FakeWorker.all.push(this);
  }

  postMessage(message) {
    this.calls.push(message);
    setImmediate(() => this.terminated || FakeWorker.answers[message.verb]?.(this, message));
  }

  answer(message) {
    if (!this.terminated) this.onmessage({ data: message });
  }

  terminate() {
    this.terminated = true;
  }
}

const loaded = { card: {}, samples: [], kernels: [], module: "simd", fileBytesMax: MOST, timings: { prepare_ms: 1 } };
const result = (value) => (worker, { id }) => worker.answer({ id, result: value });
/** Answers nothing, as a worker that decodes: an abort is not received either. */
const busy = () => {};

describe("the library", () => {
  let folder, library, requests, responses;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "d2r-library-"));
    cpSync(LIBRARY, folder, { recursive: true });
    writeFileSync(join(folder, "modules.js"), "export const MODULES = { simd: { bytes: 8 }, relaxed: { bytes: 8 } };\n");
    globalThis.Worker = FakeWorker;
    globalThis.fetch = async (url, { signal } = {}) => {
      signal?.throwIfAborted();
      const name = String(url).split("/").pop();
      requests.push(name);
      const ended = new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
      return Promise.race([responses(name), ended]);
    };
    library = await import(pathToFileURL(join(folder, "viewer.js")).href);
  });

  after(() => rmSync(folder, { recursive: true, force: true }));

  beforeEach(() => {
    FakeWorker.all = [];
    FakeWorker.answers = { prepare: result(null), load: result(loaded), analyze: result(ANALYSIS), sampleImage: result(new Uint8Array(3)) };
    requests = [];
    responses = (name) => new Response(name.endsWith(".wasm") ? EMPTY_MODULE : '{"files": []}', { headers: name.endsWith(".wasm") ? { "content-type": "application/wasm" } : {} });
  });

  const code = (promise) => promise.then(() => "done", (error) => error.code);
  const verbs = (worker) => worker.calls.map((call) => call.verb);
  const open = () => library.createViewer({ modelUrl: "preview/" });
  const until = async (holds) => {
    while (!holds()) await later(5);
  };
  const later = (ms) => new Promise((done) => setTimeout(done, ms));

  test("requests each file once, and has the scripts of the next worker when it is ready", async () => {
    const viewer = await open();
    assert.deepEqual(requests.map((name) => name.replace("d2r_viewer_bg.", "")).sort(), ["card.json", "encoder.onnx", "samples.arrow", "step.onnx", "wasm"]);
    assert.deepEqual(FakeWorker.all.map(verbs), [["prepare", "load"], ["prepare"]]);
    const { links } = await viewer.analyze(new Uint8Array(10));
    assert.deepEqual(links, [{ sentence: 0, detection: 0, weight: 1 }]);
    viewer.dispose();
  });

  test("waits for the scripts of the next worker", async () => {
    const waiting = [];
    FakeWorker.answers.prepare = (worker, { id }) => (worker === FakeWorker.all[0] ? worker.answer({ id }) : waiting.push([worker, id]));
    let isReady = false;
    const opening = open().then((viewer) => {
      isReady = true;
      return viewer;
    });
    await until(() => waiting.length === 1);
    await later(30);
    assert.equal(isReady, false);
    const [[worker, id]] = waiting;
    worker.answer({ id });
    (await opening).dispose();
  });

  test("refuses a file that is too large before it reads it", async () => {
    const viewer = await open();
    let reads = 0;
    const blob = (bytes) => {
      const made = new Blob([new Uint8Array(bytes)]);
      made.arrayBuffer = async () => {
        reads += 1;
        return new ArrayBuffer(bytes);
      };
      return made;
    };
    for (const source of [blob(MOST + 1), new ArrayBuffer(MOST + 1), new Uint8Array(MOST + 1), new DataView(new ArrayBuffer(MOST + 1))]) {
      assert.equal(await code(viewer.analyze(source)), "too_large");
    }
    assert.deepEqual([reads, verbs(FakeWorker.all[0])], [0, ["prepare", "load"]]);
    for (const source of [blob(MOST), new ArrayBuffer(MOST), new Uint8Array(MOST)]) assert.equal(await code(viewer.analyze(source)), "done");
    assert.equal(reads, 1);
    assert.equal(await code(viewer.analyze("text")), "usage");
    viewer.dispose();
  });

  test("a stop while the worker decodes ends it; the waiting one has the module and the bundle without a request", async () => {
    const viewer = await open();
    const asked = requests.length;
    FakeWorker.answers.analyze = (worker, { id }) => (worker === FakeWorker.all[0] ? busy() : worker.answer({ id, result: ANALYSIS }));
    const stop = new AbortController();
    const analysis = viewer.analyze(new Uint8Array(10), { signal: stop.signal });
    await later(20);
    const reason = new Error("the user's reason");
    const start = performance.now();
    stop.abort(reason);
    const error = await analysis.catch((e) => e);
    assert.ok(performance.now() - start < 50, "the promise does not wait for the worker");
    assert.deepEqual([error.name, error.code, error.cause], ["ViewerError", "stopped", reason]);
    // The next call waits until the worker is replaced.
    assert.equal(await code(viewer.analyze(new Uint8Array(10))), "done");
    assert.deepEqual(FakeWorker.all.map((w) => w.terminated), [true, false, false]);
    assert.deepEqual(verbs(FakeWorker.all[1]), ["prepare", "load", "analyze"]);
    const [first, second] = FakeWorker.all.map((w) => w.calls.find((call) => call.verb === "load"));
    assert.ok(first.module instanceof WebAssembly.Module && second.module === first.module && second.encoder.length > 0);
    assert.equal(requests.length, asked);
    viewer.dispose();
  });

  test("the worker that takes over loads without a further call", async () => {
    const viewer = await open();
    FakeWorker.answers.analyze = busy;
    const stop = new AbortController();
    const analysis = viewer.analyze(new Uint8Array(10), { signal: stop.signal });
    await later(10);
    stop.abort();
    assert.equal(await code(analysis), "stopped");
    await until(() => FakeWorker.all.length === 3);
    assert.deepEqual(FakeWorker.all.map(verbs), [["prepare", "load", "analyze", "abort"], ["prepare", "load"], ["prepare"]]);
    viewer.dispose();
  });

  test("a stop between words keeps the worker, and no callback follows it", async () => {
    const viewer = await open();
    let open_id = null;
    FakeWorker.answers.analyze = (worker, { id }) => {
      open_id = id;
      worker.answer({ id, event: "word", value: { words: 1 } });
    };
    FakeWorker.answers.abort = (worker, { id }) => {
      worker.answer({ id, event: "word", value: { words: 2 } });
      worker.answer({ id: open_id, error: { code: "aborted", message: "aborted" } });
    };
    const stop = new AbortController();
    const words = [];
    const analysis = viewer.analyze(new Uint8Array(10), { signal: stop.signal, onWord: ({ words: n }) => words.push(n) && stop.abort() });
    assert.equal(await code(analysis), "stopped");
    FakeWorker.answers.analyze = result(ANALYSIS);
    assert.equal(await code(viewer.analyze(new Uint8Array(10))), "done");
    await later(150);
    assert.deepEqual([words, FakeWorker.all.map((w) => w.terminated)], [[1], [false, false]]);
    viewer.dispose();
  });

  test("calls run one after the other; stopping one that waits leaves the running one", async () => {
    const viewer = await open();
    let finish;
    FakeWorker.answers.analyze = (worker, { id }) => (finish = () => worker.answer({ id, result: ANALYSIS }));
    const running = viewer.analyze(new Uint8Array(10));
    const stop = new AbortController();
    const waiting = viewer.analyze(new Uint8Array(10), { signal: stop.signal });
    const sample = viewer.sampleImage(0);
    await later(20);
    stop.abort();
    assert.equal(await code(waiting), "stopped");
    await later(150);
    assert.deepEqual(verbs(FakeWorker.all[0]), ["prepare", "load", "analyze"]);
    finish();
    assert.deepEqual([await code(running), (await sample).length], ["done", 3]);
    assert.deepEqual(verbs(FakeWorker.all[0]), ["prepare", "load", "analyze", "sampleImage"]);
    viewer.dispose();
  });

  test("a signal that was aborted before stops every call", async () => {
    const gone = AbortSignal.abort();
    assert.equal(await code(library.createViewer({ signal: gone })), "stopped");
    const viewer = await open();
    assert.equal(await code(viewer.analyze(new Uint8Array(10), { signal: gone })), "stopped");
    assert.deepEqual(verbs(FakeWorker.all.at(-2)), ["prepare", "load"]);
    viewer.dispose();
  });

  test("a stop while loading ends the requests and the workers", async () => {
    const stop = new AbortController();
    responses = () => new Promise(() => {});
    const opening = library.createViewer({ signal: stop.signal });
    await later(10);
    const pending = code(opening);
    stop.abort();
    assert.equal(await pending, "stopped");
    assert.ok(FakeWorker.all.every((w) => w.terminated));
  });

  test("a crash rejects its own call, and the next one runs on another worker without a request", async () => {
    const viewer = await open();
    const asked = requests.length;
    FakeWorker.answers.analyze = (worker, { id }) =>
      worker === FakeWorker.all[0] ? worker.answer({ id, error: { code: "crashed", message: "out of memory" } }) : worker.answer({ id, result: ANALYSIS });
    const both = [viewer.analyze(new Uint8Array(10)), viewer.analyze(new Uint8Array(10))];
    assert.deepEqual(await Promise.all(both.map(code)), ["crashed", "done"]);
    assert.deepEqual([requests.length, FakeWorker.all[0].terminated, FakeWorker.all[1].terminated], [asked, true, false]);
    viewer.dispose();
  });

  test("a waiting worker that could not start is replaced when it is needed", async () => {
    const failed = { code: "network", message: "no script" };
    for (const [prepare, isLater] of [[result(null), true], [(worker, { id }) => worker.answer(worker === FakeWorker.all[1] ? { id, error: failed } : { id }), false]]) {
      FakeWorker.all = [];
      FakeWorker.answers.prepare = prepare;
      const viewer = await open();
      if (isLater) FakeWorker.all[1].onerror({ message: "no script" });
      FakeWorker.answers.analyze = (worker, { id }) => (worker === FakeWorker.all[0] ? worker.onerror({}) : worker.answer({ id, result: ANALYSIS }));
      assert.equal(await code(viewer.analyze(new Uint8Array(10))), "crashed");
      assert.equal(await code(viewer.analyze(new Uint8Array(10))), "done");
      viewer.dispose();
    }
    // The first worker, too.
    FakeWorker.all = [];
    FakeWorker.answers.prepare = (worker, { id }) => worker.answer(worker === FakeWorker.all[0] ? { id, error: failed } : { id });
    assert.equal(await code(open()), "done");
    for (const worker of FakeWorker.all) worker.terminate();
  });

  test("a viewer that was disposed of has no worker and rejects its calls", async () => {
    const viewer = await open();
    FakeWorker.answers.analyze = busy;
    const calls = [viewer.analyze(new Uint8Array(10)), viewer.sampleImage(0)].map(code);
    await later(10);
    viewer.dispose();
    assert.deepEqual(await Promise.all(calls), ["disposed", "disposed"]);
    assert.equal(await code(viewer.analyze(new Uint8Array(10))), "disposed");
    await later(20);
    assert.ok(FakeWorker.all.every((w) => w.terminated));
  });

  test("errors of the bundle and of the network have their codes", async () => {
    FakeWorker.answers.load = (worker, { id }) => worker.answer({ id, error: { code: "card", message: "card.json: options.beam_size" } });
    assert.equal(await code(open()), "card");
    FakeWorker.answers.load = result(loaded);
    const good = responses;
    responses = (name) => (name === "step.onnx" ? new Response("", { status: 404 }) : good(name));
    assert.equal(await code(open()), "network");
    responses = (name) => (name === "card.json" ? new Response(new Uint8Array(4 * 2 ** 20 + 1)) : good(name));
    assert.equal(await code(open()), "network");
    assert.ok(FakeWorker.all.every((w) => w.terminated));
  });
});

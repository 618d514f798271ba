// The viewer as a library: a worker that runs the preview model, behind promises. No request leaves the page's own origin,
// and none is made after `createViewer` has resolved, unless a worker ends. Research software, not a medical device.

import { loadFiles, moduleName } from "./bundle_files.js";
import { ViewerError, stopped, untilAborted } from "./viewer_error.js";
import { WorkerCalls } from "./worker_calls.js";

export { ViewerError };

/** Loads the module and the bundle at `modelUrl`, a folder that `d2r export preview` wrote. */
export async function createViewer({ modelUrl = "preview/", onProgress, signal } = {}) {
  const url = new URL(modelUrl, globalThis.location?.href ?? import.meta.url).href;
  const viewer = new Viewer(url.endsWith("/") ? url : `${url}/`);
  try {
    await viewer.start(onProgress, signal);
  } catch (error) {
    viewer.dispose();
    throw error;
  }
  return viewer;
}

class Viewer {
  #modelUrl;
  /** The module and the bundle, for every worker. */
  #files = null;
  /** A promise of the worker that has loaded them. */
  #active = null;
  /** A worker that has its scripts only; it takes the place of the active one when that ends. */
  #standby = null;
  /** Every worker that runs. */
  #workers = new Set();
  /** Calls run one after the other: settles when the last of them has left its worker. */
  #turn = Promise.resolve();
  #disposed = null;

  constructor(modelUrl) {
    this.#modelUrl = modelUrl;
  }

  /** A promise of the worker; `createViewer` calls it first. */
  start(onProgress, signal) {
    if (this.#disposed) return Promise.reject(this.#disposed);
    if (!this.#active) {
      const opening = this.#open(onProgress, signal);
      this.#active = opening;
      opening.catch(() => {
        if (this.#active === opening) this.#active = null;
      });
    }
    return this.#active;
  }

  async #open(onProgress, signal) {
    const isFirst = !this.#files;
    this.#standby ??= this.#prepared();
    if (isFirst) {
      const files = await loadFiles(this.#modelUrl, onProgress, signal);
      if (this.#disposed) throw this.#disposed;
      this.#files = files;
    }
    const { ms, ...files } = this.#files;
    const worker = await untilAborted(this.#takeStandby(), signal);
    const loaded = await untilAborted(worker.call("load", files, { signal }), signal).catch((error) => {
      worker.end(error);
      throw error;
    });
    this.card = loaded.card;
    this.samples = loaded.samples;
    this.module = loaded.module;
    this.kernels = loaded.kernels;
    this.fileBytesMax = loaded.fileBytesMax;
    this.loadTimings = { fetch_and_compile_ms: ms, prepare_ms: loaded.timings.prepare_ms };
    const standby = (this.#standby = this.#prepared());
    // After the first load no script is missing when the caller continues; later a call need not wait for it.
    if (isFirst) await untilAborted(standby, signal).catch(() => signal?.aborted && Promise.reject(stopped(signal)));
    if (this.#disposed) throw this.#disposed;
    return worker;
  }

  /** A promise of a worker that has loaded its scripts. */
  #prepared() {
    if (this.#disposed) return rejected(this.#disposed);
    const worker = new WorkerCalls(() => this.#ended(worker));
    this.#workers.add(worker);
    const ready = worker.call("prepare", { name: moduleName() }).then(
      () => worker,
      (error) => {
        worker.end(error);
        throw error;
      },
    );
    ready.catch(() => {});
    return ready;
  }

  /** The standby worker; another one where it could not start, for instance without a network. */
  async #takeStandby() {
    const standby = this.#standby;
    this.#standby = null;
    const worker = await standby?.catch(() => null);
    return worker && !worker.ended ? worker : this.#prepared();
  }

  /** After an abort or a crash the standby worker loads at once, so that the next call finds it ready. */
  #ended(worker) {
    this.#workers.delete(worker);
    const active = this.#active;
    active?.then((current) => {
      if (current !== worker || this.#active !== active) return;
      this.#active = null;
      this.start().catch(() => {});
    }, () => {});
  }

  /**
   * Analyses the bytes of a PNG, JPEG or DICOM file. The callbacks receive the decoded image, the detections and each word
   * as they are computed. An abort rejects the promise at once with the code `stopped`, and calls no callback any more.
   */
  async analyze(source, { onImage, onDetections, onWord, signal, allowPhi = false } = {}) {
    const events = { image: onImage, detections: onDetections, word: onWord };
    const bytes = this.start().then(() => bytesOf(source, this.fileBytesMax));
    const call = this.#call("analyze", bytes.then((read) => ({ bytes: read, allowPhi })), { signal, events });
    call.catch(() => {});
    // A file that is refused does not wait for its turn.
    await untilAborted(bytes, signal);
    const analysis = await call;
    const links = analysis.sentences.flatMap(({ links }, sentence) =>
      links.map(([detection, weight]) => ({ sentence, detection, weight })),
    );
    return { ...analysis, links };
  }

  /** Bytes of a sample study's image file. */
  async sampleImage(index) {
    return this.#call("sampleImage", Promise.resolve({ index }));
  }

  /** Terminates the workers. */
  dispose() {
    this.#disposed = new ViewerError("disposed", "the viewer was disposed of");
    this.#active = null;
    this.#standby = null;
    this.#files = null;
    for (const worker of [...this.#workers]) worker.end(this.#disposed);
  }

  /** Runs a call after those before it; `body` is a promise of what the worker receives, and its `bytes` are moved there. */
  #call(verb, body, { signal, events } = {}) {
    body.catch(() => {});
    const turn = this.#turn.then(async () => {
      if (signal?.aborted) throw stopped(signal);
      const sent = await untilAborted(body, signal);
      const worker = await this.#running();
      if (signal?.aborted) throw stopped(signal);
      return worker.call(verb, sent, { signal, events, transfer: sent.bytes ? [sent.bytes.buffer] : [] });
    });
    this.#turn = turn.catch(() => {});
    return untilAborted(turn, signal);
  }

  /** The worker; a new one where it has ended. */
  async #running() {
    const worker = await this.start();
    if (!worker.ended) return worker;
    this.#active = null;
    return this.start();
  }
}

/** A rejected promise; its error is not reported where it is not awaited. */
function rejected(error) {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}

async function bytesOf(source, most) {
  const isBlob = source instanceof Blob;
  if (!isBlob && !(source instanceof ArrayBuffer) && !ArrayBuffer.isView(source)) {
    throw new ViewerError("usage", "analyze takes a Blob, an ArrayBuffer or a typed array");
  }
  const size = isBlob ? source.size : source.byteLength;
  if (size > most) throw new ViewerError("too_large", `a file of ${size} bytes is too large; at most ${most} are read, shrink the image first`);
  if (isBlob) return new Uint8Array(await source.arrayBuffer());
  if (source instanceof ArrayBuffer) return new Uint8Array(source.slice(0));
  return new Uint8Array(source.buffer, source.byteOffset, source.byteLength).slice();
}

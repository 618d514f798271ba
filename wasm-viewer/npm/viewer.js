// The viewer as a library: a worker that runs the preview model, behind promises. No request leaves the page's own origin,
// and none is made after `createViewer` has resolved. Research software, not a medical device.

/** An error with a stable code: see `ErrorCode` in viewer.d.ts. */
export class ViewerError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "ViewerError";
    this.code = code;
  }
}

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
  #worker = null;
  #calls = new Map();
  #next = 1;
  #ready = null;
  #disposed = null;

  constructor(modelUrl) {
    this.#modelUrl = modelUrl;
  }

  /** Starts the worker unless it runs; `createViewer` calls it. */
  start(onProgress, signal) {
    if (this.#disposed) return Promise.reject(this.#disposed);
    this.#ready ??= this.#open(onProgress, signal).catch((error) => {
      this.#stop(error);
      throw error;
    });
    return this.#ready;
  }

  async #open(onProgress, signal) {
    this.#worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => this.#receive(data);
    this.#worker.onerror = (event) => this.#stop(new ViewerError("crashed", event.message || "the worker could not start"));
    const events = { progress: (p) => onProgress?.(p) };
    // The worker receives no message while it compiles: an abort terminates it.
    const loaded = await this.#call("load", { modelUrl: this.#modelUrl }, { signal, events, terminate: true });
    this.card = loaded.card;
    this.samples = loaded.samples;
    this.module = loaded.module;
    this.kernels = loaded.kernels;
    this.loadTimings = loaded.timings;
  }

  /**
   * Analyses the bytes of a PNG, JPEG or DICOM file. The callbacks receive the decoded image, the detections and each word
   * as they are computed. An abort takes effect between two words.
   */
  async analyze(source, { onImage, onDetections, onWord, signal, allowPhi = false } = {}) {
    signal?.throwIfAborted();
    await this.start();
    const bytes = await bytesOf(source);
    const events = { image: onImage, detections: onDetections, word: onWord };
    const analysis = await this.#call("analyze", { bytes, allowPhi }, { signal, events, transfer: [bytes.buffer] });
    const links = analysis.sentences.flatMap(({ links }, sentence) =>
      links.map(([detection, weight]) => ({ sentence, detection, weight })),
    );
    return { ...analysis, links };
  }

  /** Bytes of a sample study's image file. */
  async sampleImage(index) {
    await this.start();
    return this.#call("sampleImage", { index });
  }

  /** Terminates the worker. */
  dispose() {
    this.#disposed = new ViewerError("disposed", "the viewer was disposed of");
    this.#stop(this.#disposed);
  }

  #call(verb, body, { signal, events = {}, transfer = [], terminate = false } = {}) {
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const abort = () => {
        if (terminate) this.#stop(signal.reason);
        else this.#worker?.postMessage({ id, verb: "abort" });
      };
      const done = (settle) => (value) => {
        signal?.removeEventListener("abort", abort);
        settle(value);
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.#calls.set(id, { resolve: done(resolve), reject: done(reject), events, signal });
      this.#worker.postMessage({ id, verb, ...body }, transfer);
    });
  }

  #receive({ id, event, result, error, value }) {
    const call = this.#calls.get(id);
    if (!call) return;
    if (event) {
      call.events[event]?.(value);
      return;
    }
    this.#calls.delete(id);
    if (!error) return call.resolve(result);
    if (error.code === "aborted") return call.reject(call.signal?.reason ?? new DOMException("aborted", "AbortError"));
    const failure = new ViewerError(error.code, error.message);
    call.reject(failure);
    // The memory of a crashed module may be inconsistent; the next call starts a new worker.
    if (error.code === "crashed") this.#stop(failure);
  }

  #stop(reason) {
    this.#worker?.terminate();
    this.#worker = null;
    this.#ready = null;
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.reject(reason);
  }
}

async function bytesOf(source) {
  if (source instanceof Blob) return new Uint8Array(await source.arrayBuffer());
  if (source instanceof ArrayBuffer) return new Uint8Array(source.slice(0));
  if (ArrayBuffer.isView(source)) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength).slice();
  throw new ViewerError("usage", "analyze takes a Blob, an ArrayBuffer or a typed array");
}

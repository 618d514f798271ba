// The worker: chooses the module, loads the bundle, and analyses images one after the other. All results come from
// WebAssembly.

import { MODULES } from "./modules.js";

// A minimal module with a relaxed-SIMD instruction; engines without relaxed SIMD reject it.
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
]);

const aborted = new Set();
let viewer = null;
let memory = null;
// Calls run one after the other: an analysis yields between two words, and another must not begin there.
let queue = Promise.resolve();

self.onmessage = ({ data }) => {
  if (data.verb === "abort") {
    aborted.add(data.id);
    return;
  }
  queue = queue.then(() => answer(data));
};

async function answer({ id, verb, ...body }) {
  const emit = (event, value, transfer = []) => self.postMessage({ id, event, value }, transfer);
  try {
    const { result, transfer } = await VERBS[verb](body, emit, () => aborted.has(id));
    self.postMessage({ id, result }, transfer ?? []);
  } catch (error) {
    self.postMessage({ id, error: described(error) });
  } finally {
    aborted.delete(id);
  }
}

function described(error) {
  if (error instanceof CodedError) return { code: error.code, message: error.message };
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) {
    const full = memory && memory.buffer.byteLength > 2 ** 31 ? "; the page ran out of memory" : "";
    return { code: "crashed", message: `this file crashed the viewer, which restarts${full}` };
  }
  return { code: "internal", message: String(error?.message ?? error) };
}

class CodedError extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

/** The result of a method of the module; throws its error. */
function parsed(json) {
  const value = JSON.parse(json);
  if (value?.error) throw new CodedError(value.error.code, value.error.message);
  return value;
}

const VERBS = { load, analyze, sampleImage };

async function load({ modelUrl }, emit) {
  const start = performance.now();
  const name = WebAssembly.validate(RELAXED_PROBE) ? "relaxed" : "simd";
  const progress = counter(emit);
  const [glue, card] = await Promise.all([import(`./${name}/d2r_viewer.js`), fetched(`${modelUrl}card.json`)]);
  const sizes = new Map(JSON.parse(new TextDecoder().decode(card)).files?.map((f) => [f.name, f.bytes]));
  progress.expect(MODULES[name].bytes + ["encoder.onnx", "step.onnx", "samples.arrow"].reduce((n, f) => n + (sizes.get(f) ?? 0), 0));
  const file = (f) => fetched(modelUrl + f, progress.add);
  const module = response(new URL(`./${name}/d2r_viewer_bg.wasm`, import.meta.url)).then((r) => counted(r, progress.add));
  const [exports, encoder, step, samples] = await Promise.all([
    glue.default({ module_or_path: module }),
    file("encoder.onnx"),
    file("step.onnx"),
    file("samples.arrow"),
  ]);
  const compiled = performance.now();
  memory = exports.memory;
  viewer = new glue.Viewer();
  const result = {
    card: parsed(viewer.load(card, encoder, step)),
    samples: parsed(viewer.load_samples(card, samples)),
    kernels: parsed(viewer.kernels()),
    module: name,
  };
  result.timings = { fetch_and_compile_ms: compiled - start, prepare_ms: performance.now() - compiled };
  return { result };
}

async function analyze({ bytes, allowPhi }, emit, isAborted) {
  const clock = stopwatch();
  const image = parsed(viewer.open(bytes, allowPhi));
  const pixels = viewer.pixels();
  const decode_ms = clock();
  emit("image", { ...image, pixels }, [pixels.buffer]);
  await pause(isAborted);
  clock();
  emit("detections", parsed(viewer.detect()));
  const encoder_ms = clock();
  let progress = { done: false, words: 0 };
  while (!progress.done) {
    await pause(isAborted);
    progress = parsed(viewer.advance());
    emit("word", progress);
  }
  const words_ms = clock();
  const analysis = parsed(viewer.finish());
  const timings = { decode_ms, encoder_ms, words_ms, words: progress.words, total_ms: decode_ms + encoder_ms + words_ms + clock() };
  return { result: { ...analysis, timings } };
}

async function sampleImage({ index }) {
  const bytes = viewer.sample_image(index);
  return { result: bytes, transfer: [bytes.buffer] };
}

function stopwatch() {
  let last = performance.now();
  return () => {
    const now = performance.now();
    const passed = now - last;
    last = now;
    return passed;
  };
}

const channel = new MessageChannel();

/** Yields, so that messages (an abort) are received. */
async function pause(isAborted) {
  await new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });
  if (isAborted()) throw new CodedError("aborted", "aborted");
}

async function response(url) {
  let answer;
  try {
    answer = await fetch(url);
  } catch {
    throw new CodedError("network", `${name(url)} could not be loaded; is the server running?`);
  }
  if (!answer.ok) throw new CodedError("network", `${name(url)} could not be loaded: ${answer.status}`);
  return answer;
}

const name = (url) => new URL(url).pathname.split("/").pop();

async function fetched(url, add = () => {}) {
  const answer = await response(url);
  const bytes = new Uint8Array(await counted(answer, add).arrayBuffer());
  return bytes;
}

/** The response with a counter of its bytes. */
function counted(answer, add) {
  const count = new TransformStream({
    transform(part, out) {
      add(part.byteLength);
      out.enqueue(part);
    },
  });
  return new Response(answer.body.pipeThrough(count), { headers: answer.headers });
}

function counter(emit) {
  let [loaded, total] = [0, 0];
  return {
    expect(bytes) {
      total = bytes;
      emit("progress", { loaded, total });
    },
    add(bytes) {
      loaded += bytes;
      emit("progress", { loaded, total });
    },
  };
}

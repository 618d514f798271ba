// The worker: instantiates the module that the page has compiled, loads the bundle that it has received, and analyses images one
// after the other. All results come from WebAssembly.

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
    if (aborted.has(id)) throw new CodedError("aborted", "aborted");
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

const VERBS = { prepare, load, analyze, sampleImage };

let glue = null;

/** Loads the scripts of the module of that name, so that loading makes no request. */
async function prepare({ name }) {
  try {
    glue ??= await import(`./${name}/d2r_viewer.js`);
  } catch (error) {
    throw new CodedError("network", `the viewer's script could not be loaded: ${error?.message ?? error}`);
  }
  return { result: null };
}

async function load({ name, module, card, encoder, step, samples }) {
  await prepare({ name });
  const start = performance.now();
  const exports = await glue.default({ module_or_path: module });
  memory = exports.memory;
  viewer = new glue.Viewer();
  const result = {
    card: parsed(viewer.load(card, encoder, step)),
    samples: parsed(viewer.load_samples(card, samples)),
    kernels: parsed(viewer.kernels()),
    fileBytesMax: glue.file_bytes_max(),
    module: name,
  };
  return { result: { ...result, timings: { prepare_ms: performance.now() - start } } };
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

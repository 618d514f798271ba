// Requests the module and the files of a bundle, once. They stay in the page's memory, so that a worker that takes the place of
// another one needs no request for them.

import { MODULES } from "./modules.js";
import { ViewerError, stopped } from "./viewer_error.js";

// A minimal module with a relaxed-SIMD instruction; engines without relaxed SIMD reject it.
const RELAXED_PROBE = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11,
]);

// The limits of the module's own reader; a larger file is not received to its end.
const CARD_BYTES_MAX = 4 * 2 ** 20;
const FILE_BYTES_MAX = 64 * 2 ** 20;

/** Name of the module that this engine runs: `relaxed` or `simd`. */
export const moduleName = () => (WebAssembly.validate(RELAXED_PROBE) ? "relaxed" : "simd");

/**
 * The compiled module and the bundle's files as bytes: `{name, module, card, encoder, step, samples}`, and the milliseconds that
 * it took. `modelUrl` ends in a slash. An abort of the signal ends the requests.
 */
export async function loadFiles(modelUrl, onProgress, signal) {
  const start = performance.now();
  const requests = new AbortController();
  const abort = () => requests.abort();
  signal?.addEventListener("abort", abort, { once: true });
  try {
    if (signal?.aborted) throw stopped(signal);
    const files = await requested(modelUrl, counter(onProgress), requests.signal);
    return { ...files, ms: performance.now() - start };
  } catch (error) {
    requests.abort();
    if (signal?.aborted) throw stopped(signal);
    if (error instanceof ViewerError) throw error;
    // A connection that ends in the middle of a file is a TypeError.
    throw new ViewerError(error instanceof TypeError ? "network" : "internal", `the viewer could not be loaded: ${error?.message ?? error}`);
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

async function requested(modelUrl, progress, signal) {
  const name = moduleName();
  const compiled = compile(new URL(`./${name}/d2r_viewer_bg.wasm`, import.meta.url).href, progress.add, signal);
  // Until it is awaited, an error of the module belongs to no one.
  compiled.catch(() => {});
  const card = await bytesOf(`${modelUrl}card.json`, CARD_BYTES_MAX, () => {}, signal);
  progress.expect(MODULES[name].bytes + sizesIn(card));
  const file = (f) => bytesOf(modelUrl + f, FILE_BYTES_MAX, progress.add, signal);
  const [module, encoder, step, samples] = await Promise.all([compiled, file("encoder.onnx"), file("step.onnx"), file("samples.arrow")]);
  return { name, module, card, encoder, step, samples };
}

/** Bytes of the files that the card names; 0 for bytes that are not a card, which the module refuses by name. */
function sizesIn(card) {
  const wanted = ["encoder.onnx", "step.onnx", "samples.arrow"];
  try {
    const { files } = JSON.parse(new TextDecoder().decode(card));
    return files.filter((f) => wanted.includes(f.name)).reduce((sum, f) => sum + f.bytes, 0);
  } catch {
    return 0;
  }
}

async function compile(url, add, signal) {
  const answer = await response(url, signal);
  const body = counted(answer, FILE_BYTES_MAX, add, url);
  if (answer.headers.get("content-type")?.startsWith("application/wasm")) return WebAssembly.compileStreaming(body);
  return WebAssembly.compile(await body.arrayBuffer());
}

async function bytesOf(url, most, add, signal) {
  return new Uint8Array(await counted(await response(url, signal), most, add, url).arrayBuffer());
}

async function response(url, signal) {
  let answer;
  try {
    answer = await fetch(url, { signal });
  } catch {
    throw new ViewerError("network", `${fileName(url)} could not be loaded; is the server running?`);
  }
  if (!answer.ok) throw new ViewerError("network", `${fileName(url)} could not be loaded: ${answer.status}`);
  return answer;
}

const fileName = (url) => new URL(url).pathname.split("/").pop();

/** The response with a counter of its bytes. */
function counted(answer, most, add, url) {
  let received = 0;
  const count = new TransformStream({
    transform(part, out) {
      received += part.byteLength;
      if (received > most) throw new ViewerError("network", `${fileName(url)} is longer than ${most} bytes`);
      add(part.byteLength);
      out.enqueue(part);
    },
  });
  return new Response(answer.body.pipeThrough(count), { headers: answer.headers });
}

function counter(onProgress) {
  let [loaded, total] = [0, 0];
  return {
    expect(bytes) {
      total = bytes;
      onProgress?.({ loaded, total });
    },
    add(bytes) {
      loaded += bytes;
      onProgress?.({ loaded, total });
    },
  };
}

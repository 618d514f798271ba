// Functions that the tests run inside the page; each is sent there as its text.

/** In the page: the analysis of an image by the module of that name. */
export async function analysed({ bytes, module }) {
  globalThis.direct ??= {};
  const load = async () => {
    const glue = await import(`./pkg/${module}/d2r_viewer.js`);
    await glue.default({ module_or_path: fetch(`./pkg/${module}/d2r_viewer_bg.wasm`) });
    const file = async (name) => new Uint8Array(await (await fetch(`preview/${name}`)).arrayBuffer());
    const viewer = new glue.Viewer();
    viewer.load(await file("card.json"), await file("encoder.onnx"), await file("step.onnx"));
    return viewer;
  };
  const viewer = (globalThis.direct[module] ??= await load());
  const file = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
  const problem = JSON.parse(viewer.open(file, false)).error ?? JSON.parse(viewer.detect()).error;
  if (problem) throw new Error(`${problem.code}: ${problem.message}`);
  while (!JSON.parse(viewer.advance()).done);
  return JSON.parse(viewer.finish());
}

/** In the page: stops an image while it is decoded, then analyses a sample study; `ended` counts terminated workers. */
export async function stoppedWhileDecoding(base64) {
  const viewer = globalThis.stopping;
  const image = await viewer.sampleImage(0);
  const slow = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  let [images, ended] = [0, 0];
  const { terminate } = Worker.prototype;
  Worker.prototype.terminate = function () {
    ended += 1;
    terminate.call(this);
  };
  const stop = new AbortController();
  const analysis = viewer.analyze(slow, { signal: stop.signal, onImage: () => (images += 1) });
  await new Promise((done) => setTimeout(done, 50));
  const start = performance.now();
  stop.abort();
  const code = await analysis.then(() => "read", (e) => e.code);
  const waited = performance.now() - start;
  const { report } = await viewer.analyze(image);
  Worker.prototype.terminate = terminate;
  return { code, images, waited, ended, report };
}

/** In the page: the grey levels of a DICOM file, or its error code. */
export async function decoded({ bytes, module }) {
  const glue = await import(`./pkg/${module}/d2r_viewer.js`);
  await glue.default({ module_or_path: fetch(`./pkg/${module}/d2r_viewer_bg.wasm`) });
  const viewer = new glue.Viewer();
  const file = Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0));
  const problem = JSON.parse(viewer.open(file, true)).error?.code;
  return { problem, pixels: [...viewer.pixels()] };
}

/** Replaces the worker: one image, two detections, two sentences. */
export function mockWorker() {
  const detection = (class_name, score, region) => ({ class_id: 0, class_name, score, region });
  const image = {
    width: 64,
    height: 64,
    detections: [detection("Cardiomegaly", 0.9, [10, 30, 50, 60]), detection("Nodule/Mass", 0.4, [40, 5, 50, 15])],
    labels: [["Cardiomegaly", 0.9]],
    heat: [0, 1, 0, 0],
    input_extent: [0, 0, 64, 64],
  };
  const sentence = (text, links) => ({ text, readable: `${text[0].toUpperCase()}${text.slice(1)}.`, links, log_prob: -1, attention: [0.25, 0.25, 0.25, 0.25] });
  const sentences = [sentence("a nodule in the left upper lobe", [[1, 1]]), sentence("the heart is enlarged", [[0, 1]])];
  const timings = { decode_ms: 1, encoder_ms: 1, words_ms: 1, words: 12, total_ms: 3 };
  const report = sentences.map((s) => `${s.text} .`).join(" ");
  const readable = sentences.map((s) => s.readable).join(" ");
  self.onmessage = ({ data: { id, verb } }) => {
    const decoded = { kind: "png", width: 64, height: 64, projection: null, pixels: new Uint8Array(64 * 64) };
    if (verb === "analyze") {
      self.postMessage({ id, event: "image", value: decoded });
      self.postMessage({ id, event: "detections", value: image });
    }
    const loaded = { card: { run_id: "r", code_version: "0" }, samples: [], kernels: [], module: "simd", timings: {} };
    self.postMessage({ id, result: verb === "load" ? loaded : { ...image, sentences, report, readable, timings, ended: true, log_probs: [], notice: "" } });
  };
}

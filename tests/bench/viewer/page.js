// In the page: the viewer's module and onnxruntime-web on the same graphs, alternating. Times in milliseconds.

import * as ort from "./ort/ort.wasm.min.mjs";

const WARM_UP = 5;

export async function run({ module, rounds, image }) {
  const file = async (name) => new Uint8Array(await (await fetch(`site/preview/${name}`)).arrayBuffer());
  const [cardBytes, encoder, step] = [await file("card.json"), await file("encoder.onnx"), await file("step.onnx")];
  const card = JSON.parse(new TextDecoder().decode(cardBytes));
  const glue = await import(`./site/pkg/${module}/d2r_viewer.js`);
  await glue.default({ module_or_path: fetch(`./site/pkg/${module}/d2r_viewer_bg.wasm`) });
  const viewer = new glue.Viewer();
  const problem = JSON.parse(viewer.load(cardBytes, encoder, step)).error;
  if (problem) throw new Error(problem.message);
  const file = Uint8Array.from(atob(image), (c) => c.charCodeAt(0));
  const opened = JSON.parse(viewer.open(file, false));
  if (opened.error || opened.width !== card.input.size) throw new Error("the image must have the size of the model's input");

  ort.env.wasm.numThreads = 1;
  ort.env.wasm.proxy = false;
  ort.env.wasm.wasmPaths = new URL("./ort/", location.href).href;
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  const [encoderSession, stepSession] = [await ort.InferenceSession.create(encoder, options), await ort.InferenceSession.create(step, options)];
  const input = new Float32Array(viewer.pixels()).map((v) => v / 255);

  const times = { encoder: { ours: [], theirs: [] }, step: { ours: [], theirs: [] } };
  for (let round = -WARM_UP; round < rounds; round++) {
    const keep = round >= 0;
    let start = performance.now();
    viewer.detect();
    if (keep) times.encoder.ours.push(performance.now() - start);
    start = performance.now();
    const encoded = await encoderSession.run({ image: new ort.Tensor("float32", input, [1, 1, card.input.size, card.input.size]) });
    if (keep) times.encoder.theirs.push(performance.now() - start);

    start = performance.now();
    let words = 0;
    do words++; while (!JSON.parse(viewer.advance()).done);
    if (keep) times.step.ours.push((performance.now() - start) / words);
    start = performance.now();
    await generate(stepSession, card.decoder, encoded, words);
    if (keep) times.step.theirs.push((performance.now() - start) / words);
    times.words = words;
  }
  return times;
}

/** A greedy report of this many words by onnxruntime, with caches like those of the viewer's session. */
async function generate(stepSession, sizes, encoded, words) {
  const { layers, heads, max_words: longest, d_head } = sizes;
  const caches = [0, 1].map(() => new Float32Array(layers * heads * longest * d_head));
  const bias = new Float32Array(longest).fill(-1e9);
  let token = 0n;
  for (let at = 0; at < words && at < longest; at++) {
    const out = await stepSession.run({
      token: new ort.Tensor("int64", BigInt64Array.of(token), [1]),
      pos: new ort.Tensor("int64", BigInt64Array.of(BigInt(at)), [1]),
      k_cache: new ort.Tensor("float32", caches[0], [layers, heads, d_head, longest]),
      v_cache: new ort.Tensor("float32", caches[1], [layers, heads, longest, d_head]),
      bias: new ort.Tensor("float32", bias, [longest]),
      mem_k: encoded.mem_k,
      mem_v: encoded.mem_v,
    });
    out.k_new.data.forEach((key, row) => { caches[0][row * longest + at] = key; });
    for (let head = 0; head < layers * heads; head++) {
      caches[1].set(out.v_new.data.subarray(head * d_head, (head + 1) * d_head), (head * longest + at) * d_head);
    }
    bias[at] = 0;
    const logits = out.logits.data;
    let best = 0;
    for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
    token = BigInt(best);
  }
}

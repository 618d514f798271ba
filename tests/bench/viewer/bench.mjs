// The viewer's module and onnxruntime-web (wasm, one thread) in one page on the same graphs: times and transferred bytes.
// Writes bench-results/viewer.json.
//
//   node tests/bench/viewer/bench.mjs --site SITE --out bench-results/viewer.json

import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname, extname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { brotliCompressSync, constants } from "node:zlib";

import { chromium } from "playwright-core";

import { png } from "../../browser/images.mjs";

const HERE = import.meta.dirname;
const ORT = join(HERE, "node_modules/onnxruntime-web/dist");
const TYPES = { ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm", ".html": "text/html" };
const ROUNDS = 30;

const { values } = parseArgs({ options: { site: { type: "string" }, out: { type: "string" }, rounds: { type: "string" } } });
if (!values.site || !values.out) throw new Error("usage: bench.mjs --site SITE --out FILE [--rounds N]");
const site = resolve(values.site);

const server = createServer((request, answer) => {
  const path = new URL(request.url, "http://x").pathname;
  const file =
    path === "/" ? null
    : path.startsWith("/site/") ? join(site, path.slice(6).replace(/(^|\/)$/, "$1index.html"))
    : path.startsWith("/ort/") ? join(ORT, path.slice(5))
    : join(HERE, path.slice(1));
  if (file && !existsSync(file)) return answer.writeHead(404).end();
  const headers = { "content-type": TYPES[extname(file ?? "page.html")] ?? "application/octet-stream" };
  // Cross-origin isolated pages have clocks with a resolution of five microseconds.
  answer.writeHead(200, { ...headers, "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" });
  answer.end(file ? readFileSync(file) : "<!doctype html><title>bench</title>");
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const url = `http://127.0.0.1:${server.address().port}/`;
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"] });

const card = JSON.parse(readFileSync(join(site, "preview/card.json"), "utf8"));
const size = card.input.size;
const image = png(size, size, 1, (i) => (i * 7919 + (i >> 5)) % 256).toString("base64");
const modules = {};
for (const module of ["relaxed", "simd"]) {
  const page = await browser.newPage();
  await page.goto(url);
  const options = { module, rounds: Number(values.rounds ?? ROUNDS), image };
  modules[module] = await page.evaluate(async (o) => (await import("./page.js")).run(o), options);
  await page.close();
}
const cold = [];
for (let i = 0; i < 5; i++) cold.push(await firstReport());
await browser.close();
server.close();

const transferred = (files) => files.reduce((sum, file) => sum + brotli(file), 0);
const model = ["encoder.onnx", "step.onnx", "card.json"].map((f) => join(site, "preview", f));
const module = "relaxed";
const ours = transferred([...["viewer.js", "viewer_error.js", "bundle_files.js", "worker_calls.js", "worker.js", "modules.js", `${module}/d2r_viewer.js`, `${module}/d2r_viewer_bg.wasm`].map((f) => join(site, "pkg", f)), ...model]);
const theirs = transferred([...["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"].map((f) => join(ORT, f)), ...model]);

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];
const medians = ({ ours: a, theirs: b }) => [median(a), median(b)];
const figures = { words: modules.relaxed.words, transfer_ours: ours, transfer_theirs: theirs, module_bytes: readFileSync(join(site, `pkg/${module}/d2r_viewer_bg.wasm`)).length };
const ratios = { transfer: ours / theirs };
for (const [name, times] of Object.entries(modules)) {
  const end = name === "relaxed" ? "" : `_${name}`;
  for (const part of ["encoder", "step"]) {
    const [a, b] = medians(times[part]);
    figures[`${part}${end}_ms_ours`] = a;
    figures[`${part}${end}_ms_theirs`] = b;
    ratios[`${part}${end}`] = a / b;
  }
}
figures.first_report_cold_ms = median(cold.map((c) => c.first));
figures.following_report_ms = median(cold.map((c) => c.following));
figures.following_report_words = cold[0].words;

for (const [name, value] of [...Object.entries(figures), ...Object.entries(ratios).map(([n, v]) => [`ratio ${n}`, v])]) {
  console.log(`${name.padEnd(28)} ${Number.isInteger(value) ? value : value.toFixed(3)}`);
}
const versions = { chromium: execFileSync(executablePath, ["--version"], { encoding: "utf8" }).trim() };
for (const name of ["onnxruntime-web", "playwright-core"]) {
  versions[name] = JSON.parse(readFileSync(join(HERE, "node_modules", name, "package.json"), "utf8")).version;
}
const machine = { cpu: cpus()[0].model, cores: cpus().length, node: process.version };
mkdirSync(dirname(resolve(values.out)), { recursive: true });
writeFileSync(values.out, JSON.stringify({ figures, ratios, machine, versions, command: "make bench-viewer" }, null, 2) + "\n");

/** A fresh browser profile: time from the request of the page to the first sample's report, and time of the following ones. */
async function firstReport() {
  const context = await browser.newContext();
  const page = await context.newPage();
  const start = performance.now();
  await page.goto(`${url}site/index.html`);
  await page.waitForSelector("html[data-state=ready]");
  const choose = async (index) => {
    await page.evaluate(() => document.getElementById("status").replaceChildren());
    await page.click(`#gallery button >> nth=${index}`);
    await page.waitForFunction(() => document.getElementById("status").textContent.includes("is ready"));
  };
  await choose(0);
  const first = performance.now() - start;
  const times = [];
  for (const index of [1, 2, 1, 2]) {
    await choose(index);
    const [, words, total] = /, (\d+) words in .*: ([\d.]+) ms in all/.exec(await page.textContent("#timing"));
    times.push({ words: Number(words), total: Number(total) });
  }
  await context.close();
  const longest = times.reduce((a, b) => (b.words > a.words ? b : a));
  return { first, following: longest.total, words: longest.words };
}

/** Bytes that a server with Brotli sends. */
function brotli(file) {
  const bytes = readFileSync(file);
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_LGWIN]: 22, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length };
  return brotliCompressSync(bytes, { params }).length;
}

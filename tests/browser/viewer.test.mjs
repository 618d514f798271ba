// The built page in Chromium under its content security policy: results, refusals, and absence of requests.

import assert from "node:assert/strict";
import { closeSync, cpSync, ftruncateSync, openSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { colourPhoto, greyImage, hugeImage, slowImage } from "./images.mjs";
import { analysed, decoded, mockWorker, stoppedWhileDecoding } from "./in_page.mjs";
import { browser, bundle, d2r, drawImages, opened, ready, scratch, served, site } from "./stage.mjs";

const IMAGES = 50;
// DICOM files of other writers in every encoding, and their grey levels by pydicom.
const GOLDEN = new URL("../../data-contracts/golden/dicom/", import.meta.url);

describe("the viewer", { timeout: 3_600_000 }, () => {
  let work, preview, built, server, chromium, names;

  before(async () => {
    work = scratch();
    preview = bundle(work.folder);
    names = drawImages(work.folder, IMAGES);
    built = site(work.folder, preview);
    server = await served(built);
    chromium = await browser();
  });

  after(async () => {
    await chromium?.close();
    server?.stop();
    work?.remove();
  });

  const context = (options = {}) => chromium.newContext({ serviceWorkers: "block", ...options });

  test("runs on the WebAssembly kernels that the engine supports", async () => {
    const { page } = await ready(await context(), server.url, { offline: false });
    const loaded = await page.evaluate(async () => {
      const { createViewer } = await import("./pkg/viewer.js");
      const viewer = await createViewer({ modelUrl: "preview/" });
      const { module, kernels } = viewer;
      viewer.dispose();
      return { module, kernels };
    });
    assert.equal(loaded.module, "relaxed");
    assert.ok(loaded.kernels.includes("wasm_f32_8x8"), `${loaded.kernels}`);
    assert.deepEqual(loaded.kernels.filter((k) => !k.startsWith("wasm_f32")), []);
    await page.context().close();
  });

  test("gives the results of the command on 50 images: the same words and boxes", async () => {
    assert.equal(names.length, IMAGES);
    d2r(work.folder, "inspect", "preview", "--bundle", preview, "--images", "images", "--out", "outputs.safetensors", "--analyses", "analyses.json", "--quiet");
    const analyses = JSON.parse(readFileSync(join(work.folder, "analyses.json"), "utf8"));
    const { page } = await ready(await context(), server.url, { offline: false });
    for (const module of ["relaxed", "simd"]) {
      for (const name of names) {
        const bytes = readFileSync(join(work.folder, "images", name)).toString("base64");
        const ours = await page.evaluate(analysed, { bytes, module });
        const theirs = analyses.find((analysis) => analysis.file === name);
        assert.ok(theirs, `${name} is missing in the command's analyses`);
        assert.equal(ours.report, theirs.report, name);
        assert.equal(ours.readable, theirs.readable, name);
        near(ours.log_probs, theirs.log_probs, 1e-3, `${name}: log-probabilities`);
        near(ours.labels.map((l) => l[1]), theirs.labels.map((l) => l[1]), 1e-3, `${name}: labels`);
        assert.deepEqual(ours.detections.map((f) => f.class_name), theirs.detections.map((f) => f.class_name), name);
        near(ours.detections.flatMap((f) => f.region), theirs.detections.flatMap((f) => f.region), 0.05, `${name}: boxes`);
        near(ours.detections.map((f) => f.score), theirs.detections.map((f) => f.score), 1e-3, `${name}: scores`);
        assert.deepEqual(ours.sentences.map((s) => s.links.map((l) => l[0])), theirs.sentences.map((s) => s.links.map((l) => l[0])), name);
      }
    }
    await page.context().close();
  });

  test("decodes DICOM of every encoding, JPEG 2000 too, as pydicom does", async () => {
    const { grey } = JSON.parse(readFileSync(new URL("expected.json", GOLDEN), "utf8"));
    assert.ok(["jpeg_2000_12", "jpeg_2000_signed", "jpeg_lossless_16", "rle_12", "deflated"].every((name) => grey[name]));
    const { page } = await ready(await context(), server.url, { offline: false });
    for (const module of ["relaxed", "simd"]) {
      for (const [name, expected] of Object.entries(grey)) {
        const bytes = readFileSync(new URL(`${name}.dcm`, GOLDEN)).toString("base64");
        const { problem, pixels } = await page.evaluate(decoded, { bytes, module });
        if (expected === null) {
          assert.equal(problem, "unsupported", name);
          continue;
        }
        assert.equal(problem, undefined, name);
        // Rounding of a last bit may move a value to the next grey level.
        near(pixels, [...Buffer.from(expected, "hex")], 1, `${module}: ${name}`);
      }
    }
    await page.context().close();
  });

  test("makes no request once it has loaded, and violates no rule of its policy", async () => {
    const { page, log } = await ready(await chromium.newContext(), server.url);
    await page.click("#gallery button >> nth=0");
    await page.waitForFunction(() => document.getElementById("status").textContent.includes("is ready"));
    assert.match(await opened(page, join(work.folder, "images", names[0])), /is ready/);
    await page.selectOption("#overlay", "heat");
    await page.click("#copy");
    assert.deepEqual(log, { requests: [], problems: [] });
    const late = await page.evaluate(() => {
      const resources = performance.getEntriesByType("resource");
      return resources.filter((r) => r.name.startsWith("http") && r.startTime > globalThis.readyAt).map((r) => r.name);
    });
    assert.deepEqual(late, []);
    await page.context().close();
  });

  test("works without a network after the first visit", async () => {
    const browserContext = await chromium.newContext();
    const { page } = await ready(browserContext, server.url);
    await browserContext.setOffline(true);
    await page.reload();
    await page.waitForSelector("html[data-state=ready]", { timeout: 60_000 });
    assert.match(await opened(page, join(work.folder, "images", names[1])), /is ready/);
    await browserContext.close();
  });

  const bad = [
    ["notes.txt", () => Buffer.from("Findings: none."), /a text file, no PNG, JPEG or DICOM file/],
    ["huge.png", hugeImage, /8000 x 5000 pixels are too many/],
    ["holiday.png", colourPhoto, /a colour photograph/],
    ["torn.png", () => greyImage().subarray(0, 300), /ends early|damaged/],
    ["empty.jpg", () => Buffer.alloc(0), /empty/],
  ];
  test("reports files that it cannot read, and reads the next one", async () => {
    const { page, log } = await ready(await context(), server.url, { offline: false });
    for (const [name, bytes, words] of bad) {
      assert.match(await opened(page, { name, mimeType: "application/octet-stream", buffer: bytes() }), /could not be read/, name);
      assert.match(await page.textContent("#problem"), words, name);
    }
    assert.match(await opened(page, { name: "ramp.png", mimeType: "image/png", buffer: greyImage() }), /is ready/);
    assert.equal(await page.isVisible("#problem"), false);
    assert.deepEqual(log, { requests: [], problems: [] });
    await page.context().close();
  });

  test("asks before it reads a DICOM file that was not de-identified", async () => {
    const marked = readFileSync(join(work.folder, "images", names.find((n) => /dicom$/.test(n))));
    const { page } = await ready(await context(), server.url, { offline: false });
    assert.match(await opened(page, { name: "marked.dcm", mimeType: "application/dicom", buffer: marked }), /is ready/);
    assert.match(await page.textContent("#radiograph-facts"), /DICOM/);
    // (0012,0062) PatientIdentityRemoved: NO instead of YES.
    const unmarked = Buffer.from(marked);
    const at = unmarked.indexOf(Buffer.from([0x12, 0x00, 0x62, 0x00]));
    assert.ok(at > 0, "the phantom says that it was de-identified");
    unmarked.write("NO  ", at + 8, "latin1");
    assert.match(await opened(page, { name: "named.dcm", mimeType: "application/dicom", buffer: unmarked }), /could not be read/);
    assert.match(await page.textContent("#problem"), /de-identified.*Nothing of it leaves this machine/);
    await page.click("#problem button");
    await page.waitForFunction(() => document.getElementById("status").textContent.includes("is ready"));
    await page.context().close();
  });

  test("refuses a bundle whose files differ from its card", async () => {
    for (const [file, spoil] of [
      ["encoder.onnx", (bytes) => bytes.fill(7, 1000, 1010)],
      ["step.onnx", (bytes) => bytes.subarray(0, bytes.length / 2)],
      ["samples.arrow", (bytes) => bytes.fill(0, 100, 110)],
      ["card.json", () => Buffer.from('{"version": 99}')],
    ]) {
      const page = await (await context()).newPage();
      await page.route(`**/preview/${file}`, async (route) => {
        const body = spoil(readFileSync(join(preview, file)));
        await route.fulfill({ status: 200, body });
      });
      await page.goto(server.url);
      await page.waitForSelector("html[data-state=failed]", { timeout: 60_000 });
      assert.match(await page.textContent("#problem"), file === "card.json" ? /card\.json/ : new RegExp(`${file} is not the file that card.json names`));
      await page.unroute(`**/preview/${file}`);
      await page.click("#problem button");
      await page.waitForSelector("html[data-state=ready]", { timeout: 60_000 });
      await page.context().close();
    }
  });

  test("stops on abort, while loading and while generating", async () => {
    const { page } = await ready(await context(), server.url, { offline: false });
    const outcome = await page.evaluate(async () => {
      const { createViewer } = await import("./pkg/viewer.js");
      const early = new AbortController();
      const loading = createViewer({ modelUrl: "preview/", signal: early.signal, onProgress: () => early.abort() });
      const first = await loading.then(() => "loaded", (e) => e.code);
      const viewer = await createViewer({ modelUrl: "preview/" });
      const image = await viewer.sampleImage(0);
      // A tiny model may finish before the page receives its first word: repeated until it is stopped in time.
      let [second, words] = ["", 0];
      for (let i = 0; i < 50 && second !== "stopped"; i++) {
        const late = new AbortController();
        words = 0;
        const writing = viewer.analyze(image, { signal: late.signal, onWord: () => ++words === 1 && late.abort() });
        second = await writing.then(() => "written", (e) => e.code);
      }
      const again = await viewer.analyze(image);
      viewer.dispose();
      const third = await viewer.analyze(image).then(() => "read", (e) => e.code);
      return { first, second, third, words, again: again.report.length };
    });
    assert.deepEqual({ ...outcome, words: 0, again: 0 }, { first: "stopped", second: "stopped", third: "disposed", words: 0, again: 0 });
    assert.ok(outcome.again > 0 && outcome.words >= 1, `${outcome.words} words were received`);
    await page.context().close();
  });

  // With a service worker the scripts of further workers come from its cache; without one the worker that waits has them.
  for (const [name, serviceWorkers, stops] of [["with", "allow", 3], ["without", "block", 1]]) {
    test(`stops while it decodes and goes on without a network, ${name} a service worker`, async () => {
      const { page } = await ready(await context({ serviceWorkers }), server.url, { offline: serviceWorkers === "allow" });
      await page.evaluate(async () => {
        const { createViewer } = await import("./pkg/viewer.js");
        globalThis.stopping = await createViewer({ modelUrl: "preview/" });
      });
      await page.context().setOffline(true);
      const slow = slowImage().toString("base64");
      for (let stop = 1; stop <= stops; stop++) {
        const { code, images, waited, ended, report } = await page.evaluate(stoppedWhileDecoding, slow);
        assert.deepEqual({ code, images }, { code: "stopped", images: 0 }, `stop ${stop}`);
        assert.ok(ended >= 1, "the worker that decoded was terminated");
        assert.ok(waited < 50, `the call ended after ${waited} ms`);
        assert.ok(report.length > 0, "the next image is analysed");
      }
      await page.context().close();
    });
  }

  test("stops by its button while it decodes, and opens the next image", async () => {
    const { page } = await ready(await context(), server.url, { offline: false });
    await page.setInputFiles("#file", { name: "slow.png", mimeType: "image/png", buffer: slowImage() });
    await page.click("#stop");
    await page.waitForFunction(() => /was stopped/.test(document.getElementById("status").textContent), null, { timeout: 2000 });
    assert.equal(await page.isVisible("#stop"), false);
    assert.match(await opened(page, { name: "ramp.png", mimeType: "image/png", buffer: greyImage() }), /is ready/);
    await page.context().close();
  });

  test("refuses a file that is too large before it is read", async () => {
    const path = join(work.folder, "large.dcm");
    const most = 4 * 32_000_000 + 64 * 2 ** 20;
    const file = openSync(path, "w");
    ftruncateSync(file, most + 1);
    closeSync(file);
    const { page } = await ready(await context(), server.url, { offline: false });
    await page.evaluate(() => {
      Blob.prototype.arrayBuffer = () => Promise.reject(new Error("the file was read"));
    });
    assert.match(await opened(page, path), /could not be read/);
    assert.match(await page.textContent("#problem"), new RegExp(`${most + 1} bytes is too large; at most ${most} are read`));
    await page.context().close();
  });

  test("shows a changed page at the next visit, and removes one that was withdrawn", async () => {
    const folder = join(work.folder, "changing");
    cpSync(built, folder, { recursive: true });
    const changing = await served(folder);
    const edit = (name, change) => {
      const path = join(folder, name);
      rmSync(`${path}.br`, { force: true });
      writeFileSync(path, change(readFileSync(path, "utf8")));
      // The server compares times of whole seconds.
      utimesSync(path, Date.now() / 1000 + 60, Date.now() / 1000 + 60);
    };
    const { page } = await ready(await chromium.newContext(), changing.url);
    const caches = () => page.evaluate(async () => (await globalThis.caches.keys()).filter((name) => name.startsWith("d2r-preview-")));
    const visit = async () => {
      await page.reload();
      await page.waitForSelector("html[data-state=ready]", { timeout: 60_000 });
      return [await page.title(), await page.getAttribute("html", "data-offline"), await caches()];
    };
    edit("index.html", (text) => text.replace(/<title>.*<\/title>/, "<title>changed</title>"));
    edit("service-worker.js", (text) => text.replace(/const VERSION = "\w+"/, 'const VERSION = "0123456789abcdef"'));
    assert.deepEqual(await visit(), ["changed", "yes", ["d2r-preview-0123456789abcdef"]]);
    await page.context().setOffline(true);
    assert.deepEqual(await visit(), ["changed", "yes", ["d2r-preview-0123456789abcdef"]]);
    await page.context().setOffline(false);
    for (const name of ["service-worker.js", "service-worker.js.br"]) rmSync(join(folder, name), { force: true });
    const [title, , left] = await visit();
    assert.deepEqual([title, left], ["changed", []]);
    await page.context().close();
    changing.stop();
  });

  test("highlights a sentence's boxes, and a box's sentences", async () => {
    // A model trained for seconds links nothing: a mock worker answers, the page is the real one.
    const browserContext = await context();
    const headers = { "cross-origin-embedder-policy": "require-corp" };
    await browserContext.route("**/pkg/worker.js", (route) => route.fulfill({ contentType: "text/javascript", headers, body: `(${mockWorker})()` }));
    const { page } = await ready(browserContext, server.url, { offline: false });
    await opened(page, { name: "ramp.png", mimeType: "image/png", buffer: greyImage() });
    const highlighted = (selector) => page.locator(selector).evaluateAll((all) => all.map((e) => e.classList.contains("highlighted")));
    assert.equal((await page.textContent("#draft")).trim(), "A nodule in the left upper lobe. The heart is enlarged.");
    await page.hover(".sentence >> nth=1");
    assert.deepEqual([await highlighted("#boxes .box"), await highlighted(".detection")], [[true, false], [true, false]]);
    await page.locator("#boxes .box").nth(1).focus();
    assert.deepEqual([await highlighted(".sentence"), await highlighted("#boxes .box")], [[true, false], [false, true]]);
    assert.match(await page.locator("#boxes .box").nth(1).getAttribute("aria-label"), /^Nodule\/Mass, score 0\.40$/);
    await browserContext.close();
  });

  test("can be used by keyboard and screen reader", async () => {
    const { page } = await ready(await context(), server.url, { offline: false });
    await page.focus("#gallery button");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.getElementById("status").textContent.includes("is ready"));
    await page.focus("#stage");
    const before = await page.getAttribute("#sheet", "style");
    await page.keyboard.press("+");
    assert.notEqual(await page.getAttribute("#sheet", "style"), before);
    for (const scheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme: scheme });
      await page.evaluate(readFileSync(new URL("./node_modules/axe-core/axe.min.js", import.meta.url), "utf8"));
      const found = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
      assert.deepEqual(found.violations.map((v) => `${scheme}: ${v.id}: ${v.nodes[0].html}`), []);
    }
    await page.context().close();
  });

  for (const [name, viewport] of [["desktop", { width: 1360, height: 900 }], ["phone", { width: 390, height: 844 }]]) {
    test(`fits a ${name}`, async () => {
      const { page } = await ready(await context({ viewport, deviceScaleFactor: name === "phone" ? 2 : 1 }), server.url, { offline: false });
      await page.click("#gallery button >> nth=0");
      await page.waitForFunction(() => document.getElementById("status").textContent.includes("is ready"));
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= viewport.width, `${wide} pixels wide`);
      if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `viewer-${name}.png`), fullPage: true });
      await page.context().close();
    });
  }
});

function near(ours, theirs, tolerance, what) {
  assert.equal(ours.length, theirs.length, what);
  ours.forEach((v, i) => assert.ok(Math.abs(v - theirs[i]) <= tolerance, `${what}: ${v} against ${theirs[i]} at ${i}`));
}

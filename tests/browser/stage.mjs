// Fixtures of the browser tests: phantoms and a preview bundle made by the command, the built page, its server, Chromium.

import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

const ROOT = resolve(import.meta.dirname, "../..");
const D2R = process.env.D2R ?? "d2r";

/** Runs the command; returns its standard output. */
export function d2r(folder, ...words) {
  return execFileSync(D2R, words, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28 });
}

/** A temporary folder and a function that removes it. */
export function scratch() {
  const folder = mkdtempSync(join(tmpdir(), "d2r-browser-"));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Runs a tiny pipeline and distils its preview model; returns the bundle's folder. PREVIEW names a finished bundle instead. */
export function bundle(folder) {
  if (process.env.PREVIEW) return resolve(process.env.PREVIEW);
  const common = ["--preset", "tiny", "--quiet", "--json"];
  const inLake = ["--lake", "demo/lake", "--runs", "demo/runs"];
  d2r(folder, "pipeline", "--out", "demo", ...common);
  const run = (kind) => join("demo/runs", readdirSync(join(folder, "demo/runs")).find((name) => name.startsWith(kind)));
  d2r(folder, "distill", "--reporter", run("reporter-"), ...inLake, ...common);
  d2r(folder, "export", "preview", "--preview-model", run("preview-"), "--out", "preview", ...inLake, ...common);
  return join(folder, "preview");
}

/** Draws radiographs in every dataset layout's format and copies `count` of them to the folder `images`; returns their names. */
export function drawImages(folder, count) {
  d2r(folder, "phantom", "--out", "phantom", "--preset", "tiny", "--seed", "77", "--quiet");
  const drawn = readdirSync(join(folder, "phantom"), { recursive: true })
    .filter((name) => /\.(dicom|dcm|jpg|png)$/.test(name))
    .sort();
  const chosen = Array.from({ length: Math.min(count, drawn.length) }, (_, i) => drawn[Math.floor((i * drawn.length) / count)]);
  mkdirSync(join(folder, "images"));
  for (const name of chosen) copyFileSync(join(folder, "phantom", name), join(folder, "images", name.replaceAll("/", "_")));
  return readdirSync(join(folder, "images")).sort();
}

/** Builds the page around a bundle; SITE names a built page's folder instead. */
export function site(folder, preview) {
  if (process.env.SITE) return resolve(process.env.SITE);
  execFileSync(join(ROOT, "scripts/viewer.sh"), [join(folder, "site"), preview], { stdio: ["ignore", "inherit", "inherit"] });
  return join(folder, "site");
}

/** Serves a folder with the project's own server; returns its address and a function that stops it. */
export async function served(folder) {
  const server = spawn("python3", [join(ROOT, "scripts/serve.py"), folder, "0"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: server.stdout });
  const [line] = await new Promise((resolve, reject) => {
    lines.once("line", (l) => resolve([l]));
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { url: /http:\S+/.exec(line)[0], stop: () => server.kill("SIGINT") };
}

/** Debian's Chromium without background requests. */
export function browser() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath, args: quiet });
}

/** A page on which the viewer is ready, `offline` with its files in the cache; `log` collects its requests and problems from then on. */
export async function ready(context, url, { offline = true } = {}) {
  const page = await context.newPage();
  const log = { requests: [], problems: [] };
  page.on("pageerror", (error) => log.problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && log.problems.push(message.text()));
  await page.addInitScript(() => {
    // The time at which the page says that it is ready.
    new MutationObserver(() => {
      if (document.documentElement?.dataset.state === "ready") globalThis.readyAt ??= performance.now();
    }).observe(document, { attributes: true, childList: true, subtree: true });
    document.addEventListener("securitypolicyviolation", (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
  });
  await page.goto(url);
  await page.waitForSelector("html[data-state=ready]", { timeout: 60_000 });
  for (const source of [page, context]) source.on("request", (r) => r.url().startsWith("http") && log.requests.push(r.url()));
  const kept = await page.getAttribute("html", "data-offline");
  if (kept !== (offline ? "yes" : "no")) throw new Error(`the page is ready with offline=${kept}`);
  return { page, log };
}

/** Opens a file with the file input and waits until it is analysed or refused; returns the status text. */
export async function opened(page, files) {
  await page.evaluate(() => document.getElementById("status").replaceChildren("…"));
  await page.setInputFiles("#file", files);
  await page.waitForFunction(() => /is ready|could not be read|was stopped/.test(document.getElementById("status").textContent), null, { timeout: 60_000 });
  return page.textContent("#status");
}

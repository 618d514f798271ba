// The page: a viewer, a film, a report, and what lights up together.

import { createViewer } from "./pkg/viewer.js";
import { FilmView } from "./film_view.js";
import { ReportView } from "./report_view.js";
import { fillGallery } from "./gallery.js";

const $ = (id) => document.getElementById(id);

const report = new ReportView(
  {
    draft: $("draft"),
    timing: $("timing"),
    findings: $("findings"),
    labels: $("labels"),
    copy: $("copy"),
    compare: $("compare"),
    compareTitle: $("compare-title"),
    compareDraft: $("compare-draft"),
    compareOther: $("compare-other"),
  },
  { onSentence: (i) => lightSentence(i), onFinding: (i) => lightFinding(i) },
);
const film = new FilmView(
  {
    stage: $("stage"),
    sheet: $("film"),
    pixels: $("pixels"),
    heat: $("heat"),
    boxes: $("boxes"),
    filter: $("window-level"),
    window: $("window"),
    level: $("level"),
  },
  (i) => lightFinding(i),
);

let viewer = null;
/** Of the film on the screen: what was seen, the analysis, the sample study. */
let shown = { seen: null, analysis: null, sample: null };
let running = null;

function say(text) {
  $("status").textContent = text;
}

function complain(message, actions = []) {
  const box = $("problem");
  box.hidden = !message;
  box.replaceChildren(message ?? "");
  for (const [text, act] of actions) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.addEventListener("click", act);
    box.append(" ", button);
  }
}

async function start() {
  const bar = $("progress");
  $("stop").hidden = false;
  running = new AbortController();
  complain(null);
  bar.hidden = false;
  try {
    viewer = await createViewer({
      modelUrl: new URL("preview/", document.baseURI),
      onProgress: ({ loaded, total }) => {
        bar.max = total || 1;
        bar.value = Math.min(loaded, total);
        say(`Loading the viewer: ${mega(loaded)} of ${mega(total)} MB`);
      },
      signal: running.signal,
    });
  } catch (error) {
    const stopped = running.signal.aborted;
    say(stopped ? "Loading was stopped." : "The viewer could not be loaded.");
    complain(stopped ? "The viewer is not loaded." : error.message, [["Load again", start]]);
    document.documentElement.dataset.state = "failed";
    return;
  } finally {
    running = null;
    bar.hidden = true;
    $("stop").hidden = true;
  }
  const { run_id, code_version } = viewer.card;
  $("model").textContent = `Student ${run_id}, D2R ${code_version}, ${viewer.module === "relaxed" ? "relaxed SIMD" : "SIMD"}.`;
  await fillGallery($("gallery"), viewer.samples, (place) => viewer.samplePicture(place), openSample);
  say("Ready. Drop a film, choose one, or take a sample study.");
  document.documentElement.dataset.state = "ready";
  await keepOffline();
}

/** For use without a network the browser keeps the page's own files. */
async function keepOffline() {
  try {
    await navigator.serviceWorker.register(`service-worker.js?module=${viewer.module}`);
    await navigator.serviceWorker.ready;
    document.documentElement.dataset.offline = "yes";
  } catch {
    document.documentElement.dataset.offline = "no";
  }
}

async function openSample(place) {
  const bytes = await viewer.samplePicture(place);
  await analyse(bytes, `Sample study ${place + 1}`, viewer.samples[place]);
}

async function analyse(source, name, sample = null, allowPhi = false) {
  if (!viewer) return;
  running?.abort();
  const stop = new AbortController();
  running = stop;
  const current = () => running === stop;
  complain(null);
  $("stop").hidden = false;
  say(`Reading ${name}…`);
  $("report").scrollTop = 0;
  try {
    const analysis = await viewer.analyze(source, {
      signal: stop.signal,
      allowPhi,
      onFilm: (decoded) => {
        if (!current()) return;
        shown = { seen: null, analysis: null, sample };
        report.clear("");
        film.show(decoded);
        const view = decoded.view ? `, ${decoded.view}` : "";
        $("film-facts").textContent = `${name} · ${decoded.kind.toUpperCase()}, ${decoded.width} × ${decoded.height}${view}`;
      },
      onSeen: (seen) => {
        if (!current()) return;
        shown.seen = seen;
        film.setFindings(seen.findings);
        report.showSeen(seen);
        drawMap(null);
      },
      onWord: ({ text }) => current() && report.showWords(text),
    });
    if (!current()) return;
    shown.analysis = analysis;
    report.showAnalysis(analysis);
    compare();
    say(`Draft of ${name} is ready: ${analysis.sentences.length} sentences, ${analysis.findings.length} findings.`);
  } catch (error) {
    if (!current()) return;
    report.clear(stop.signal.aborted ? "Stopped." : "");
    if (stop.signal.aborted) {
      say(`Reading of ${name} was stopped.`);
      return;
    }
    say(`${name} could not be read.`);
    const anyway = [["Read it all the same", () => analyse(source, name, sample, true)]];
    if (error.code === "not_deidentified") {
      complain(
        `${name} does not say that it was de-identified (PatientIdentityRemoved). Nothing of it leaves this machine.`,
        anyway,
      );
    } else {
      complain(`${name}: ${error.message}`);
    }
  } finally {
    if (current()) {
      running = null;
      $("stop").hidden = true;
    }
  }
}

function compare() {
  const { analysis, sample } = shown;
  if (!sample) return;
  const which = document.querySelector('input[name="other"]:checked').value;
  const title = which === "teacher" ? "Teacher's report" : "Reference report";
  report.showComparison(title, analysis.report, sample[which]);
}

function lightSentence(index) {
  const links = index === null ? null : shown.analysis.sentences[index].links.map(([finding]) => finding);
  film.light(links);
  report.light(index === null ? [] : [index], links ?? []);
  drawMap(index);
}

function lightFinding(index) {
  const told = shown.analysis?.sentences ?? [];
  const places = told.flatMap((s, i) => (s.links.some(([finding]) => finding === index) ? [i] : []));
  film.light(index === null ? null : [index]);
  report.light(index === null ? [] : places, index === null ? [] : [index]);
}

function drawMap(sentence) {
  const { seen, analysis } = shown;
  const overlay = $("overlay").value;
  const map = { heat: seen?.heat, look: analysis?.sentences[sentence ?? 0]?.look, none: null }[overlay];
  film.showMap(seen ? map : null, seen?.frame);
}

async function openFile(file) {
  if (!file) return;
  if (!viewer) {
    say("The viewer is still loading.");
    return;
  }
  for (const thumb of $("gallery").querySelectorAll("[aria-current]")) thumb.removeAttribute("aria-current");
  await analyse(file, file.name);
}

const mega = (bytes) => (bytes / 1e6).toFixed(1);

$("file").addEventListener("change", (event) => {
  openFile(event.target.files[0]);
  event.target.value = "";
});
$("stop").addEventListener("click", () => running?.abort(new DOMException("stopped", "AbortError")));
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(shown.analysis.report);
    say("The text was copied.");
  } catch {
    say("The browser did not allow copying; select the text instead.");
  }
});
$("overlay").addEventListener("change", () => drawMap(null));
$("show-boxes").addEventListener("change", (event) => film.showBoxes(event.target.checked));
$("zoom-in").addEventListener("click", () => film.zoom(1.5));
$("zoom-out").addEventListener("click", () => film.zoom(1 / 1.5));
$("fit").addEventListener("click", () => film.fit());
for (const radio of document.querySelectorAll('input[name="other"]')) radio.addEventListener("change", compare);
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.add("dragging");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  openFile(event.dataTransfer.files[0]);
});

start();

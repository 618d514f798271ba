// The page: connects the viewer library with the display of radiograph and report.

import { createViewer } from "./pkg/viewer.js";
import { RadiographView } from "./radiograph_view.js";
import { ReportView } from "./report_view.js";
import { fillGallery } from "./gallery.js";
import { keepOfflineCopy } from "./offline_copy.js";

const $ = (id) => document.getElementById(id);

const report = new ReportView(
  {
    draft: $("draft"),
    timing: $("timing"),
    detections: $("detections"),
    labels: $("labels"),
    copy: $("copy"),
    compare: $("compare"),
    compareTitle: $("compare-title"),
    compareDraft: $("compare-draft"),
    compareOther: $("compare-other"),
  },
  { onSentence: (i) => highlightSentence(i), onDetection: (i) => highlightDetection(i) },
);
const radiograph = new RadiographView(
  {
    stage: $("stage"),
    sheet: $("sheet"),
    pixels: $("pixels"),
    heat: $("heat"),
    boxes: $("boxes"),
    filter: $("window-level"),
    window: $("window"),
    level: $("level"),
  },
  (i) => highlightDetection(i),
);

let viewer = null;
/** Results for the displayed radiograph: of the encoder, all of them, and its sample study. */
let shown = { image: null, analysis: null, sample: null };
let running = null;

function setStatus(text) {
  $("status").textContent = text;
}

function showProblem(message, actions = []) {
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
  showProblem(null);
  bar.hidden = false;
  try {
    viewer = await createViewer({
      modelUrl: new URL("preview/", document.baseURI),
      onProgress: ({ loaded, total }) => {
        bar.max = total || 1;
        bar.value = Math.min(loaded, total);
        setStatus(`Loading the viewer: ${mega(loaded)} of ${mega(total)} MB`);
      },
      signal: running.signal,
    });
  } catch (error) {
    const stopped = running.signal.aborted;
    setStatus(stopped ? "Loading was stopped." : "The viewer could not be loaded.");
    showProblem(stopped ? "The viewer is not loaded." : error.message, [["Load again", start]]);
    document.documentElement.dataset.state = "failed";
    return;
  } finally {
    running = null;
    bar.hidden = true;
    $("stop").hidden = true;
  }
  const { run_id, code_version } = viewer.card;
  $("model").textContent = `Preview model ${run_id}, D2R ${code_version}, ${viewer.module === "relaxed" ? "relaxed SIMD" : "SIMD"}.`;
  await fillGallery($("gallery"), viewer.samples, (index) => viewer.sampleImage(index), openSample);
  setStatus("Storing the page's own files for use without a network…");
  const isKept = await keepOfflineCopy(`service-worker.js?module=${viewer.module}`);
  document.documentElement.dataset.offline = isKept ? "yes" : "no";
  // From here on the page makes no request.
  if (!running) setStatus("Ready. Drop a radiograph, open one, or choose a sample study.");
  document.documentElement.dataset.state = "ready";
}

async function openSample(index) {
  const bytes = await viewer.sampleImage(index);
  await analyse(bytes, `Sample study ${index + 1}`, viewer.samples[index]);
}

async function analyse(source, name, sample = null, allowPhi = false) {
  if (!viewer) return;
  running?.abort();
  const stop = new AbortController();
  running = stop;
  const current = () => running === stop;
  showProblem(null);
  $("stop").hidden = false;
  setStatus(`Analysing ${name}…`);
  $("report").scrollTop = 0;
  try {
    const analysis = await viewer.analyze(source, {
      signal: stop.signal,
      allowPhi,
      onImage: (decoded) => {
        if (!current()) return;
        shown = { image: null, analysis: null, sample };
        report.clear("");
        radiograph.show(decoded);
        const projection = decoded.projection ? `, ${decoded.projection}` : "";
        $("radiograph-facts").textContent = `${name} · ${decoded.kind.toUpperCase()}, ${decoded.width} × ${decoded.height}${projection}`;
      },
      onDetections: (image) => {
        if (!current()) return;
        shown.image = image;
        radiograph.setDetections(image.detections);
        report.showDetections(image);
        drawMap(null);
      },
      onWord: ({ readable }) => current() && report.showWords(readable),
    });
    if (!current()) return;
    shown.analysis = analysis;
    report.showAnalysis(analysis);
    compare();
    setStatus(`Draft of ${name} is ready: ${analysis.sentences.length} sentences, ${analysis.detections.length} detections.`);
  } catch (error) {
    if (!current()) return;
    report.clear(stop.signal.aborted ? "Stopped." : "");
    if (stop.signal.aborted) {
      setStatus(`Analysis of ${name} was stopped.`);
      return;
    }
    setStatus(`${name} could not be read.`);
    const anyway = [["Open it anyway", () => analyse(source, name, sample, true)]];
    if (error.code === "not_deidentified") {
      showProblem(
        `${name} does not say that it was de-identified (PatientIdentityRemoved). Nothing of it leaves this machine.`,
        anyway,
      );
    } else {
      showProblem(`${name}: ${error.message}`);
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
  const title = which === "report_model" ? "Report model" : "Reference report";
  report.showComparison(title, analysis.readable, sample[which]);
}

function highlightSentence(index) {
  const links = index === null ? null : shown.analysis.sentences[index].links.map(([detection]) => detection);
  radiograph.highlight(links);
  report.highlight(index === null ? [] : [index], links ?? []);
  drawMap(index);
}

function highlightDetection(index) {
  const sentences = shown.analysis?.sentences ?? [];
  const linked = sentences.flatMap((s, i) => (s.links.some(([detection]) => detection === index) ? [i] : []));
  radiograph.highlight(index === null ? null : [index]);
  report.highlight(index === null ? [] : linked, index === null ? [] : [index]);
}

function drawMap(sentence) {
  const { image, analysis } = shown;
  const overlay = $("overlay").value;
  const map = { heat: image?.heat, attention: analysis?.sentences[sentence ?? 0]?.attention, none: null }[overlay];
  radiograph.showMap(image ? map : null, image?.input_extent);
}

async function openFile(file) {
  if (!file) return;
  if (!viewer) {
    setStatus("The viewer is still loading.");
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
    await navigator.clipboard.writeText(shown.analysis.readable);
    setStatus("The text was copied.");
  } catch {
    setStatus("The browser did not allow copying; select the text instead.");
  }
});
$("overlay").addEventListener("change", () => drawMap(null));
$("show-boxes").addEventListener("change", (event) => radiograph.showBoxes(event.target.checked));
$("zoom-in").addEventListener("click", () => radiograph.zoom(1.5));
$("zoom-out").addEventListener("click", () => radiograph.zoom(1 / 1.5));
$("fit").addEventListener("click", () => radiograph.fit());
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

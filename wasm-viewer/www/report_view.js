// Displays the draft report with its sentences, detections and labels, and compares it with another text.

import { diff } from "./text_diff.js";

/** Labels with at least this score are shown as present. */
const PRESENT_MIN = 0.5;

export class ReportView {
  #sentences = [];
  #detectionItems = [];

  /** `onSentence(index | null)` and `onDetection(index | null)` receive the item under the pointer or with the focus. */
  constructor(elements, { onSentence, onDetection }) {
    Object.assign(this, elements);
    Object.assign(this, { onSentence, onDetection });
  }

  clear(message = "") {
    this.#sentences = [];
    this.draft.replaceChildren(message);
    this.draft.removeAttribute("aria-busy");
    for (const list of [this.detections, this.labels]) list.replaceChildren();
    this.timing.textContent = "";
    this.copy.disabled = true;
    this.compare.hidden = true;
  }

  /** Shows the text generated so far. */
  showWords(text) {
    this.draft.setAttribute("aria-busy", "true");
    this.draft.textContent = `${text} ▍`;
  }

  showDetections({ detections, labels }) {
    this.#detectionItems = detections.map((detection, index) => {
      const kind = `detection hue-${index % 6}`;
      const item = hoverable("button", kind, detection.class_name, (on) => this.onDetection(on ? index : null));
      item.type = "button";
      item.append(scoreMeter(detection.score));
      return item;
    });
    this.detections.replaceChildren(...(this.#detectionItems.length ? this.#detectionItems.map(listed) : [listed(quiet("none"))]));
    const sorted = [...labels].sort((a, b) => b[1] - a[1]);
    this.labels.replaceChildren(...sorted.map(([name, score]) => {
      const item = listed(name);
      item.classList.toggle("present", score >= PRESENT_MIN);
      item.append(scoreMeter(score));
      return item;
    }));
  }

  showAnalysis({ report, sentences, timings, ended }) {
    this.#sentences = sentences.map((sentence, index) => {
      const item = hoverable("span", "sentence", sentence.readable, (on) => this.onSentence(on ? index : null));
      item.tabIndex = 0;
      item.classList.toggle("linked", sentence.links.length > 0);
      return item;
    });
    this.draft.removeAttribute("aria-busy");
    this.draft.replaceChildren(...this.#sentences.flatMap((s) => [s, " "]));
    if (!report) this.draft.append(quiet("The report is empty."));
    if (!ended) this.draft.append(quiet(" The report reached the maximum length and is incomplete."));
    const ms = (v) => `${v < 10 ? v.toFixed(1) : Math.round(v)} ms`;
    this.timing.textContent =
      `Decoded in ${ms(timings.decode_ms)}, encoder ${ms(timings.encoder_ms)}, ${timings.words} words in ` +
      `${ms(timings.words_ms)}: ${ms(timings.total_ms)} in all, on this machine.`;
    this.copy.disabled = !report;
  }

  /** Highlights sentences and detections by index. */
  highlight(sentences, detections) {
    this.#sentences.forEach((s, i) => s.classList.toggle("highlighted", sentences.includes(i)));
    this.#detectionItems.forEach((d, i) => d.classList.toggle("highlighted", detections.includes(i)));
  }

  /** Shows the draft beside another text; words that occur in one only are marked. */
  showComparison(title, draft, other) {
    this.compare.hidden = false;
    this.compareTitle.textContent = title;
    const [left, right] = diff(draft, other);
    this.compareDraft.replaceChildren(...marked(left, "ins"));
    this.compareOther.replaceChildren(...(other ? marked(right, "del") : [quiet("This study has none.")]));
  }
}

/** An element that reports when the pointer or the focus enters and leaves. */
function hoverable(tag, kind, text, hover) {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = text;
  for (const [enter, leave] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
    element.addEventListener(enter, () => hover(true));
    element.addEventListener(leave, () => hover(false));
  }
  return element;
}

function listed(content) {
  const item = document.createElement("li");
  item.append(content);
  return item;
}

function quiet(text) {
  const span = document.createElement("span");
  span.className = "quiet";
  span.textContent = text;
  return span;
}

function scoreMeter(score) {
  const meter = document.createElement("meter");
  meter.max = 1;
  meter.value = score;
  const number = quiet(score.toFixed(2));
  const both = document.createElement("span");
  both.className = "score";
  meter.setAttribute("aria-hidden", "true");
  both.append(meter, number);
  return both;
}

function marked(parts, tag) {
  return parts.flatMap(({ word, same }) => {
    if (same) return [`${word} `];
    const mark = document.createElement(tag);
    mark.textContent = word;
    return [mark, " "];
  });
}

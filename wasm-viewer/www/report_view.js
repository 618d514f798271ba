// The draft with its sentences, findings and labels, and the draft beside another text.

import { diff } from "./text_diff.js";

/** A label is shown as present from this score on. */
const PRESENT = 0.5;

export class ReportView {
  #sentences = [];
  #findings = [];

  /** `onSentence(index | null)` and `onFinding(index | null)` hear what the pointer or the focus is on. */
  constructor(elements, { onSentence, onFinding }) {
    Object.assign(this, elements);
    Object.assign(this, { onSentence, onFinding });
  }

  clear(message = "") {
    this.#sentences = [];
    this.draft.replaceChildren(message);
    this.draft.removeAttribute("aria-busy");
    for (const list of [this.findings, this.labels]) list.replaceChildren();
    this.timing.textContent = "";
    this.copy.disabled = true;
    this.compare.hidden = true;
  }

  /** The text so far. */
  showWords(text) {
    this.draft.setAttribute("aria-busy", "true");
    this.draft.textContent = `${text} ▍`;
  }

  showSeen({ findings, labels }) {
    this.#findings = findings.map((finding, index) => {
      const item = lighting("button", `finding hue-${index % 6}`, finding.class_name, (on) => this.onFinding(on ? index : null));
      item.type = "button";
      item.append(share(finding.score));
      return item;
    });
    this.findings.replaceChildren(...(this.#findings.length ? this.#findings.map(listed) : [listed(quiet("none"))]));
    const sorted = [...labels].sort((a, b) => b[1] - a[1]);
    this.labels.replaceChildren(...sorted.map(([name, score]) => {
      const item = listed(name);
      item.classList.toggle("present", score >= PRESENT);
      item.append(share(score));
      return item;
    }));
  }

  showAnalysis({ report, sentences, timings, ended }) {
    this.#sentences = sentences.map((sentence, index) => {
      const item = lighting("span", "sentence", capital(sentence.text), (on) => this.onSentence(on ? index : null));
      item.tabIndex = 0;
      item.classList.toggle("linked", sentence.links.length > 0);
      return item;
    });
    this.draft.removeAttribute("aria-busy");
    this.draft.replaceChildren(...this.#sentences.flatMap((s) => [s, " "]));
    if (!report) this.draft.append(quiet("The model wrote no sentence."));
    if (!ended) this.draft.append(quiet(" The report is longer than the model can write; its end is missing."));
    const ms = (v) => `${v < 10 ? v.toFixed(1) : Math.round(v)} ms`;
    this.timing.textContent =
      `Decoded in ${ms(timings.decode_ms)}, seen in ${ms(timings.encoder_ms)}, ${timings.words} words in ` +
      `${ms(timings.words_ms)}: ${ms(timings.total_ms)} in all, on this machine.`;
    this.copy.disabled = !report;
  }

  /** Lights sentences and findings by index. */
  light(sentences, findings) {
    this.#sentences.forEach((s, i) => s.classList.toggle("lit", sentences.includes(i)));
    this.#findings.forEach((f, i) => f.classList.toggle("lit", findings.includes(i)));
  }

  /** The draft and another text side by side; words that only one has are marked. */
  showComparison(title, draft, other) {
    this.compare.hidden = false;
    this.compareTitle.textContent = title;
    const [left, right] = diff(draft, other);
    this.compareDraft.replaceChildren(...marked(left, "ins"));
    this.compareOther.replaceChildren(...(other ? marked(right, "del") : [quiet("There is none for this study.")]));
  }
}

/** An element that says when the pointer or the focus comes and goes. */
function lighting(tag, kind, text, hover) {
  const element = document.createElement(tag);
  element.className = kind;
  element.textContent = text;
  for (const [enter, leave] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
    element.addEventListener(enter, () => hover(true));
    element.addEventListener(leave, () => hover(false));
  }
  return element;
}

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

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

function share(score) {
  const meter = document.createElement("meter");
  meter.max = 1;
  meter.value = score;
  const number = quiet(score.toFixed(2));
  const both = document.createElement("span");
  both.className = "share";
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

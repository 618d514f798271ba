/** D2R's browser preview. Research software, not a medical device. Not for diagnosis. */

/**
 * Of films: `empty_file`, `not_an_image`, `truncated`, `corrupt`, `too_small`, `too_large`, `colour_photograph`,
 * `no_pixel_data`, `not_deidentified`, `unsupported`. Of bundles: `bundle`, `digest`. Of the page: `network`, `crashed`
 * (the next call starts anew), `disposed`, `usage`, `model`, `internal`. An abort rejects with the signal's reason.
 */
export type ErrorCode = string;

export class ViewerError extends Error {
  readonly code: ErrorCode;
}

/** Bytes of the module and of the bundle, uncompressed. */
export interface Progress {
  loaded: number;
  total: number;
}

export interface CreateOptions {
  /** A folder that `d2r export preview` wrote; `preview/` beside the page by default. */
  modelUrl?: string | URL;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/** A decoded film: grey levels row by row, bright is dense. */
export interface Film {
  kind: "png" | "jpeg" | "dicom";
  width: number;
  height: number;
  view: "PA" | "AP" | "LATERAL" | null;
  pixels: Uint8Array;
}

/** `x_min, y_min, x_max, y_max` in the film's own pixels, half-open. */
export type Box = [number, number, number, number];

export interface Finding {
  class_id: number;
  class_name: string;
  /** 0 to 1. */
  score: number;
  region: Box;
}

export interface Seen {
  width: number;
  height: number;
  /** The surest first. */
  findings: Finding[];
  /** CheXpert label and score, 0 to 1. */
  labels: [string, number][];
  /** The highest class score of each cell of a square grid over `frame`, row by row. */
  heat: number[];
  /** The model's square in the film's pixels; beyond the film where it was padded. */
  frame: Box;
}

export interface Sentence {
  text: string;
  /** Sum of its words' log-probabilities. */
  log_prob: number;
  /** Index of a finding, and its share of the sentence's attention among the boxes that the sentence names. */
  links: [number, number][];
  /** Mean attention on a square grid over `frame`, row by row; sums to 1. */
  look: number[];
}

/** Milliseconds. */
export interface Timings {
  decode_ms: number;
  encoder_ms: number;
  words_ms: number;
  words: number;
  total_ms: number;
}

export interface Analysis extends Seen {
  report: string;
  /** The model ended the report itself. */
  ended: boolean;
  log_probs: number[];
  sentences: Sentence[];
  links: { sentence: number; finding: number; weight: number }[];
  timings: Timings;
  notice: string;
}

export interface AnalyzeOptions {
  onFilm?: (film: Film) => void;
  onSeen?: (seen: Seen) => void;
  onWord?: (written: { text: string; words: number; done: boolean }) => void;
  signal?: AbortSignal;
  /** Accept DICOM files that do not say that they were de-identified; nothing leaves the machine either way. */
  allowPhi?: boolean;
}

/** A sample study of the bundle; `boxes` is JSON: `{class_name, score, region}`, in units of the film's width. */
export interface Sample {
  study_id: string;
  reference: string;
  teacher: string;
  boxes: string;
}

export interface Viewer {
  /** The bundle's card. */
  readonly card: Record<string, unknown>;
  readonly samples: Sample[];
  /** Which module runs. */
  readonly module: "simd" | "relaxed";
  /** Names of the matrix kernels that the graphs run on. */
  readonly kernels: string[];
  readonly loadTimings: { fetch_and_compile_ms: number; prepare_ms: number };
  analyze(source: Blob | ArrayBuffer | ArrayBufferView, options?: AnalyzeOptions): Promise<Analysis>;
  samplePicture(place: number): Promise<Uint8Array>;
  dispose(): void;
}

export function createViewer(options?: CreateOptions): Promise<Viewer>;

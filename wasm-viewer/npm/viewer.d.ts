/** D2R's browser preview. Research software, not a medical device. Not for diagnosis. */

/**
 * Image files: `empty_file`, `not_an_image`, `truncated`, `corrupt`, `too_small`, `too_large`, `too_many_scans`,
 * `colour_photograph`, `no_pixel_data`, `not_deidentified`, `unsupported`. Bundles: `bundle`, `card` (a number of the card is out of
 * its limits), `digest`. The viewer: `stopped` (the signal of the call was aborted; `cause` is its reason), `network`, `crashed`
 * (another worker takes the place of the crashed one), `disposed`, `usage`, `no_image`, `model`, `internal`.
 */
export type ErrorCode = string;

export class ViewerError extends Error {
  readonly code: ErrorCode;
}

/** Uncompressed bytes of the module and of the bundle. */
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

/** A decoded radiograph: grey levels row by row, bright is dense. */
export interface DecodedImage {
  kind: "png" | "jpeg" | "dicom";
  width: number;
  height: number;
  projection: "PA" | "AP" | "LATERAL" | null;
  pixels: Uint8Array;
}

/** `x_min, y_min, x_max, y_max` in original pixels, half-open. */
export type Box = [number, number, number, number];

/** A bounding box with VinDr-CXR class and score. */
export interface Detection {
  class_id: number;
  class_name: string;
  /** 0 to 1. */
  score: number;
  region: Box;
}

/** Results of the encoder. */
export interface ImageAnalysis {
  width: number;
  height: number;
  /** By descending score. */
  detections: Detection[];
  /** CheXpert label and score, 0 to 1. */
  labels: [string, number][];
  /** The highest class score of each cell of a square grid over `input_extent`, row by row. */
  heat: number[];
  /** The square model input in original pixels; beyond the radiograph where it is padded. */
  input_extent: Box;
}

export interface Sentence {
  /** As its tokens: "the heart is normal". */
  text: string;
  /** As a person writes it: "The heart is normal." */
  readable: string;
  /** Sum of the words' log-probabilities. */
  log_prob: number;
  /** Index of a detection, and its share of the sentence's attention among the detections that the sentence names. */
  links: [number, number][];
  /** Mean cross-attention of the words on a square grid over `input_extent`, row by row; sums to 1. */
  attention: number[];
}

/** Milliseconds. */
export interface Timings {
  decode_ms: number;
  encoder_ms: number;
  words_ms: number;
  words: number;
  total_ms: number;
}

export interface Analysis extends ImageAnalysis {
  /** As its tokens: "the heart is normal ." */
  report: string;
  /** As a person writes it: "The heart is normal." */
  readable: string;
  /** The model wrote the end of the report. */
  ended: boolean;
  log_probs: number[];
  sentences: Sentence[];
  links: { sentence: number; detection: number; weight: number }[];
  timings: Timings;
  notice: string;
}

export interface AnalyzeOptions {
  onImage?: (image: DecodedImage) => void;
  onDetections?: (image: ImageAnalysis) => void;
  onWord?: (progress: { text: string; readable: string; words: number; done: boolean }) => void;
  /** An abort rejects the call at once with the code `stopped`, also while the image is decoded. */
  signal?: AbortSignal;
  /** Accept DICOM files that do not say that they were de-identified; nothing leaves the machine either way. */
  allowPhi?: boolean;
}

/** A sample study of the bundle; `boxes` is JSON: a list of `{class_name, score, region}`, coordinates over the image's width. */
export interface Sample {
  study_id: string;
  /** The reference report, as a person writes it. */
  reference: string;
  /** The report of the model that the preview model was distilled from, as a person writes it. */
  report_model: string;
  boxes: string;
}

export interface Viewer {
  /** The bundle's card. */
  readonly card: Record<string, unknown>;
  readonly samples: Sample[];
  /** Which of the two modules runs. */
  readonly module: "simd" | "relaxed";
  /** Names of the graphs' matrix multiplication kernels. */
  readonly kernels: string[];
  /** Largest file that `analyze` reads, bytes; a larger one is refused with the code `too_large` before it is read. */
  readonly fileBytesMax: number;
  /** Of the worker that runs: module and bundle are requested once. */
  readonly loadTimings: { fetch_and_compile_ms: number; prepare_ms: number };
  analyze(source: Blob | ArrayBuffer | ArrayBufferView, options?: AnalyzeOptions): Promise<Analysis>;
  /** The image file of a sample study. */
  sampleImage(index: number): Promise<Uint8Array>;
  dispose(): void;
}

export function createViewer(options?: CreateOptions): Promise<Viewer>;

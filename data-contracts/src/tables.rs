//! Rows of the lake's tables, version 1. `dataset` and `split` are Hive partition columns of every table: they are in
//! the folder names, not in the files.
//!
//! Boxes are corners in original pixels, half-open. Columns with enumerated values (`source`, `origin`, `state`,
//! `view`, `section`) are listed in the contracts.

mod truth;

pub use truth::{TruthFindingRow, TruthLesionRow, TruthLinkRow, TruthMentionRow, TruthStatementRow};

use crate::boxes::BoxXyxy;
use crate::space::Original;
use crate::table_row;

table_row! {
    /// A radiograph.
    ImageRow, table "images", key [image_id], {
        /// Unique in the dataset (the DICOM id of MIMIC-CXR, the image id of VinDr-CXR).
        image_id: String,
        /// Study of the image.
        study_id: String,
        /// The dataset's own pseudonymous patient id.
        subject_id: String,
        /// Projection: `PA`, `AP`, `LATERAL` or `UNKNOWN`.
        view: String,
        /// Relative to the dataset's root given at ingest.
        path: String,
        /// Columns; null when only labels were read.
        width: Option<i32>,
        /// Rows; null when only labels were read.
        height: Option<i32>,
        /// Digest of the file's bytes; null when only labels were read.
        sha256: Option<String>,
        /// Number of annotated lesions; null when no annotator read the image.
        n_boxes: Option<i32>,
        /// The DICOM header says that text is burned into the pixels (0028,0301); null when it does not say, and for other
        /// formats.
        burned_in_annotation: Option<bool>,
    }
}

table_row! {
    /// A bounding box of a lesion, from annotators or from the detector.
    LesionRow, table "lesions", key [image_id, box_id], {
        /// Image of the box.
        image_id: String,
        /// Unique in the dataset.
        box_id: String,
        /// Class, by its name in the label set of the part; a VinDr-CXR class unless the dataset names another set.
        class_name: String,
        /// Index of the class in the label set of the part; of the 22 VinDr-CXR classes unless the dataset names
        /// another set.
        class_id: i32,
        /// Left edge, original pixels.
        x_min: f32,
        /// Top edge, original pixels.
        y_min: f32,
        /// Right edge, exclusive, original pixels.
        x_max: f32,
        /// Bottom edge, exclusive, original pixels.
        y_max: f32,
        /// Annotator agreement or detector confidence, 0 to 1.
        score: f32,
        /// `reader` (one annotator), `fused` (several annotators) or `pseudo` (a detector).
        source: String,
        /// Id of the annotator, for `reader` boxes.
        reader_id: Option<String>,
        /// Number of annotators whose boxes were fused.
        n_readers: Option<i32>,
        /// Standard deviation of the left edge, original pixels, where the detector predicts it.
        std_x_min: Option<f32>,
        /// Standard deviation of the top edge, original pixels.
        std_y_min: Option<f32>,
        /// Standard deviation of the right edge, original pixels.
        std_x_max: Option<f32>,
        /// Standard deviation of the bottom edge, original pixels.
        std_y_max: Option<f32>,
        /// For `pseudo` boxes of a semi-supervised run: highest IoU with a detection of the student of the same class.
        student_iou: Option<f32>,
        /// Used for training and reporting.
        accepted: bool,
        /// Score threshold of `accepted`.
        threshold: Option<f32>,
        /// Digest of the detector's weights, for `pseudo` boxes.
        model_sha256: Option<String>,
    }
}

table_row! {
    /// A section of a reference report.
    ReportRow, table "reports", key [study_id, section], {
        /// Study of the report.
        study_id: String,
        /// `findings`, `impression` or `both`.
        section: String,
        /// Text as in the file.
        text: String,
        /// After text cleaning: lower case, sentences joined by ` . `.
        text_clean: String,
    }
}

table_row! {
    /// A generated report.
    GeneratedReportRow, table "generated_reports", key [report_id], {
        /// Unique in the dataset.
        report_id: String,
        /// Image that the report was generated for.
        image_id: String,
        /// Study of the image.
        study_id: String,
        /// Text of the report.
        text: String,
        /// Number of sentences in `text`.
        n_sentences: i32,
        /// Number of boxes given to the report model.
        n_boxes: i32,
        /// Mean log-probability of the words.
        mean_logprob: f32,
        /// Mentions an earlier examination.
        mentions_prior: bool,
        /// A sentence names the side opposite to that of its boxes.
        laterality_conflict: bool,
        /// Flagged for review by a radiologist.
        needs_review: bool,
        /// Beam width (1 is greedy).
        beam_size: i32,
        /// Longest report allowed, words.
        max_words: i32,
        /// Digest of the report model's weights.
        model_sha256: String,
        /// Number of boxes given to the report model that no sentence is linked to.
        box_without_sentence: Option<i32>,
        /// Number of sentences that state a label or a lesion as present or possible and are linked to no box.
        sentence_without_box: Option<i32>,
    }
}

table_row! {
    /// A sentence of a generated report.
    ReportSentenceRow, table "report_sentences", key [report_id, sentence_id], {
        /// Report of the sentence.
        report_id: String,
        /// Position in the report, from 0.
        sentence_id: i32,
        /// First character in the report's text (Unicode scalar values).
        char_start: i32,
        /// One past the last character.
        char_end: i32,
        /// Text of the sentence.
        text: String,
        /// Sum of the words' log-probabilities.
        logprob: f32,
    }
}

table_row! {
    /// A link from a sentence to a box.
    SentenceBoxRow, table "sentence_boxes", key [report_id, sentence_id, box_id], {
        /// Report of the sentence.
        report_id: String,
        /// Sentence of the link.
        sentence_id: i32,
        /// Box of the link.
        box_id: String,
        /// Share of the sentence's attention on the box, 0 to 1.
        weight: f32,
    }
}

table_row! {
    /// One CheXpert label of one report.
    FindingRow, table "findings", key [study_id, report_id, origin, label], {
        /// Study of the report.
        study_id: String,
        /// Id of the generated report; null for a reference report.
        report_id: Option<String>,
        /// Whose text was labelled: `reference` or `generated`.
        origin: String,
        /// One of the 14 CheXpert labels.
        label: String,
        /// `positive`, `negative`, `uncertain` or `blank`.
        state: String,
    }
}

table_row! {
    /// One metric of one evaluation.
    MetricRow, table "metrics", key [run_id, stage, metric, signature], {
        /// Run that was evaluated.
        run_id: String,
        /// `detector`, `reports` or `links`.
        stage: String,
        /// Name of the metric, for instance `ap50` or `bleu4`.
        metric: String,
        /// How it was computed, in one line.
        signature: String,
        /// Value of the metric; never NaN.
        value: f64,
        /// Lower end of the 95 % bootstrap interval.
        ci_low: Option<f64>,
        /// Upper end of the 95 % bootstrap interval.
        ci_high: Option<f64>,
        /// Number of images, reports or links that were evaluated.
        n: i64,
    }
}

table_row! {
    /// One logged training step.
    TrainLogRow, table "train_log", key [run_id, phase, step], {
        /// Training run.
        run_id: String,
        /// `train`, `burn_in`, `mutual`, `validation`, or `validation_student` beside a teacher's `validation`.
        phase: String,
        /// Number of optimizer steps done.
        step: i64,
        /// Learning rate of the first parameter group.
        lr: f64,
        /// Total loss, mean since the last logged step.
        loss: f64,
        /// Detector: classification (focal) loss.
        loss_class: Option<f64>,
        /// Detector: GIoU loss.
        loss_box: Option<f64>,
        /// Detector: centerness loss.
        loss_centerness: Option<f64>,
        /// Detector: both losses of the region proposal network.
        loss_rpn: Option<f64>,
        /// Semi-supervised training: weighted loss on pseudo-labels, part of `loss`.
        loss_pseudo: Option<f64>,
        /// Report model and preview model: negative log-likelihood per word.
        loss_word: Option<f64>,
        /// Report model: agreement of attention with the boxes that a sentence names.
        loss_grounding: Option<f64>,
        /// Report model: weighted local alignment of lesion regions and sentences (LAB).
        loss_local: Option<f64>,
        /// Report model: weighted global alignment of radiographs and reports (GAB).
        loss_global: Option<f64>,
        /// Preview model: loss of heat map and box edges.
        loss_cells: Option<f64>,
        /// Semi-supervised training: accepted pseudo-labels per image.
        pseudo_boxes_per_image: Option<f64>,
        /// Semi-supervised training: pseudo-labels per unlabelled image over annotated boxes per labelled image.
        pseudo_box_ratio: Option<f64>,
        /// Semi-supervised training: current share of the configured weight of losses on pseudo-labels.
        unlabelled_weight: Option<f64>,
        /// Semi-supervised training: warning of a guard, for instance a collapse of the pseudo-labels.
        alarm: Option<String>,
        /// Validation score that selects the checkpoint.
        score: Option<f64>,
        /// Images per second: a measurement, outside the content digest.
        images_per_s: Option<f64>,
        /// Share of the time since the last row in which the training waited for its batches: a measurement.
        waiting_share: Option<f64>,
    }
}

impl LesionRow {
    /// The bounding box.
    pub fn region(&self) -> BoxXyxy<Original> {
        BoxXyxy::new(self.x_min, self.y_min, self.x_max, self.y_max)
    }
}

impl TrainLogRow {
    /// A row with 0 for every required number and nothing else.
    pub fn blank() -> Self {
        Self {
            run_id: String::new(),
            phase: String::new(),
            step: 0,
            lr: 0.0,
            loss: 0.0,
            loss_class: None,
            loss_box: None,
            loss_centerness: None,
            loss_rpn: None,
            loss_pseudo: None,
            loss_word: None,
            loss_grounding: None,
            loss_local: None,
            loss_global: None,
            loss_cells: None,
            pseudo_boxes_per_image: None,
            pseudo_box_ratio: None,
            unlabelled_weight: None,
            alarm: None,
            score: None,
            images_per_s: None,
            waiting_share: None,
        }
    }
}

table_row! {
    /// Time that one stage spent on one shard: measurements, outside the content digest.
    TimingRow, table "timings", key [run_id, stage, shard], {
        /// Run of the stage.
        run_id: String,
        /// For instance `annotate`.
        stage: String,
        /// `i/n`.
        shard: String,
        /// Number of inputs.
        n: i64,
        /// Time spent reading files, wall time as all times here; where threads read and decode side by side, their
        /// wall time is divided by the shares of the threads' time.
        read_ms: f64,
        /// Time spent decoding and resizing.
        decode_ms: f64,
        /// Time spent in the model.
        model_ms: f64,
        /// Time spent writing tables.
        write_ms: f64,
        /// Time in which the model waited for opened images; null where the stage has no model.
        waiting_ms: Option<f64>,
    }
}

table_row! {
    /// An input that could not be used.
    FailureRow, table "failures", key [stage, path, image_id, code], {
        /// Stage that could not use the input.
        stage: String,
        /// File, relative to the input root; null for rows of a table.
        path: Option<String>,
        /// Id of the image, where known.
        image_id: Option<String>,
        /// Stable error code, for instance `truncated`.
        code: String,
        /// Problem and remedy; never report text.
        message: String,
    }
}

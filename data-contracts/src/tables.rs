//! The tables of the lake, version 1. `dataset` and `split` are Hive partition columns of every table: they
//! stand in the folder names, not in the files.
//!
//! Boxes are corners in original pixels, half-open. Strings that name a state (`source`, `origin`, `state`,
//! `view`, `section`) are enumerated in the contracts.

use crate::table_row;

table_row! {
    /// A radiograph.
    ImageRow, table "images", key [image_id], {
        /// Unique in the dataset (the DICOM id of MIMIC-CXR, the image id of VinDr-CXR).
        image_id: String,
        /// The visit.
        study_id: String,
        /// The dataset's own pseudonymous patient id.
        subject_id: String,
        /// `PA`, `AP`, `LATERAL` or `UNKNOWN`.
        view: String,
        /// Relative to the dataset's root given at ingest.
        path: String,
        /// Columns; null when only labels were read.
        width: Option<i32>,
        /// Rows; null when only labels were read.
        height: Option<i32>,
        /// Digest of the file's bytes; null when only labels were read.
        sha256: Option<String>,
        /// Lesions on record from readers; null when no reader looked at the image.
        n_boxes: Option<i32>,
    }
}

table_row! {
    /// A box, from readers or from the detector.
    LesionRow, table "lesions", key [image_id, box_id], {
        /// The radiograph.
        image_id: String,
        /// Unique in the dataset.
        box_id: String,
        /// VinDr-CXR label.
        class_name: String,
        /// Index in the 22 labels.
        class_id: i32,
        /// Left, original pixels.
        x_min: f32,
        /// Top, original pixels.
        y_min: f32,
        /// Right, exclusive.
        x_max: f32,
        /// Bottom, exclusive.
        y_max: f32,
        /// Reader agreement or detector confidence, 0 to 1.
        score: f32,
        /// `reader`, `fused` or `pseudo`.
        source: String,
        /// The reader, for `reader` boxes.
        reader_id: Option<String>,
        /// Readers whose boxes were fused.
        n_readers: Option<i32>,
        /// Standard deviation of the left edge, original pixels, where the detector predicts it.
        std_x_min: Option<f32>,
        /// Of the top edge.
        std_y_min: Option<f32>,
        /// Of the right edge.
        std_x_max: Option<f32>,
        /// Of the bottom edge.
        std_y_max: Option<f32>,
        /// Pseudo-boxes of a semi-supervised run: highest IoU with a box of the same class that the student finds.
        student_iou: Option<f32>,
        /// Used for training and reporting.
        accepted: bool,
        /// The score that `accepted` was decided at.
        threshold: Option<f32>,
        /// Digest of the detector's weights, for `pseudo` boxes.
        model_sha256: Option<String>,
    }
}

table_row! {
    /// A section of a reference report.
    ReportRow, table "reports", key [study_id, section], {
        /// The visit.
        study_id: String,
        /// `findings`, `impression` or `both`.
        section: String,
        /// As in the file.
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
        /// The radiograph it was written for.
        image_id: String,
        /// Its visit.
        study_id: String,
        /// The report.
        text: String,
        /// Sentences in `text`.
        n_sentences: i32,
        /// Boxes given to the report model.
        n_boxes: i32,
        /// Mean log-probability of its words.
        mean_logprob: f32,
        /// Speaks of an earlier examination.
        mentions_prior: bool,
        /// A sentence names the side opposite to its boxes.
        laterality_conflict: bool,
        /// A person should look first at this one.
        needs_review: bool,
        /// Beam width (1 is greedy).
        beam_size: i32,
        /// Longest report allowed, words.
        max_words: i32,
        /// Digest of the report model's weights.
        model_sha256: String,
        /// Boxes given to the report model that no sentence is linked to.
        box_without_sentence: Option<i32>,
        /// Sentences that state a finding and are linked to no box.
        sentence_without_box: Option<i32>,
    }
}

table_row! {
    /// A sentence of a generated report.
    ReportSentenceRow, table "report_sentences", key [report_id, sentence_id], {
        /// The report.
        report_id: String,
        /// Position in the report, from 0.
        sentence_id: i32,
        /// First character in the report's text (Unicode scalar values).
        char_start: i32,
        /// One past the last character.
        char_end: i32,
        /// The sentence.
        text: String,
        /// Sum of its words' log-probabilities.
        logprob: f32,
    }
}

table_row! {
    /// A link from a sentence to a box.
    SentenceBoxRow, table "sentence_boxes", key [report_id, sentence_id, box_id], {
        /// The report.
        report_id: String,
        /// The sentence.
        sentence_id: i32,
        /// The box.
        box_id: String,
        /// Share of the sentence's attention on the box, 0 to 1.
        weight: f32,
    }
}

table_row! {
    /// One label of one report.
    FindingRow, table "findings", key [study_id, report_id, origin, label], {
        /// The visit.
        study_id: String,
        /// The generated report; null for a reference.
        report_id: Option<String>,
        /// `reference` or `generated`.
        origin: String,
        /// One of the 14 CheXpert labels.
        label: String,
        /// `positive`, `negative`, `uncertain` or `blank`.
        state: String,
    }
}

table_row! {
    /// One figure.
    MetricRow, table "metrics", key [run_id, stage, metric, signature], {
        /// The run that was evaluated.
        run_id: String,
        /// `detector`, `reports` or `links`.
        stage: String,
        /// For instance `ap50` or `bleu4`.
        metric: String,
        /// How it was computed, in one line.
        signature: String,
        /// The figure; NaN never occurs.
        value: f64,
        /// Lower end of the 95 % bootstrap interval.
        ci_low: Option<f64>,
        /// Upper end.
        ci_high: Option<f64>,
        /// Images, reports or links that it rests on.
        n: i64,
    }
}

table_row! {
    /// One logged training step.
    TrainLogRow, table "train_log", key [run_id, phase, step], {
        /// The training run.
        run_id: String,
        /// `train`, `burn_in`, `mutual`, `validation`, or `validation_student` beside a teacher's `validation`.
        phase: String,
        /// Optimizer steps done.
        step: i64,
        /// Learning rate of the first parameter group.
        lr: f64,
        /// Total loss, mean since the last logged step.
        loss: f64,
        /// Detector: focal loss.
        loss_class: Option<f64>,
        /// Detector: GIoU loss.
        loss_box: Option<f64>,
        /// Detector: centerness.
        loss_centerness: Option<f64>,
        /// Detector: both losses of the region proposal network.
        loss_rpn: Option<f64>,
        /// Semi-supervised phase: weighted loss on pseudo-boxes, part of `loss`.
        loss_pseudo: Option<f64>,
        /// Report model and preview model: negative log-likelihood per word.
        loss_word: Option<f64>,
        /// Report model: agreement of attention with the boxes that a sentence names.
        loss_grounding: Option<f64>,
        /// Report model: weighted local alignment of lesion regions and sentences (LAB).
        loss_local: Option<f64>,
        /// Report model: weighted global alignment of films and reports (GAB).
        loss_global: Option<f64>,
        /// Preview model: heat map and edges of boxes.
        loss_cells: Option<f64>,
        /// Semi-supervised phase: accepted pseudo-boxes per image.
        pseudo_boxes_per_image: Option<f64>,
        /// Semi-supervised phase: pseudo-boxes per unlabelled image over true boxes per labelled image.
        pseudo_box_ratio: Option<f64>,
        /// Semi-supervised phase: share of the configured weight that pseudo-losses have now.
        unlabelled_weight: Option<f64>,
        /// Semi-supervised phase: what a guard rail noticed.
        alarm: Option<String>,
        /// Validation score that selects the checkpoint.
        score: Option<f64>,
        /// Images per second: a measurement, outside the content digest.
        images_per_s: Option<f64>,
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
        }
    }
}

table_row! {
    /// The time one stage took on one shard: measurements, outside the content digest.
    TimingRow, table "timings", key [run_id, stage, shard], {
        /// The run.
        run_id: String,
        /// For instance `annotate`.
        stage: String,
        /// `i/n`.
        shard: String,
        /// Inputs.
        n: i64,
        /// Reading files.
        read_ms: f64,
        /// Decoding and resizing.
        decode_ms: f64,
        /// In the model.
        model_ms: f64,
        /// Writing tables.
        write_ms: f64,
        /// Share of the time in which the accelerator waited; null on CPU.
        gpu_idle_share: Option<f64>,
    }
}

table_row! {
    /// An input that could not be used.
    FailureRow, table "failures", key [stage, path, image_id, code], {
        /// Where it happened.
        stage: String,
        /// The file, relative to the input root; null for rows of a table.
        path: Option<String>,
        /// The radiograph, where known.
        image_id: Option<String>,
        /// A stable word, for instance `truncated`.
        code: String,
        /// What to do about it; never report text.
        message: String,
    }
}

table_row! {
    /// Phantom truth: a drawn lesion. Read by evaluation only.
    TruthLesionRow, table "truth_lesions", key [image_id, box_id], {
        /// The radiograph.
        image_id: String,
        /// Unique in the dataset.
        box_id: String,
        /// VinDr-CXR label.
        class_name: String,
        /// Index in the 22 labels.
        class_id: i32,
        /// Left, original pixels.
        x_min: f32,
        /// Top, original pixels.
        y_min: f32,
        /// Right, exclusive.
        x_max: f32,
        /// Bottom, exclusive.
        y_max: f32,
        /// `left`, `right` (the patient's) or `midline`.
        side: String,
        /// Drawn small: meant to be lost when the whole film is shrunk.
        small: bool,
    }
}

table_row! {
    /// Phantom truth: a sentence of a reference report and a box that it speaks of.
    TruthLinkRow, table "truth_links", key [study_id, sentence_id, box_id], {
        /// The visit.
        study_id: String,
        /// Position in the findings section, from 0.
        sentence_id: i32,
        /// The drawn lesion.
        box_id: String,
        /// Its radiograph.
        image_id: String,
        /// Its VinDr-CXR label.
        class_id: i32,
    }
}

table_row! {
    /// Phantom truth: one CheXpert label of one study.
    TruthFindingRow, table "truth_findings", key [study_id, label], {
        /// The visit.
        study_id: String,
        /// One of the 14 CheXpert labels.
        label: String,
        /// `positive`, `negative` or `blank`.
        state: String,
    }
}

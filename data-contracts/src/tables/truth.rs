//! Rows of the phantoms' truth: what was drawn, and what the reports say of it.

use crate::table_row;

table_row! {
    /// Phantom truth: a drawn lesion. Read by evaluation only.
    TruthLesionRow, table "truth_lesions", key [image_id, box_id], {
        /// Image of the box.
        image_id: String,
        /// Unique in the dataset.
        box_id: String,
        /// VinDr-CXR class.
        class_name: String,
        /// Index of the class in the 22 VinDr-CXR classes.
        class_id: i32,
        /// Left edge, original pixels.
        x_min: f32,
        /// Top edge, original pixels.
        y_min: f32,
        /// Right edge, exclusive, original pixels.
        x_max: f32,
        /// Bottom edge, exclusive, original pixels.
        y_max: f32,
        /// Laterality: `left`, `right` (the patient's) or `midline`.
        side: String,
        /// Drawn so small that downscaling of the whole image is meant to lose it.
        small: bool,
    }
}

table_row! {
    /// Phantom truth: a sentence of a reference report and a lesion that it describes.
    TruthLinkRow, table "truth_links", key [study_id, sentence_id, box_id], {
        /// Study of the report.
        study_id: String,
        /// Position of the sentence in the findings section, from 0.
        sentence_id: i32,
        /// Drawn lesion.
        box_id: String,
        /// Image of the lesion.
        image_id: String,
        /// VinDr-CXR class of the lesion.
        class_id: i32,
    }
}

table_row! {
    /// Phantom truth: one CheXpert label of one study.
    TruthFindingRow, table "truth_findings", key [study_id, label], {
        /// Study of the labels.
        study_id: String,
        /// One of the 14 CheXpert labels.
        label: String,
        /// `positive`, `negative` or `blank`.
        state: String,
    }
}

table_row! {
    /// Phantom truth: how a realistic report treats a drawn lesion.
    TruthMentionRow, table "truth_mentions", key [study_id, box_id], {
        /// Study of the report.
        study_id: String,
        /// Drawn lesion.
        box_id: String,
        /// Image of the lesion.
        image_id: String,
        /// Index of the class in the 22 VinDr-CXR classes.
        class_id: i32,
        /// The strongest of `named`, `described`, `hedged`, `denied` and `omitted`.
        mention: String,
        /// A sentence of the findings section states it, as present or possible.
        in_findings: bool,
        /// An item of the impression states it, as present or possible.
        in_impression: bool,
    }
}

table_row! {
    /// Phantom truth: what a sentence of a realistic report states of a CheXpert label.
    TruthStatementRow, table "truth_statements", key [study_id, section, sentence_id, label], {
        /// Study of the report.
        study_id: String,
        /// `findings` or `impression`.
        section: String,
        /// Position of the sentence in its section, from 0.
        sentence_id: i32,
        /// One of the first 13 CheXpert labels.
        label: String,
        /// `positive`, `negative` or `uncertain`.
        state: String,
    }
}

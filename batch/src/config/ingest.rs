//! Configuration of ingest.

use serde::{Deserialize, Serialize};

/// How datasets are read into the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    /// Accept DICOM files that are not marked as de-identified.
    pub allow_phi: bool,
    /// Boxes of several annotators are one lesion above this IoU (Weighted Boxes Fusion).
    pub fusion_iou: f64,
    /// A fused box needs at least this many annotators.
    pub min_annotators: i32,
    /// Share of the training images that becomes the validation split, where the dataset names none.
    pub val_share: f64,
    /// Keep only PA and AP projections.
    pub frontal_only: bool,
    /// Report section: `findings`, `impression` or `both`.
    pub section: String,
}

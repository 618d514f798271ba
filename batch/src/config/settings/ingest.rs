//! Section `[ingest]`.

use serde::{Deserialize, Serialize};

use crate::config::ingest::IngestConfig;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSettings {
    pub allow_phi: bool,
    pub min_annotators: i32,
    pub val_share: f64,
    pub frontal_only: bool,
    pub section: String,
}

impl IngestSettings {
    pub fn config(&self) -> IngestConfig {
        IngestConfig {
            allow_phi: self.allow_phi,
            fusion_iou: 0.5,
            min_annotators: self.min_annotators,
            val_share: self.val_share,
            frontal_only: self.frontal_only,
            section: self.section.clone(),
        }
    }
}

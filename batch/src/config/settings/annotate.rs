//! Section `[annotate]`.

use serde::{Deserialize, Serialize};

use super::number_or::ScoreOrByClass;
use crate::config::detector::AnnotateConfig;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnnotateSettings {
    pub score_floor: f64,
    pub threshold: ScoreOrByClass,
    pub batch_size: usize,
    pub flip_tta: bool,
}

impl AnnotateSettings {
    pub fn config(&self) -> AnnotateConfig {
        AnnotateConfig {
            score_floor: self.score_floor,
            threshold: self.threshold.score(),
            batch_size: self.batch_size,
            flip_tta: self.flip_tta,
        }
    }
}

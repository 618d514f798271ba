//! Section `[evaluate]`.

use serde::{Deserialize, Serialize};

use super::number_or::NumberOrOff;
use crate::config::evaluate::EvaluateConfig;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateSettings {
    pub bootstrap_draws: NumberOrOff<usize>,
}

impl EvaluateSettings {
    pub fn config(&self) -> EvaluateConfig {
        EvaluateConfig { bootstrap_draws: self.bootstrap_draws.or_zero(), link_iou_min: 0.3, gallery_studies: 12 }
    }
}

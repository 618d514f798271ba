//! Configuration of evaluation.

use serde::{Deserialize, Serialize};

/// How figures are computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluateConfig {
    /// Bootstrap draws for 95 % intervals; 0 computes none.
    pub bootstrap_draws: usize,
    /// A link is correct when its box overlaps a true box of the sentence by at least this IoU.
    pub link_iou_min: f64,
    /// Studies shown in the HTML report.
    pub gallery_studies: usize,
}

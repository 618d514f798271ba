//! What semi-supervised training is given, and the batches that follow from it.

use std::sync::Arc;

use crate::config::detector::{Architecture, DetectorTrainConfig};
use crate::config::semi::SemiConfig;
use crate::detector::batches::batch_plan::BatchPlan;
use crate::detector::batches::loader::DetectionSet;
use crate::detector::batches::semi_batch::SemiPlan;
use crate::detector::model::Detector;
use crate::progress::Progress;
use crate::stop::StopFlag;
use crate::training::virtual_shards::VirtualShards;

/// What is trained on, and how.
#[derive(Debug)]
pub struct SemiTraining<'a> {
    /// Images with annotated boxes.
    pub labelled: Arc<DetectionSet>,
    /// Images without.
    pub unlabelled: Arc<DetectionSet>,
    /// An ensemble of finished detectors that gives pseudo-labels in the teacher's place; the teacher does where it is
    /// empty.
    pub labellers: Vec<Detector>,
    /// The validation split; it selects the teacher that is kept, and guards the mutual phase.
    pub validation: &'a DetectionSet,
    /// Hyper-parameters of the optimizer.
    pub config: &'a DetectorTrainConfig,
    /// Those of the phases.
    pub semi: &'a SemiConfig,
    /// Decides how the losses on pseudo-labels are weighted.
    pub architecture: Architecture,
    /// Seed of all random streams.
    pub seed: u64,
    /// How progress is shown.
    pub progress: Progress,
    /// Read once per step and once per validation batch.
    pub stop: &'a StopFlag,
    /// The parts of a batch, and the processes that share them.
    pub shards: VirtualShards,
}

impl SemiTraining<'_> {
    /// The streams of both sets.
    pub fn plan(&self) -> SemiPlan {
        let plan = |set: &DetectionSet, size: usize, rare_share: f64| BatchPlan {
            seed: self.seed,
            sampler: set.sampler(self.seed, rare_share),
            size: size.max(1),
            places: self.shards.own_places(size.max(1)),
            augment: self.config.augment.clone(),
        };
        SemiPlan {
            labelled: plan(&self.labelled, self.config.batch_size, self.config.rare_share),
            unlabelled: plan(&self.unlabelled, self.semi.unlabelled_batch_size, 0.0),
            strong: self.semi.strong.clone(),
            strong_labelled: self.semi.strong_labelled,
        }
    }

    /// Annotated boxes per labelled image.
    pub fn true_boxes(&self) -> f64 {
        let boxes: usize = self.labelled.examples.iter().map(|e| e.boxes.len()).sum();
        boxes as f64 / self.labelled.examples.len().max(1) as f64
    }
}

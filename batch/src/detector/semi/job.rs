//! What the semi-supervised loop is given, and the batches that follow from it.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::config::detector::{Architecture, DetectorTrainConfig};
use crate::config::semi::SemiConfig;
use crate::detector::batches::loader::{BatchPlan, DetectionSet, EpochSampler};
use crate::detector::batches::semi_batch::{SemiBatch, SemiPlan, SemiSets};
use crate::detector::detector::Detector;
use crate::error::Result;
use crate::progress::Progress;
use crate::stop::StopFlag;

/// Something that is done to the teacher at a step.
pub type Intervention<'a> = &'a dyn Fn(i64, &mut Detector);

/// What is trained on, and how.
pub struct SemiTraining<'a> {
    /// Films with readers' boxes.
    pub labelled: Arc<DetectionSet>,
    /// Films without.
    pub unlabelled: Arc<DetectionSet>,
    /// Finished detectors that label them together; without any the teacher does.
    pub labellers: Vec<Detector>,
    /// The validation split; it selects the teacher that is kept, and guards the mutual phase.
    pub validation: &'a DetectionSet,
    /// Hyper-parameters of the optimizer.
    pub config: &'a DetectorTrainConfig,
    /// Those of the phases.
    pub semi: &'a SemiConfig,
    /// Decides how losses are weighted.
    pub architecture: Architecture,
    /// Seed of all random streams.
    pub seed: u64,
    /// How progress is shown.
    pub progress: Progress,
    /// Asked once per step and once per validation batch.
    pub stop: &'a StopFlag,
    /// Called before each mutual step with the teacher: tests of the guard rails spoil it here.
    pub intervene: Option<Intervention<'a>>,
}

impl SemiTraining<'_> {
    /// The streams of both sets.
    pub fn plan(&self) -> SemiPlan {
        let plan = |set: &DetectionSet, size: usize, rare_share: f64| BatchPlan {
            seed: self.seed,
            sampler: EpochSampler::new(self.seed, &set.repeat_factors(rare_share)),
            size: size.max(1),
            augment: self.config.augment.clone(),
        };
        SemiPlan {
            labelled: plan(&self.labelled, self.config.batch_size, self.config.rare_share),
            unlabelled: plan(&self.unlabelled, self.semi.unlabelled_batch_size, 0.0),
            strong: self.semi.strong.clone(),
            strong_labelled: self.semi.strong_labelled,
        }
    }

    /// Batches from `step` on, all of one phase.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn batches(&self, plan: &SemiPlan, step: i64, mutual: bool) -> Result<Receiver<Result<SemiBatch>>> {
        let sets = SemiSets { labelled: Arc::clone(&self.labelled), unlabelled: Arc::clone(&self.unlabelled) };
        plan.start(sets, step as u64..self.config.steps as u64, mutual)
    }

    /// Boxes per labelled film.
    pub fn true_boxes(&self) -> f64 {
        let boxes: usize = self.labelled.examples.iter().map(|e| e.boxes.len()).sum();
        boxes as f64 / self.labelled.examples.len().max(1) as f64
    }
}

//! The studies of an optimizer step at hand: read from the store of prepared images and augmented, in parallel and ahead of
//! the step.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use crate::error::Result;
use crate::reporter::batches::augment::StudyAugment;
use crate::reporter::batches::study::ReportExample;
use crate::reporter::batches::visual_handle::VisualHandle;
use crate::training::streams::sample_rng;

/// The studies of a step that a process takes.
#[derive(Debug)]
pub struct StudyBatch {
    /// Studies of the whole batch.
    pub size: usize,
    /// The place of the first of `examples` in the batch.
    first: usize,
    /// With their pixels in memory.
    examples: Vec<ReportExample>,
}

impl StudyBatch {
    /// The studies at some places of the batch, all of them places of this process.
    pub fn at(&self, places: Range<usize>) -> Vec<&ReportExample> {
        self.examples[places.start - self.first..places.end - self.first].iter().collect()
    }
}

/// How batches of studies are made.
#[derive(Debug, Clone)]
pub struct StudyPlan {
    pub train: Arc<Vec<ReportExample>>,
    /// How studies are augmented; `None`: not at all.
    pub augment: Option<Arc<StudyAugment>>,
    /// Seed of all random streams.
    pub seed: u64,
}

impl StudyPlan {
    /// The studies of step number `step` that are at `places` of `chosen`; the augmentation is a function of (seed, step,
    /// place).
    ///
    /// # Errors
    /// Those of [`VisualHandle::get`].
    pub fn batch(&self, step: i64, chosen: &[usize], places: Range<usize>) -> Result<StudyBatch> {
        let one = |place: usize| {
            let study = &self.train[chosen[place]];
            match &self.augment {
                Some(augment) => augment.apply(study, &mut sample_rng(self.seed, step as u64, place as u64)),
                None => Ok(ReportExample { visual: VisualHandle::Kept(study.visual.get()?), ..study.clone() }),
            }
        };
        let (size, first) = (chosen.len(), places.start);
        Ok(StudyBatch { size, first, examples: places.into_par_iter().map(one).collect::<Result<_>>()? })
    }
}

//! Batches of the semi-supervised loop: each image as a weak and a strong view of the same geometry, so that boxes
//! found on one hold on the other. Labelled and unlabelled streams have orders of their own.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use rayon::prelude::*;

use crate::config::semi::{StrongConfig, StrongLabelled};
use crate::detector::batches::augment::{LabelledBox, augment, sample_rng};
use crate::detector::batches::loader::{BatchPlan, DetectionSet};
use crate::detector::batches::strong_augment::strong_augment;
use crate::error::{Error, Result};

/// Batches prepared before they are asked for.
const AHEAD: usize = 3;
/// Places of the unlabelled stream's images, apart from those of the labelled one.
const UNLABELLED: u64 = 1 << 32;
/// Places of the strong views' generators.
const STRONG: u64 = 1 << 33;

/// Images of one stream in plain values, image after image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Views {
    /// Grey levels after weak augmentation.
    pub weak: Vec<u8>,
    /// The same after strong augmentation; empty where nothing learns from it.
    pub strong: Vec<u8>,
    /// Boxes of each image; of both views.
    pub boxes: Vec<Vec<LabelledBox>>,
    /// Lesion classes that each image's report names; `None` for an image without a report.
    pub named: Vec<Option<Vec<i32>>>,
}

/// What one step needs.
#[derive(Debug, Clone, PartialEq)]
pub struct SemiBatch {
    /// The step it is for.
    pub step: u64,
    /// Labelled images.
    pub labelled: Views,
    /// Unlabelled images, none during the burn-in. Their boxes are empty: nobody may look.
    pub unlabelled: Views,
}

impl SemiBatch {
    /// Views that a student learns from: both of a labelled film where there are two, the strong one of an unlabelled film.
    pub fn learnt_from(&self) -> usize {
        let of_a_film = if self.labelled.strong.is_empty() { 1 } else { 2 };
        of_a_film * self.labelled.boxes.len() + self.unlabelled.boxes.len()
    }
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct SemiPlan {
    /// The labelled stream.
    pub labelled: BatchPlan,
    /// The unlabelled stream.
    pub unlabelled: BatchPlan,
    /// What the strong views have more.
    pub strong: StrongConfig,
    /// When there are strong views of the labelled stream.
    pub strong_labelled: StrongLabelled,
}

impl SemiPlan {
    /// The batch of a step: a function of the plan and the step.
    ///
    /// # Errors
    /// When an image that is not cached cannot be read again.
    pub fn batch(&self, sets: (&DetectionSet, &DetectionSet), step: u64, mutual: bool) -> Result<SemiBatch> {
        let labelled = self.views((&self.labelled, 0), sets.0, step, self.strong_labelled.teach(mutual))?;
        let unlabelled =
            if mutual { self.views((&self.unlabelled, UNLABELLED), sets.1, step, true)? } else { Views::default() };
        Ok(SemiBatch { step, labelled, unlabelled })
    }

    fn views(&self, (plan, stream): (&BatchPlan, u64), set: &DetectionSet, step: u64, strong: bool) -> Result<Views> {
        let size = set.source.input.size;
        let indices: Vec<(usize, usize)> = plan.sampler.batch(step, plan.size).into_iter().enumerate().collect();
        let view = |(place, index): (usize, usize)| {
            let place = stream + place as u64;
            let labels = if stream == UNLABELLED { &[][..] } else { &set.examples[index].boxes };
            let mut rng = sample_rng(plan.seed, step, place);
            let (weak, boxes) = augment(&set.pixels(index)?, size, labels, &plan.augment, &mut rng);
            let mut rng = sample_rng(plan.seed, step, STRONG + place);
            let strong = strong.then(|| strong_augment(&weak, size as usize, &self.strong, &mut rng));
            Ok((weak, strong, boxes, set.examples[index].named.clone()))
        };
        let drawn: Result<Vec<_>> = indices.into_par_iter().map(view).collect();
        let mut views = Views::default();
        for (weak, strong, boxes, named) in drawn? {
            views.weak.extend(weak);
            views.strong.extend(strong.into_iter().flatten());
            views.boxes.push(boxes);
            views.named.push(named);
        }
        Ok(views)
    }

    /// Prepares the batches of `steps` in order on a thread, a few ahead, all of one phase. The thread ends when the
    /// receiver is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        &self,
        (labelled, unlabelled): (Arc<DetectionSet>, Arc<DetectionSet>),
        steps: Range<u64>,
        mutual: bool,
    ) -> Result<Receiver<Result<SemiBatch>>> {
        let (sender, receiver) = bounded(AHEAD);
        let plan = self.clone();
        let work = move || {
            for step in steps {
                let batch = plan.batch((&labelled, &unlabelled), step, mutual);
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("batches".into()).spawn(work);
        started.map_err(|e| Error::Temporary(format!("start the thread that prepares batches: {e}")))?;
        Ok(receiver)
    }
}

//! Batches of semi-supervised training: each image with weak and with strong augmentation of the same geometry, so that
//! boxes found on one hold on the other. The labelled and the unlabelled stream are drawn independently.

use std::ops::Range;
use std::sync::Arc;

use d2r_contracts::radiograph::Radiograph;
use rayon::prelude::*;

use crate::config::semi::{StrongConfig, StrongLabelled};
use crate::detector::batches::augment::LabelledBox;
use crate::detector::batches::batch_plan::BatchPlan;
use crate::detector::batches::loader::DetectionSet;
use crate::detector::batches::strong_augment::strong_augment;
use crate::error::Result;
use crate::training::streams::{STRONG, UNLABELLED, sample_rng};

/// Images of one stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AugmentedImages {
    /// After weak augmentation, before normalisation.
    pub weak: Vec<Radiograph>,
    /// The same after strong augmentation; empty where it is not used.
    pub strong: Vec<Radiograph>,
    /// Boxes of each image, for both augmentations.
    pub boxes: Vec<Vec<LabelledBox>>,
    /// Lesion classes that each image's report gives as present; `None` for an image without a report.
    pub report_classes: Vec<Option<Vec<i32>>>,
}

/// Some of the images of a stream.
#[derive(Debug, Clone, Copy)]
pub struct ImagesPart<'a> {
    pub weak: &'a [Radiograph],
    pub strong: &'a [Radiograph],
    pub boxes: &'a [Vec<LabelledBox>],
    pub report_classes: &'a [Option<Vec<i32>>],
}

impl AugmentedImages {
    /// The images at these places.
    pub fn part(&self, places: Range<usize>) -> ImagesPart<'_> {
        ImagesPart {
            weak: &self.weak[places.clone()],
            strong: if self.strong.is_empty() { &[] } else { &self.strong[places.clone()] },
            boxes: &self.boxes[places.clone()],
            report_classes: &self.report_classes[places],
        }
    }
}

/// The images of one step that a process takes.
#[derive(Debug, Clone, PartialEq)]
pub struct SemiBatch {
    pub step: u64,
    pub labelled: AugmentedImages,
    /// None during the burn-in. Their boxes are always empty.
    pub unlabelled: AugmentedImages,
}

impl SemiBatch {
    /// Number of images in the student's losses: labelled ones once per augmentation, unlabelled ones once.
    pub fn trained_images(&self) -> usize {
        let augmentations = if self.labelled.strong.is_empty() { 1 } else { 2 };
        augmentations * self.labelled.boxes.len() + self.unlabelled.boxes.len()
    }
}

/// The training sets of both streams.
#[derive(Debug, Clone)]
pub struct SemiSets {
    pub labelled: Arc<DetectionSet>,
    pub unlabelled: Arc<DetectionSet>,
}

/// The streams of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Labelled,
    Unlabelled,
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct SemiPlan {
    /// The labelled stream.
    pub labelled: BatchPlan,
    /// The unlabelled stream.
    pub unlabelled: BatchPlan,
    /// Strong augmentation.
    pub strong: StrongConfig,
    /// When the labelled stream has strong augmentation as well.
    pub strong_labelled: StrongLabelled,
}

impl SemiPlan {
    /// The batch of a step: a function of the plan and the step.
    ///
    /// # Errors
    /// When an image that is not cached cannot be read again.
    pub fn batch(&self, sets: &SemiSets, step: u64, mutual: bool) -> Result<SemiBatch> {
        let strong = self.strong_labelled.teach(mutual);
        let labelled = self.images(Stream::Labelled, &sets.labelled, step, strong)?;
        let unlabelled = if mutual {
            self.images(Stream::Unlabelled, &sets.unlabelled, step, true)?
        } else {
            AugmentedImages::default()
        };
        Ok(SemiBatch { step, labelled, unlabelled })
    }

    fn images(&self, stream: Stream, set: &DetectionSet, step: u64, strong: bool) -> Result<AugmentedImages> {
        let (plan, offset) = match stream {
            Stream::Labelled => (&self.labelled, 0),
            Stream::Unlabelled => (&self.unlabelled, UNLABELLED),
        };
        let augmented = |(place, example): (usize, usize)| {
            let place = offset + place as u64;
            let (weak, mut boxes) = plan.augmented(set, example, step, place)?;
            if stream == Stream::Unlabelled {
                boxes.clear();
            }
            let mut rng = sample_rng(plan.seed, step, STRONG + place);
            let strong = strong.then(|| strong_augment(&weak, &self.strong, &mut rng));
            Ok((weak, strong, boxes, set.examples[example].report_classes.clone()))
        };
        let drawn: Result<Vec<_>> = plan.examples(step).into_par_iter().map(augmented).collect();
        let mut images = AugmentedImages::default();
        for (weak, strong, boxes, report_classes) in drawn? {
            images.weak.push(weak);
            images.strong.extend(strong);
            images.boxes.push(boxes);
            images.report_classes.push(report_classes);
        }
        Ok(images)
    }
}

//! How batches are made: the images of a step by the sampler, each at its size, with weak augmentation. All of it is a
//! function of (seed, step, place in the batch).

use std::borrow::Cow;
use std::ops::Range;

use d2r_contracts::preprocess::resize;
use d2r_contracts::radiograph::Radiograph;
use rand::RngExt;
use rayon::prelude::*;

use crate::config::detector::AugmentConfig;
use crate::detector::batches::augment::{LabelledBox, augment};
use crate::detector::batches::batch_sampler::BatchSampler;
use crate::detector::batches::loader::{DetectionSet, boxes_in};
use crate::error::Result;
use crate::training::streams::{SCALE, sample_rng};

/// A batch on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainBatch {
    pub step: u64,
    /// Images before normalisation, without the padding of their batch.
    pub images: Vec<Radiograph>,
    /// Boxes of each image.
    pub boxes: Vec<Vec<LabelledBox>>,
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct BatchPlan {
    /// Seed of the sizes and of the augmentation.
    pub seed: u64,
    pub sampler: BatchSampler,
    /// Images per batch.
    pub size: usize,
    /// Those of them, by their places, that this process takes; all where it is the only one.
    pub places: Range<usize>,
    pub augment: AugmentConfig,
}

impl BatchPlan {
    /// The examples of a step that this process takes, each with its place in the batch.
    pub fn examples(&self, step: u64) -> Vec<(usize, usize)> {
        let drawn = self.sampler.batch(step, self.size).into_iter().enumerate();
        drawn.filter(|(place, _)| self.places.contains(place)).collect()
    }

    /// This process's images of the batch of a step, made in parallel: a function of the plan and the step.
    ///
    /// # Errors
    /// When an image that is not cached cannot be read again.
    pub fn batch(&self, set: &DetectionSet, step: u64) -> Result<PlainBatch> {
        let augmented = |(place, example): (usize, usize)| self.augmented(set, example, step, place as u64);
        let images: Result<Vec<_>> = self.examples(step).into_par_iter().map(augmented).collect();
        let (images, boxes) = images?.into_iter().unzip();
        Ok(PlainBatch { step, images, boxes })
    }

    /// An example with weak augmentation, and its boxes. `place`: that of its random streams.
    ///
    /// # Errors
    /// When an image that is not cached cannot be read again.
    pub fn augmented(
        &self,
        set: &DetectionSet,
        example: usize,
        step: u64,
        place: u64,
    ) -> Result<(Radiograph, Vec<LabelledBox>)> {
        let kept = set.radiograph(example)?;
        let example = &set.examples[example];
        let (radiograph, boxes) = match set.source.short_edges {
            None => (kept, Cow::Borrowed(&example.boxes)),
            Some(edges) => {
                let edge = sample_rng(self.seed, step, SCALE + place).random_range(edges.least..=edges.most);
                let letterbox = set.source.with_short_edge(example.letterbox.original, edge);
                (Cow::Owned(resize(&kept, letterbox.model)), Cow::Owned(boxes_in(&example.truths, &letterbox)))
            }
        };
        Ok(augment(&radiograph, &boxes, &self.augment, &mut sample_rng(self.seed, step, place)))
    }
}

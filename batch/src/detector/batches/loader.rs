//! Radiographs with boxes for the detector: prepared at the model's size, in memory or on disk.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::preprocess::Fit;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{Letterbox, Original};
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::datasets::source::FileTimes;
use crate::detector::batches::augment::LabelledBox;
use crate::detector::batches::batch_sampler::BatchSampler;
use crate::detector::batches::radiograph_source::{LoadError, Prepared, RadiographSource};
use crate::error::Result;
use crate::progress::Task;
use crate::stop::StopFlag;
use crate::training::repeat_sampling::repeat_factors;
use crate::training::streams::{SHARE, epoch_rng};

/// How a set of radiographs is loaded.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions<'a> {
    /// Bound of the pixels kept in memory.
    pub cache_bytes: u64,
    /// The stage that failures are attributed to.
    pub stage: &'a str,
    pub progress: &'a Task,
    pub stop: &'a StopFlag,
}

/// A radiograph and its annotated boxes.
#[derive(Debug, Clone)]
pub struct Example {
    pub image: ImageRow,
    /// The map between original pixels and those that are kept.
    pub letterbox: Letterbox,
    /// The boxes in original pixels.
    pub truths: Vec<LabelledBox<Original>>,
    /// The same in the pixels that are kept.
    pub boxes: Vec<LabelledBox>,
    /// Lesion classes that the study's report gives as present; `None` where no report was read.
    pub report_classes: Option<Vec<i32>>,
    /// The radiograph as it is kept; `None` where the memory was full.
    kept: Option<Radiograph>,
}

/// The usable radiographs of a partition.
#[derive(Debug)]
pub struct DetectionSet {
    pub source: RadiographSource,
    /// In the order of their rows.
    pub examples: Vec<Example>,
    /// Thread time of opening the files.
    pub times: FileTimes,
}

impl DetectionSet {
    /// Prepares every image, in parallel: one that is prepared already is not decoded. The boxes are the accepted `fused`
    /// ones of `lesions`. Images that cannot be used are returned as rows of `failures`.
    ///
    /// # Errors
    /// [`Error::Stopped`] after a signal; [`Error::Io`] when prepared images cannot be kept.
    pub fn load(
        source: RadiographSource,
        images: Vec<ImageRow>,
        lesions: &[LesionRow],
        options: LoadOptions,
    ) -> Result<(Self, Vec<FailureRow>)> {
        let LoadOptions { cache_bytes, stage, progress, stop } = options;
        let mut truths: BTreeMap<&str, Vec<LabelledBox<Original>>> = BTreeMap::new();
        for row in lesions.iter().filter(|row| is_truth(row)) {
            let truth = LabelledBox { class_id: row.class_id, region: row.region() };
            truths.entry(&row.image_id).or_default().push(truth);
        }
        let cached = usize::try_from(cache_bytes / source.pixels_max().max(1)).unwrap_or(usize::MAX);
        let read: Vec<Option<Result<(Example, FileTimes), FailureRow>>> = images
            .into_par_iter()
            .enumerate()
            .map(|(index, image)| {
                if stop.is_set() {
                    return Ok(None);
                }
                let truths = truths.get(image.image_id.as_str()).cloned().unwrap_or_default();
                let result = source.prepare(&image, index < cached);
                progress.advance(1);
                match result {
                    Ok(Prepared { letterbox, radiograph, times }) => {
                        let kept = radiograph.filter(|_| index < cached);
                        Ok(Some(Ok((example(image, truths, letterbox, kept), times))))
                    }
                    Err(LoadError::Image(reason)) => {
                        Ok(Some(Err(reason.into_row(stage, &image.path, Some(&image.image_id)))))
                    }
                    Err(LoadError::Store(error)) => Err(error),
                }
            })
            .collect::<Result<_>>()?;
        stop.check()?;
        let (mut examples, mut times, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for result in read.into_iter().flatten() {
            match result {
                Ok((example, opening)) => {
                    examples.push(example);
                    times.push(opening);
                }
                Err(failure) => failures.push(failure),
            }
        }
        Ok((Self { source, examples, times: times.into_iter().sum() }, failures))
    }

    /// Keeps a share of the examples, at least one, chosen by the seed, in their order; returns the others as a second
    /// set, without boxes.
    pub fn take_share(&mut self, share: f64, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..self.examples.len()).collect();
        order.shuffle(&mut epoch_rng(seed, SHARE));
        let count = ((order.len() as f64 * share).round() as usize).max(1);
        let mut kept = vec![false; order.len()];
        order.iter().take(count).for_each(|&i| kept[i] = true);
        let (mut taken, mut rest) = (Vec::new(), Vec::new());
        for (example, kept) in std::mem::take(&mut self.examples).into_iter().zip(kept) {
            if kept {
                taken.push(example);
            } else {
                rest.push(Example { boxes: Vec::new(), truths: Vec::new(), ..example });
            }
        }
        self.examples = taken;
        Self { source: self.source.clone(), examples: rest, times: FileTimes::default() }
    }

    /// The radiograph of an example as it is kept, from memory or from its file.
    ///
    /// # Errors
    /// [`crate::Error::BadData`] when the file has changed or gone since it was first read.
    pub fn radiograph(&self, index: usize) -> Result<Cow<'_, Radiograph>> {
        let example = &self.examples[index];
        match &example.kept {
            Some(radiograph) => Ok(Cow::Borrowed(radiograph)),
            None => self.source.radiograph(&example.image).map(Cow::Owned),
        }
    }

    /// The order in which the examples are drawn. Where inputs are no squares, a batch is of one orientation. `rare_share`:
    /// that of [`Self::repeat_factors`].
    pub fn sampler(&self, seed: u64, rare_share: f64) -> BatchSampler {
        let factors = self.repeat_factors(rare_share);
        match self.source.input.fit {
            Fit::Letterbox | Fit::Squash => BatchSampler::mixed(seed, &factors),
            Fit::ShortEdge => {
                let is_wide = |e: &Example| e.letterbox.original.width > e.letterbox.original.height;
                let wide: Vec<bool> = self.examples.iter().map(is_wide).collect();
                BatchSampler::by_orientation(seed, &factors, &wide)
            }
        }
    }

    /// The [`repeat_factors`] of the examples by the classes of their boxes.
    pub fn repeat_factors(&self, rare_share: f64) -> Vec<f64> {
        let classes = |e: &Example| e.boxes.iter().map(|b| b.class_id).collect();
        repeat_factors(&self.examples.iter().map(classes).collect::<Vec<BTreeSet<i32>>>(), rare_share)
    }
}

/// Whether a box is an annotators' one that detectors learn from: accepted and fused.
pub fn is_truth(row: &LesionRow) -> bool {
    row.accepted && row.source == "fused"
}

fn example(
    image: ImageRow,
    truths: Vec<LabelledBox<Original>>,
    letterbox: Letterbox,
    kept: Option<Radiograph>,
) -> Example {
    let boxes = boxes_in(&truths, &letterbox);
    Example { image, letterbox, truths, boxes, report_classes: None, kept }
}

/// The boxes in model pixels; those without area are left out.
pub fn boxes_in(truths: &[LabelledBox<Original>], letterbox: &Letterbox) -> Vec<LabelledBox> {
    let in_model = |b: &LabelledBox<Original>| LabelledBox {
        class_id: b.class_id,
        region: letterbox.model_from_original(&b.region),
    };
    truths.iter().map(in_model).filter(|b| b.region.is_proper()).collect()
}

#[cfg(test)]
mod tests;

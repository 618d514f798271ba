//! Radiographs with boxes for the detector: prepared at the model's size, in memory or on disk, drawn in an order that
//! depends on (seed, step) only, and augmented.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::preprocess::{InputSpec, ModelInput, letterbox_of, to_model_input};
use d2r_contracts::space::{ImageSize, Letterbox, Original};
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow};
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::config::detector::AugmentConfig;
use crate::datasets::prepared::{PreparedKey, PreparedStore};
use crate::datasets::source::{FileTimes, SourceError, open_ingested};
use crate::detector::batches::augment::{LabelledBox, augment};
use crate::error::{Error, Result};
use crate::progress::Task;
use crate::stop::StopFlag;
use crate::training::repeat_sampling::{repeat_factors, running_sums, systematic};
use crate::training::streams::{SHARE, epoch_rng, sample_rng};

/// Where and how radiographs are read.
#[derive(Debug, Clone)]
pub struct RadiographSource {
    /// The dataset's root folder.
    pub root: PathBuf,
    pub decode: ImageDecodeOptions,
    pub input: InputSpec,
    /// Where prepared images are kept, if they are.
    pub prepared: Option<PreparedStore>,
}

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

impl RadiographSource {
    /// The name under which an image's input is kept; `None` for an image whose digest or size is not known.
    fn key(&self, image: &ImageRow) -> Option<(PreparedKey, Letterbox)> {
        let size = ImageSize { width: image.width?.try_into().ok()?, height: image.height?.try_into().ok()? };
        let input = serde_json::to_string(&(self.input.size, self.input.fit)).ok()?;
        let decode = if self.decode.allow_phi { "any" } else { "de-identified" };
        let parts = [("file", image.sha256.as_deref()?), ("detector input", &input), ("decode", decode)];
        Some((PreparedKey::of(&parts), letterbox_of(size, &self.input)))
    }

    /// The letterbox of an image, whose pixels are prepared where there is a store, and its pixels where they are `wanted` or
    /// not kept.
    fn prepare(&self, image: &ImageRow, wanted: bool) -> Result<Prepared, LoadError> {
        let kept =
            self.prepared.as_ref().and_then(|store| self.key(image).map(|(key, letterbox)| (store, key, letterbox)));
        let Some((store, key, letterbox)) = kept else {
            let (input, times) = self.read(image)?;
            return Ok(Prepared { letterbox: input.letterbox, pixels: Some(input.pixels), times });
        };
        if wanted && let Some(pixels) = store.get(&key) {
            return Ok(Prepared { letterbox, pixels: Some(pixels), times: FileTimes::default() });
        }
        if !wanted && store.contains(&key) {
            return Ok(Prepared { letterbox, pixels: None, times: FileTimes::default() });
        }
        let (input, times) = self.read(image)?;
        store.put(&key, &input.pixels)?;
        Ok(Prepared { letterbox, pixels: wanted.then_some(input.pixels), times })
    }

    /// Pixels that are not in memory.
    fn pixels(&self, image: &ImageRow) -> Result<Vec<u8>> {
        match self.prepare(image, true) {
            Ok(prepared) => Ok(prepared.pixels.unwrap_or_default()),
            Err(LoadError::Image(e)) => Err(Error::bad_data(Path::new(&self.root).join(&image.path).display(), e)),
            Err(LoadError::Store(e)) => Err(e),
        }
    }

    /// One radiograph at the model's size.
    ///
    /// # Errors
    /// [`SourceError`], which becomes a row of `failures`.
    fn read(&self, image: &ImageRow) -> Result<(ModelInput, FileTimes), SourceError> {
        let opened = open_ingested(&self.root, image, &self.decode)?;
        let start = Instant::now();
        let input = to_model_input(&opened.radiograph, &self.input);
        let FileTimes { read_ms, decode_ms } = opened.times;
        Ok((input, FileTimes { read_ms, decode_ms: decode_ms + start.elapsed().as_secs_f64() * 1e3 }))
    }
}

/// An image at the model's size.
struct Prepared {
    letterbox: Letterbox,
    pixels: Option<Vec<u8>>,
    times: FileTimes,
}

/// Why an image is not at hand: it cannot be used, or the prepared one cannot be kept.
enum LoadError {
    Image(SourceError),
    Store(Error),
}

impl From<SourceError> for LoadError {
    fn from(error: SourceError) -> Self {
        Self::Image(error)
    }
}

impl From<Error> for LoadError {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

/// A radiograph and its annotated boxes.
#[derive(Debug, Clone)]
pub struct Example {
    pub image: ImageRow,
    /// The map between original and model pixels.
    pub letterbox: Letterbox,
    /// The boxes in original pixels.
    pub truths: Vec<LabelledBox<Original>>,
    /// The same in model pixels.
    pub boxes: Vec<LabelledBox>,
    /// Lesion classes that the study's report gives as present; `None` where no report was read.
    pub report_classes: Option<Vec<i32>>,
    /// Grey levels at the model's size; `None` where the memory for them was full.
    pixels: Option<Vec<u8>>,
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
        for row in lesions.iter().filter(|l| l.accepted && l.source == "fused") {
            let truth = LabelledBox { class_id: row.class_id, region: row.region() };
            truths.entry(&row.image_id).or_default().push(truth);
        }
        let area = u64::from(source.input.size) * u64::from(source.input.size);
        let cached = usize::try_from(cache_bytes / area.max(1)).unwrap_or(usize::MAX);
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
                    Ok(Prepared { letterbox, pixels, times }) => {
                        let pixels = pixels.filter(|_| index < cached);
                        Ok(Some(Ok((example(image, truths, letterbox, pixels), times))))
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

    /// Grey levels of an example, from the cache or from its file.
    ///
    /// # Errors
    /// [`Error::BadData`] when the file has changed or gone since it was first read.
    pub fn pixels(&self, index: usize) -> Result<std::borrow::Cow<'_, [u8]>> {
        let example = &self.examples[index];
        if let Some(pixels) = &example.pixels {
            return Ok(pixels.into());
        }
        Ok(self.source.pixels(&example.image)?.into())
    }

    /// The [`repeat_factors`] of the examples by the classes of their boxes.
    pub fn repeat_factors(&self, rare_share: f64) -> Vec<f64> {
        let classes = |e: &Example| e.boxes.iter().map(|b| b.class_id).collect();
        repeat_factors(&self.examples.iter().map(classes).collect::<Vec<BTreeSet<i32>>>(), rare_share)
    }
}

fn example(
    image: ImageRow,
    truths: Vec<LabelledBox<Original>>,
    letterbox: Letterbox,
    pixels: Option<Vec<u8>>,
) -> Example {
    let in_model = |b: &LabelledBox<Original>| LabelledBox {
        class_id: b.class_id,
        region: letterbox.model_from_original(&b.region),
    };
    let boxes = truths.iter().map(in_model).filter(|b| b.region.is_proper()).collect();
    Example { image, letterbox, truths, boxes, report_classes: None, pixels }
}

/// The order in which examples are drawn: one permutation per epoch, in which an example occurs as often as its repeat
/// factor, on average.
#[derive(Debug, Clone)]
pub struct EpochSampler {
    seed: u64,
    /// Running sums of the factors.
    sums: Arc<[f64]>,
    epoch_length: usize,
    /// The epoch that was drawn from last, with its number.
    latest: Arc<Mutex<Option<(u64, Arc<[usize]>)>>>,
}

impl EpochSampler {
    /// A sampler over `factors.len()` examples; factors are positive.
    pub fn new(seed: u64, factors: &[f64]) -> Self {
        let sums = running_sums(factors);
        let epoch_length = sums.last().map_or(0, |s| s.round().max(1.0) as usize);
        Self { seed, sums: sums.into(), epoch_length, latest: Arc::default() }
    }

    /// Indices of the examples of a step: a function of the seed, the step and the batch size.
    pub fn batch(&self, step: u64, size: usize) -> Vec<usize> {
        if self.epoch_length == 0 {
            return Vec::new();
        }
        let draws = step * size as u64..(step + 1) * size as u64;
        let one = |draw| self.epoch(draw / self.epoch_length as u64)[(draw % self.epoch_length as u64) as usize];
        draws.map(one).collect()
    }

    /// The order of an epoch, which is made once while it is drawn from.
    fn epoch(&self, number: u64) -> Arc<[usize]> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((known, order)) if *known == number => Arc::clone(order),
            _ => {
                let order = systematic(&self.sums, self.epoch_length, &mut epoch_rng(self.seed, number)).into();
                *latest = Some((number, Arc::clone(&order)));
                order
            }
        }
    }
}

/// A batch on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainBatch {
    pub step: u64,
    /// Grey levels, image after image.
    pub pixels: Vec<u8>,
    /// Boxes of each image.
    pub boxes: Vec<Vec<LabelledBox>>,
}

/// How batches are made.
#[derive(Debug, Clone)]
pub struct BatchPlan {
    /// Seed of the augmentation.
    pub seed: u64,
    pub sampler: EpochSampler,
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
        let size = set.source.input.size;
        let augmented = |(place, example): (usize, usize)| {
            let mut rng = sample_rng(self.seed, step, place as u64);
            Ok(augment(&set.pixels(example)?, size, &set.examples[example].boxes, &self.augment, &mut rng))
        };
        let images: Result<Vec<_>> = self.examples(step).into_par_iter().map(augmented).collect();
        let (pixels, boxes): (Vec<_>, Vec<_>) = images?.into_iter().unzip();
        Ok(PlainBatch { step, pixels: pixels.concat(), boxes })
    }
}

#[cfg(test)]
mod tests;

//! Augmentation of a study that keeps pixels, boxes and text consistent: crops and boxes of regions follow their image, a
//! region that leaves the image is dropped, and a horizontal flip swaps `left` and `right` in every text.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::report_text::swap_laterality;
use d2r_contracts::space::{ImageSize, Letterbox, Original};
use d2r_contracts::vocabulary::Vocabulary;
use rand::Rng;

use crate::config::detector::AugmentConfig;
use crate::config::report::ReportTrainConfig;
use crate::detector::batches::augment::WeakAugmentation;
use crate::error::Result;
use crate::reporter::batches::laterality_swap::LateralitySwap;
use crate::reporter::batches::random_crop::random_crop;
use crate::reporter::batches::study::{NamedRegions, Region, ReportExample, StudyVisual, VisualSpec};
use crate::reporter::batches::text_tokens::{EncodedTexts, TextTokens};

/// Augments the studies of a training split.
#[derive(Debug)]
pub struct StudyAugment {
    config: AugmentConfig,
    /// The model's preprocessing, not that of images that are cropped at random.
    spec: VisualSpec,
    random_crop: bool,
    tokens: LateralitySwap,
    text_tokens: LateralitySwap,
}

impl StudyAugment {
    /// `spec`: the model's preprocessing; `text`: the text encoder's tokens, where there is one. `None` when the configuration
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Config`] when flips are on and a laterality word has no counterpart in the vocabulary.
    pub fn new(
        config: &ReportTrainConfig,
        spec: VisualSpec,
        vocabulary: &Vocabulary,
        text: Option<&TextTokens>,
    ) -> Result<Option<Self>> {
        let (config, random_crop) = (&config.augment, config.random_crop);
        let AugmentConfig { scale, shift, hflip, brightness, contrast, gamma, noise } = *config;
        if !random_crop && !hflip && [scale, shift, brightness, contrast, gamma, noise].iter().all(|v| *v == 0.0) {
            return Ok(None);
        }
        let swap = |id: &dyn Fn(&str) -> Option<i64>| match hflip {
            true => LateralitySwap::new("report.train.hflip", id),
            false => Ok(LateralitySwap::default()),
        };
        let tokens = swap(&|word| vocabulary.id(word))?;
        let text_tokens = text.map(|text| swap(&|word| text.id(word))).transpose()?.unwrap_or_default();
        Ok(Some(Self { config: config.clone(), spec, random_crop, tokens, text_tokens }))
    }

    /// An augmented copy; a function of the study and of `rng` alone.
    ///
    /// # Errors
    /// Those of [`VisualHandle::get`].
    pub fn apply(&self, example: &ReportExample, rng: &mut impl Rng) -> Result<ReportExample> {
        let cropped = self.random_crop.then(|| self.cropped(example, rng)).transpose()?;
        let example = cropped.as_ref().unwrap_or(example);
        let size = self.spec.image.size;
        let augmentation = WeakAugmentation::draw(ImageSize::square(size), &self.config, rng);
        let visual = example.visual.get()?;
        let area = (size as usize * size as usize).max(1);
        let pixels = visual.pixels.chunks(area).flat_map(|view| augmentation.apply_to_pixels(view, rng)).collect();
        let transformed: Vec<Option<Region>> = match visual.letterboxes.first() {
            Some(first) => visual.regions.iter().map(|r| self.transformed(r, first, &augmentation)).collect(),
            None => Vec::new(),
        };
        let kept: Vec<bool> = transformed.iter().map(Option::is_some).collect();
        let named = example.named.iter().filter_map(|sentence| renumbered(sentence, &kept)).collect();
        let regions = transformed.into_iter().flatten().collect();
        let visual = StudyVisual { pixels, letterboxes: visual.letterboxes.clone(), regions }.into();
        let mut augmented = ReportExample { visual, named, ..example.clone() };
        if augmentation.mirrored() {
            self.tokens.swap(&mut augmented.ids);
            augmented.reference = swap_laterality(&augmented.reference);
            let EncodedTexts { report, sentences } = &mut augmented.texts;
            self.text_tokens.swap(report);
            sentences.iter_mut().for_each(|sentence| self.text_tokens.swap(sentence));
        }
        Ok(augmented)
    }

    /// The study with a random crop of each view.
    fn cropped(&self, example: &ReportExample, rng: &mut impl Rng) -> Result<ReportExample> {
        let (visual, kept) = random_crop(example.visual.get()?.as_ref(), self.spec.image.size, rng);
        let named = example.named.iter().filter_map(|sentence| renumbered(sentence, &kept)).collect();
        Ok(ReportExample { visual: visual.into(), named, ..example.clone() })
    }

    /// The region after the augmentation; `None` when it leaves the image.
    fn transformed(&self, region: &Region, letterbox: &Letterbox, augmentation: &WeakAugmentation) -> Option<Region> {
        let (width, height) = (letterbox.original.width as f32, letterbox.original.height as f32);
        let [score, x, y, w, h] = region.scored_box;
        let in_original: BoxXyxy<Original> =
            BoxXyxy::new((x - w / 2.0) * width, (y - h / 2.0) * height, (x + w / 2.0) * width, (y + h / 2.0) * height);
        let in_model = augmentation.apply_to_box(&letterbox.model_from_original(&in_original))?;
        let in_original = letterbox.original_from_model(&in_model);
        if !in_original.is_proper() {
            return None;
        }
        let (x, y) = in_original.centre();
        let scored_box = [score, x / width, y / height, in_original.width() / width, in_original.height() / height];
        let mut crop = region.crop.clone();
        if augmentation.mirrored() {
            crop.chunks_mut((self.spec.region_size as usize).max(1)).for_each(<[u8]>::reverse);
        }
        Some(Region { crop, scored_box, ..*region })
    }
}

/// A sentence's region indices after regions that are not kept are removed; `None` when it names no remaining region.
fn renumbered(sentence: &NamedRegions, kept: &[bool]) -> Option<NamedRegions> {
    let remains = |&i: &usize| kept.get(i) == Some(&true);
    let index = |i: usize| kept[..i].iter().filter(|kept| **kept).count();
    let regions: Vec<usize> = sentence.regions.iter().copied().filter(remains).map(index).collect();
    (!regions.is_empty()).then(|| NamedRegions { regions, ..sentence.clone() })
}

#[cfg(test)]
mod tests;

//! Augmentation of a study that keeps pixels, boxes and words together: crops and places of regions move with their film, a region
//! that leaves it is forgotten, and on a mirrored film `left` and `right` change places in every text.

use std::sync::Arc;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::report_text::swap_laterality;
use d2r_contracts::space::{Letterbox, Original};
use d2r_contracts::vocabulary::Vocabulary;
use rand::Rng;

use crate::config::detector::AugmentConfig;
use crate::detector::batches::augment::WeakAugmentation;
use crate::error::Result;
use crate::reporter::batches::laterality_swap::LateralitySwap;
use crate::reporter::batches::study::{NamedRegions, Region, ReportExample, StudyVisual, VisualSpec};
use crate::reporter::batches::text_tokens::{EncodedTexts, TextTokens};

/// Augments the studies of a training split.
#[derive(Debug)]
pub struct StudyAugment<'a> {
    config: &'a AugmentConfig,
    spec: VisualSpec,
    words: LateralitySwap,
    pieces: LateralitySwap,
}

impl<'a> StudyAugment<'a> {
    /// `text`: the text encoder's words, where there is one. `None` when nothing is to be changed.
    ///
    /// # Errors
    /// [`Error::Config`] when films are to be mirrored and a word for one side has no partner in the vocabulary.
    pub fn new(
        config: &'a AugmentConfig,
        spec: VisualSpec,
        vocabulary: &Vocabulary,
        text: Option<&TextTokens>,
    ) -> Result<Option<Self>> {
        let AugmentConfig { scale, shift, hflip, brightness, contrast, gamma, noise } = *config;
        if !hflip && [scale, shift, brightness, contrast, gamma, noise].iter().all(|v| *v == 0.0) {
            return Ok(None);
        }
        let swapped = |id: &dyn Fn(&str) -> Option<i64>| match hflip {
            true => LateralitySwap::new("report.train.augment.hflip", id),
            false => Ok(LateralitySwap::default()),
        };
        let words = swapped(&|word| vocabulary.id(word))?;
        let pieces = text.map(|text| swapped(&|word| text.id(word))).transpose()?.unwrap_or_default();
        Ok(Some(Self { config, spec, words, pieces }))
    }

    /// A changed copy; a function of the study and of `rng` alone.
    pub fn apply(&self, example: &ReportExample, rng: &mut impl Rng) -> ReportExample {
        let size = self.spec.film.size;
        let change = WeakAugmentation::draw(size, self.config, rng);
        let visual = &example.visual;
        let area = (size as usize * size as usize).max(1);
        let film = visual.film.chunks(area).flat_map(|view| change.apply_to_pixels(view, rng)).collect();
        let moved: Vec<Option<Region>> =
            visual.regions.iter().map(|r| self.moved(r, &visual.letterbox, &change)).collect();
        let named = example.named.iter().filter_map(|sentence| renumbered(sentence, &moved)).collect();
        let regions = moved.into_iter().flatten().collect();
        let visual = Arc::new(StudyVisual { film, letterbox: visual.letterbox, regions });
        let mut changed = ReportExample { visual, named, ..example.clone() };
        if change.mirrored() {
            self.words.swap(&mut changed.ids);
            changed.reference = swap_laterality(&changed.reference);
            let EncodedTexts { report, sentences } = &mut changed.texts;
            self.pieces.swap(report);
            sentences.iter_mut().for_each(|sentence| self.pieces.swap(sentence));
        }
        changed
    }

    fn moved(&self, region: &Region, letterbox: &Letterbox, change: &WeakAugmentation) -> Option<Region> {
        let (width, height) = (letterbox.original_width as f32, letterbox.original_height as f32);
        let [score, x, y, w, h] = region.place;
        let at: BoxXyxy<Original> =
            BoxXyxy::new((x - w / 2.0) * width, (y - h / 2.0) * height, (x + w / 2.0) * width, (y + h / 2.0) * height);
        let at = letterbox.original_from_model(&change.apply_to_box(&letterbox.model_from_original(&at))?);
        if !at.is_proper() {
            return None;
        }
        let (x, y) = at.centre();
        let place = [score, x / width, y / height, at.width() / width, at.height() / height];
        let mut crop = region.crop.clone();
        if change.mirrored() {
            crop.chunks_mut((self.spec.region_size as usize).max(1)).for_each(<[u8]>::reverse);
        }
        Some(Region { crop, class_id: region.class_id, place })
    }
}

/// A sentence's regions as they are numbered once some have left; `None` when it names none any more.
fn renumbered(sentence: &NamedRegions, moved: &[Option<Region>]) -> Option<NamedRegions> {
    let there = |&i: &usize| moved.get(i).is_some_and(Option::is_some);
    let number = |i: usize| moved[..i].iter().flatten().count();
    let regions: Vec<usize> = sentence.regions.iter().copied().filter(there).map(number).collect();
    (!regions.is_empty()).then(|| NamedRegions { regions, ..sentence.clone() })
}

#[cfg(test)]
mod tests;

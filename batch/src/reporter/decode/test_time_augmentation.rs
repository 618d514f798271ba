//! Flip test-time augmentation of the decoder: image and mirror image are decoded together. A token's probability is the mean of
//! both, with `left` and `right` swapped for the mirror image. The report of a mirror image is therefore the laterality-swapped
//! report of the image.

use tch::{Device, Tensor};

use crate::error::Result;
use crate::reporter::decode::finished_reports::Hypothesis;
use crate::reporter::decode::incremental_decoder::IncrementalDecoder;
use crate::reporter::model::encoder_decoder::DecodeState;
use crate::reporter::model::visual::{RegionInput, VisualFeatures, VisualInput};

/// The mirror images of a batch.
#[derive(Debug)]
pub struct FlippedInput {
    /// Visual tokens of the mirror images; regions keep their order.
    pub features: VisualFeatures,
    /// For each token id, the boundary included, its laterality counterpart.
    pub swapped_tokens: Vec<i64>,
}

impl VisualInput {
    /// Images, crops and boxes flipped horizontally. Letterbox padding is equal on both edges, so it needs no change.
    pub fn flipped(&self) -> Self {
        let RegionInput { crops, statistics, slots, present, classes, scored_boxes } = &self.regions;
        let (score, x, rest) =
            (scored_boxes.narrow(1, 0, 1), scored_boxes.narrow(1, 1, 1), scored_boxes.narrow(1, 2, 3));
        Self {
            images: self.images.flip([3]),
            regions: RegionInput {
                crops: crops.flip([3]),
                statistics: statistics.shallow_clone(),
                slots: slots.shallow_clone(),
                present: present.shallow_clone(),
                classes: classes.shallow_clone(),
                scored_boxes: Tensor::cat(&[score, 1.0 - x, rest], 1),
            },
        }
    }
}

/// Two decode states with the same rows: of the images, and of their mirror images with swapped tokens.
#[derive(Debug)]
pub struct FlipDecoder<'a> {
    image: DecodeState<'a>,
    mirror: DecodeState<'a>,
    /// i64 `[V]`.
    swapped_tokens: Tensor,
}

impl<'a> FlipDecoder<'a> {
    /// `swapped_tokens`: as in [`FlippedInput`].
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn new(image: DecodeState<'a>, mirror: DecodeState<'a>, swapped_tokens: &[i64]) -> Result<Self> {
        let swapped_tokens = Tensor::f_from_slice(swapped_tokens)?.to_device(image.device());
        Ok(Self { image, mirror, swapped_tokens })
    }
}

impl IncrementalDecoder for FlipDecoder<'_> {
    fn images(&self) -> i64 {
        self.image.images()
    }

    fn device(&self) -> Device {
        self.image.device()
    }

    fn is_finite(&self) -> Result<bool> {
        Ok(self.image.is_finite()? && self.mirror.is_finite()?)
    }

    fn step(&mut self, tokens: &Tensor) -> Tensor {
        let of_image = self.image.step(tokens);
        let of_mirror = self.mirror.step(&self.swapped_tokens.index_select(0, tokens));
        // The logarithm of the mean of two probabilities.
        of_image.logaddexp(&of_mirror.index_select(1, &self.swapped_tokens)) - std::f64::consts::LN_2
    }

    fn select_rows(&mut self, rows: &Tensor) {
        self.image.select_rows(rows);
        self.mirror.select_rows(rows);
    }

    fn select_images(&mut self, images: &Tensor) {
        self.image.select_images(images);
        self.mirror.select_images(images);
    }
}

/// The same reports for the mirror images: tokens swapped.
pub fn swapped_reports(reports: &[Vec<Hypothesis>], swapped_tokens: &[i64]) -> Vec<Vec<Hypothesis>> {
    let swapped = |report: &Hypothesis| Hypothesis {
        tokens: report.tokens.iter().map(|&id| swapped_tokens[id as usize]).collect(),
        ..report.clone()
    };
    reports.iter().map(|of_image| of_image.iter().map(swapped).collect()).collect()
}

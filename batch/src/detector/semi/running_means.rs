//! Losses on the device and counts on the host, summed between two rows of the log of semi-supervised training.

use std::collections::BTreeMap;

use d2r_contracts::tables::TrainLogRow;
use tch::{Device, Kind, Tensor};

use crate::detector::losses::finite_parts;
use crate::detector::semi::guard::Signals;
use crate::error::Result;
use crate::training::running_sums::RunningSums;

/// Figures of a step: five parts of the labelled loss, the pseudo-loss, whether it was bounded, and [`PseudoCounts`].
pub const FIGURES: usize = 10;
/// The figures, and steps without a finite gradient.
const NAMES: [&str; FIGURES + 1] = [
    "class",
    "box",
    "centerness",
    "rpn_class",
    "rpn_box",
    "pseudo",
    "bounded",
    "unlabelled_images",
    "found",
    "capped",
    "skipped",
];

/// Counts of the images of one pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct PseudoCounts {
    /// Unlabelled images.
    pub images: usize,
    /// Boxes above the threshold.
    pub found: usize,
    /// Those that the cap left out.
    pub capped: usize,
}

/// Sums since the last row.
#[derive(Debug)]
pub struct SemiSums(RunningSums<{ FIGURES + 1 }>);

/// The figures of a pass over a part of a batch, f32 `[FIGURES]` on the device of `parts`. `parts`: f32 `[5]`;
/// `pseudo`, `bounded`: scalars without gradient; `share`: the part's share of the batch, by which counts are divided,
/// since the mean over parts is taken.
///
/// # Errors
/// When a libtorch operation fails.
pub fn figures(parts: &Tensor, pseudo: &Tensor, bounded: &Tensor, counts: PseudoCounts, share: f64) -> Result<Tensor> {
    let _no_grad = tch::no_grad_guard();
    let device = parts.device();
    let counts = [counts.images, counts.found, counts.capped].map(|count| (count as f64 / share) as f32);
    let scalar = |t: &Tensor| t.f_to_kind(Kind::Float)?.f_reshape([1])?.f_to_device(device);
    let counts = Tensor::f_from_slice(&counts)?.f_to_device(device)?;
    Ok(Tensor::f_cat(&[parts.f_to_kind(Kind::Float)?, scalar(pseudo)?, scalar(bounded)?, counts], 0)?)
}

/// Means since the last row.
#[derive(Debug, Clone, Copy)]
pub struct SemiMeans {
    /// Parts of the labelled loss.
    pub parts: [f64; 5],
    /// The pseudo-loss, weighted.
    pub pseudo: f64,
    /// Pseudo-labels per unlabelled image, before the cap.
    pub boxes_per_image: f64,
    /// For the guard rails.
    pub signals: Signals,
    pub steps: i64,
    /// None of the steps had a finite gradient.
    pub skipped_all: bool,
}

impl SemiMeans {
    /// A row with these losses and counts.
    pub fn row(&self, mutual: bool) -> TrainLogRow {
        let [class, boxes, centerness, rpn_class, rpn_box] = self.parts;
        TrainLogRow {
            loss: self.parts.iter().sum::<f64>() + self.pseudo,
            loss_class: Some(class),
            loss_box: Some(boxes),
            loss_centerness: Some(centerness),
            loss_rpn: Some(rpn_class + rpn_box),
            loss_pseudo: mutual.then_some(self.pseudo),
            pseudo_boxes_per_image: mutual.then_some(self.boxes_per_image),
            pseudo_box_ratio: mutual.then_some(self.signals.box_ratio),
            ..TrainLogRow::blank()
        }
    }
}

impl SemiSums {
    /// All sums 0.
    pub fn new(device: Device) -> Self {
        Self(RunningSums::new(NAMES, device))
    }

    /// Adds a step. `figures`: of [`figures`]; `skipped`: scalar, 1 for a step without a finite gradient. What is not
    /// finite counts as 0 (the step is among the skipped ones).
    pub fn add(&mut self, figures: &Tensor, skipped: &Tensor) {
        let _no_grad = tch::no_grad_guard();
        let skipped = skipped.to_kind(Kind::Double).reshape([1]).to_device(figures.device());
        self.0.add(&Tensor::cat(&[figures.to_kind(Kind::Double), skipped], 0).nan_to_num(0.0, 0.0, 0.0));
    }

    /// Means; waits for the device. `true_boxes`: per labelled image.
    ///
    /// # Errors
    /// Those of [`finite_parts`]; when a libtorch operation fails.
    pub fn means(&self, step: i64, true_boxes: f64) -> Result<SemiMeans> {
        let (sums, steps) = (self.0.sums()?, self.0.steps());
        let mean = |sum: f64| sum / steps.max(1.0);
        let [class, boxes, centerness, rpn_class, rpn_box, pseudo, bounded, images, found, capped, skipped] = sums;
        let boxes_per_image = if images > 0.0 { found / images } else { 0.0 };
        let signals = Signals {
            box_ratio: if true_boxes > 0.0 { boxes_per_image / true_boxes } else { 0.0 },
            capped_share: if found > 0.0 { capped / found } else { 0.0 },
            bounded_share: mean(bounded),
            skipped,
        };
        Ok(SemiMeans {
            parts: finite_parts([class, boxes, centerness, rpn_class, rpn_box].map(mean), step)?,
            pseudo: mean(pseudo),
            boxes_per_image,
            signals,
            steps: steps as i64,
            skipped_all: steps > 0.0 && skipped >= steps,
        })
    }

    /// Sets all sums to 0.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// The sums by name, for a checkpoint.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn state(&self) -> Result<BTreeMap<String, f64>> {
        self.0.state()
    }

    /// Takes over the sums of a checkpoint.
    pub fn restore(&mut self, state: &BTreeMap<String, f64>) {
        self.0.restore(state);
    }
}

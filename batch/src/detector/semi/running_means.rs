//! Losses on the device and counts on the host, summed between two rows of the log of semi-supervised training.

use std::collections::BTreeMap;

use d2r_contracts::tables::TrainLogRow;
use tch::{Device, Kind, Tensor};

use crate::detector::losses::finite_parts;
use crate::detector::semi::guard::Signals;
use crate::error::Result;
use crate::training::running_sums::RunningSums;

/// Five parts of the labelled loss, the pseudo-loss, steps in which it was bounded, steps without a finite gradient.
const LOSSES: [&str; 8] = ["class", "box", "centerness", "rpn_class", "rpn_box", "pseudo", "bounded", "skipped"];
/// See [`PseudoCounts`].
const COUNTS: [&str; 3] = ["unlabelled_images", "found", "capped"];

/// Counts of one step.
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
pub struct SemiSums {
    losses: RunningSums<8>,
    counts: [f64; 3],
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
        Self { losses: RunningSums::new(LOSSES, device), counts: [0.0; 3] }
    }

    /// Adds a step. `parts`: f32 `[5]`; then pseudo-loss, bounded and skipped, scalars. What is not finite counts as 0
    /// (the step is among the skipped ones).
    pub fn add(&mut self, parts: &Tensor, others: [&Tensor; 3], counts: PseudoCounts) {
        let _no_grad = tch::no_grad_guard();
        let mut all = vec![parts.to_kind(Kind::Double)];
        all.extend(others.map(|t| t.to_kind(Kind::Double).reshape([1]).to_device(parts.device())));
        self.losses.add(&Tensor::cat(&all, 0).nan_to_num(0.0, 0.0, 0.0));
        for (sum, value) in self.counts.iter_mut().zip([counts.images, counts.found, counts.capped]) {
            *sum += value as f64;
        }
    }

    /// Means; waits for the device. `true_boxes`: per labelled image.
    ///
    /// # Errors
    /// Those of [`finite_parts`]; when a libtorch operation fails.
    pub fn means(&self, step: i64, true_boxes: f64) -> Result<SemiMeans> {
        let (sums, steps) = (self.losses.sums()?, self.losses.steps());
        let mean = |sum: f64| sum / steps.max(1.0);
        let [class, boxes, centerness, rpn_class, rpn_box, pseudo, bounded, skipped] = sums;
        let [images, found, capped] = self.counts;
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
        self.losses.reset();
        self.counts = [0.0; 3];
    }

    /// The sums by name, for a checkpoint.
    ///
    /// # Errors
    /// When a libtorch operation fails.
    pub fn state(&self) -> Result<BTreeMap<String, f64>> {
        let mut state = self.losses.state()?;
        state.extend(COUNTS.iter().map(|n| (*n).to_owned()).zip(self.counts));
        Ok(state)
    }

    /// Takes over the sums of a checkpoint.
    pub fn restore(&mut self, state: &BTreeMap<String, f64>) {
        self.losses.restore(state);
        self.counts = COUNTS.map(|name| state.get(name).copied().unwrap_or(0.0));
    }
}

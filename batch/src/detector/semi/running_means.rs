//! What the semi-supervised loop adds up between two log lines: losses on the device, counts on the host.

use std::collections::BTreeMap;

use d2r_contracts::tables::TrainLogRow;
use tch::{Device, Kind, Tensor};

use crate::detector::losses::read_parts;
use crate::detector::semi::guard::Signals;
use crate::error::Result;

/// Counts of one step.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepSums {
    /// Unlabelled films seen.
    pub unlabelled_images: usize,
    /// Pseudo-boxes above the threshold.
    pub found: usize,
    /// Those that the cap left out.
    pub capped: usize,
}

/// Sums since the last log line.
#[derive(Debug)]
pub struct SemiSums {
    /// f64 `[8]` on the device: five parts of the labelled loss, the pseudo-loss, steps in which it was bounded, steps
    /// without a finite gradient.
    losses: Tensor,
    /// Steps, unlabelled films, pseudo-boxes found, pseudo-boxes left out.
    counts: [f64; 4],
}

/// Means since the last log line.
#[derive(Debug, Clone, Copy)]
pub struct SemiMeans {
    /// Parts of the labelled loss.
    pub parts: [f64; 5],
    /// The pseudo-loss, weighted.
    pub pseudo: f64,
    /// Pseudo-boxes per unlabelled film, before the cap.
    pub boxes_per_image: f64,
    /// For the guard rails.
    pub signals: Signals,
    /// Steps.
    pub steps: i64,
    /// None of the steps had a finite gradient.
    pub skipped_all: bool,
}

impl SemiMeans {
    /// The losses and counts in a row of the log.
    pub fn row(&self, base: TrainLogRow, mutual: bool) -> TrainLogRow {
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
            ..base
        }
    }
}

const NAMES: [&str; 12] = [
    "class",
    "box",
    "centerness",
    "rpn_class",
    "rpn_box",
    "pseudo",
    "bounded",
    "skipped",
    "steps",
    "films",
    "found",
    "capped",
];

impl SemiSums {
    /// Sums that go on from a checkpoint's.
    pub fn new(pending: &BTreeMap<String, f64>, device: Device) -> Self {
        let values = NAMES.map(|name| pending.get(name).copied().unwrap_or(0.0));
        let losses = Tensor::from_slice(&values[..8]).to_device(device);
        Self { losses, counts: [values[8], values[9], values[10], values[11]] }
    }

    /// Adds a step. `parts`: f32 `[5]`; then pseudo-loss, bounded and skipped, scalars. What is not finite counts as 0
    /// (the step is among the skipped ones).
    pub fn add(&mut self, parts: &Tensor, others: [&Tensor; 3], counts: StepSums) {
        let _no_grad = tch::no_grad_guard();
        let mut all = vec![parts.to_kind(Kind::Double)];
        all.extend(others.map(|t| t.to_kind(Kind::Double).reshape([1]).to_device(parts.device())));
        let _ = self.losses.g_add_(&Tensor::cat(&all, 0).nan_to_num(0.0, 0.0, 0.0));
        for (sum, value) in self.counts.iter_mut().zip([1, counts.unlabelled_images, counts.found, counts.capped]) {
            *sum += value as f64;
        }
    }

    /// Means; reads the device. `true_boxes`: per labelled film.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn means(&self, step: i64, true_boxes: f64) -> Result<SemiMeans> {
        let [steps, films, found, capped] = self.counts;
        let many = steps.max(1.0);
        let sums = Vec::<f64>::try_from(&self.losses)?;
        let parts = read_parts(&(self.losses.narrow(0, 0, 5) / many), step)?;
        let boxes_per_image = if films > 0.0 { found / films } else { 0.0 };
        let signals = Signals {
            box_ratio: if true_boxes > 0.0 { boxes_per_image / true_boxes } else { 0.0 },
            capped_share: if found > 0.0 { capped / found } else { 0.0 },
            bounded_share: sums[6] / many,
            skipped: sums[7],
        };
        let skipped_all = steps > 0.0 && sums[7] >= steps;
        Ok(SemiMeans { parts, pseudo: sums[5] / many, boxes_per_image, signals, steps: steps as i64, skipped_all })
    }

    /// Starts anew.
    pub fn reset(&mut self) {
        let _ = self.losses.zero_();
        self.counts = [0.0; 4];
    }

    /// The sums by name, for a checkpoint.
    ///
    /// # Errors
    /// When libtorch refuses.
    pub fn pending(&self) -> Result<BTreeMap<String, f64>> {
        let values = Vec::<f64>::try_from(&self.losses)?.into_iter().chain(self.counts);
        Ok(NAMES.map(str::to_owned).into_iter().zip(values).collect())
    }
}

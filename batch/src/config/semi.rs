//! Configuration of semi-supervised training (Unbiased Teacher v2).

use serde::{Deserialize, Serialize};

/// The mutual phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemiConfig {
    /// Steps on annotators' boxes alone; the rest of `detector.train.steps` is the mutual phase.
    pub burn_in_steps: i64,
    /// Phases in which labelled images are also seen with strong augmentation.
    pub strong_labelled: StrongLabelled,
    /// Unlabelled images per step.
    pub unlabelled_batch_size: usize,
    /// Flip test-time augmentation of the teacher.
    pub flip_tta: bool,
    /// Pseudo-labels have a score above this.
    pub threshold: f64,
    /// Boxes that score above this and are no pseudo-labels are ignored; 0 takes them as background, as published.
    pub ignore_min: f64,
    /// Unlabelled images with reports: of a class that the image's report names, boxes above this score are
    /// pseudo-labels, and without any the best box; of another class none is. 0 does not use reports, as published.
    pub report_threshold: f64,
    /// Weight of the class losses on pseudo-labels.
    pub unlabelled_weight: f64,
    /// Weight of the box loss on pseudo-labels.
    pub box_loss_weight: f64,
    /// Share of the teacher that each update of the mutual phase keeps; the average of a burn-in keeps
    /// `detector.train.ema_keep_rate`.
    pub ema_keep_rate: f64,
    /// What the teacher is when the mutual phase begins.
    pub teacher_start: TeacherStart,
    /// Steps between two updates of the teacher.
    pub teacher_every: i64,
    /// Steps over which the weight of pseudo-labels rises to its full value.
    pub ramp_steps: i64,
    /// Leave labelled images without boxes out, as published.
    pub filter_empty: bool,
    /// Strong augmentation.
    pub strong: StrongConfig,
    /// Guard rails.
    pub guard: GuardConfig,
}

impl SemiConfig {
    /// Whether the losses on pseudo-labels have a weight. Without one the student is trained as in supervised training, bit
    /// for bit.
    pub fn weights_pseudo_labels(&self) -> bool {
        self.unlabelled_weight != 0.0 || self.box_loss_weight != 0.0
    }
}

#[cfg(test)]
impl SemiConfig {
    /// The published values for VinDr-CXR and MIMIC-CXR.
    pub fn published() -> Self {
        super::RunConfig::of("d2rnet", &[]).semi
    }
}

/// The teacher at the beginning of the mutual phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeacherStart {
    /// A copy of the student, as published.
    Student,
    /// The moving average of the burn-in's students: a better teacher after a short burn-in.
    Average,
}

/// When labelled images are seen with strong augmentation as well as with weak augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StrongLabelled {
    /// In both phases, as published.
    Always,
    /// In the mutual phase: the burn-in is plain supervised training.
    Mutual,
    /// In neither.
    Never,
}

impl StrongLabelled {
    /// In the mutual phase, or in the burn-in.
    pub fn teach(self, mutual: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Mutual => mutual,
            Self::Never => false,
        }
    }
}

/// Strong augmentation: what is added to the weak one. The published operations; on grey images hue, saturation and
/// grayscale change nothing and are left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrongConfig {
    /// Probability of a change of brightness and contrast.
    pub jitter_share: f64,
    /// Brightness and contrast are multiplied by up to 1 plus or minus this.
    pub jitter: f32,
    /// Probability of a blur.
    pub blur_share: f64,
    /// Largest standard deviation of the blur, pixels; the smallest is 0.1.
    pub blur_max: f32,
    /// Probabilities of the three erased rectangles.
    pub erase_shares: [f64; 3],
}

impl StrongConfig {
    /// The published probabilities and ranges.
    pub fn published() -> Self {
        Self { jitter_share: 0.8, jitter: 0.4, blur_share: 0.5, blur_max: 2.0, erase_shares: [0.7, 0.5, 0.3] }
    }

    /// Nothing beside the weak augmentation.
    pub fn none() -> Self {
        Self { jitter_share: 0.0, blur_share: 0.0, erase_shares: [0.0; 3], ..Self::published() }
    }
}

/// Limits of the guard rails ([ADR 6](../../../docs/adr/0006-guard-rails-roll-the-mutual-phase-back.md)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardConfig {
    /// The mutual phase begins once AP50 on the validation split is at least this; 0 begins at once.
    pub burn_in_ap_min: f64,
    /// AP50 may fall this far below the burn-in's before training goes back; 1 never goes back.
    pub ap_drop_max: f64,
    /// After so many returns pseudo-labels no longer count.
    pub rollbacks_max: u32,
    /// Pseudo-boxes per image are capped to this multiple of the true boxes per image; 0 does not cap.
    pub box_ratio_max: f64,
    /// Pseudo-losses are bounded to this multiple of the labelled ones; 0 does not bound.
    pub loss_ratio_max: f64,
    /// Pseudo-boxes that are fewer than the true boxes of as many labelled images weigh less
    /// ([ADR 32](../../../docs/adr/0032-few-pseudo-labels-weigh-less.md)).
    pub few_boxes_weigh_less: bool,
    /// From this multiple of the true boxes on there is an alarm in the log.
    pub box_ratio_alarm: f64,
    /// Steps in a row that may be skipped because their gradient is not finite.
    pub skipped_max: i64,
}

impl GuardConfig {
    /// The limits with this cap of pseudo-boxes. With 0 the guard rails are off, as published: what is left are the alarms
    /// and steps without a finite gradient, which change no healthy run.
    pub fn of(box_ratio_max: f64) -> Self {
        if box_ratio_max > 0.0 { Self { box_ratio_max, ..Self::standard() } } else { Self::off() }
    }

    /// The limits of the default.
    pub fn standard() -> Self {
        Self {
            burn_in_ap_min: 0.02,
            ap_drop_max: 0.05,
            rollbacks_max: 2,
            box_ratio_max: 4.0,
            loss_ratio_max: 10.0,
            few_boxes_weigh_less: true,
            box_ratio_alarm: 2.0,
            skipped_max: 100,
        }
    }

    /// No limits.
    pub fn off() -> Self {
        Self {
            burn_in_ap_min: 0.0,
            ap_drop_max: 1.0,
            box_ratio_max: 0.0,
            loss_ratio_max: 0.0,
            few_boxes_weigh_less: false,
            ..Self::standard()
        }
    }
}

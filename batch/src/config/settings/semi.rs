//! Section `[semi]`: Unbiased Teacher v2.

use serde::{Deserialize, Serialize};

use super::number_or::NumberOrOff;
use crate::config::semi::{GuardConfig, SemiConfig, StrongConfig, StrongLabelled, TeacherStart};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SemiSettings {
    pub burn_in_steps: i64,
    pub unlabelled_batch_size: usize,
    pub strong: Strong,
    pub flip_tta: bool,
    pub threshold: f64,
    pub ignore_min: NumberOrOff<f64>,
    pub report_threshold: NumberOrOff<f64>,
    pub guard_rails: NumberOrOff<f64>,
    pub unlabelled_weight: f64,
    pub box_loss_weight: f64,
    pub ramp_steps: i64,
    pub ema_keep_rate: f64,
    pub teacher_start: TeacherStart,
    pub filter_empty: bool,
}

/// Images that are seen with strong augmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strong {
    /// Unlabelled images, and labelled ones in both phases, as published.
    Always,
    /// Unlabelled images, and labelled ones in the mutual phase.
    Mutual,
    /// Unlabelled images.
    Unlabelled,
    /// None.
    None,
}

impl SemiSettings {
    pub fn config(&self) -> SemiConfig {
        let (strong, strong_labelled) = match self.strong {
            Strong::Always => (StrongConfig::published(), StrongLabelled::Always),
            Strong::Mutual => (StrongConfig::published(), StrongLabelled::Mutual),
            Strong::Unlabelled => (StrongConfig::published(), StrongLabelled::Never),
            Strong::None => (StrongConfig::none(), StrongLabelled::Never),
        };
        SemiConfig {
            burn_in_steps: self.burn_in_steps,
            strong_labelled,
            unlabelled_batch_size: self.unlabelled_batch_size,
            flip_tta: self.flip_tta,
            threshold: self.threshold,
            ignore_min: self.ignore_min.or_zero(),
            report_threshold: self.report_threshold.or_zero(),
            unlabelled_weight: self.unlabelled_weight,
            box_loss_weight: self.box_loss_weight,
            ema_keep_rate: self.ema_keep_rate,
            teacher_start: self.teacher_start,
            teacher_every: 1,
            ramp_steps: self.ramp_steps,
            filter_empty: self.filter_empty,
            strong,
            guard: GuardConfig::of(self.guard_rails.or_zero()),
        }
    }
}

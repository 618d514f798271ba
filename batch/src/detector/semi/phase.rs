//! The phases of semi-supervised training and the ramp of the pseudo-labels' weight.

use crate::config::semi::SemiConfig;

/// The two phases of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Supervised training on annotated boxes.
    BurnIn,
    /// The student is trained on pseudo-labels as well, and the teacher follows the student.
    Mutual,
}

impl Phase {
    /// The phase's name in `train_log`.
    pub fn name(self) -> &'static str {
        match self {
            Self::BurnIn => "burn_in",
            Self::Mutual => "mutual",
        }
    }
}

/// Factor of the weight of pseudo-labels, 0 to 1: rises linearly over `ramp_steps` from step `began`, the first of the
/// mutual phase.
pub fn ramp(config: &SemiConfig, began: i64, step: i64) -> f64 {
    if config.ramp_steps <= 0 {
        return 1.0;
    }
    ((step - began + 1) as f64 / config.ramp_steps as f64).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_rises_to_one_and_stays() {
        let config = SemiConfig { ramp_steps: 4, ..SemiConfig::published() };
        let shares: Vec<f64> = (10..16).map(|step| ramp(&config, 10, step)).collect();
        assert_eq!(shares, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(ramp(&SemiConfig { ramp_steps: 0, ..config }, 10, 10), 1.0);
    }
}

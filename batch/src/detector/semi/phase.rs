//! Which phase a step belongs to, and how much the pseudo-labels weigh in it. Pure functions of the step.

use crate::config::semi::SemiConfig;

/// The two phases of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The student learns from readers' boxes alone.
    BurnIn,
    /// Teacher and student teach each other.
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

/// Share of the unlabelled weight at a step: rises linearly from the mutual phase's first step on. `began`: that step.
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
        let config = SemiConfig { ramp_steps: 4, ..SemiConfig::default() };
        let shares: Vec<f64> = (10..16).map(|step| ramp(&config, 10, step)).collect();
        assert_eq!(shares, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]);
        assert_eq!(ramp(&SemiConfig { ramp_steps: 0, ..config }, 10, 10), 1.0);
    }
}

//! Guards of the mutual phase against divergence. Published runs diverged when the teacher was poor at the start, when
//! the number of pseudo-labels grew, or when their losses grew. Here the phase starts only above a minimum AP50, and a
//! drop of AP50 resets both models to the end of the burn-in, with half the weight for pseudo-labels.

use serde::{Deserialize, Serialize};

use crate::config::semi::GuardConfig;

/// The state of the guard; part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// First step of the mutual phase; `None` in the burn-in.
    pub began: Option<i64>,
    /// AP50 on the validation split at that step.
    pub burn_in_ap: Option<f64>,
    /// Number of resets to the end of the burn-in.
    pub rollbacks: u32,
    /// Multiplies the weight of pseudo-labels; each rollback halves it.
    pub pseudo_label_factor: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { began: None, burn_in_ap: None, rollbacks: 0, pseudo_label_factor: 1.0 }
    }
}

/// What to do after a validation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Training continues.
    Continue,
    /// The teacher is not good enough: the burn-in continues.
    Wait(String),
    /// Both models are reset to the end of the burn-in.
    RollBack(String),
}

/// Means since the last logged step, for alarms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// Pseudo-labels per unlabelled image over annotated boxes per labelled image.
    pub box_ratio: f64,
    /// Share of the pseudo-labels above the limit per batch, which are dropped.
    pub capped_share: f64,
    /// Share of the steps in which the loss on pseudo-labels was bounded.
    pub bounded_share: f64,
    /// Number of steps without a finite gradient.
    pub skipped: f64,
}

impl Guard {
    /// Starts the mutual phase or lets the burn-in continue. `ap50`: on the validation split; without one the phase
    /// starts.
    pub fn start_mutual_phase(&mut self, config: &GuardConfig, step: i64, ap50: Option<f64>) -> Verdict {
        match ap50 {
            Some(ap50) if ap50 < config.burn_in_ap_min => Verdict::Wait(format!(
                "burn-in continues: AP50 {ap50:.3} is below {:.3} (semi.guard_rails)",
                config.burn_in_ap_min
            )),
            _ => {
                (self.began, self.burn_in_ap) = (Some(step), ap50);
                Verdict::Continue
            }
        }
    }

    /// Checks the teacher's AP50 in the mutual phase.
    pub fn check(&mut self, config: &GuardConfig, ap50: f64) -> Verdict {
        let Some(before) = self.burn_in_ap else { return Verdict::Continue };
        if ap50 >= before - config.ap_drop_max {
            return Verdict::Continue;
        }
        self.rollbacks += 1;
        self.pseudo_label_factor =
            if self.rollbacks > config.rollbacks_max { 0.0 } else { self.pseudo_label_factor * 0.5 };
        Verdict::RollBack(format!(
            "AP50 fell from {before:.3} at the end of the burn-in to {ap50:.3}: both models reset to that step, \
             pseudo-labels now weighted with {:.3}",
            self.pseudo_label_factor
        ))
    }

    /// A warning about the means since the last logged step; `None` when all are normal.
    pub fn alarm(config: &GuardConfig, signals: &Signals) -> Option<String> {
        let mut warnings = Vec::new();
        if signals.box_ratio > config.box_ratio_alarm {
            warnings.push(format!(
                "{:.1} times as many pseudo-labels per image as annotated boxes ({:.0} % dropped); \
                 raise semi.threshold",
                signals.box_ratio,
                100.0 * signals.capped_share
            ));
        }
        if signals.bounded_share > 0.0 {
            warnings.push(format!("pseudo-loss bounded in {:.0} % of the steps", 100.0 * signals.bounded_share));
        }
        if signals.skipped > 0.0 {
            warnings.push(format!("{} steps skipped: gradient not finite", signals.skipped));
        }
        (!warnings.is_empty()).then(|| warnings.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> GuardConfig {
        GuardConfig { burn_in_ap_min: 0.2, ap_drop_max: 0.05, rollbacks_max: 2, ..GuardConfig::standard() }
    }

    #[test]
    fn the_mutual_phase_waits_for_a_minimum_ap() {
        let mut guard = Guard::default();
        assert!(matches!(guard.start_mutual_phase(&config(), 100, Some(0.1)), Verdict::Wait(_)));
        assert_eq!(guard.began, None);
        assert_eq!(guard.start_mutual_phase(&config(), 200, Some(0.3)), Verdict::Continue);
        assert_eq!((guard.began, guard.burn_in_ap), (Some(200), Some(0.3)));
        assert_eq!(Guard::default().start_mutual_phase(&config(), 5, None), Verdict::Continue);
    }

    #[test]
    fn each_rollback_halves_the_weight_and_the_last_sets_it_to_zero() {
        let mut guard = Guard { began: Some(0), burn_in_ap: Some(0.5), ..Guard::default() };
        assert_eq!(guard.check(&config(), 0.46), Verdict::Continue);
        let mut factors = Vec::new();
        for _ in 0..3 {
            assert!(matches!(guard.check(&config(), 0.4), Verdict::RollBack(_)));
            factors.push(guard.pseudo_label_factor);
        }
        assert_eq!(factors, [0.5, 0.25, 0.0]);
    }

    #[test]
    fn alarms_name_their_causes() {
        let normal = Signals { box_ratio: 1.0, capped_share: 0.0, bounded_share: 0.0, skipped: 0.0 };
        assert_eq!(Guard::alarm(&config(), &normal), None);
        let abnormal = Signals { box_ratio: 9.0, capped_share: 0.5, bounded_share: 0.25, skipped: 2.0 };
        let alarm = Guard::alarm(&config(), &abnormal).unwrap();
        for word in ["9.0 times", "25 %", "2 steps skipped"] {
            assert!(alarm.contains(word), "{alarm}");
        }
    }
}

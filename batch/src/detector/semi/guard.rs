//! The guard rails of the mutual phase. Published runs diverged where a teacher was poor when it began to teach, where
//! pseudo-boxes multiplied, or where pseudo-losses grew; here the phase starts only above a floor of AP, and a fall of AP
//! takes both models back to the end of the burn-in, with half the weight for pseudo-labels.

use serde::{Deserialize, Serialize};

use crate::config::semi::GuardConfig;

/// What the guard remembers; part of a checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Guard {
    /// The step at which the mutual phase began.
    pub began: Option<i64>,
    /// AP50 on the validation split at that step.
    pub burn_in_ap: Option<f64>,
    /// Times that training went back.
    pub rollbacks: u32,
    /// Share of the unlabelled weight that rollbacks left.
    pub pseudo_label_factor: f64,
}

impl Default for Guard {
    fn default() -> Self {
        Self { began: None, burn_in_ap: None, rollbacks: 0, pseudo_label_factor: 1.0 }
    }
}

/// What to do after an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing is wrong.
    GoOn,
    /// The teacher is not good enough to teach; learn from readers' boxes for longer.
    Wait(String),
    /// Both models go back to the end of the burn-in.
    RollBack(String),
}

/// Means since the last logged step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Signals {
    /// Pseudo-boxes per unlabelled image over true boxes per labelled image.
    pub box_ratio: f64,
    /// Share of the pseudo-boxes that the cap left out.
    pub capped_share: f64,
    /// Share of the steps in which the pseudo-loss was bounded.
    pub bounded_share: f64,
    /// Steps without a finite gradient.
    pub skipped: f64,
}

impl Guard {
    /// May the mutual phase begin? `ap50`: on the validation split; `None` without one, which is not held against it.
    pub fn may_begin(&mut self, config: &GuardConfig, step: i64, ap50: Option<f64>) -> Verdict {
        match ap50 {
            Some(ap50) if ap50 < config.burn_in_ap_min => Verdict::Wait(format!(
                "burn-in goes on: AP50 {ap50:.3} is below the floor {:.3} (semi.guard.burn_in_ap_min)",
                config.burn_in_ap_min
            )),
            _ => {
                (self.began, self.burn_in_ap) = (Some(step), ap50);
                Verdict::GoOn
            }
        }
    }

    /// Judges the teacher in the mutual phase.
    pub fn judge(&mut self, config: &GuardConfig, ap50: f64) -> Verdict {
        let Some(before) = self.burn_in_ap else { return Verdict::GoOn };
        if ap50 >= before - config.ap_drop_max {
            return Verdict::GoOn;
        }
        self.rollbacks += 1;
        self.pseudo_label_factor =
            if self.rollbacks > config.rollbacks_max { 0.0 } else { self.pseudo_label_factor * 0.5 };
        Verdict::RollBack(format!(
            "AP50 fell from {before:.3} at the end of the burn-in to {ap50:.3}: back to there, pseudo-labels now count {:.3}",
            self.pseudo_label_factor
        ))
    }

    /// What to say of the means since the last logged step, if anything.
    pub fn alarm(config: &GuardConfig, signals: &Signals) -> Option<String> {
        let mut said = Vec::new();
        if signals.box_ratio > config.box_ratio_alarm {
            said.push(format!(
                "{:.1} times as many pseudo-boxes per image as true ones ({:.0} % left out); raise semi.threshold",
                signals.box_ratio,
                100.0 * signals.capped_share
            ));
        }
        if signals.bounded_share > 0.0 {
            said.push(format!("pseudo-loss bounded in {:.0} % of the steps", 100.0 * signals.bounded_share));
        }
        if signals.skipped > 0.0 {
            said.push(format!("{} steps skipped: gradient not finite", signals.skipped));
        }
        (!said.is_empty()).then(|| said.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::semi::SemiConfig;

    fn config() -> GuardConfig {
        GuardConfig { burn_in_ap_min: 0.2, ap_drop_max: 0.05, rollbacks_max: 2, ..SemiConfig::default().guard }
    }

    #[test]
    fn the_mutual_phase_waits_for_a_fair_teacher() {
        let mut guard = Guard::default();
        assert!(matches!(guard.may_begin(&config(), 100, Some(0.1)), Verdict::Wait(_)));
        assert_eq!(guard.began, None);
        assert_eq!(guard.may_begin(&config(), 200, Some(0.3)), Verdict::GoOn);
        assert_eq!((guard.began, guard.burn_in_ap), (Some(200), Some(0.3)));
        assert_eq!(Guard::default().may_begin(&config(), 5, None), Verdict::GoOn);
    }

    #[test]
    fn a_fall_goes_back_with_less_trust_and_in_the_end_with_none() {
        let mut guard = Guard { began: Some(0), burn_in_ap: Some(0.5), ..Guard::default() };
        assert_eq!(guard.judge(&config(), 0.46), Verdict::GoOn);
        let mut trusts = Vec::new();
        for _ in 0..3 {
            assert!(matches!(guard.judge(&config(), 0.4), Verdict::RollBack(_)));
            trusts.push(guard.pseudo_label_factor);
        }
        assert_eq!(trusts, [0.5, 0.25, 0.0]);
    }

    #[test]
    fn alarms_name_what_they_saw() {
        let calm = Signals { box_ratio: 1.0, capped_share: 0.0, bounded_share: 0.0, skipped: 0.0 };
        assert_eq!(Guard::alarm(&config(), &calm), None);
        let loud = Signals { box_ratio: 9.0, capped_share: 0.5, bounded_share: 0.25, skipped: 2.0 };
        let said = Guard::alarm(&config(), &loud).unwrap();
        for word in ["9.0 times", "25 %", "2 steps skipped"] {
            assert!(said.contains(word), "{said}");
        }
    }
}

//! Learning-rate schedules as factors of the peak rate, pure functions of the step.

use crate::config::detector::{DetectorTrainConfig, Schedule};

/// The factor of a detector's learning rate at a step.
pub fn lr_factor(config: &DetectorTrainConfig, step: i64) -> f64 {
    let warmup = config.warmup_steps.min(config.steps);
    match config.schedule {
        Schedule::Cosine => warmup_then_cosine(step, warmup, config.steps, config.lr_floor),
        Schedule::Steps => warmup_then_steps(step, warmup, &config.milestones, config.milestone_factor),
    }
}

/// Linear warm-up from 1/1000 to 1 over `warmup` steps.
fn warmup_factor(step: i64, warmup: i64) -> f64 {
    if step >= warmup || warmup <= 0 {
        return 1.0;
    }
    let done = step as f64 / warmup as f64;
    0.001 * (1.0 - done) + done
}

/// Warm-up, then half a cosine down to `floor` at `total`, and `floor` after that.
pub fn warmup_then_cosine(step: i64, warmup: i64, total: i64, floor: f64) -> f64 {
    if step < warmup {
        return warmup_factor(step, warmup);
    }
    let done = ((step - warmup) as f64 / (total - warmup).max(1) as f64).min(1.0);
    floor + (1.0 - floor) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
}

/// Warm-up, times `gamma` for every milestone reached (detectron2's schedule).
pub fn warmup_then_steps(step: i64, warmup: i64, milestones: &[i64], gamma: f64) -> f64 {
    let reached = milestones.iter().filter(|m| **m <= step).count();
    warmup_factor(step, warmup) * gamma.powi(reached as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_give_the_published_rates() {
        let expected =
            [(0, 1e-5), (1, 1.999e-5), (500, 5.005e-3), (999, 9.99001e-3), (1000, 1e-2), (7999, 1e-2), (8000, 1e-3)];
        for (step, lr) in expected {
            let ours = 0.01 * warmup_then_steps(step, 1000, &[8000], 0.1);
            assert!((ours - lr).abs() < 1e-9, "step {step}: {ours}");
        }
    }

    #[test]
    fn cosine_starts_at_one_ends_at_the_floor_and_never_rises() {
        let at = |step| warmup_then_cosine(step, 10, 110, 0.01);
        assert_eq!(at(10), 1.0);
        assert!((at(60) - 0.505).abs() < 1e-12);
        assert!((at(110) - 0.01).abs() < 1e-12 && (at(1000) - 0.01).abs() < 1e-12);
        assert!((10..110).all(|s| at(s + 1) <= at(s)));
        assert!((0..10).all(|s| at(s + 1) > at(s)));
        assert_eq!(warmup_then_cosine(0, 0, 0, 0.0), 1.0);
    }
}

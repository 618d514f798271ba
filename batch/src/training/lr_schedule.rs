//! Learning-rate schedules as factors of the peak rate, pure functions of the step.

use crate::config::detector::{DetectorTrainConfig, Schedule};
use crate::config::report::{ReportSchedule, ReportTrainConfig};

/// The report model's cosine ends at this share of the peak rate.
const REPORT_FLOOR: f64 = 0.01;

/// The factor of a detector's learning rate at a step.
pub fn lr_factor(config: &DetectorTrainConfig, step: i64) -> f64 {
    let warmup = config.warmup_steps.min(config.steps);
    match config.schedule {
        Schedule::Cosine => warmup_then_cosine(step, warmup, config.steps, config.lr_floor),
        Schedule::Steps => warmup_then_steps(step, warmup, &config.milestones, config.milestone_factor),
    }
}

/// The factor of a report model's learning rates at a step of `total`.
pub fn report_lr_factor(config: &ReportTrainConfig, step: i64, per_epoch: i64, total: i64) -> f64 {
    let warmup = ((config.warmup_epochs * per_epoch as f64).round() as i64).min(total);
    match config.schedule {
        ReportSchedule::Cosine => warmup_then_cosine(step, warmup, total, REPORT_FLOOR),
        ReportSchedule::Epochs => {
            let done = step / per_epoch.max(1) / config.epoch_step.max(1);
            warmup_factor(step, warmup) * config.epoch_factor.powi(done as i32)
        }
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
    fn the_report_models_rates_are_r2gens_in_its_preset_and_one_cosine_by_default() {
        let config = |preset: Option<&str>| {
            let layers = crate::config::Layers { preset: preset.map(Into::into), ..Default::default() };
            crate::config::resolve(&layers).unwrap().config.report.train
        };
        // Times 0.8 after every epoch on MIMIC-CXR, times 0.1 after 50 on IU X-Ray.
        for (preset, steps, expected) in [
            ("r2gen_mimic", [0, 9, 10, 25], [1.0, 1.0, 0.8, 0.64]),
            ("r2gen_iu", [0, 499, 500, 999], [1.0, 1.0, 0.1, 0.1]),
        ] {
            let config = config(Some(preset));
            for (step, factor) in steps.into_iter().zip(expected) {
                let ours = report_lr_factor(&config, step, 10, 10 * config.epochs);
                assert!((ours - factor).abs() < 1e-12, "{preset}, step {step}: {ours}");
            }
        }
        // One half-wave over all epochs: it never climbs back.
        let config = config(None);
        let at = |step| report_lr_factor(&config, step, 10, 10 * config.epochs);
        assert!((10..10 * config.epochs).all(|s| at(s + 1) <= at(s)));
        assert!((at(10 * config.epochs) - REPORT_FLOOR).abs() < 1e-12);
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

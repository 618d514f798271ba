//! Training: optimizer, schedules, checkpoints, run directories, and one loop per model.

pub mod checkpoint;
pub mod detector_card;
pub mod detector_evaluation;
pub mod detector_loop;
pub mod distill_loop;
pub mod looks;
pub mod lr_schedule;
pub mod metrics_log;
pub mod model_card;
pub mod optimizer;
pub mod report_loop;
pub mod report_optimizer;
pub mod report_sums;
pub mod report_validation;
pub mod reporter_card;
pub mod run_dir;
pub mod semi_loop;
pub mod semi_sums;
pub mod semi_training;
pub mod student_card;
pub mod word_weights;

#[cfg(test)]
mod report_parity_tests;

//! What every training shares: optimizer, schedules, checkpoints, run directories, logs, model cards.

pub mod checkpoint;
pub mod lr_schedule;
pub mod metrics_log;
pub mod model_card;
pub mod optimizer;
pub mod run_dir;

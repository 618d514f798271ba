//! What every training shares: the loop, random streams, batches, optimizer, schedules, checkpoints, run directories,
//! logs, model cards. It contains no model: a model's folder implements [`training_loop::Trainer`].

pub mod accumulation;
pub mod checkpoint;
pub mod epochs;
#[cfg(test)]
pub(crate) mod fixtures;
pub mod lr_schedule;
pub mod metrics_log;
pub mod model_card;
pub mod named_tensors;
pub mod optimizer;
pub mod prefetch;
pub mod ranks;
pub mod repeat_sampling;
pub mod run_dir;
pub mod running_sums;
mod sparkline;
pub mod streams;
pub mod training_loop;
pub mod virtual_shards;

//! `d2r submit`: one stage in parts, as the tasks of an array job. Pure text: a batch script for Slurm, a manifest for
//! Kubernetes. A task finds its part by [`array_task::detect`].

pub mod array_task;
pub mod kubernetes;
pub mod limits;
pub mod slurm;

use self::limits::{Memory, TimeLimit};
use crate::exit::Exit;

/// How often a task that was killed, stopped, or ended with a temporary error is tried again, as under Airflow.
pub const RETRIES: u32 = 3;

/// Seconds between SIGTERM and the end of a task, for a checkpoint.
const GRACE_S: u32 = 60;

/// The array job, the same for every scheduler.
#[derive(Debug, Clone)]
pub struct ArrayJob {
    /// Of the job; a label of DNS.
    pub name: String,
    /// Parts of the work, one task each.
    pub shards: u32,
    /// Whether each task has one GPU, or none.
    pub gpu: bool,
    /// Processor cores of a task.
    pub cpus: u32,
    /// Main memory of a task.
    pub memory: Memory,
    /// Longest time of a task; the scheduler's when absent.
    pub time: Option<TimeLimit>,
    /// The verb, for people.
    pub verb: String,
    /// The verb and its arguments, with `--shard auto`.
    pub arguments: Vec<String>,
}

/// Exit codes after which the same command would fail again, in ascending order.
fn permanent_codes() -> Vec<u8> {
    let mut codes: Vec<u8> =
        Exit::TABLE.iter().filter(|(exit, _, _)| exit.is_permanent()).map(|(_, code, _)| *code).collect();
    codes.sort_unstable();
    codes
}

#[cfg(test)]
mod fixtures {
    use super::ArrayJob;

    /// Eight parts of a report on a GPU.
    pub fn job(extra: &[&str]) -> ArrayJob {
        let arguments = ["report", "--dataset", "mimic"].iter().chain(extra).chain(&["--shard", "auto"]);
        ArrayJob {
            name: "d2r-report".into(),
            shards: 8,
            gpu: true,
            cpus: 4,
            memory: "16G".parse().unwrap(),
            time: Some("24:00:00".parse().unwrap()),
            verb: "report".into(),
            arguments: arguments.map(|a| (*a).to_owned()).collect(),
        }
    }
}

//! `d2r annotate`.

use std::path::PathBuf;

use crate::cli::flags::{DeviceFlags, OutputFlags, ResumeFlag, ShardFlag, StageFlags};
use crate::context::Context;
use crate::error::Result;
use crate::stages::annotate;

/// What to annotate, with what.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  d2r annotate --dataset mimic --detector runs/detector-0123456789ab --shard 0/4 --lake lake"
)]
pub struct Args {
    /// A dataset of the lake.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// A split of the dataset; all when absent; may be repeated.
    #[arg(long, value_name = "SPLIT")]
    split: Vec<String>,
    /// A finished detector run.
    #[arg(long, value_name = "RUN")]
    detector: PathBuf,
    /// Of a semi-supervised run, the student instead of the teacher, so that each can be evaluated.
    #[arg(long)]
    student: bool,
    #[command(flatten)]
    shard: ShardFlag,
    #[command(flatten)]
    resume: ResumeFlag,
    #[command(flatten)]
    stage: StageFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = Context { resume: args.resume.resume(), ..args.stage.context_on(&args.device, output)? };
    let stage_args = annotate::Args {
        lake: args.stage.lake(),
        dataset: args.dataset.clone(),
        splits: args.split.clone(),
        detector: args.detector.clone(),
        student: args.student,
        shard: args.shard.shard()?,
    };
    let next = format!("train-reporter --dataset {} --detector {}", args.dataset, args.detector.display());
    args.stage.print_with_next(output, &annotate::run(&ctx, stage_args)?, &next)
}

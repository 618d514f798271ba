//! A pipeline of several processes: they share both trainings; all other stages are the first one's, for which the others wait.

use super::{Args, RECORDS, Record, record_path, run_folder, stage_context};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::stages::train::{detector, reporter};

/// Lets the other processes begin with the next training; called by the first one when all stages before it are done.
///
/// # Errors
/// [`Error::Temporary`] when a process was lost.
pub fn release(ctx: &Context) -> Result<()> {
    ctx.ranks.decide(|| Ok(None)).map(|_| ())
}

/// The trainings, for a process that is not the first one.
///
/// # Errors
/// Those of the trainings; [`Error::Temporary`] when the first process fails.
pub fn follow(ctx: &Context, args: &Args) -> Result<()> {
    let datasets = args.inputs.datasets(&args.phantoms())?;
    let (labelled, reports) = (datasets[0].dataset, datasets[1].dataset);
    release(ctx)?;
    let training = stage_context(ctx, "train-detector");
    training.use_threads();
    detector::run(&training, args.of_detector(&training.config, labelled, reports))?;
    release(ctx)?;
    let path = record_path(&args.out.join(RECORDS), "train-detector");
    let record = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    let trained: Record = serde_json::from_slice(&record).map_err(|e| Error::bad_data(path.display(), e))?;
    let detector = run_folder(&args.runs(), &trained.result, "train-detector")?;
    reporter::run(&stage_context(ctx, "train-reporter"), args.of_reporter(reports, &detector))?;
    Ok(())
}

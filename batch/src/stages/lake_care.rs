//! `d2r lake repair` and `d2r lake remove`: what was done is said line by line.

use std::path::Path;
use std::time::Instant;

use d2r_contracts::contract::contracts;

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::lake::repair::Selection;

/// Finishes an open commit and removes what is damaged or belongs to no part; with `waiting`, also shards that wait
/// and finished images of shards that are not finished.
///
/// # Errors
/// Those of [`Lake::repair`].
pub fn repair(ctx: &Context, root: &Path, waiting: bool, dry_run: bool) -> Result<StageResult> {
    let start = Instant::now();
    let lake = Lake::at(root)?;
    let done = lake.repair(waiting, dry_run)?;
    if done.finished_commit {
        ctx.progress.line(if dry_run { "a commit is open" } else { "an open commit is finished" });
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    for (name, reason) in &done.removed {
        ctx.progress.line(&format!("{verb} {name}: {reason}"));
    }
    for (name, finished, all) in &done.waiting {
        ctx.progress.line(&format!("pending/{name}: {finished} of {all} shards are finished and wait for the others"));
    }
    for (name, images) in &done.unfinished {
        ctx.progress
            .line(&format!("unfinished/{name}: {images} images are finished; the same command continues after them"));
    }
    let figures = [("removed_files".to_owned(), done.removed.len() as f64)].into();
    Ok(StageResult {
        stage: "lake-repair".into(),
        figures,
        wall_s: start.elapsed().as_secs_f64(),
        ..StageResult::default()
    })
}

/// Removes tables of a dataset in one commit; `rows` counts what is gone.
///
/// # Errors
/// [`Error::Usage`] for an unknown table; those of [`Lake::remove`].
pub fn remove(ctx: &Context, root: &Path, selection: &Selection, dry_run: bool) -> Result<StageResult> {
    let start = Instant::now();
    if let Some(unknown) = selection.tables.iter().find(|t| contracts().iter().all(|c| c.name != **t)) {
        return Err(Error::Usage(format!("no table `{unknown}`; docs/tables.md names them")));
    }
    let lake = Lake::open(root)?;
    let mut result = StageResult { stage: "lake-remove".into(), ..StageResult::default() };
    let verb = if dry_run { "would remove" } else { "removed" };
    for part in lake.remove(selection, dry_run)? {
        ctx.progress.line(&format!("{verb} {} ({} rows)", part.file, part.rows));
        *result.rows.entry(part.table).or_default() += part.rows;
    }
    result.wall_s = start.elapsed().as_secs_f64();
    Ok(result)
}

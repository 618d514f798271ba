//! `d2r validate`: checks the tables of a lake against their contracts.

use std::path::PathBuf;
use std::time::Instant;

use d2r_contracts::contract::contracts;

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::lake::validate::violations;

/// Most violations named in the error.
const NAMED: usize = 10;

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    /// Names of tables; all when empty.
    pub tables: Vec<String>,
}

/// Validates; `rows` counts what was checked.
///
/// # Errors
/// [`Error::BadData`] naming file, row and column of each violation; [`Error::Usage`] for an unknown table.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    ctx.stop.check()?;
    if let Some(unknown) = args.tables.iter().find(|t| contracts().iter().all(|c| c.name != **t)) {
        let known: Vec<&str> = contracts().iter().map(|c| c.name.as_str()).collect();
        return Err(Error::Usage(format!("no table `{unknown}`; there are {}", known.join(", "))));
    }
    let lake = Lake::open(&args.lake)?;
    let found = violations(&lake, &args.tables)?;
    if !found.is_empty() {
        let named: Vec<String> = found.iter().take(NAMED).map(|v| format!("\n  {v}")).collect();
        let more = found.len().saturating_sub(NAMED);
        let rest = if more > 0 { format!("\n  and {more} more") } else { String::new() };
        return Err(Error::bad_data(
            args.lake.display(),
            format!("{} violations:{}{rest}", found.len(), named.join("")),
        ));
    }
    for (name, finished, all) in lake.waiting()? {
        ctx.progress.line(&format!("pending/{name}: {finished} of {all} shards are finished and wait for the others"));
    }
    let mut result = StageResult { stage: "validate".into(), ..StageResult::default() };
    for contract in contracts().iter().filter(|c| args.tables.is_empty() || args.tables.contains(&c.name)) {
        if !lake.partitions(&contract.name)?.is_empty() {
            result.rows.insert(contract.name.clone(), lake.rows(&contract.name)?);
        }
    }
    result.wall_s = start.elapsed().as_secs_f64();
    Ok(result)
}

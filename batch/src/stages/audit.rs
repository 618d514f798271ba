//! Patient leakage, duplicate images, empty reports, mentions of earlier examinations, boxes outside their image and
//! images that they left unread.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::Lake;
use crate::lake::audit::audit;

/// Most leaks named in the error.
const NAMED: usize = 5;

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
}

/// Audits; figures count issues by kind.
///
/// # Errors
/// [`Error::BadData`] when a patient or an image is in two splits.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    ctx.stop.check()?;
    let lake = Lake::open(&args.lake)?;
    let found = audit(&lake)?;
    let leaks: Vec<String> =
        found.iter().filter(|f| f.is_leak()).map(|f| format!("{} {} {}", f.dataset, f.kind, f.id)).collect();
    if !leaks.is_empty() {
        let named = leaks.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let problem = format!("{} leaks between splits: {named}; split by patient and ingest again", leaks.len());
        return Err(Error::bad_data(args.lake.display(), problem));
    }
    let kinds = ["empty_report", "prior_mention", "duplicate_image", "box_outside", "image_unread"];
    let count = |kind: &str| found.iter().filter(|f| f.kind == kind).count() as f64;
    let figures: BTreeMap<String, f64> = kinds.iter().map(|k| ((*k).to_owned(), count(k))).collect();
    let rows = [("images".to_owned(), lake.rows("images")?), ("reports".to_owned(), lake.rows("reports")?)].into();
    Ok(StageResult {
        stage: "audit".into(),
        rows,
        figures,
        wall_s: start.elapsed().as_secs_f64(),
        ..StageResult::default()
    })
}

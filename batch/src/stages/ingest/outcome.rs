//! What an ingest says about the whole dataset: that nothing could be used, or that boxes belong to other images. Both
//! are found in the rows, so that a repeated ingest says the same.

use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::tables::{FailureRow, ImageRow};

use super::Args;
use super::dataset_reader::STAGE;
use crate::datasets::lesion_rows::BOX_OUTSIDE;
use crate::datasets::listing::{Listing, Split};
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};

/// A warning is given when boxes are outside their image in more than this share of the images with boxes.
const WARN_SHARE: f64 = 0.01;

/// An ingest that used no image is an error, whatever it wrote.
///
/// # Errors
/// [`Error::BadData`] with the most frequent reason; [`Error::NothingToDo`] when no image is listed.
pub fn check_used(lake: &Lake, rows: &BTreeMap<String, u64>, listing: &Listing, args: &Args) -> Result<()> {
    let count = |table: &str| rows.get(table).copied().unwrap_or(0);
    if count("images") > 0 || args.shard.count > 1 {
        return Ok(());
    }
    if listing.images.is_empty() && count("failures") == 0 {
        let left_out = listing.notes.get("views_left_out").copied().unwrap_or(0);
        let hint = if left_out > 0 {
            format!(" ({left_out} are no frontal images: ingest.frontal_only)")
        } else {
            String::new()
        };
        return Err(Error::NothingToDo(format!("{} lists no images{hint}", args.root.display())));
    }
    Err(Error::bad_data(args.root.display(), reasons(&failures(lake, args)?, &args.dataset)))
}

/// The rows of this stage in the table `failures`.
fn failures(lake: &Lake, args: &Args) -> Result<Vec<FailureRow>> {
    let mut all = Vec::new();
    for split in Split::ALL {
        let rows: Vec<FailureRow> = lake.read(&Partition::new(&args.dataset, split.as_str()))?;
        all.extend(rows.into_iter().filter(|f| f.stage == STAGE));
    }
    Ok(all)
}

/// One line: how often which reason, and the remedy of the most frequent one.
fn reasons(failures: &[FailureRow], dataset: &str) -> String {
    let mut by_code: BTreeMap<&str, Vec<&FailureRow>> = BTreeMap::new();
    for failure in failures {
        by_code.entry(&failure.code).or_default().push(failure);
    }
    let mut by_code: Vec<_> = by_code.into_iter().collect();
    by_code.sort_by_key(|(code, rows)| (std::cmp::Reverse(rows.len()), *code));
    let counts = by_code.iter().map(|(code, rows)| format!("{} {code}", rows.len())).collect::<Vec<_>>().join(", ");
    let first = by_code.first().and_then(|(_, rows)| rows.first());
    let why = first.map(|f| format!("; {}: {}", f.path.as_deref().unwrap_or("rows"), f.message)).unwrap_or_default();
    format!("none of its images can be used: {counts} (table `failures`, dataset {dataset}){why}")
}

/// Warns of boxes outside their images. Of several shards, the one that ends last speaks for the dataset.
///
/// # Errors
/// [`Error::BadData`] when they cost most images with boxes their annotation.
pub fn check_boxes(lake: &Lake, args: &Args) -> Result<()> {
    let failures = match failures(lake, args) {
        Err(Error::InputMissing { .. }) if args.shard.count > 1 => return Ok(()),
        other => other?,
    };
    let outside = failures.iter().filter(|f| f.code == BOX_OUTSIDE);
    let hit: BTreeSet<&str> = outside.filter_map(|f| f.image_id.as_deref()).collect();
    if hit.is_empty() {
        return Ok(());
    }
    let (mut boxed, mut unread) = (hit.len(), 0);
    for split in Split::ALL {
        let images: Vec<ImageRow> = match lake.read(&Partition::new(&args.dataset, split.as_str())) {
            Err(Error::InputMissing { .. }) if args.shard.count > 1 => return Ok(()),
            other => other?,
        };
        for image in &images {
            match (hit.contains(image.image_id.as_str()), image.n_boxes) {
                (true, None) => unread += 1,
                (false, Some(1..)) => boxed += 1,
                _ => {}
            }
        }
    }
    let problem = format!(
        "{} of {boxed} images with boxes have boxes outside them, and {unread} stay unread: the coordinates belong to larger \
         images; put the table of original sizes (image_id,dim0,dim1: rows, columns) as train_meta.csv into the folder, or \
         pass --original-size FILE",
        hit.len()
    );
    if unread * 2 > boxed {
        return Err(Error::bad_data(args.root.display(), problem));
    }
    if hit.len() as f64 > WARN_SHARE * boxed as f64 {
        tracing::warn!(dataset = args.dataset, "{problem}");
    }
    Ok(())
}

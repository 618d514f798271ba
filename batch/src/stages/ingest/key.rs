//! What an ingest depends on, as one digest: configuration, label files, names and stamps of images, report files.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rayon::prelude::*;
use serde_json::json;

use super::Args;
use crate::config::ingest::IngestConfig;
use crate::datasets::listing::{Listing, ReportSource, relative};
use crate::error::{Error, Result};
use crate::lake::digest::{sha256_file, sha256_hex};
use crate::stages::work_key::SOURCE_SHA256;

/// The work key of an ingest. It changes when an image file is written again, even with the same size: its stamp is its
/// size and the times of its content and of its entry on the disk, of which the second cannot be set. The images' bytes are digested when they are read, so that an ingest of the
/// same bytes gives the same tables.
///
/// # Errors
/// When a label file or a report that was listed cannot be read any more.
pub fn work_key(listing: &Listing, root: &Path, config: &IngestConfig, args: &Args, seed: u64) -> Result<String> {
    let labels = listing
        .label_files
        .iter()
        .map(|path| Ok((relative(root, path).unwrap_or_default(), sha256_file(path)?)))
        .collect::<Result<Vec<_>>>()?;
    let images: Vec<String> =
        listing.images.par_iter().map(|image| format!("{} {}\n", image.path, stamp(&root.join(&image.path)))).collect();
    // Reports are small and an edit may keep the size.
    let reports: Vec<String> = listing
        .studies
        .par_iter()
        .filter_map(|study| match &study.report {
            Some(ReportSource::File(path) | ReportSource::Sections { path, .. }) => Some(path),
            _ => None,
        })
        .map(|path| format!("{path} {}\n", sha256_file(&root.join(path)).unwrap_or_default()))
        .collect();
    let failures: Vec<String> = listing.failures.iter().map(|f| format!("{} {}\n", f.path, f.code)).collect();
    let config = serde_json::to_value(config).map_err(|e| Error::Internal(format!("configuration as JSON: {e}")))?;
    let key = json!({
        "stage": "ingest",
        "sources": SOURCE_SHA256,
        "kind": format!("{:?}", args.kind),
        "labels_only": args.labels_only,
        "refuse_burned_in": args.refuse_burned_in,
        "layout": listing.layout,
        "dataset": args.dataset,
        "seed": seed,
        "config": config,
        "labels": labels,
        "label_set": listing.labels,
        "images": sha256_hex(images.concat().as_bytes()),
        "reports": sha256_hex(reports.concat().as_bytes()),
        "failures": sha256_hex(failures.concat().as_bytes()),
    });
    Ok(sha256_hex(key.to_string().as_bytes()))
}

/// Changes whenever a file is written again or replaced.
fn stamp(path: &Path) -> String {
    let Ok(file) = std::fs::metadata(path) else { return "absent".to_owned() };
    let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let modified = file.modified().map_or(0, since);
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        (file.ctime(), file.ctime_nsec())
    };
    #[cfg(not(unix))]
    let changed = (0, 0);
    format!("{} {modified} {changed:?}", file.len())
}

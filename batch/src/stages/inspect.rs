//! `d2r inspect`: contents of a lake, of a run or of an image file, read only.

pub mod detect;
pub mod forward;
pub mod image;
pub mod preview;

use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::lake::Lake;

/// A part of a partition of a table.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionRows {
    pub table: String,
    pub dataset: String,
    pub split: String,
    /// Number of rows.
    pub rows: u64,
    /// Digest of the rows without measurements.
    pub content_sha256: String,
}

/// All partitions of a lake, by table.
///
/// # Errors
/// When the lake is not there or its manifests cannot be read.
pub fn lake(root: &Path) -> Result<Vec<PartitionRows>> {
    let lake = Lake::open(root)?;
    let mut rows = Vec::new();
    for contract in d2r_contracts::contract::contracts() {
        for partition in lake.partitions(&contract.name)? {
            for part in lake.parts(&contract.name, &partition)? {
                rows.push(PartitionRows {
                    table: contract.name.clone(),
                    dataset: partition.dataset.clone(),
                    split: partition.split.clone(),
                    rows: part.rows,
                    content_sha256: part.content_sha256,
                });
            }
        }
    }
    Ok(rows)
}

/// The model card of a run, of any kind.
///
/// # Errors
/// When there is none or it is not JSON.
pub fn card(run: &Path) -> Result<serde_json::Value> {
    let path = run.join("card.json");
    let text = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::bad_data(path.display(), e))
}

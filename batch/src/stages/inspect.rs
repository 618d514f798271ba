//! What a lake or a run holds, without touching it.

pub mod detect;
pub mod forward;
pub mod preview;

use std::path::Path;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::lake::Lake;

/// One partition of one table.
#[derive(Debug, Clone, Serialize)]
pub struct PartitionRows {
    /// The table.
    pub table: String,
    /// The dataset.
    pub dataset: String,
    /// The split.
    pub split: String,
    /// Its rows.
    pub rows: u64,
    /// Digest of its content without measurements.
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

/// A run's model card, whatever its kind.
///
/// # Errors
/// When there is none or it is no JSON.
pub fn card(run: &Path) -> Result<serde_json::Value> {
    let path = run.join("card.json");
    let text = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::bad_data(path.display(), e))
}

//! The record of one part: its existence is the commit of the write.

use serde::{Deserialize, Serialize};

use super::partition::{Partition, Shard};

/// Who wrote a part, from what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The run, for instance `annotate-0123456789ab`.
    pub run_id: String,
    /// Digest of the weights that made the rows.
    pub model_sha256: Option<String>,
    /// Digest of the work: configuration, inputs, code.
    pub work_key: String,
}

/// One part of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartManifest {
    /// The table.
    pub table: String,
    /// Its partition.
    #[serde(flatten)]
    pub partition: Partition,
    /// The shard that wrote it.
    pub shard: Shard,
    /// The file, relative to the lake.
    pub file: String,
    /// Its rows.
    pub rows: u64,
    /// Its size.
    pub bytes: u64,
    /// Digest of its bytes.
    pub sha256: String,
    /// Digest of its rows without measurements, independent of the file's encoding.
    pub content_sha256: String,
    /// The contract's id.
    pub contract_id: String,
    /// The contract's version.
    pub contract_version: String,
    /// Version of the code that wrote it.
    pub code_version: String,
    /// Who wrote it, from what.
    #[serde(flatten)]
    pub provenance: Provenance,
}

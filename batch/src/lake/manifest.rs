//! Manifests: one small JSON file per part, written last; a part without one does not count.
//!
//! `LAKE/manifests/<table>/dataset=<d>/split=<s>/<producer>/<index>-of-<count>.json` holds the part's facts and
//! their digest. When a producer changes its shard count, the new manifests carry the next generation and the
//! older ones no longer count, so shards of two counts are never read together.

use std::path::Path;

use d2r_contracts::label_set::LabelSet;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::digest::{FileDigest, sha256_hex};
use crate::lake::fresh;
use crate::lake::partition::{Partition, Shard};

/// The facts of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartManifest {
    pub table: String,
    pub dataset: String,
    pub split: String,
    /// The producer: a verb, or a run in tables keyed by run.
    pub producer: String,
    /// Which share of the producer's work it is.
    pub shard: Shard,
    /// Rises when the producer changes its shard count; only the highest counts.
    pub generation: u64,
    /// The Parquet file, relative to the lake.
    pub file: String,
    /// Number of rows.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Digest of its bytes.
    pub sha256: String,
    /// Digest of its rows without measurements.
    pub content_sha256: String,
    /// Digest of everything that decided the rows.
    pub work_key: String,
    /// The contract it obeys.
    pub contract_id: String,
    pub contract_version: String,
    /// The run that wrote it.
    pub run_id: String,
    /// The version of the code that wrote it.
    pub code_version: String,
    /// The weights that made the rows, where a model did.
    pub model_sha256: Option<String>,
    /// The work keys of the shards that were put together, where each had its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shard_keys: Vec<String>,
    /// The classes of boxes, in table `lesions`; absent where they are the 22 of VinDr-CXR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_set: Option<LabelSet>,
}

impl PartManifest {
    pub fn partition(&self) -> Partition {
        Partition::new(&self.dataset, &self.split)
    }

    /// The file's digest, with its path under `lake`.
    pub fn file_digest(&self, lake: &Path) -> FileDigest {
        FileDigest { path: lake.join(&self.file), bytes: self.bytes, sha256: self.sha256.clone() }
    }

    /// The manifest file's name: `<index>-of-<count>.json`.
    pub fn file_name(shard: Shard) -> String {
        format!("{}-of-{}.json", shard.index, shard.count)
    }

    /// The shard of a manifest file's name; `None` for other files.
    pub fn shard_of(name: &str) -> Option<Shard> {
        let (index, count) = name.strip_suffix(".json")?.split_once("-of-")?;
        let shard = Shard::new(index.parse().ok()?, count.parse().ok()?).ok()?;
        (Self::file_name(shard) == name).then_some(shard)
    }

    /// The manifest file's text.
    ///
    /// # Errors
    /// [`Error::Internal`] when it cannot be written as JSON.
    pub fn to_json(&self) -> Result<String> {
        let internal = |e: serde_json::Error| Error::Internal(format!("write a manifest: {e}"));
        let sealed = Sealed { sha256: seal(self)?, part: self.clone() };
        Ok(serde_json::to_string_pretty(&sealed).map_err(internal)? + "\n")
    }

    /// Reads a manifest file and checks it against its digest.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file when it is damaged; [`Error::InputMissing`] when it is not there.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fresh::look(path, |p| std::fs::read(p)).map_err(|e| Error::io("read", path, e))?;
        let damaged = |problem: String| {
            Error::bad_data(path.display(), format!("damaged manifest, {problem}; run the stage again"))
        };
        let sealed: Sealed = serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))?;
        if sealed.sha256 != seal(&sealed.part)? {
            return Err(damaged("its digest does not fit".into()));
        }
        Ok(sealed.part)
    }
}

/// A manifest and the digest of its compact JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    part: PartManifest,
    sha256: String,
}

fn seal(part: &PartManifest) -> Result<String> {
    let json = serde_json::to_vec(part).map_err(|e| Error::Internal(format!("write a manifest: {e}")))?;
    Ok(sha256_hex(&json))
}

//! Shards that wait for the others: `LAKE/pending/<producer>-<digest>/` holds the parts of each finished shard and a record
//! per shard, written last. When all shards of one work are there, the last one puts them together into one part per
//! table; until then readers see the tables of before.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::commit::journal::ProducedTable;
use crate::lake::digest::sha256_hex;
use crate::lake::fresh;
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::{PartFile, write_bytes};
use crate::lake::part::Staged;
use crate::lake::partition::{Provenance, Shard};
use crate::lake::store::{Lake, list};

/// A finished shard: its parts, whose `file` is relative to the lake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShardRecord {
    pub shard: Shard,
    /// Digest of everything that decided this shard's rows.
    pub work_key: String,
    pub parts: Vec<PartManifest>,
}

/// The shards of one work.
#[derive(Debug)]
pub(crate) struct PendingShards {
    folder: PathBuf,
    count: u32,
}

impl PendingShards {
    /// Those of the work that `provenance` names, divided into `count` shards.
    pub(crate) fn of(lake: &Lake, provenance: &Provenance, count: u32) -> Self {
        let verb = provenance.producer(&[]);
        let digest = sha256_hex(format!("{}\n{count}", provenance.group).as_bytes());
        Self { folder: folder(lake).join(format!("{verb}-{}", &digest[..16])), count }
    }

    /// Moves a shard's parts here and writes its record.
    ///
    /// # Errors
    /// [`Error::Io`]; the shard then does not count.
    pub(crate) fn store(
        &self,
        lake: &Lake,
        shard: Shard,
        work_key: &str,
        staged: Vec<Staged>,
    ) -> Result<Vec<PartManifest>> {
        atomic_file::create_folders(&self.folder)?;
        let mut parts = Vec::new();
        for Staged { temporary, mut manifest } in staged {
            let PartManifest { table, dataset, split, .. } = &manifest;
            let name = format!("{}-{table}-{dataset}-{split}.parquet", shard.index);
            let path = self.folder.join(&name);
            temporary.rename(&path)?;
            manifest.file = lake.relative(&path);
            parts.push(manifest);
        }
        let record = ShardRecord { shard, work_key: work_key.to_owned(), parts };
        let json = serde_json::to_vec_pretty(&record).map_err(|e| Error::Internal(format!("write a record: {e}")))?;
        let path = self.record(shard);
        atomic_file::write_by_way_of(&lake.temporary_folder(), &path, write_bytes(&json, &path))?;
        Ok(record.parts)
    }

    /// A shard's record where its parts are intact; one that is damaged is said and does not count.
    pub(crate) fn intact(&self, lake: &Lake, index: u32) -> Option<ShardRecord> {
        let path = self.record(Shard { index, count: self.count });
        let bytes = fresh::look(&path, |p| std::fs::read(p)).ok()?;
        let record: ShardRecord = serde_json::from_slice(&bytes)
            .map_err(|e| tracing::warn!("{}: {e}; the shard is done again", path.display()))
            .ok()?;
        for part in &record.parts {
            if let Err(e) = PartFile::open(&lake.root().join(&part.file), Some((part.bytes, &part.sha256))) {
                tracing::warn!("{}; the shard is done again", e.chain());
                return None;
            }
        }
        Some(record)
    }

    /// The records of all shards, or the indices of those that are missing. Bytes are read once all records are there.
    pub(crate) fn all(&self, lake: &Lake) -> std::result::Result<Vec<ShardRecord>, Vec<u32>> {
        let missing = self.missing();
        if !missing.is_empty() {
            return Err(missing);
        }
        let found: Vec<_> = (0..self.count).map(|index| (index, self.intact(lake, index))).collect();
        let damaged: Vec<u32> = found.iter().filter(|(_, record)| record.is_none()).map(|(index, _)| *index).collect();
        if damaged.is_empty() { Ok(found.into_iter().filter_map(|(_, record)| record).collect()) } else { Err(damaged) }
    }

    /// The shards without a record.
    pub(crate) fn missing(&self) -> Vec<u32> {
        fresh::ask(&self.folder);
        (0..self.count).filter(|&index| !self.record(Shard { index, count: self.count }).is_file()).collect()
    }

    fn record(&self, shard: Shard) -> PathBuf {
        self.folder.join(PartManifest::file_name(shard))
    }
}

/// Removes the shards of other works of a verb that wait to replace any of these parts: they can only be of earlier inputs,
/// settings or models. Needs the commit lock.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn discard_superseded(lake: &Lake, published: &[PartManifest]) -> Result<()> {
    for name in list(&folder(lake))? {
        let folder = folder(lake).join(&name);
        let records = list(&folder)?.into_iter().filter(|file| PartManifest::shard_of(file).is_some());
        let replaces = records
            .filter_map(|file| serde_json::from_slice::<ShardRecord>(&std::fs::read(folder.join(file)).ok()?).ok())
            .flat_map(|record| record.parts)
            .any(|waiting| published.iter().any(|part| ProducedTable::of(part) == ProducedTable::of(&waiting)));
        if replaces {
            atomic_file::remove_folder(&folder)?;
        }
    }
    Ok(())
}

/// Whether a finished shard of this work waits for the others.
///
/// # Errors
/// When a folder cannot be listed.
pub(crate) fn is_waiting(lake: &Lake, shard: Shard, work_key: &str) -> Result<bool> {
    let path = |name: &String| folder(lake).join(name).join(PartManifest::file_name(shard));
    let record = |path: PathBuf| serde_json::from_slice::<ShardRecord>(&std::fs::read(path).ok()?).ok();
    Ok(list(&folder(lake))?.iter().filter_map(|name| record(path(name))).any(|record| record.work_key == work_key))
}

/// `LAKE/pending`.
pub(crate) fn folder(lake: &Lake) -> PathBuf {
    lake.root().join("pending")
}

/// The folders of works with shards that wait, and how many of how many are there.
///
/// # Errors
/// When a folder cannot be listed.
pub(crate) fn waiting(lake: &Lake) -> Result<Vec<(String, usize, u32)>> {
    let mut found = Vec::new();
    for name in list(&folder(lake))? {
        let shards: Vec<Shard> =
            list(&folder(lake).join(&name))?.iter().filter_map(|file| PartManifest::shard_of(file)).collect();
        found.push((name, shards.len(), shards.first().map_or(0, |s| s.count)));
    }
    Ok(found)
}

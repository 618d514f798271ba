//! Reading tables back: only parts that a manifest names, only bytes that fit its digest.

use d2r_contracts::contract::TableContract;
use d2r_contracts::rows::Row;

use crate::error::{Error, Result};
use crate::lake::digest::sha256_hex;
use crate::lake::manifest::PartManifest;
use crate::lake::part::key_text;
use crate::lake::partition::{Partition, Shard};
use crate::lake::store::Lake;

/// Tries of a reader while a writer replaces parts.
const TRIES: usize = 5;

impl Lake {
    /// All rows of a partition in key order; none when nothing was written.
    ///
    /// # Errors
    /// [`Error::BadData`] naming a part or manifest that is damaged, of another contract, or repeats a key;
    /// [`Error::InputMissing`] when a shard is not written yet.
    pub fn read<R: Row>(&self, partition: &Partition) -> Result<Vec<R>> {
        self.undisturbed(R::TABLE, partition, |parts| {
            let mut rows: Vec<R> = Vec::new();
            for part in parts {
                check_contract(self, part)?;
                rows.extend(self.open_part(part)?.read()?);
            }
            rows.sort_by(Row::key_cmp);
            match rows.windows(2).find(|pair| pair[0].key_cmp(&pair[1]).is_eq()) {
                Some(pair) => Err(Error::bad_data(
                    format!("table {} {partition}", R::TABLE),
                    format!("two parts hold the key ({}); `d2r validate` names them", key_text(&pair[0])),
                )),
                None => Ok(rows),
            }
        })
    }

    /// As [`Lake::read`], for work that needs at least one row.
    ///
    /// # Errors
    /// As [`Lake::read`]; [`Error::NoRows`] with `hint` when there is none.
    pub fn read_some<R: Row>(&self, partition: &Partition, hint: &str) -> Result<Vec<R>> {
        let rows = self.read(partition)?;
        if rows.is_empty() { Err(self.no_rows(R::TABLE, partition, hint)) } else { Ok(rows) }
    }

    /// An [`Error::NoRows`] of this lake. `partition` is a dataset or one of its splits.
    pub fn no_rows(&self, table: &'static str, partition: impl std::fmt::Display, hint: impl Into<String>) -> Error {
        Error::NoRows { lake: self.root().to_path_buf(), table, partition: partition.to_string(), hint: hint.into() }
    }

    /// All rows of a table, partition by partition.
    ///
    /// # Errors
    /// As [`Lake::read`].
    pub fn read_all<R: Row>(&self) -> Result<Vec<(Partition, Vec<R>)>> {
        self.partitions(R::TABLE)?
            .into_iter()
            .map(|partition| Ok((partition.clone(), self.read(&partition)?)))
            .collect()
    }

    /// The part of a table that was made from this very work, if its bytes are intact: the work need not be done again. A
    /// part of several shards counts for each of them. A damaged part or manifest is `None`.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn current(
        &self,
        table: &str,
        partition: &Partition,
        work_key: &str,
        shard: Shard,
    ) -> Result<Option<PartManifest>> {
        let mut readable = self.manifest_files(table, partition)?.into_iter().filter_map(|file| file.part.ok());
        let of_shard = |part: &PartManifest| {
            part.shard_keys.len() == shard.count as usize
                && part.shard_keys.get(shard.index as usize).is_some_and(|key| key == work_key)
        };
        let this = |part: &PartManifest| part.shard == Shard::WHOLE && (part.work_key == work_key || of_shard(part));
        let Some(part) = readable.find(this) else { return Ok(None) };
        let intact = check_contract(self, &part).and_then(|()| self.open_part(&part));
        if let Err(error) = &intact {
            tracing::warn!("{}; the work is done again", error.chain());
        }
        Ok(intact.is_ok().then_some(part))
    }

    /// Rows of a table, by its manifests.
    ///
    /// # Errors
    /// [`Error::BadData`] naming a damaged manifest.
    pub fn rows(&self, table: &str) -> Result<u64> {
        let mut rows = 0;
        for partition in self.partitions(table)? {
            rows += self.parts(table, &partition)?.iter().map(|p| p.rows).sum::<u64>();
        }
        Ok(rows)
    }

    /// Digest of a partition's rows without measurements: its parts' content digests, in order. It does not depend on
    /// shards, runs, paths or encodings. The label set of boxes counts.
    ///
    /// # Errors
    /// [`Error::BadData`] naming a damaged manifest; [`Error::InputMissing`] when a shard is not written yet.
    pub fn content_digest(&self, table: &str, partition: &Partition) -> Result<String> {
        self.undisturbed(table, partition, |parts| {
            let part = |p: &PartManifest| format!("{} {}{}\n", p.shard, p.content_sha256, classes(p));
            Ok(sha256_hex(parts.iter().map(part).collect::<String>().as_bytes()))
        })
    }

    /// Runs `work` on a partition's parts, again when a writer replaced one of them meanwhile.
    pub(crate) fn undisturbed<T>(
        &self,
        table: &str,
        partition: &Partition,
        work: impl Fn(&[PartManifest]) -> Result<T>,
    ) -> Result<T> {
        let mut parts = self.parts(table, partition)?;
        for _ in 1..TRIES {
            let result = check_complete(&parts).and_then(|()| work(&parts));
            if result.is_ok() {
                return result;
            }
            let now = self.parts(table, partition)?;
            if now == parts {
                return result;
            }
            parts = now;
        }
        check_complete(&parts).and_then(|()| work(&parts))
    }
}

/// The label set of a part as text for a digest; empty for VinDr-CXR's.
fn classes(part: &PartManifest) -> String {
    part.label_set
        .as_ref()
        .and_then(|set| serde_json::to_string(set).ok())
        .map_or_else(String::new, |set| format!(" {set}"))
}

/// Every shard of every producer must be there: rows alone do not show that a shard is missing.
fn check_complete(parts: &[PartManifest]) -> Result<()> {
    for part in parts {
        let count = part.shard.count;
        let missing =
            (0..count).find(|&index| !parts.iter().any(|p| p.producer == part.producer && p.shard.index == index));
        if let Some(index) = missing {
            let hint = format!("{} has not written it yet; run that shard first", part.producer);
            let path =
                std::path::PathBuf::from(format!("table {} {} shard {index}/{count}", part.table, part.partition()));
            return Err(Error::InputMissing { path, hint });
        }
    }
    Ok(())
}

/// The same contract, or an older minor version of it.
pub(crate) fn check_contract(lake: &Lake, part: &PartManifest) -> Result<()> {
    let ours =
        TableContract::of(&part.table).ok_or_else(|| Error::Usage(format!("there is no table `{}`", part.table)))?;
    let major = |version: &str| version.split('.').next().map(str::to_owned);
    if part.contract_id == ours.id && major(&part.contract_version) == major(&ours.version) {
        return Ok(());
    }
    let problem = format!(
        "obeys contract {} {}, this program reads {} {}; write it again",
        part.contract_id, part.contract_version, ours.id, ours.version
    );
    Err(Error::bad_data(lake.root().join(&part.file).display(), problem))
}

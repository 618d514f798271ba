//! One commit for all tables of a stage: rows are staged table by table and become visible together, or not at all. The
//! work of shards becomes visible when the last of them is finished, as the one part that a single process would have
//! written.

pub mod journal;
pub(crate) mod pending;
pub mod unfinished;

use std::collections::BTreeMap;
use std::fs::File;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;

use crate::error::{Error, Result};
use crate::lake::commit::journal::{Journal, ProducedTable};
use crate::lake::commit::pending::{PendingShards, ShardRecord, discard_superseded};
use crate::lake::commit::unfinished::Unfinished;
use crate::lake::manifest::PartManifest;
use crate::lake::part::Staged;
use crate::lake::partition::{Partition, Provenance, Shard};
use crate::lake::sorted_rows::{Run, SortedRows};
use crate::lake::store::Lake;

/// Puts the parts of all shards together.
type Merge = fn(&Lake, &Partition, &[&PartManifest], &Provenance) -> Result<Staged>;

/// The tables of a stage that are written together.
pub struct Commit<'a> {
    lake: &'a Lake,
    shard: Shard,
    provenance: Provenance,
    staged: Vec<Staged>,
    merges: BTreeMap<&'static str, Merge>,
    removed: Vec<ProducedTable>,
    /// The classes of boxes; `None` for the 22 of VinDr-CXR.
    labels: Option<LabelSet>,
    _writing: File,
}

/// What a commit did.
#[derive(Debug)]
pub struct Committed {
    /// The parts of this shard; none where another shard stands for them.
    pub parts: Vec<PartManifest>,
    /// The parts that count from now on.
    pub published: Vec<PartManifest>,
    /// Shards that are not finished yet: the tables stay as they were until all are.
    pub missing: Vec<u32>,
}

impl Committed {
    /// What a person should know: that the tables wait for other shards.
    pub fn notice(&self) -> Option<String> {
        let first = self.missing.first()?;
        let n = self.missing.len();
        Some(format!("the tables change when all shards are finished; {n} are missing, the first is {first}"))
    }
}

impl Lake {
    /// Begins a commit of a stage's tables.
    ///
    /// # Errors
    /// When the lake cannot be written.
    pub fn begin(&self, shard: Shard, provenance: &Provenance) -> Result<Commit<'_>> {
        Ok(Commit {
            lake: self,
            shard: Shard::new(shard.index, shard.count)?,
            provenance: provenance.clone(),
            staged: Vec::new(),
            merges: BTreeMap::new(),
            removed: Vec::new(),
            labels: None,
            _writing: self.writers_lock()?,
        })
    }

    /// Writes one table as a commit of its own, replacing the producer's previous part. No rows make a part too, so that a
    /// scan of the table finds its columns. Returns the part of this shard.
    ///
    /// # Errors
    /// [`Error::BadData`] for a repeated key or a float that is not finite; [`Error::Io`] when the disk is full
    /// (exit 75) or cannot be written. Nothing of a failed write is visible to readers.
    pub fn write<R: Row>(
        &self,
        partition: &Partition,
        shard: Shard,
        rows: Vec<R>,
        provenance: &Provenance,
    ) -> Result<PartManifest> {
        let mut commit = self.begin(shard, provenance)?;
        commit.add(partition, rows)?;
        let mut parts = commit.finish()?.parts;
        parts.pop().ok_or_else(|| Error::Internal("a commit without its part".into()))
    }

    /// What this very work committed, if all its `tables` are there and intact: published, or, for a shard, waiting for the
    /// others. Damaged ones are said and do not count. Rows of published tables are those of shard 0.
    ///
    /// # Errors
    /// When a folder cannot be listed, or the last shard's work cannot be put together.
    pub fn finished(
        &self,
        tables: &[(&Partition, &str)],
        shard: Shard,
        provenance: &Provenance,
    ) -> Result<Option<Committed>> {
        // Opening the lake has finished it where there are locks; elsewhere this is the one writer.
        if Journal::read(self)?.is_some() {
            let _committing = self.commit_lock()?;
            journal::finish_open_commit(self)?;
        }
        if let Some(mut published) = self.published(tables.iter().copied(), shard, provenance)? {
            published.truncate(if shard.index == 0 { published.len() } else { 0 });
            return Ok(Some(Committed { parts: published.clone(), published, missing: Vec::new() }));
        }
        if shard.count <= 1 {
            return Ok(None);
        }
        let pending = PendingShards::of(self, provenance, shard.count);
        let record = pending.intact(self, shard.index).filter(|r| r.work_key == provenance.work_key);
        let Some(record) = record else { return Ok(None) };
        let missing = pending.missing();
        if missing.is_empty() {
            // The process that should have put them together was killed: this one does its shard again, and that.
            return Ok(None);
        }
        let has = |(partition, table): &(&Partition, &str)| {
            record.parts.iter().any(|p| p.table == *table && p.partition() == **partition)
        };
        let found = Committed { parts: record.parts.clone(), published: Vec::new(), missing };
        Ok(tables.iter().all(has).then_some(found))
    }

    /// What this very work published, if all its tables are there and intact.
    fn published<'a>(
        &self,
        tables: impl Iterator<Item = (&'a Partition, &'a str)>,
        shard: Shard,
        provenance: &Provenance,
    ) -> Result<Option<Vec<PartManifest>>> {
        let mut published = Vec::new();
        for (partition, table) in tables {
            let Some(part) = self.current(table, partition, &provenance.work_key, shard)? else { return Ok(None) };
            published.push(part);
        }
        Ok(Some(published))
    }
}

impl Commit<'_> {
    /// The label set of the commit's boxes; the 22 classes of VinDr-CXR unless this is called.
    pub fn with_labels(mut self, labels: &LabelSet) -> Self {
        self.labels = (!labels.is_vindr()).then(|| labels.clone());
        self
    }

    /// Stages the rows of a table.
    ///
    /// # Errors
    /// [`Error::BadData`] for a repeated key or a float that is not finite; [`Error::Io`].
    pub fn add<R: Row>(&mut self, partition: &Partition, rows: Vec<R>) -> Result<u64> {
        let staged = self.lake.stage(partition, self.shard, rows, &self.provenance)?;
        Ok(self.push::<R>(staged))
    }

    /// Stages the rows of a table: those of a shard's sub-parts and those that are in no sub-part.
    ///
    /// # Errors
    /// Those of [`Self::add`].
    pub fn add_all<R: Row>(&mut self, partition: &Partition, kept: &Unfinished, mut rows: Vec<R>) -> Result<u64> {
        let mut runs = kept.runs::<R>();
        if runs.is_empty() {
            return self.add(partition, rows);
        }
        rows.sort_by(R::key_cmp);
        runs.push(Run::Rows(rows));
        let staged =
            self.lake.stage_sorted(partition, self.shard, SortedRows::of(runs)?, |row| row, &self.provenance)?;
        Ok(self.push::<R>(staged))
    }

    fn push<R: Row>(&mut self, mut staged: Staged) -> u64 {
        if R::TABLE == LesionRow::TABLE {
            staged.manifest.label_set.clone_from(&self.labels);
        }
        let rows = staged.manifest.rows;
        self.staged.push(staged);
        self.merges.insert(R::TABLE, merge::<R>);
        rows
    }

    /// Removes this producer's part of a table with the commit: rows of an earlier run that this one does not write.
    pub fn remove<R: Row>(&mut self, partition: &Partition) {
        let producer = self.provenance.producer(R::KEY).to_owned();
        self.removed.push(ProducedTable { table: R::TABLE.to_owned(), partition: partition.clone(), producer });
    }

    /// Makes the tables visible; for a shard, when it is the last one of its work.
    ///
    /// # Errors
    /// [`Error::Io`]; nothing is visible then, or all of it.
    pub fn finish(self) -> Result<Committed> {
        let Self { lake, shard, provenance, staged, merges, removed, labels, _writing } = self;
        if shard.count <= 1 {
            let _committing = lake.commit_lock()?;
            let parts = Journal::commit(lake, staged, removed)?;
            discard_superseded(lake, &parts)?;
            return Ok(Committed { published: parts.clone(), parts, missing: Vec::new() });
        }
        let pending = PendingShards::of(lake, &provenance, shard.count);
        // From storing to putting together: the last shard finds all others, and none is stored while all are removed.
        let _committing = lake.commit_lock()?;
        // A second process of this shard: all shards were put together meanwhile, and what it stored would wait for ever.
        let tables: Vec<(Partition, &str)> =
            staged.iter().map(|s| (s.manifest.partition(), s.manifest.table.as_str())).collect();
        if let Some(published) = lake.published(tables.iter().map(|(p, t)| (p, *t)), shard, &provenance)? {
            let parts = staged.iter().map(|s| s.manifest.clone()).collect();
            return Ok(Committed { parts, published, missing: Vec::new() });
        }
        let parts = pending.store(lake, shard, &provenance.work_key, staged)?;
        let records = match pending.all(lake) {
            Err(missing) => return Ok(Committed { parts, published: Vec::new(), missing }),
            Ok(records) => records,
        };
        let (provenance, shard_keys) = of_all(&provenance, &records);
        let mut places: BTreeMap<(String, Partition), Vec<&PartManifest>> = BTreeMap::new();
        for part in records.iter().flat_map(|r| &r.parts) {
            places.entry((part.table.clone(), part.partition())).or_default().push(part);
        }
        let mut whole = Vec::new();
        for ((table, partition), parts) in places {
            let merge = merges.get(table.as_str()).ok_or_else(|| {
                Error::Internal(format!("another shard wrote table {table}, this one did not; nothing was changed"))
            })?;
            let mut staged = merge(lake, &partition, &parts, &provenance)?;
            staged.manifest.shard_keys.clone_from(&shard_keys);
            if table == LesionRow::TABLE {
                staged.manifest.label_set.clone_from(&labels);
            }
            whole.push(staged);
        }
        let published = Journal::commit(lake, whole, removed)?;
        // Those that were put together are among them.
        discard_superseded(lake, &published)?;
        Ok(Committed { parts, published, missing: Vec::new() })
    }
}

/// The rows of all shards, whose bytes were just found intact, as one staged part.
fn merge<R: Row>(lake: &Lake, partition: &Partition, parts: &[&PartManifest], by: &Provenance) -> Result<Staged> {
    let runs = parts.iter().map(|part| Run::<R>::File(lake.root().join(&part.file)));
    lake.stage_sorted(partition, Shard::WHOLE, SortedRows::of(runs.collect())?, |row| row, by)
}

/// The provenance of all shards together. Shards of one work share its key; where each has a key of its own (its images'
/// contents), the whole has the digest of all keys, which are returned.
fn of_all(provenance: &Provenance, records: &[ShardRecord]) -> (Provenance, Vec<String>) {
    if records.iter().all(|r| r.work_key == provenance.work_key) {
        return (provenance.clone(), Vec::new());
    }
    let keys: Vec<String> = records.iter().map(|r| r.work_key.clone()).collect();
    let work_key = crate::lake::digest::sha256_hex(keys.join("\n").as_bytes());
    (Provenance { work_key, ..provenance.clone() }, keys)
}

#[cfg(test)]
mod tests;

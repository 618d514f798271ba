//! What puts a lake in order by hand: `repair` finishes an open commit and removes what is damaged or belongs to no part;
//! `remove` takes tables out of a lake.

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::commit::journal::{self, Journal, ProducedTable};
use crate::lake::commit::{pending, unfinished};
use crate::lake::manifest::PartManifest;
use crate::lake::partition::Partition;
use crate::lake::store::{Lake, VERSION, list};

/// What `repair` did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Whether a commit was open.
    pub finished_commit: bool,
    /// Removed files, relative to the lake, with the reason.
    pub removed: Vec<(String, String)>,
    /// Works with shards that wait for others: folder, finished shards, all shards.
    pub waiting: Vec<(String, usize, u32)>,
    /// Shards that are not finished: folder, finished images, which the same command continues after.
    pub unfinished: Vec<(String, u64)>,
}

/// Which parts to remove.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub dataset: String,
    /// All splits when `None`.
    pub split: Option<String>,
    /// All tables when empty.
    pub tables: Vec<String>,
    /// All stages when `None`.
    pub producer: Option<String>,
}

impl Lake {
    /// Finishes an open commit and removes damaged parts, damaged manifests, parts that no manifest names and what was
    /// kept of work that is finished; with `waiting`, also shards that wait for others and images of unfinished shards.
    /// `dry_run`: changes nothing.
    ///
    /// # Errors
    /// [`Error::Temporary`] while another process writes; [`Error::Io`].
    pub fn repair(&self, waiting: bool, dry_run: bool) -> Result<Repaired> {
        let _alone = self.alone()?;
        let _committing = self.commit_lock()?;
        let mut done = Repaired::default();
        match Journal::read(self) {
            Ok(journal) => done.finished_commit = journal.is_some(),
            Err(e) => done.remove(self, &journal::path(self), e.chain(), dry_run)?,
        }
        if !dry_run {
            if let Err(e) = journal::finish_open_commit(self) {
                let Error::BadData { .. } = e else { return Err(e) };
                done.finished_commit = false;
                done.remove(self, &journal::path(self), e.chain(), dry_run)?;
            }
            atomic_file::remove_temporary(&self.temporary_folder())?;
        }
        for table in list(&self.root().join(VERSION))? {
            for partition in self.folders(&table)? {
                self.repair_partition(&table, &partition, &mut done, dry_run)?;
            }
        }
        done.waiting = pending::waiting(self)?;
        if waiting {
            for (name, ..) in std::mem::take(&mut done.waiting) {
                let folder = pending::folder(self).join(&name);
                done.removed.push((format!("pending/{name}"), "its other shards are not finished".into()));
                if !dry_run {
                    atomic_file::remove_folder(&folder)?;
                }
            }
        }
        let kept = unfinished::kept(self)?;
        done.unfinished = kept.useful;
        let mut stale = kept.stale;
        if waiting {
            let asked = |(name, _): (String, u64)| (name, "its shard is not finished".to_owned());
            stale.extend(std::mem::take(&mut done.unfinished).into_iter().map(asked));
        }
        for (name, reason) in stale {
            if !dry_run {
                unfinished::remove(self, &name)?;
            }
            done.removed.push((format!("unfinished/{name}"), reason));
        }
        Ok(done)
    }

    /// Works with shards that wait for others: folder, finished shards, all shards.
    ///
    /// # Errors
    /// When a folder cannot be listed.
    pub fn waiting(&self) -> Result<Vec<(String, usize, u32)>> {
        pending::waiting(self)
    }

    fn repair_partition(&self, table: &str, partition: &Partition, done: &mut Repaired, dry_run: bool) -> Result<()> {
        let mut named = Vec::new();
        for file in self.manifest_files(table, partition)? {
            let sound = file.part.and_then(|part| self.open_part(&part).map(|_| part));
            match sound {
                Ok(part) => named.push(self.root().join(part.file)),
                Err(e) => {
                    done.remove(self, &file.path, format!("{}; run {} again", e.chain(), file.producer), dry_run)?
                }
            }
        }
        let folder = self.part_folder(table, partition);
        for name in list(&folder)? {
            let path = folder.join(&name);
            if name.starts_with("part-") && name.ends_with(".parquet") && !named.contains(&path) {
                done.remove(self, &path, "no intact manifest names it".into(), dry_run)?;
            }
        }
        Ok(())
    }

    /// Removes parts in one commit. Returns them; `dry_run`: only says which.
    ///
    /// # Errors
    /// [`Error::NothingToDo`] when nothing fits; [`Error::BadData`] for a damaged manifest; [`Error::Io`].
    pub fn remove(&self, selection: &Selection, dry_run: bool) -> Result<Vec<PartManifest>> {
        let _writing = self.writers_lock()?;
        let _committing = self.commit_lock()?;
        let mut parts = Vec::new();
        for table in list(&self.root().join("manifests"))? {
            if !selection.tables.is_empty() && !selection.tables.contains(&table) {
                continue;
            }
            for partition in self.partitions(&table)? {
                let here = partition.dataset == selection.dataset
                    && selection.split.as_ref().is_none_or(|split| *split == partition.split);
                if here {
                    parts.extend(self.parts(&table, &partition)?);
                }
            }
        }
        parts.retain(|part| selection.producer.as_ref().is_none_or(|producer| *producer == part.producer));
        if parts.is_empty() {
            return Err(Error::NothingToDo(format!("{} holds no such part", self.root().display())));
        }
        if !dry_run {
            let mut removed: Vec<ProducedTable> = parts.iter().map(ProducedTable::of).collect();
            removed.dedup();
            Journal::commit(self, Vec::new(), removed)?;
        }
        Ok(parts)
    }

    /// The partitions that have a folder of parts or of manifests.
    fn folders(&self, table: &str) -> Result<Vec<Partition>> {
        let mut found = Vec::new();
        for root in [self.table_folder(table), self.root().join("manifests").join(table)] {
            for dataset in list(&root)? {
                let Some(name) = dataset.strip_prefix("dataset=") else { continue };
                for split in list(&root.join(&dataset))? {
                    found.extend(split.strip_prefix("split=").map(|split| Partition::new(name, split)));
                }
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

impl Repaired {
    fn remove(&mut self, lake: &Lake, path: &std::path::Path, reason: String, dry_run: bool) -> Result<()> {
        self.removed.push((lake.relative(path), reason));
        if dry_run { Ok(()) } else { atomic_file::remove(path) }
    }
}

#[cfg(test)]
mod tests;

//! The journal of a commit: `LAKE/commit.json` lists the parts that a commit puts in place and those that it removes. Once
//! it is there the commit is decided: readers see its parts, and the next process that opens the lake finishes it.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::fresh;
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::write_bytes;
use crate::lake::part::Staged;
use crate::lake::partition::{Partition, Shard};
use crate::lake::store::{Lake, ManifestFile, list};

/// What a commit changes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Journal {
    pub parts: Vec<PlacedPart>,
    pub removed: Vec<ProducedTable>,
}

/// A part and its temporary file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PlacedPart {
    /// Name in `LAKE/tmp`.
    pub temporary: String,
    pub part: PartManifest,
}

/// A producer's part of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProducedTable {
    pub table: String,
    pub partition: Partition,
    pub producer: String,
}

impl ProducedTable {
    /// Where a part belongs.
    pub fn of(part: &PartManifest) -> Self {
        Self { table: part.table.clone(), partition: part.partition(), producer: part.producer.clone() }
    }
}

impl Journal {
    /// The journal of a commit that is decided and not finished.
    ///
    /// # Errors
    /// [`Error::BadData`] when it is damaged.
    pub(crate) fn read(lake: &Lake) -> Result<Option<Self>> {
        let path = path(lake);
        // The journal of another machine must be seen: temporary files are cleared where there is none.
        match fresh::look(&path, |p| std::fs::read(p)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                Error::bad_data(
                    path.display(),
                    format!("damaged, {e}; `d2r lake repair` removes it, then run the stage again"),
                )
            }),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path, e)),
        }
    }

    /// Decides and finishes a commit of staged parts and of removals. Needs the commit lock.
    ///
    /// # Errors
    /// [`Error::Io`]. Before the journal is written nothing is visible; after that the commit counts, and the next
    /// process that opens the lake finishes it.
    pub(crate) fn commit(lake: &Lake, staged: Vec<Staged>, removed: Vec<ProducedTable>) -> Result<Vec<PartManifest>> {
        let journal = Self::decide(lake, staged, removed)?;
        journal.finish(lake)?;
        Ok(journal.parts.into_iter().map(|p| p.part).collect())
    }

    /// Writes the journal, after finishing an earlier commit.
    pub(crate) fn decide(lake: &Lake, staged: Vec<Staged>, removed: Vec<ProducedTable>) -> Result<Self> {
        finish_open_commit(lake)?;
        let mut journal = Self { parts: Vec::new(), removed };
        for Staged { temporary, manifest } in &staged {
            let generation = lake.next_generation(manifest)?;
            let name = temporary.path().file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            journal.parts.push(PlacedPart { temporary: name, part: PartManifest { generation, ..manifest.clone() } });
        }
        for Staged { temporary, .. } in &staged {
            // A journal of files that are gone could never be finished.
            atomic_file::check_there(temporary.path())?;
        }
        atomic_file::sync_folder(&lake.temporary_folder())?;
        let json = serde_json::to_vec(&journal).map_err(|e| Error::Internal(format!("write a journal: {e}")))?;
        let path = path(lake);
        atomic_file::write_by_way_of(&lake.temporary_folder(), &path, write_bytes(&json, &path))?;
        for part in staged {
            part.temporary.keep();
        }
        Ok(journal)
    }

    /// Renames the parts into place, writes their manifests, removes what they replace, and the journal last. Doing it
    /// twice changes nothing.
    fn finish(&self, lake: &Lake) -> Result<()> {
        for PlacedPart { temporary, part } in &self.parts {
            let (from, to) = (lake.temporary_folder().join(temporary), lake.root().join(&part.file));
            let folder = lake.part_folder(&part.table, &part.partition());
            atomic_file::create_folders(&folder)?;
            if from.exists() || !to.is_file() {
                put_in_place(lake, &from, &to)?;
            }
            atomic_file::sync_folder(&folder)?;
        }
        for PlacedPart { part, .. } in &self.parts {
            let place = ProducedTable::of(part);
            let folder = manifest_folder(lake, &place);
            atomic_file::create_folders(&folder)?;
            let path = folder.join(PartManifest::file_name(part.shard));
            let json = part.to_json()?;
            atomic_file::write_by_way_of(&lake.temporary_folder(), &path, write_bytes(json.as_bytes(), &path))?;
            remove_manifests(&folder, Some(part.shard))?;
        }
        for place in &self.removed {
            let folder = manifest_folder(lake, place);
            remove_manifests(&folder, None)?;
            let _ = std::fs::remove_dir(&folder);
        }
        let touched = self.parts.iter().map(|p| ProducedTable::of(&p.part)).chain(self.removed.iter().cloned());
        let mut folders: Vec<(String, Partition)> = touched.map(|t| (t.table, t.partition)).collect();
        folders.sort();
        folders.dedup();
        for (table, partition) in folders {
            sweep(lake, &table, &partition, self)?;
        }
        atomic_file::remove(&path(lake))?;
        atomic_file::sync_folder(lake.root())
    }

    /// The manifests of a partition as they are once this commit is finished.
    pub(crate) fn overlay(
        &self,
        lake: &Lake,
        table: &str,
        partition: &Partition,
        mut files: Vec<ManifestFile>,
    ) -> Vec<ManifestFile> {
        let here = |place: &ProducedTable| place.table == table && place.partition == *partition;
        for place in self.removed.iter().filter(|p| here(p)) {
            files.retain(|f| f.producer != place.producer);
        }
        for PlacedPart { part, .. } in &self.parts {
            let place = ProducedTable::of(part);
            if here(&place) {
                files.retain(|f| f.producer != place.producer);
                let path = manifest_folder(lake, &place).join(PartManifest::file_name(part.shard));
                files.push(ManifestFile { path, producer: place.producer, shard: part.shard, part: Ok(part.clone()) });
            }
        }
        files
    }

    /// The temporary file of a part that is not in place yet.
    pub(crate) fn temporary_of(&self, lake: &Lake, part: &PartManifest) -> Option<PathBuf> {
        let placed = self.parts.iter().find(|p| p.part.sha256 == part.sha256 && p.part.file == part.file)?;
        Some(lake.temporary_folder().join(&placed.temporary))
    }
}

/// Finishes a commit that a killed process decided. Needs the commit lock.
///
/// # Errors
/// [`Error::BadData`] for a damaged journal; [`Error::Io`].
pub(crate) fn finish_open_commit(lake: &Lake) -> Result<bool> {
    match Journal::read(lake)? {
        None => Ok(false),
        Some(journal) => journal.finish(lake).map(|()| true),
    }
}

/// Renames a temporary file to its part. Where there are no locks, another process may have done it in the meantime.
fn put_in_place(lake: &Lake, from: &Path, to: &Path) -> Result<()> {
    match atomic_file::rename(from, to) {
        Err(Error::Temporary(_)) if fresh::is_file(to) => Ok(()),
        Err(Error::Temporary(_)) => {
            let problem = format!(
                "{} is gone; `d2r lake repair` removes the journal, then run the stage again",
                lake.relative(from)
            );
            Err(Error::bad_data(path(lake).display(), problem))
        }
        renamed => renamed,
    }
}

pub(crate) fn path(lake: &Lake) -> PathBuf {
    lake.root().join("commit.json")
}

fn manifest_folder(lake: &Lake, place: &ProducedTable) -> PathBuf {
    lake.manifest_folder(&place.table, &place.partition).join(&place.producer)
}

/// Removes a producer's manifests but that of `kept`.
fn remove_manifests(folder: &Path, kept: Option<Shard>) -> Result<()> {
    for name in list(folder)? {
        if PartManifest::shard_of(&name).is_some_and(|shard| Some(shard) != kept) {
            atomic_file::remove(&folder.join(name))?;
        }
    }
    Ok(())
}

/// Removes the parts of a partition that no manifest names. Where a manifest is damaged none is removed: its part may be
/// among them.
fn sweep(lake: &Lake, table: &str, partition: &Partition, journal: &Journal) -> Result<()> {
    let files = journal.overlay(lake, table, partition, lake.stored_manifest_files(table, partition)?);
    let mut named = Vec::new();
    for file in files {
        let Ok(part) = file.part else { return Ok(()) };
        named.push(lake.root().join(part.file));
    }
    let folder = lake.part_folder(table, partition);
    let mut removed = false;
    for name in list(&folder)? {
        let path = folder.join(&name);
        if name.starts_with("part-") && name.ends_with(".parquet") && !named.contains(&path) {
            atomic_file::remove(&path)?;
            removed = true;
        }
    }
    if removed { atomic_file::sync_folder(&folder) } else { Ok(()) }
}

//! The lake: `v1/<table>/dataset=<d>/split=<s>/part-<shard>-<digest>.parquet`, and beside `v1` one manifest per part.
//!
//! A part is visible to us when its manifest is; it is written before the manifest and replaced in one rename.
//! Writing a shard of another count starts its partition over; an incomplete partition cannot be read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use d2r_contracts::rows::Row;
use serde::{Deserialize, Serialize};

use super::manifest::{PartManifest, Provenance};
use super::partition::{Partition, Shard};
use super::schema::contracted;
use super::writer::{read_file, sorted_batch, write_file};
use super::{atomic_file, digest};
use crate::error::{Error, Result};

/// Version of the layout: the first folder under the lake's root.
const VERSION: &str = "v1";

/// Where a dataset's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetRoot {
    /// The folder that `images.path` is relative to.
    pub root: PathBuf,
    /// The layout it was read as, for instance `vindr`.
    pub layout: String,
}

/// A lake on disk.
#[derive(Debug, Clone)]
pub struct Lake {
    root: PathBuf,
}

impl Lake {
    /// The lake at `root`, created if need be.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn create(root: &Path) -> Result<Self> {
        let tables = root.join(VERSION);
        fs::create_dir_all(&tables).map_err(|e| Error::io("create", &tables, e))?;
        Ok(Self { root: root.to_path_buf() })
    }

    /// The lake at `root`.
    ///
    /// # Errors
    /// [`Error::InputMissing`] when there is none.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.join(VERSION).is_dir() {
            let hint = "no lake is there; `d2r ingest` makes one".into();
            return Err(Error::InputMissing { path: root.to_path_buf(), hint });
        }
        Ok(Self { root: root.to_path_buf() })
    }

    /// The lake's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that readers scan for a table.
    pub fn table_folder(&self, table: &str) -> PathBuf {
        self.root.join(VERSION).join(table)
    }

    fn part_folder(&self, table: &str, partition: &Partition) -> PathBuf {
        self.table_folder(table).join(partition.folder())
    }

    fn manifest_folder(&self, table: &str, partition: &Partition) -> PathBuf {
        self.root.join("manifests").join(table).join(partition.folder())
    }

    fn manifest_path(&self, table: &str, partition: &Partition, shard: Shard) -> PathBuf {
        self.manifest_folder(table, partition).join(format!("{}.json", shard_name(shard)))
    }

    /// Writes the rows of a shard, in place of what the same shard wrote before.
    ///
    /// # Errors
    /// [`Error::BadData`] for rows that break the contract's key, [`Error::Io`] when the disk refuses; the old part
    /// stays in both cases.
    pub fn write<R: Row>(
        &self,
        partition: &Partition,
        shard: Shard,
        rows: Vec<R>,
        provenance: &Provenance,
    ) -> Result<PartManifest> {
        partition.check()?;
        let contract = contracted::<R>()?;
        let batch = sorted_batch(rows)?;
        let content_sha256 = digest::content_digest(&batch, &contract.measurements);
        let folder = self.part_folder(R::TABLE, partition);
        let temps = self.root.join("tmp");
        for dir in [&folder, &temps] {
            fs::create_dir_all(dir).map_err(|e| Error::io("create", dir, e))?;
        }
        let name = format!("part-{}-{}.parquet", shard_name(shard), &content_sha256[..12]);
        // Temporary files lie outside the table: readers that scan its folder choke on foreign ones.
        let temp =
            temps.join(format!("{}.{}.{}.{}", R::TABLE, partition.dataset, partition.split, shard_name(shard)));
        let (path, file) = (folder.join(&name), format!("{VERSION}/{}/{}/{name}", R::TABLE, partition.folder().display()));
        if let Err(e) = write_file(&temp, &batch, &contract, provenance) {
            // The error in hand says more than a failed clean-up would.
            let _ = fs::remove_file(&temp);
            return Err(e);
        }
        let manifest = PartManifest {
            table: R::TABLE.into(),
            partition: partition.clone(),
            shard,
            file,
            rows: batch.num_rows() as u64,
            bytes: fs::metadata(&temp).map_err(|e| Error::io("read", &temp, e))?.len(),
            sha256: digest::sha256_file(&temp)?,
            content_sha256,
            contract_id: contract.id,
            contract_version: contract.version,
            code_version: env!("CARGO_PKG_VERSION").into(),
            provenance: provenance.clone(),
        };
        self.drop_other_counts(R::TABLE, partition, shard)?;
        fs::rename(&temp, &path).map_err(|e| Error::io("rename", &temp, e))?;
        File::open(&folder).and_then(|d| d.sync_all()).map_err(|e| Error::io("write", &folder, e))?;
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::Internal(e.to_string()))?;
        let at = self.manifest_path(R::TABLE, partition, shard);
        atomic_file::write(&at, |w| w.write_all(&text).map_err(|e| Error::io("write", &at, e)))?;
        self.drop_superseded(&folder, shard, &name)?;
        Ok(manifest)
    }

    /// Removes manifests, then parts, of shards of another count.
    fn drop_other_counts(&self, table: &str, partition: &Partition, shard: Shard) -> Result<()> {
        for part in self.parts(table, partition)? {
            if part.shard.count != shard.count {
                remove(&self.manifest_path(table, partition, part.shard))?;
            }
        }
        let ours = format!("-of-{:05}-", shard.count);
        for file in list(&self.part_folder(table, partition))? {
            if !file_name(&file).contains(&ours) {
                remove(&file)?;
            }
        }
        Ok(())
    }

    /// Removes what the same shard wrote before.
    fn drop_superseded(&self, folder: &Path, shard: Shard, keep: &str) -> Result<()> {
        let ours = format!("part-{}-", shard_name(shard));
        for file in list(folder)? {
            if file_name(&file).starts_with(&ours) && file_name(&file) != keep {
                remove(&file)?;
            }
        }
        Ok(())
    }

    /// The part that this very work wrote, if it is there and verifies: the work need not be done again.
    ///
    /// # Errors
    /// When the manifest or the file cannot be read; a damaged part is no error, only not current.
    pub fn current(&self, table: &str, partition: &Partition, shard: Shard, work_key: &str) -> Result<Option<PartManifest>> {
        let path = self.manifest_path(table, partition, shard);
        if !path.is_file() {
            return Ok(None);
        }
        let Ok(manifest) = read_manifest(&path) else { return Ok(None) };
        let file = self.root.join(&manifest.file);
        let same = manifest.provenance.work_key == work_key
            && manifest.shard == shard
            && file.is_file()
            && digest::sha256_file(&file)? == manifest.sha256;
        Ok(same.then_some(manifest))
    }

    /// The manifests of a partition, by shard; empty when nothing was written.
    ///
    /// # Errors
    /// [`Error::BadData`] for a manifest that is not ours.
    pub fn parts(&self, table: &str, partition: &Partition) -> Result<Vec<PartManifest>> {
        let mut parts: Vec<PartManifest> = list(&self.manifest_folder(table, partition))?
            .iter()
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
            .map(|p| read_manifest(p))
            .collect::<Result<_>>()?;
        parts.sort_by_key(|p| p.shard);
        Ok(parts)
    }

    /// All rows of a partition in key order; none when nothing was written.
    ///
    /// # Errors
    /// [`Error::BadData`] when shards are missing, or a file is damaged or of another contract.
    pub fn read<R: Row>(&self, partition: &Partition) -> Result<Vec<R>> {
        let parts = self.parts(R::TABLE, partition)?;
        if let Some(first) = parts.first()
            && parts.len() != first.shard.count as usize
        {
            let problem = format!("{} of {} shards are there; run the others", parts.len(), first.shard.count);
            return Err(Error::bad_data(format!("table {}, {partition}", R::TABLE), problem));
        }
        let mut rows = Vec::new();
        for part in parts {
            let path = self.root.join(&part.file);
            let batch = read_file(&path)?;
            rows.extend(R::from_batch(&batch).map_err(|e| Error::bad_data(path.display(), e))?);
        }
        rows.sort_by(R::key_cmp);
        Ok(rows)
    }

    /// The partitions that a table has rows or empty parts for, sorted.
    ///
    /// # Errors
    /// When folders cannot be listed.
    pub fn partitions(&self, table: &str) -> Result<Vec<Partition>> {
        let mut found = Vec::new();
        for dataset in list(&self.root.join("manifests").join(table))? {
            for split in list(&dataset)? {
                let (d, s) = (file_name(&dataset), file_name(&split));
                if let (Some(d), Some(s)) = (d.strip_prefix("dataset="), s.strip_prefix("split="))
                    && !list(&split)?.is_empty()
                {
                    found.push(Partition::new(d, s));
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Rows of a table over all partitions.
    ///
    /// # Errors
    /// Those of [`Lake::parts`].
    pub fn rows(&self, table: &str) -> Result<u64> {
        let mut rows = 0;
        for partition in self.partitions(table)? {
            rows += self.parts(table, &partition)?.iter().map(|p| p.rows).sum::<u64>();
        }
        Ok(rows)
    }

    /// Digest of the content of some partition's parts, for work keys of what reads them.
    ///
    /// # Errors
    /// Those of [`Lake::parts`].
    pub fn content_digest(&self, table: &str, partition: &Partition) -> Result<String> {
        let parts = self.parts(table, partition)?;
        let joined: Vec<String> = parts.into_iter().map(|p| format!("{} {}", p.shard, p.content_sha256)).collect();
        Ok(digest::sha256_hex(joined.join("\n").as_bytes()))
    }

    /// Remembers where a dataset's files are.
    ///
    /// # Errors
    /// When the register cannot be read or written.
    pub fn register_dataset(&self, name: &str, root: &Path, layout: &str) -> Result<()> {
        let mut datasets = self.datasets()?;
        let root = fs::canonicalize(root).map_err(|e| Error::io("find", root, e))?;
        let entry = DatasetRoot { root, layout: layout.into() };
        if datasets.get(name) == Some(&entry) {
            return Ok(());
        }
        datasets.insert(name.into(), entry);
        let path = self.root.join("datasets.json");
        let text = serde_json::to_vec_pretty(&datasets).map_err(|e| Error::Internal(e.to_string()))?;
        atomic_file::write(&path, |w| w.write_all(&text).map_err(|e| Error::io("write", &path, e)))?;
        Ok(())
    }

    /// The folder that a dataset's image paths are relative to.
    ///
    /// # Errors
    /// [`Error::InputMissing`] for a dataset that was never ingested here.
    pub fn dataset_root(&self, name: &str) -> Result<PathBuf> {
        self.datasets()?.remove(name).map(|d| d.root).ok_or_else(|| Error::InputMissing {
            path: self.root.join("datasets.json"),
            hint: format!("the lake has no dataset `{name}`; run `d2r ingest`"),
        })
    }

    /// All datasets by name.
    ///
    /// # Errors
    /// [`Error::BadData`] for a register that is not ours.
    pub fn datasets(&self) -> Result<BTreeMap<String, DatasetRoot>> {
        let path = self.root.join("datasets.json");
        if !path.is_file() {
            return Ok(BTreeMap::new());
        }
        let text = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        serde_json::from_slice(&text).map_err(|e| Error::bad_data(path.display(), e))
    }
}

/// `00000-of-00004`.
fn shard_name(shard: Shard) -> String {
    format!("{:05}-of-{:05}", shard.index, shard.count)
}

fn read_manifest(path: &Path) -> Result<PartManifest> {
    let text = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::bad_data(path.display(), format!("no manifest of ours: {e}")))
}

/// The entries of a folder, sorted; none when it is not there. Hidden files are left out.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))? {
        let path = entry.map_err(|e| Error::io("list", folder, e))?.path();
        if !file_name(&path).starts_with('.') {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

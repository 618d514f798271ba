//! Writing a part: sort and check rows, write and verify a temporary file, rename it into place, write the
//! manifest (the commit), remove what it replaces. Killed at any point, readers see the old part or the new one.
//!
//! Temporary files are in `LAKE/tmp`, not beside the parts: a foreign file breaks scans of a table's folder.

use std::path::{Path, PathBuf};

use arrow::array::{Array, RecordBatch};
use d2r_contracts::contract::TableContract;
use d2r_contracts::rows::Row;

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::atomic_file::TemporaryFile;
use crate::lake::cell::{Cell, cell};
use crate::lake::digest::{ContentDigest, sha256_hex};
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::{PartFile, encode, metadata_keys, write_bytes};
use crate::lake::partition::{Partition, Provenance, Shard, check_name, is_history};
use crate::lake::store::{Lake, VERSION, list};

/// The version of the code, as written into files.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A verified temporary file and the manifest it will have.
pub(crate) struct Staged {
    temporary: TemporaryFile,
    pub(crate) manifest: PartManifest,
}

impl Lake {
    /// Writes a part of a table, replacing the producer's previous part of the same shard. No rows make a part
    /// too, so that a scan of the table finds its columns. A changed shard count replaces all parts of the old
    /// count with the first new part; reading is an error until all new shards are written.
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
        let _writing = self.writers_lock()?;
        let staged = self.stage(partition, shard, rows, provenance)?;
        let _committing = self.commit_lock()?;
        let mut manifest = self.place(staged)?;
        self.commit(&mut manifest)?;
        self.sweep(&manifest)?;
        Ok(manifest)
    }

    /// Sorts, checks and encodes rows into a verified temporary file.
    pub(crate) fn stage<R: Row>(
        &self,
        partition: &Partition,
        shard: Shard,
        rows: Vec<R>,
        provenance: &Provenance,
    ) -> Result<Staged> {
        partition.check()?;
        let shard = if is_history(R::KEY) { Shard::WHOLE } else { Shard::new(shard.index, shard.count)? };
        check_name("run id", &provenance.run_id)?;
        let producer = provenance.producer(R::KEY).to_owned();
        let contract = TableContract::of(R::TABLE)
            .ok_or_else(|| Error::Internal(format!("table {} has no contract", R::TABLE)))?;
        let (rows, positions) = sorted_by_key(rows)?;
        let values = [
            contract.id.clone(),
            contract.version.clone(),
            provenance.run_id.clone(),
            CODE_VERSION.to_owned(),
            provenance.model_sha256.clone().unwrap_or_default(),
            producer.clone(),
            shard.to_string(),
        ];
        let metadata: Vec<(&str, String)> = metadata_keys().into_iter().zip(values).collect();
        let mut content = ContentDigest::new(contract);
        let bytes = encode(&rows, contract, &metadata, |batch, first| {
            check_finite(contract, batch, &positions[first..])?;
            content.update(batch);
            Ok(())
        })?;
        let sha256 = sha256_hex(&bytes);
        let name = format!("part-{:05}-{}.parquet", shard.index, &sha256[..12]);
        let mut temporary = TemporaryFile::create(&self.temporary_folder(), &name)?;
        let path = temporary.path().to_path_buf();
        temporary.fill(write_bytes(&bytes, &path))?;
        let written = PartFile::open(&path, Some((bytes.len() as u64, &sha256)))?;
        if written.rows() != rows.len() as u64 {
            return Err(Error::Internal(format!(
                "{}: {} rows written, {} found",
                path.display(),
                rows.len(),
                written.rows()
            )));
        }
        let file = Path::new(VERSION).join(R::TABLE).join(partition.folder()).join(name);
        let manifest = PartManifest {
            table: R::TABLE.to_owned(),
            dataset: partition.dataset.clone(),
            split: partition.split.clone(),
            producer,
            shard,
            generation: 0,
            file: file.to_string_lossy().into_owned(),
            rows: rows.len() as u64,
            bytes: bytes.len() as u64,
            sha256,
            content_sha256: content.finish(),
            work_key: provenance.work_key.clone(),
            contract_id: contract.id.clone(),
            contract_version: contract.version.clone(),
            run_id: provenance.run_id.clone(),
            code_version: CODE_VERSION.to_owned(),
            model_sha256: provenance.model_sha256.clone(),
        };
        Ok(Staged { temporary, manifest })
    }

    /// Renames the temporary file into the table; it does not count yet. Needs the commit lock.
    pub(crate) fn place(&self, staged: Staged) -> Result<PartManifest> {
        let path = self.root().join(&staged.manifest.file);
        if let Some(folder) = path.parent() {
            atomic_file::create_folders(folder)?;
        }
        staged.temporary.rename(&path)?;
        Ok(staged.manifest)
    }

    /// Writes the manifest: from here on the part counts. Needs the commit lock.
    pub(crate) fn commit(&self, manifest: &mut PartManifest) -> Result<()> {
        let partition = manifest.partition();
        let files = self.manifest_files(&manifest.table, &partition)?;
        let known = files.iter().filter_map(|f| f.part.as_ref().ok()).filter(|p| p.producer == manifest.producer);
        let newest = known.map(|p| (p.generation, p.shard.count)).max();
        manifest.generation = match newest {
            None => 0,
            Some((generation, count)) if count == manifest.shard.count => generation,
            Some((generation, _)) => generation + 1,
        };
        let folder = self.manifest_folder(&manifest.table, &partition).join(&manifest.producer);
        atomic_file::create_folders(&folder)?;
        let path = folder.join(PartManifest::file_name(manifest.shard));
        let json = manifest.to_json()?;
        atomic_file::write_by_way_of(&self.temporary_folder(), &path, write_bytes(json.as_bytes(), &path))?;
        Ok(())
    }

    /// Removes manifests of the producer's other shard counts, and parts that no manifest names: superseded
    /// ones, and those of writers killed before their manifest. Needs the commit lock.
    pub(crate) fn sweep(&self, manifest: &PartManifest) -> Result<()> {
        let partition = manifest.partition();
        let mut named: Vec<PathBuf> = Vec::new();
        let mut damaged = false;
        for file in self.manifest_files(&manifest.table, &partition)? {
            if file.producer == manifest.producer && file.shard.count != manifest.shard.count {
                atomic_file::remove(&file.path)?;
                continue;
            }
            match file.part {
                Ok(part) => named.push(self.root().join(part.file)),
                Err(_) => damaged = true,
            }
        }
        if damaged {
            // The part of a damaged manifest may be among the files that no manifest names.
            return Ok(());
        }
        let folder = self.part_folder(&manifest.table, &partition);
        for name in list(&folder)? {
            let path = folder.join(&name);
            if name.starts_with("part-") && name.ends_with(".parquet") && !named.contains(&path) {
                atomic_file::remove(&path)?;
            }
        }
        atomic_file::sync_folder(&folder)
    }
}

/// Rows by key, with the position each had before.
fn sorted_by_key<R: Row>(rows: Vec<R>) -> Result<(Vec<R>, Vec<usize>)> {
    let mut indexed: Vec<(usize, R)> = rows.into_iter().enumerate().collect();
    indexed.sort_by(|(_, a), (_, b)| a.key_cmp(b));
    for pair in indexed.windows(2) {
        let [(first, a), (second, b)] = pair else { continue };
        if a.key_cmp(b).is_eq() {
            let problem = format!("rows {first} and {second} have the same key ({})", key_text(a));
            return Err(Error::bad_data(format!("table {}", R::TABLE), problem));
        }
    }
    Ok(indexed.into_iter().map(|(position, row)| (row, position)).unzip())
}

/// `column=value` of a row's key, joined by commas.
pub(crate) fn key_text<R: Row>(row: &R) -> String {
    let batch = R::to_batch(std::slice::from_ref(row));
    let parts = R::KEY.iter().filter_map(|name| Some(format!("{name}={}", cell(batch.column_by_name(name)?, 0))));
    parts.collect::<Vec<_>>().join(", ")
}

fn check_finite(contract: &TableContract, batch: &RecordBatch, positions: &[usize]) -> Result<()> {
    let floats = batch.columns().iter().zip(&contract.columns).filter(|(c, _)| c.data_type().is_floating());
    for (column, described) in floats {
        for (row, position) in (0..column.len()).zip(positions) {
            if let Cell::Float(value) = cell(column, row)
                && !value.is_finite()
            {
                let problem =
                    format!("column {} of row {position} is {value}; only finite numbers are written", described.name);
                return Err(Error::bad_data(format!("table {}", contract.name), problem));
            }
        }
    }
    Ok(())
}

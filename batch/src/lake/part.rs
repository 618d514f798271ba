//! One part before it counts: rows sorted, checked, encoded into a verified temporary file with the manifest it will have.
//!
//! Temporary files are in `LAKE/tmp`, not beside the parts: a foreign file breaks scans of a table's folder.

use std::path::Path;

use arrow::array::{Array, RecordBatch};
use d2r_contracts::contract::TableContract;
use d2r_contracts::rows::Row;

use crate::error::{Error, Result};
use crate::lake::atomic_file::TemporaryFile;
use crate::lake::cell::{Cell, cell};
use crate::lake::digest::ContentDigest;
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::{Encoded, PartFile, encode, metadata_keys};
use crate::lake::partition::{Partition, Provenance, Shard, check_name};
use crate::lake::store::{Lake, VERSION};

/// The version of the code, as written into files.
pub const CODE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// A verified temporary file and the manifest it will have.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) temporary: TemporaryFile,
    pub(crate) manifest: PartManifest,
}

impl Lake {
    /// Sorts, checks and encodes rows into a verified temporary file.
    pub(crate) fn stage<R: Row>(
        &self,
        partition: &Partition,
        shard: Shard,
        rows: Vec<R>,
        provenance: &Provenance,
    ) -> Result<Staged> {
        let (rows, positions) = sorted_by_key(rows)?;
        let position = |row: usize| positions[row];
        self.stage_sorted(partition, shard, rows.into_iter().map(Ok), position, provenance)
    }

    /// Checks and encodes rows in key order into a verified temporary file, a row group at a time. `position`: what a row's
    /// number is in messages.
    pub(crate) fn stage_sorted<R: Row>(
        &self,
        partition: &Partition,
        shard: Shard,
        rows: impl Iterator<Item = Result<R>>,
        position: impl Fn(usize) -> usize,
        provenance: &Provenance,
    ) -> Result<Staged> {
        partition.check()?;
        let shard = Shard::new(shard.index, shard.count)?;
        check_name("run id", &provenance.run_id)?;
        let producer = provenance.producer(R::KEY).to_owned();
        let contract = contract_of::<R>()?;
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
        let name = part_name(&producer);
        let mut temporary = TemporaryFile::create(&self.temporary_folder(), &name)?;
        let path = temporary.path().to_path_buf();
        let encoded = temporary.fill_file(|writer| {
            encode(rows, contract, &metadata, (&path, writer), |batch, first| {
                check_finite(contract, batch, |row| position(first + row))?;
                content.update(batch);
                Ok(())
            })
        })?;
        let Encoded { rows, bytes, sha256 } = encoded;
        let written = PartFile::open(&path, Some((bytes, &sha256)))?;
        if written.rows() != rows {
            let problem = format!("{}: {rows} rows written, {} found", path.display(), written.rows());
            return Err(Error::Internal(problem));
        }
        let file = Path::new(VERSION).join(R::TABLE).join(partition.folder()).join(&name);
        let manifest = PartManifest {
            table: R::TABLE.to_owned(),
            dataset: partition.dataset.clone(),
            split: partition.split.clone(),
            producer,
            shard,
            generation: 0,
            file: file.to_string_lossy().into_owned(),
            rows,
            bytes,
            sha256,
            content_sha256: content.finish(),
            work_key: provenance.work_key.clone(),
            contract_id: contract.id.clone(),
            contract_version: contract.version.clone(),
            run_id: provenance.run_id.clone(),
            code_version: CODE_VERSION.to_owned(),
            model_sha256: provenance.model_sha256.clone(),
            shard_keys: Vec::new(),
            label_set: None,
        };
        Ok(Staged { temporary, manifest })
    }
}

/// The contract of a row's table.
fn contract_of<R: Row>() -> Result<&'static TableContract> {
    TableContract::of(R::TABLE).ok_or_else(|| Error::Internal(format!("table {} has no contract", R::TABLE)))
}

/// The file of a producer's part in the folder of a partition: always the same, so that a new part replaces the old one by
/// one rename.
pub(crate) fn part_name(producer: &str) -> String {
    format!("part-{producer}.parquet")
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

fn check_finite(contract: &TableContract, batch: &RecordBatch, position: impl Fn(usize) -> usize) -> Result<()> {
    let floats = batch.columns().iter().zip(&contract.columns).filter(|(c, _)| c.data_type().is_floating());
    for (column, described) in floats {
        for row in 0..column.len() {
            if let Cell::Float(value) = cell(column, row)
                && !value.is_finite()
            {
                let (name, position) = (&described.name, position(row));
                let problem = format!("column {name} of row {position} is {value}; only finite numbers are written");
                return Err(Error::bad_data(format!("table {}", contract.name), problem));
            }
        }
    }
    Ok(())
}

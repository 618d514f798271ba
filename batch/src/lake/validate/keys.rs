//! Uniqueness of keys over the parts of a partition: a merge of sorted parts, with a batch of each in memory. Where a part is
//! not in the order of its key, 16 bytes of digest for each key are compared.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fs::File;

use arrow::array::RecordBatch;
use d2r_contracts::contract::TableContract;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lake::cell::{Cell, cell};
use crate::lake::digest::write_cell;
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::{Batches, PartFile};
use crate::lake::store::Lake;
use crate::lake::validate::violation::{Location, Violations};

/// Rows that are read at a time.
const READ_ROWS: usize = if cfg!(test) { 2 } else { 16 * 1024 };

/// A part whose columns are the contract's.
pub(crate) struct SoundPart {
    pub part: PartManifest,
    pub file: File,
    /// Whether its rows are in the order of its key.
    pub sorted: bool,
}

/// Adds a violation for every row whose key stands in an earlier row.
pub(crate) fn check(lake: &Lake, contract: &TableContract, parts: &[SoundPart], found: &mut Violations) -> Result<()> {
    if parts.iter().all(|part| part.sorted) {
        merge(lake, contract, parts, found)
    } else {
        compare_digests(lake, contract, parts, found)
    }
}

/// A part at a row.
struct Cursor<'a> {
    file: &'a str,
    batches: Batches,
    batch: Option<RecordBatch>,
    row: usize,
    /// Number in the file of the batch's first row.
    first: usize,
}

impl Cursor<'_> {
    fn advance(&mut self) -> Result<()> {
        self.row += 1;
        if self.batch.as_ref().is_some_and(|batch| self.row >= batch.num_rows()) {
            self.first += self.row;
            self.row = 0;
            self.batch = self.batches.next().transpose()?;
        }
        Ok(())
    }
}

fn merge(lake: &Lake, contract: &TableContract, parts: &[SoundPart], found: &mut Violations) -> Result<()> {
    let mut cursors = Vec::new();
    for part in parts {
        let mut batches = part.keys(lake, contract)?;
        let batch = batches.next().transpose()?;
        cursors.push(Cursor { file: &part.part.file, batches, batch, row: 0, first: 0 });
    }
    loop {
        let mut least: Option<(&RecordBatch, usize)> = None;
        for cursor in &cursors {
            let Some(batch) = &cursor.batch else { continue };
            let below =
                |(other, row): (&RecordBatch, usize)| compare(&contract.key, batch, cursor.row, other, row).is_lt();
            if least.is_none_or(below) {
                least = Some((batch, cursor.row));
            }
        }
        let Some((batch, row)) = least else { return Ok(()) };
        let key = batch.slice(row, 1);
        let mut holder = None;
        for cursor in &mut cursors {
            while let Some(batch) = &cursor.batch
                && compare(&contract.key, batch, cursor.row, &key, 0).is_eq()
            {
                match holder {
                    None => holder = Some(cursor.file),
                    Some(other) => {
                        let at = Location::row(&contract.name, cursor.file, cursor.first + cursor.row);
                        found.add(at, "key", repeated(contract, &key, 0, other));
                    }
                }
                cursor.advance()?;
            }
        }
    }
}

fn compare_digests(lake: &Lake, contract: &TableContract, parts: &[SoundPart], found: &mut Violations) -> Result<()> {
    let mut digests = Vec::new();
    for_each(lake, contract, parts, |_, batch, row, _| digests.push(key_digest(contract, batch, row)))?;
    digests.sort_unstable();
    let repeated_digests = digests.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| (pair[0], None));
    let mut holders: BTreeMap<u128, Option<&str>> = repeated_digests.collect();
    drop(digests);
    for_each(lake, contract, parts, |part, batch, row, first| {
        let Some(holder) = holders.get_mut(&key_digest(contract, batch, row)) else { return };
        match holder {
            None => *holder = Some(part.part.file.as_str()),
            Some(other) => {
                let at = Location::row(&contract.name, &part.part.file, first + row);
                found.add(at, "key", repeated(contract, batch, row, other));
            }
        }
    })
}

/// Calls `each` with every part, batch, row and number of the batch's first row.
fn for_each<'a>(
    lake: &Lake,
    contract: &TableContract,
    parts: &'a [SoundPart],
    mut each: impl FnMut(&'a SoundPart, &RecordBatch, usize, usize),
) -> Result<()> {
    for part in parts {
        let mut first = 0;
        for batch in part.keys(lake, contract)? {
            let batch = batch?;
            (0..batch.num_rows()).for_each(|row| each(part, &batch, row, first));
            first += batch.num_rows();
        }
    }
    Ok(())
}

impl SoundPart {
    /// The columns of the key.
    fn keys(&self, lake: &Lake, contract: &TableContract) -> Result<Batches> {
        let path = lake.root().join(&self.part.file);
        let file = self.file.try_clone().map_err(|e| Error::io("read", &path, e))?;
        PartFile::of_file(file, &path)?.columns(&contract.key).batches(READ_ROWS)
    }
}

/// The order of two rows by these columns.
pub(crate) fn compare(key: &[String], a: &RecordBatch, row_a: usize, b: &RecordBatch, row_b: usize) -> Ordering {
    let columns = key.iter().filter_map(|name| Some((a.column_by_name(name)?, b.column_by_name(name)?)));
    let mut orders = columns.map(|(a, b)| cell(a.as_ref(), row_a).key_cmp(&cell(b.as_ref(), row_b)));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// `column=value` of a row's key, joined by commas.
pub(crate) fn key_text(key: &[String], batch: &RecordBatch, row: usize) -> String {
    let values = key.iter().filter_map(|k| Some(format!("{k}={}", cell(batch.column_by_name(k)?.as_ref(), row))));
    values.collect::<Vec<_>>().join(", ")
}

fn repeated(contract: &TableContract, batch: &RecordBatch, row: usize, other: &str) -> String {
    format!("key {} stands already in {other}", key_text(&contract.key, batch, row))
}

fn key_digest(contract: &TableContract, batch: &RecordBatch, row: usize) -> u128 {
    digest(contract.key.iter().filter_map(|k| Some(cell(batch.column_by_name(k)?.as_ref(), row))))
}

/// 128 bits of the SHA-256 of some values.
pub(crate) fn digest<'a>(values: impl Iterator<Item = Cell<'a>>) -> u128 {
    let mut hasher = Sha256::new();
    values.for_each(|value| write_cell(&mut hasher, value));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize()[..16]);
    u128::from_le_bytes(bytes)
}

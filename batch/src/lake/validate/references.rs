//! Foreign keys across tables of one partition: 16 bytes of digest for each referencing key are in memory, and the
//! referenced table passes in blocks, which Polars' anti-joins take off them.

use d2r_contracts::contract::{ForeignKey, TableContract};
use polars::prelude::*;

use crate::error::{Error, Result};
use crate::lake::cell::cell;
use crate::lake::partition::Partition;
use crate::lake::store::Lake;
use crate::lake::validate::keys::{digest, key_text};
use crate::lake::validate::violation::{Location, Violations};

/// Referenced keys in one anti-join.
const BLOCK: usize = if cfg!(test) { 3 } else { 256 * 1024 };
/// Rows that are read at a time.
const READ_ROWS: usize = 16 * 1024;

/// Adds a violation for every row whose foreign key has no counterpart. A table that was never written holds no row,
/// so that every reference into it is broken.
pub(crate) fn check(lake: &Lake, contract: &TableContract, found: &mut Violations) -> Result<()> {
    for key in &contract.foreign_keys {
        for partition in lake.partitions(&contract.name)? {
            let lost = match lost(lake, contract, key, &partition) {
                // A damaged part is reported by its own rule; there is nothing to compare then.
                Err(Error::BadData { .. }) => continue,
                lost => lost?,
            };
            if lost.is_empty() {
                continue;
            }
            let place = format!("dataset={}/split={}", partition.dataset, partition.split);
            let column = key.columns.last().map(String::as_str);
            let at = Location { column, ..Location::file(&contract.name, &place) };
            for_each_key(lake, &contract.name, &key.columns, &partition, |key_digest, text| {
                if key_digest.is_none_or(|digest| lost.binary_search(&digest).is_ok()) {
                    found.add(at, "reference", format!("{} is not in table {}", text(), key.table));
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Digests of the referencing keys that are not referenced, in order; of a key with a null, that of no key.
fn lost(lake: &Lake, contract: &TableContract, key: &ForeignKey, partition: &Partition) -> Result<Vec<u128>> {
    let mut ours: Vec<u128> = Vec::new();
    let mut nulls = false;
    for_each_key(lake, &contract.name, &key.columns, partition, |digest, _| {
        match digest {
            // Rows of one image follow each other.
            Some(digest) if ours.last() != Some(&digest) => ours.push(digest),
            Some(_) => {}
            None => nulls = true,
        }
        Ok(())
    })?;
    ours.sort_unstable();
    ours.dedup();
    let fail = |e: PolarsError| Error::Internal(format!("references of table {}: {e}", contract.name));
    let mut ours = frame(&ours).map_err(fail)?;
    let mut block = Vec::new();
    for_each_key(lake, &key.table, &key.referenced, partition, |digest, _| {
        block.extend(digest);
        if block.len() >= BLOCK {
            ours = without(&ours, &block).map_err(fail)?;
            block.clear();
        }
        Ok(())
    })?;
    ours = without(&ours, &block).map_err(fail)?;
    let mut lost = digests(&ours).map_err(fail)?;
    if nulls {
        lost.push(NO_KEY);
    }
    lost.sort_unstable();
    Ok(lost)
}

/// Stands for keys with a null.
const NO_KEY: u128 = 0;

/// Calls `each` with the digest of every row's key, `None` where a column is null, and with what gives its text.
fn for_each_key(
    lake: &Lake,
    table: &str,
    columns: &[String],
    partition: &Partition,
    mut each: impl FnMut(Option<u128>, &dyn Fn() -> String) -> Result<()>,
) -> Result<()> {
    for part in lake.parts(table, partition)? {
        for batch in lake.open_part(&part)?.columns(columns).batches(READ_ROWS)? {
            let batch = batch?;
            let mut arrays = Vec::new();
            for name in columns {
                let array = batch.column_by_name(name);
                arrays.push(array.ok_or_else(|| Error::bad_data(&part.file, format!("column {name} is missing")))?);
            }
            for row in 0..batch.num_rows() {
                let null = arrays.iter().any(|array| array.is_null(row));
                let digest = (!null).then(|| digest(arrays.iter().map(|array| cell(array.as_ref(), row))));
                each(digest, &|| key_text(columns, &batch, row))?;
            }
        }
    }
    Ok(())
}

/// Digests as two columns of 64 bits.
fn frame(digests: &[u128]) -> PolarsResult<DataFrame> {
    let high: Vec<u64> = digests.iter().map(|d| (d >> 64) as u64).collect();
    let low: Vec<u64> = digests.iter().map(|d| *d as u64).collect();
    DataFrame::new(digests.len(), vec![Column::new("high".into(), high), Column::new("low".into(), low)])
}

fn without(ours: &DataFrame, block: &[u128]) -> PolarsResult<DataFrame> {
    if block.is_empty() || ours.height() == 0 {
        return Ok(ours.clone());
    }
    let names = ["high", "low"];
    ours.join(&frame(block)?, names, names, JoinArgs::new(JoinType::Anti), None)
}

fn digests(frame: &DataFrame) -> PolarsResult<Vec<u128>> {
    let (high, low) = (frame.column("high")?.u64()?, frame.column("low")?.u64()?);
    let both = high.into_no_null_iter().zip(low.into_no_null_iter());
    Ok(both.map(|(high, low)| (u128::from(high) << 64) | u128::from(low)).collect())
}

//! Checks the files of a lake against their contracts: columns, types, nulls, values, ranges, order, keys, references,
//! geometry, digests, and files that no manifest names. Every violation names table, file, row and column.

pub mod consistency;
mod keys;
mod references;
pub mod violation;

use std::fs::File;

use arrow::array::RecordBatch;
use d2r_contracts::contract::{TableContract, contracts};
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;

use crate::error::{Error, Result};
use crate::lake::cell::{Cell, cell};
use crate::lake::manifest::PartManifest;
use crate::lake::parquet_file::PartFile;
use crate::lake::partition::Partition;
use crate::lake::store::{Lake, list};
use crate::lake::validate::keys::{SoundPart, compare};
use crate::lake::validate::violation::{Location, Violation, Violations};

/// Rows that are checked at a time.
const READ_ROWS: usize = if cfg!(test) { 2 } else { 16 * 1024 };

/// All violations of some tables, or of all where none is named.
///
/// # Errors
/// When folders or files cannot be listed; what is wrong inside them is a violation.
pub fn violations(lake: &Lake, tables: &[String]) -> Result<Vec<Violation>> {
    let mut found = Violations::default();
    for contract in contracts().iter().filter(|c| tables.is_empty() || tables.contains(&c.name)) {
        for partition in lake.partitions(&contract.name)? {
            check_partition(lake, contract, &partition, &mut found)?;
        }
        references::check(lake, contract, &mut found)?;
        check_owned(lake, contract, &mut found)?;
    }
    consistency::check(lake, tables, &mut found)?;
    Ok(found.into_sorted())
}

fn check_partition(lake: &Lake, contract: &TableContract, partition: &Partition, found: &mut Violations) -> Result<()> {
    for file in lake.manifest_files(&contract.name, partition)? {
        if let Err(e) = &file.part {
            found.add(Location::file(&contract.name, &lake.relative(&file.path)), "part", e.chain());
        }
    }
    let Ok(parts) = lake.parts(&contract.name, partition) else { return Ok(()) };
    let mut sound = Vec::new();
    for part in parts {
        let Some((file, opened)) = open(lake, contract, &part, found) else { continue };
        match check_part(contract, &part, opened, found) {
            Ok(sorted) => sound.push(SoundPart { part, file, sorted }),
            Err(e) => found.add(Location::file(&contract.name, &part.file), "part", e.chain()),
        }
    }
    keys::check(lake, contract, &sound, found)
}

/// Checks the rows of a part, a batch at a time; whether they are in the order of its key.
fn check_part(contract: &TableContract, part: &PartManifest, file: PartFile, found: &mut Violations) -> Result<bool> {
    let (mut first, mut sorted) = (0, true);
    let mut last: Option<RecordBatch> = None;
    for batch in file.batches(READ_ROWS)? {
        let batch = batch?;
        let rows = Rows { contract, part, batch: &batch, first };
        rows.check_values(found);
        sorted &= rows.check_order(last.as_ref(), found);
        rows.check_geometry(found);
        if contract.name == LesionRow::TABLE {
            rows.check_classes(found);
        }
        first += batch.num_rows();
        if batch.num_rows() > 0 {
            last = Some(batch.slice(batch.num_rows() - 1, 1));
        }
    }
    Ok(sorted)
}

/// The part, if it is the file of its manifest and has the contract's columns, and once more to read its keys.
fn open(
    lake: &Lake,
    contract: &TableContract,
    part: &PartManifest,
    found: &mut Violations,
) -> Option<(File, PartFile)> {
    let table = contract.name.as_str();
    let mut wrong = |rule, column: Option<&str>, problem| {
        found.add(Location { column, ..Location::file(table, &part.file) }, rule, problem);
    };
    let path = lake.root().join(&part.file);
    let opened = lake.intact_file(part).and_then(|file| {
        let again = file.try_clone().map_err(|e| Error::io("read", &path, e))?;
        Ok((again, PartFile::of_file(file, &path)?))
    });
    let (again, file) = match opened {
        Ok(opened) => opened,
        Err(e) => {
            wrong("part", None, e.chain());
            return None;
        }
    };
    for (key, expected) in [("d2r.contract.id", &contract.id), ("d2r.contract.version", &contract.version)] {
        if file.metadata(key) != Some(expected.as_str()) {
            wrong("metadata", None, format!("{key} is {:?}, the contract says {expected}", file.metadata(key)));
        }
    }
    if file.rows() != part.rows {
        wrong("part", None, format!("{} rows, its manifest says {}", file.rows(), part.rows));
    }
    let schema = file.schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let mut sound = true;
    for column in &contract.columns {
        match schema.field_with_name(&column.name) {
            Err(_) => {
                sound = false;
                wrong("schema", Some(&column.name), "missing".into());
            }
            Ok(field) if *field.data_type() != column.column_type.arrow() => {
                sound = false;
                wrong(
                    "schema",
                    Some(&column.name),
                    format!("is {}, the contract says {}", field.data_type(), column.column_type.arrow()),
                );
            }
            Ok(_) => {}
        }
    }
    for name in names.iter().filter(|n| contract.column(n).is_none()) {
        wrong("schema", Some(name), "not in the contract".into());
    }
    sound.then_some((again, file))
}

/// A batch of a part's rows.
struct Rows<'a> {
    contract: &'a TableContract,
    part: &'a PartManifest,
    batch: &'a RecordBatch,
    /// Number in the file of the batch's first row.
    first: usize,
}

impl Rows<'_> {
    fn at<'b>(&'b self, row: usize, column: Option<&'b str>) -> Location<'b> {
        Location { column, ..Location::row(&self.contract.name, &self.part.file, self.first + row) }
    }

    /// Nulls, enumerations and ranges.
    fn check_values(&self, found: &mut Violations) {
        for column in &self.contract.columns {
            let Some(values) = self.batch.column_by_name(&column.name) else { continue };
            for row in 0..self.batch.num_rows() {
                let mut wrong = |rule, problem| found.add(self.at(row, Some(&column.name)), rule, problem);
                let number = match cell(values.as_ref(), row) {
                    Cell::Null if column.required => {
                        wrong("null", "null, but required".into());
                        continue;
                    }
                    Cell::Text(text) => {
                        if !column.values.is_empty() && !column.values.iter().any(|v| v == text) {
                            wrong("value", format!("`{text}` is none of {}", column.values.join(", ")));
                        }
                        continue;
                    }
                    Cell::Int(v) => v as f64,
                    Cell::Float(v) => v,
                    _ => continue,
                };
                let low = column.minimum.is_some_and(|m| number < m);
                let high = column.maximum.is_some_and(|m| number > m);
                if !number.is_finite() || low || high {
                    let end = |v: Option<f64>| v.map_or("any".to_owned(), |v| v.to_string());
                    let (least, most) = (end(column.minimum), end(column.maximum));
                    wrong("range", format!("{number} is outside {least} to {most}"));
                }
            }
        }
    }

    /// Ends lie above beginnings.
    fn check_geometry(&self, found: &mut Violations) {
        for (low, high) in [("x_min", "x_max"), ("y_min", "y_max"), ("char_start", "char_end")] {
            let (Some(a), Some(b)) = (self.batch.column_by_name(low), self.batch.column_by_name(high)) else {
                continue;
            };
            for row in 0..self.batch.num_rows() {
                let (a, b) = (cell(a.as_ref(), row), cell(b.as_ref(), row));
                if b.key_cmp(&a).is_le() {
                    found.add(self.at(row, Some(high)), "geometry", format!("{b} is not above `{low}`, {a}"));
                }
            }
        }
    }

    /// Class ids and names are those of the part's label set.
    fn check_classes(&self, found: &mut Violations) {
        let labels = self.part.labels();
        let column = |name| self.batch.column_by_name(name);
        let (Some(ids), Some(names)) = (column("class_id"), column("class_name")) else { return };
        for row in 0..self.batch.num_rows() {
            let (Cell::Int(id), Cell::Text(name)) = (cell(ids.as_ref(), row), cell(names.as_ref(), row)) else {
                continue;
            };
            let expected = i32::try_from(id).ok().and_then(|id| labels.class_name(id));
            if expected != Some(name) {
                let expected = expected.map_or("none".to_owned(), |name| format!("`{name}`"));
                let problem = format!("class {id} is `{name}`, in label set {labels} it is {expected}");
                found.add(self.at(row, Some("class_name")), "value", problem);
            }
        }
    }

    /// Whether the rows follow each other, and the row before them, in the order of the key.
    fn check_order(&self, before: Option<&RecordBatch>, found: &mut Violations) -> bool {
        let mut sorted = true;
        for row in 0..self.batch.num_rows() {
            let (batch, previous) = match (row, before) {
                (0, None) => continue,
                (0, Some(before)) => (before, 0),
                _ => (self.batch, row - 1),
            };
            if compare(&self.contract.key, batch, previous, self.batch, row).is_gt() {
                sorted = false;
                found.add(self.at(row, None), "order", "not in the order of its key".into());
            }
        }
        sorted
    }
}

/// Files under the table's folder that no manifest names.
fn check_owned(lake: &Lake, contract: &TableContract, found: &mut Violations) -> Result<()> {
    let root = lake.table_folder(&contract.name);
    let mut owned = Vec::new();
    for partition in lake.partitions(&contract.name)? {
        for file in lake.manifest_files(&contract.name, &partition)? {
            owned.extend(file.part.ok().map(|p| p.file));
        }
    }
    for dataset in list(&root)? {
        for split in list(&root.join(&dataset))? {
            let folder = root.join(&dataset).join(&split);
            for name in list(&folder)? {
                let file = lake.relative(&folder.join(&name));
                if !owned.contains(&file) {
                    let problem = "no manifest names it; delete it, or run its stage again".to_owned();
                    found.add(Location::file(&contract.name, &file), "unowned", problem);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Checks the files of a lake against their contracts: columns, types, nulls, values, ranges, order, keys, references,
//! geometry, digests, and files that no manifest names. Every violation names table, file, row and column.

pub mod consistency;
mod references;
pub mod violation;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use d2r_contracts::contract::{TableContract, contracts};
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;

use crate::error::Result;
use crate::lake::cell::{Cell, cell};
use crate::lake::manifest::PartManifest;
use crate::lake::partition::Partition;
use crate::lake::store::{Lake, list};
use crate::lake::validate::violation::{Location, Violation, Violations};

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
    let mut keys: BTreeMap<String, String> = BTreeMap::new();
    let Ok(parts) = lake.parts(&contract.name, partition) else { return Ok(()) };
    for part in parts {
        let Some(batch) = open(lake, contract, &part, found) else { continue };
        check_rows(contract, &part.file, &batch, found);
        if contract.name == LesionRow::TABLE {
            check_classes(&part, &batch, found);
        }
        for row in 0..batch.num_rows() {
            let key = key_text(contract, &batch, row);
            if let Some(other) = keys.insert(key.clone(), part.file.clone()) {
                let at = Location::row(&contract.name, &part.file, row);
                found.add(at, "key", format!("key {key} stands already in {other}"));
            }
        }
    }
    Ok(())
}

/// The part as one batch, if it is the file of its manifest and has the contract's columns.
fn open(lake: &Lake, contract: &TableContract, part: &PartManifest, found: &mut Violations) -> Option<RecordBatch> {
    let table = contract.name.as_str();
    let mut wrong = |rule, column: Option<&str>, problem| {
        found.add(Location { column, ..Location::file(table, &part.file) }, rule, problem);
    };
    let file = match lake.open_part(part) {
        Ok(file) => file,
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
    if !sound {
        return None;
    }
    let batches = match file.batches() {
        Ok(batches) => batches,
        Err(e) => {
            wrong("part", None, e.chain());
            return None;
        }
    };
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    arrow::compute::concat_batches(&schema, &batches).ok()
}

fn check_rows(contract: &TableContract, file: &str, batch: &RecordBatch, found: &mut Violations) {
    for column in &contract.columns {
        let Some(values) = batch.column_by_name(&column.name) else { continue };
        for row in 0..batch.num_rows() {
            let at = Location { column: Some(&column.name), ..Location::row(&contract.name, file, row) };
            let mut wrong = |rule, problem| found.add(at, rule, problem);
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
                wrong("range", format!("{number} is outside {} to {}", end(column.minimum), end(column.maximum)));
            }
        }
    }
    check_order(contract, file, batch, found);
    for (low, high) in [("x_min", "x_max"), ("y_min", "y_max"), ("char_start", "char_end")] {
        let (Some(a), Some(b)) = (batch.column_by_name(low), batch.column_by_name(high)) else { continue };
        for row in 0..batch.num_rows() {
            if cell(b.as_ref(), row).key_cmp(&cell(a.as_ref(), row)).is_le() {
                let problem = format!("{} is not above `{low}`, {}", cell(b.as_ref(), row), cell(a.as_ref(), row));
                let at = Location { column: Some(high), ..Location::row(&contract.name, file, row) };
                found.add(at, "geometry", problem);
            }
        }
    }
}

/// Class ids and names are those of the part's label set.
fn check_classes(part: &PartManifest, batch: &RecordBatch, found: &mut Violations) {
    let labels = part.labels();
    let (Some(ids), Some(names)) = (batch.column_by_name("class_id"), batch.column_by_name("class_name")) else {
        return;
    };
    for row in 0..batch.num_rows() {
        let (Cell::Int(id), Cell::Text(name)) = (cell(ids.as_ref(), row), cell(names.as_ref(), row)) else { continue };
        let expected = i32::try_from(id).ok().and_then(|id| labels.class_name(id));
        if expected != Some(name) {
            let expected = expected.map_or("none".to_owned(), |name| format!("`{name}`"));
            let problem = format!("class {id} is `{name}`, in label set {labels} it is {expected}");
            let at = Location { column: Some("class_name"), ..Location::row(&part.table, &part.file, row) };
            found.add(at, "value", problem);
        }
    }
}

fn check_order(contract: &TableContract, file: &str, batch: &RecordBatch, found: &mut Violations) {
    let columns: Vec<_> = contract.key.iter().filter_map(|k| batch.column_by_name(k)).collect();
    for row in 1..batch.num_rows() {
        let order = columns
            .iter()
            .map(|c| cell(c.as_ref(), row - 1).key_cmp(&cell(c.as_ref(), row)))
            .find(|o| o.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal);
        if order.is_gt() {
            found.add(Location::row(&contract.name, file, row), "order", "not in the order of its key".into());
        }
    }
}

fn key_text(contract: &TableContract, batch: &RecordBatch, row: usize) -> String {
    let values =
        contract.key.iter().filter_map(|k| Some(format!("{k}={}", cell(batch.column_by_name(k)?.as_ref(), row))));
    values.collect::<Vec<_>>().join(", ")
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

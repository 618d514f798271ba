//! Whether the tables of a partition fit together: all shards there, of one model, the tables of a stage of one run,
//! and boxes of one label set. Lakes of earlier versions, and files that were moved by hand, may be otherwise.

use std::collections::{BTreeMap, BTreeSet};

use d2r_contracts::contract::contracts;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;

use crate::error::{Error, Result};
use crate::lake::label_sets::mixture;
use crate::lake::manifest::PartManifest;
use crate::lake::partition::{Partition, is_history};
use crate::lake::store::Lake;
use crate::lake::validate::violation::{Location, Violations};

/// Refuses a partition whose tables do not fit together.
///
/// # Errors
/// [`Error::BadData`] naming table, stage and remedy.
pub fn check_partition(lake: &Lake, partition: &Partition) -> Result<()> {
    match mixtures(lake, partition)?.into_iter().next() {
        Some((table, _, problem)) => Err(Error::bad_data(format!("table {table} {partition}"), problem)),
        None => Ok(()),
    }
}

/// Adds a violation for everything in a lake that does not fit together.
pub(crate) fn check(lake: &Lake, tables: &[String], found: &mut Violations) -> Result<()> {
    let mut partitions = BTreeSet::new();
    for contract in contracts() {
        partitions.extend(lake.partitions(&contract.name)?);
    }
    for partition in partitions {
        for (table, rule, problem) in mixtures(lake, &partition)? {
            if tables.is_empty() || tables.contains(&table) {
                found.add(Location::file(&table, &partition.folder().to_string_lossy()), rule, problem);
            }
        }
    }
    Ok(())
}

/// Table, rule and problem of everything that does not fit together. Damaged manifests are found elsewhere.
fn mixtures(lake: &Lake, partition: &Partition) -> Result<Vec<(String, &'static str, String)>> {
    let mut found = Vec::new();
    let mut runs: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for contract in contracts() {
        let Ok(parts) = lake.parts(&contract.name, partition) else { continue };
        if contract.name == LesionRow::TABLE {
            found.extend(mixture(&parts).map(|problem| (contract.name.clone(), "label_set", problem)));
        }
        let mut producers: BTreeMap<&str, Vec<&PartManifest>> = BTreeMap::new();
        for part in &parts {
            producers.entry(&part.producer).or_default().push(part);
        }
        for (producer, parts) in producers {
            let models: BTreeSet<&str> = parts.iter().filter_map(|p| p.model_sha256.as_deref()).collect();
            if models.len() > 1 {
                let models: Vec<&str> = models.iter().map(|m| m.get(..12).unwrap_or(m)).collect();
                let problem =
                    format!("{producer} wrote it with the models {}; run all its shards again", models.join(", "));
                found.push((contract.name.clone(), "models", problem));
            }
            let count = parts.iter().map(|p| p.shard.count).max().unwrap_or(1);
            if let Some(index) = (0..count).find(|&i| !parts.iter().any(|p| p.shard.index == i)) {
                let problem = format!("shard {index}/{count} of {producer} is not there; run it, or all of them again");
                found.push((contract.name.clone(), "shard", problem));
            }
            if count == 1
                && !is_history(&contract.key)
                && let Some(part) = parts.first()
            {
                runs.entry(producer.to_owned()).or_default().insert(contract.name.clone(), part.run_id.clone());
            }
        }
    }
    for (producer, tables) in runs {
        let Some((first, run)) = tables.first_key_value() else { continue };
        for (table, other) in tables.iter().filter(|(_, other)| *other != run) {
            let problem = format!("is of the run {other} of {producer}, table {first} of {run}; run {producer} again");
            found.push((table.clone(), "run", problem));
        }
    }
    Ok(found)
}

//! Foreign keys across tables of one lake, as Polars anti-joins.

use d2r_contracts::contract::TableContract;
use polars::prelude::*;

use crate::error::Result;
use crate::lake::key_frame::polars_error;
use crate::lake::store::Lake;
use crate::lake::validate::violation::{Location, Violations};

/// Adds a violation for every row whose foreign key has no counterpart. A table that was never written holds no row,
/// so that every reference into it is broken.
pub(crate) fn check(lake: &Lake, contract: &TableContract, found: &mut Violations) -> Result<()> {
    let table = contract.name.as_str();
    let fail = |e: PolarsError| polars_error(table, &e);
    for key in &contract.foreign_keys {
        // A damaged part is reported by its own rule; there is nothing to join then.
        let Ok(Some(ours)) = lake.key_frame(table, &key.columns) else { continue };
        let names = |columns: &[String]| -> Vec<String> {
            ["dataset", "split"].into_iter().map(str::to_owned).chain(columns.iter().cloned()).collect()
        };
        let lost = match lake.key_frame(&key.table, &key.referenced) {
            Ok(Some(other)) => {
                let (left, right) = (names(&key.columns), names(&key.referenced));
                ours.join(&other, left, right, JoinArgs::new(JoinType::Anti), None).map_err(fail)?
            }
            Ok(None) => ours,
            Err(_) => continue,
        };
        let at = |name: &str, row: usize| -> Result<String> {
            Ok(lost.column(name).map_err(fail)?.get(row).map_err(fail)?.str_value().into_owned())
        };
        for row in 0..lost.height() {
            let place = format!("dataset={}/split={}", at("dataset", row)?, at("split", row)?);
            let mut values = Vec::new();
            for column in &key.columns {
                values.push(format!("{column}={}", at(column, row)?));
            }
            let problem = format!("{} is not in table {}", values.join(", "), key.table);
            let column = key.columns.last().map(String::as_str);
            found.add(Location { column, ..Location::file(table, &place) }, "reference", problem);
        }
    }
    Ok(())
}

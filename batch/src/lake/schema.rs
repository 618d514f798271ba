//! What the lake needs of a table's contract.

use d2r_contracts::contract::contracts;
use d2r_contracts::rows::Row;

use crate::error::{Error, Result};

/// A table's contract, as far as writing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contracted {
    /// The contract's id.
    pub id: String,
    /// Its version.
    pub version: String,
    /// Columns of the key.
    pub key: Vec<String>,
    /// Columns that are measurements: outside the content digest.
    pub measurements: Vec<String>,
}

/// The contract of a row's table.
///
/// # Errors
/// [`Error::Internal`] when there is none.
pub fn contracted<R: Row>() -> Result<Contracted> {
    let contract = contracts()
        .iter()
        .find(|c| c.name == R::TABLE)
        .ok_or_else(|| Error::Internal(format!("table {} has no contract", R::TABLE)))?;
    Ok(Contracted {
        id: contract.id.clone(),
        version: contract.version.clone(),
        key: R::KEY.iter().map(|k| (*k).to_owned()).collect(),
        measurements: contract.columns.iter().filter(|c| c.measurement).map(|c| c.name.clone()).collect(),
    })
}

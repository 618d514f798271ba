//! Columns of a table as a Polars data frame: exactly the parts that count, with `dataset` and `split` as columns.

use arrow::array::{Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use polars::prelude::*;

use crate::error::{Error, Result};
use crate::lake::store::Lake;

impl Lake {
    /// `dataset`, `split` and the named columns as text, over all partitions; `None` when nothing was written.
    ///
    /// # Errors
    /// [`Error::BadData`] when manifests or parts cannot be read or a part lacks a column.
    pub fn key_frame(&self, table: &str, columns: &[String]) -> Result<Option<DataFrame>> {
        let mut frame: Option<DataFrame> = None;
        for partition in self.partitions(table)? {
            for part in self.parts(table, &partition)? {
                let path = self.root().join(&part.file);
                for batch in self.open_part(&part)?.columns(columns)? {
                    let rows = batch.num_rows();
                    let whole = |name: &str, value: &str| Column::new(name.into(), vec![value; rows]);
                    let mut series = vec![whole("dataset", &partition.dataset), whole("split", &partition.split)];
                    for name in columns {
                        let values = text(batch.column_by_name(name), name)
                            .map_err(|problem| Error::bad_data(path.display(), problem))?;
                        series.push(Column::new(name.as_str().into(), values.iter().collect::<Vec<_>>()));
                    }
                    let batch = DataFrame::new(rows, series).map_err(|e| polars_error(table, &e))?;
                    match &mut frame {
                        Some(all) => drop(all.vstack_mut(&batch).map_err(|e| polars_error(table, &e))?),
                        None => frame = Some(batch),
                    }
                }
            }
        }
        Ok(frame)
    }
}

/// A column as text.
fn text(column: Option<&arrow::array::ArrayRef>, name: &str) -> std::result::Result<StringArray, String> {
    let column = column.ok_or_else(|| format!("column {name} is missing"))?;
    let column = cast(column, &DataType::Utf8).map_err(|e| format!("column {name}: {e}"))?;
    column.as_any().downcast_ref::<StringArray>().cloned().ok_or_else(|| format!("column {name} is no text"))
}

/// An error of Polars as an error about a table.
pub fn polars_error(table: &str, e: &PolarsError) -> Error {
    Error::bad_data(format!("table {table}"), e)
}

//! Tables as Polars lazy frames: exactly the parts that count, with `dataset` and `split` as columns.

use polars::prelude::*;

use crate::error::{Error, Result};
use crate::lake::store::Lake;

impl Lake {
    /// A table over all its partitions; `None` when nothing was written.
    ///
    /// # Errors
    /// When manifests or parts cannot be read.
    pub fn scan(&self, table: &str) -> Result<Option<LazyFrame>> {
        let mut frames = Vec::new();
        for partition in self.partitions(table)? {
            for part in self.parts(table, &partition)? {
                let path = self.root().join(&part.file);
                let path = PlRefPath::try_from_path(&path).map_err(|e| polars_error(table, &e))?;
                let args =
                    ScanArgsParquet { hive_options: HiveOptions::new_disabled(), glob: false, ..Default::default() };
                let frame = LazyFrame::scan_parquet(path, args).map_err(|e| polars_error(table, &e))?;
                frames.push(frame.with_columns([
                    lit(partition.dataset.clone()).alias("dataset"),
                    lit(partition.split.clone()).alias("split"),
                ]));
            }
        }
        if frames.is_empty() {
            return Ok(None);
        }
        concat(frames, UnionArgs::default()).map(Some).map_err(|e| polars_error(table, &e))
    }
}

/// Polars' refusal as an error about a table.
pub fn polars_error(table: &str, e: &PolarsError) -> Error {
    Error::bad_data(format!("table {table}"), e)
}

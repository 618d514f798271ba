//! Rows to a Parquet file: sorted, checked, deterministic, with the contract's identity in its metadata.

use std::cmp::Ordering;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, Float32Array, Float64Array, RecordBatch};
use arrow::compute::concat_batches;
use d2r_contracts::rows::Row;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::manifest::Provenance;
use super::schema::Contracted;
use crate::error::{Error, Result};

/// Rows per row group at most.
const ROW_GROUP: usize = 131_072;

/// Rows in key order as one batch.
///
/// # Errors
/// [`Error::BadData`] for two rows with one key, or a number that is not finite.
pub fn sorted_batch<R: Row>(mut rows: Vec<R>) -> Result<RecordBatch> {
    rows.sort_by(R::key_cmp);
    if let Some(i) = (1..rows.len()).find(|&i| rows[i - 1].key_cmp(&rows[i]) == Ordering::Equal) {
        let batch = R::to_batch(&rows[i..=i]);
        let key: Vec<String> = R::KEY.iter().map(|k| format!("{k}={}", super::digest::cell_text(&batch, k, 0))).collect();
        return Err(Error::bad_data(format!("table {}", R::TABLE), format!("two rows with key {}", key.join(", "))));
    }
    let batch = R::to_batch(&rows);
    check_finite::<R>(&batch)?;
    Ok(batch)
}

fn check_finite<R: Row>(batch: &RecordBatch) -> Result<()> {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        let any = column.as_any();
        let f32s = any.downcast_ref::<Float32Array>().map(|a| a.iter().position(|v| v.is_some_and(|v| !v.is_finite())));
        let f64s = any.downcast_ref::<Float64Array>().map(|a| a.iter().position(|v| v.is_some_and(|v| !v.is_finite())));
        if let Some(row) = f32s.flatten().or(f64s.flatten()) {
            let place = format!("table {}, column `{}`, row {row}", R::TABLE, field.name());
            return Err(Error::bad_data(place, "not a finite number"));
        }
    }
    Ok(())
}

/// Writes a batch as one Parquet file and reads it back.
///
/// # Errors
/// [`Error::Io`] when the disk refuses; [`Error::Internal`] when the file does not read back equal.
pub fn write_file(path: &Path, batch: &RecordBatch, contract: &Contracted, provenance: &Provenance) -> Result<()> {
    let mut metadata = vec![
        KeyValue::new("d2r.contract.id".into(), contract.id.clone()),
        KeyValue::new("d2r.contract.version".into(), contract.version.clone()),
        KeyValue::new("d2r.run.id".into(), provenance.run_id.clone()),
        KeyValue::new("d2r.code.version".into(), env!("CARGO_PKG_VERSION").to_owned()),
    ];
    if let Some(model) = &provenance.model_sha256 {
        metadata.push(KeyValue::new("d2r.model.sha256".into(), model.clone()));
    }
    let key = contract.key.iter().filter_map(|k| batch.schema().index_of(k).ok());
    let sorting = key.map(|i| SortingColumn { column_idx: i as i32, descending: false, nulls_first: true }).collect();
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(|e| Error::Internal(e.to_string()))?))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_sorting_columns(Some(sorting))
        .set_key_value_metadata(Some(metadata))
        .build();
    let file = File::create(path).map_err(|e| Error::io("create", path, e))?;
    let fail = |e: parquet::errors::ParquetError| parquet_error("write", path, e);
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).map_err(fail)?;
    writer.write(batch).map_err(fail)?;
    let file = writer.into_inner().map_err(fail)?;
    file.sync_all().map_err(|e| Error::io("write", path, e))?;
    if read_file(path)? != *batch {
        return Err(Error::Internal(format!("{} does not read back equal", path.display())));
    }
    Ok(())
}

/// Reads a Parquet file whole.
///
/// # Errors
/// [`Error::BadData`] for a file that is no Parquet or is damaged.
pub fn read_file(path: &Path) -> Result<RecordBatch> {
    let file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    let fail = |e: parquet::errors::ParquetError| parquet_error("read", path, e);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(fail)?;
    // The file's own metadata is no part of the rows.
    let schema = Arc::new(arrow::datatypes::Schema::new(builder.schema().fields().clone()));
    let reader = builder.build().map_err(fail)?;
    let mut batches = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|e| Error::bad_data(path.display(), e))?;
        batches.push(batch.with_schema(Arc::clone(&schema)).map_err(|e| Error::bad_data(path.display(), e))?);
    }
    concat_batches(&schema, &batches).map_err(|e| Error::bad_data(path.display(), e))
}

/// Parquet's errors hide those of the disk.
fn parquet_error(action: &'static str, path: &Path, e: parquet::errors::ParquetError) -> Error {
    let text = e.to_string();
    if let parquet::errors::ParquetError::External(inner) = e
        && let Ok(io) = inner.downcast::<std::io::Error>()
    {
        return Error::io(action, path, *io);
    }
    Error::bad_data(path.display(), format!("cannot {action} Parquet: {text}"))
}

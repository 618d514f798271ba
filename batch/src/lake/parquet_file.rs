//! Rows to Parquet files and back: ZSTD, statistics, page index, sorted by key, identity in the metadata.
//! The same rows and identity give the same bytes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use d2r_contracts::contract::TableContract;
use d2r_contracts::rows::Row;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::{Error, Result};
use crate::lake::digest::sha256_of;
use crate::lake::fresh;

/// Rows in a row group at most; small groups let readers work in parallel.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Rows per batch of the conversion into columns.
const BATCH_ROWS: usize = 16 * 1024;

/// File-level metadata of every part, in the order in which it is written.
pub fn metadata_keys() -> [&'static str; 7] {
    [
        "d2r.contract.id",
        "d2r.contract.version",
        "d2r.run.id",
        "d2r.code.version",
        "d2r.model.sha256",
        "d2r.producer",
        "d2r.shard",
    ]
}

/// Rows as the bytes of a Parquet file; `each` is called with every batch.
///
/// # Errors
/// [`Error::Internal`]: valid rows can always be encoded.
pub fn encode<R: Row>(
    rows: &[R],
    contract: &TableContract,
    metadata: &[(&str, String)],
    mut each: impl FnMut(&RecordBatch, usize) -> Result<()>,
) -> Result<Vec<u8>> {
    let failed = |e: parquet::errors::ParquetError| Error::Internal(format!("encode table {}: {e}", R::TABLE));
    let mut writer =
        ArrowWriter::try_new(Vec::new(), R::schema(), Some(properties(contract, metadata)?)).map_err(failed)?;
    for (chunk, first) in rows.chunks(BATCH_ROWS).zip((0..).step_by(BATCH_ROWS)) {
        let batch = R::to_batch(chunk);
        each(&batch, first)?;
        writer.write(&batch).map_err(failed)?;
    }
    writer.into_inner().map_err(failed)
}

fn properties(contract: &TableContract, metadata: &[(&str, String)]) -> Result<WriterProperties> {
    let level = ZstdLevel::try_new(3).map_err(|e| Error::Internal(format!("zstd level 3: {e}")))?;
    let sorting = contract.key.iter().filter_map(|key| contract.columns.iter().position(|c| c.name == *key));
    let sorting =
        sorting.map(|index| SortingColumn { column_idx: index as i32, descending: false, nulls_first: true }).collect();
    let metadata = metadata.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(Some(sorting))
        .set_key_value_metadata(Some(metadata));
    for column in contract.columns.iter().filter(|c| c.restricted) {
        // Free text hardly repeats.
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(column.name.as_str()), false);
    }
    Ok(properties.build())
}

/// A part that was opened and whose bytes are those of its manifest.
#[derive(Debug)]
pub struct PartFile {
    builder: ParquetRecordBatchReaderBuilder<File>,
    name: String,
}

impl PartFile {
    /// Opens a file; with `expected` (bytes, sha256) it must have that size and digest.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file when its digest differs from the manifest's or it is not Parquet.
    pub fn open(path: &Path, expected: Option<(u64, &str)>) -> Result<Self> {
        let io = |e| Error::io("read", path, e);
        let mut file = fresh::look(path, |p| File::open(p)).map_err(io)?;
        if let Some((bytes, sha256)) = expected {
            let found = sha256_of(&mut file).map_err(io)?;
            if found != (bytes, sha256.to_owned()) {
                let problem = format!(
                    "{} bytes with digest {}, its manifest says {bytes} with {sha256}; run the stage again",
                    found.0, found.1
                );
                return Err(Error::bad_data(path.display(), problem));
            }
            file.seek(SeekFrom::Start(0)).map_err(io)?;
        }
        let name = path.display().to_string();
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|e| Error::bad_data(&name, format!("not a Parquet file: {e}")))?;
        Ok(Self { builder, name })
    }

    /// Rows by the footer.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    pub fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.builder.schema().clone()
    }

    /// A value of the file-level metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let pairs = self.builder.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.as_deref())
    }

    /// The columns that the first row group declares as sorted; `None` without row groups.
    pub fn sorting_columns(&self) -> Option<Vec<usize>> {
        let group = self.builder.metadata().row_groups().first()?;
        Some(group.sorting_columns().map(|s| s.iter().map(|c| c.column_idx as usize).collect()).unwrap_or_default())
    }

    /// All batches in file order.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file.
    pub fn batches(self) -> Result<Vec<RecordBatch>> {
        let name = self.name;
        let wrong = |e: String| Error::bad_data(&name, format!("cannot be decoded: {e}"));
        let reader = self.builder.with_batch_size(BATCH_ROWS).build().map_err(|e| wrong(e.to_string()))?;
        reader.map(|batch| batch.map_err(|e| wrong(e.to_string()))).collect()
    }

    /// Batches of the named top-level columns only, in file order; a column that the file lacks is left out.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file.
    pub fn columns(mut self, names: &[String]) -> Result<Vec<RecordBatch>> {
        let mask = ProjectionMask::columns(self.builder.parquet_schema(), names.iter().map(String::as_str));
        self.builder = self.builder.with_projection(mask);
        self.batches()
    }

    /// All rows in file order.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file and the column when the columns are not the table's.
    pub fn read<R: Row>(self) -> Result<Vec<R>> {
        let name = self.name.clone();
        let mut rows = Vec::new();
        for batch in self.batches()? {
            rows.extend(R::from_batch(&batch).map_err(|e| Error::bad_data(&name, e))?);
        }
        Ok(rows)
    }
}

/// Writes bytes; an I/O error keeps its kind, so that a full disk is not taken for a defect.
pub(crate) fn write_bytes<'a>(bytes: &'a [u8], path: &'a Path) -> impl FnOnce(&mut dyn Write) -> Result<()> + 'a {
    move |writer| writer.write_all(bytes).map_err(|e| Error::io("write", path, e))
}

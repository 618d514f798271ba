//! Rows to Parquet files and back: ZSTD, statistics, page index, sorted by key, identity in the metadata.
//! The same rows and identity give the same bytes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use d2r_contracts::contract::TableContract;
use d2r_contracts::rows::Row;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, RowGroupMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::statistics::Statistics;
use parquet::schema::types::ColumnPath;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lake::digest::{hex, sha256_of};
use crate::lake::fresh;

/// Rows in a row group at most; small groups let readers work in parallel.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Rows per batch of the conversion into columns.
pub(crate) const BATCH_ROWS: usize = 16 * 1024;

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

/// Writes rows as a Parquet file, a row group at a time, to a writer whose path messages name; `each` is called with every
/// batch and the number of its first row. Returns what was written.
///
/// # Errors
/// Those of `rows`, of `each` and of writing; [`Error::Internal`]: valid rows can always be encoded.
pub fn encode<R: Row>(
    rows: impl Iterator<Item = Result<R>>,
    contract: &TableContract,
    metadata: &[(&str, String)],
    (path, to): (&Path, &mut (dyn Write + Send)),
    mut each: impl FnMut(&RecordBatch, usize) -> Result<()>,
) -> Result<Encoded> {
    let mut hashed = HashedWriter { to, hasher: Sha256::new(), bytes: 0, failed: None };
    let mut written = 0;
    let encoding = (|| -> Result<()> {
        let failed = |e: ParquetError| Error::Internal(format!("encode table {}: {e}", R::TABLE));
        let properties = properties(contract, metadata)?;
        let mut writer = ArrowWriter::try_new(&mut hashed, R::schema(), Some(properties)).map_err(failed)?;
        let mut chunk: Vec<R> = Vec::new();
        let mut rows = rows.fuse();
        loop {
            for row in rows.by_ref().take(BATCH_ROWS) {
                chunk.push(row?);
            }
            if chunk.is_empty() {
                break;
            }
            let batch = R::to_batch(&chunk);
            each(&batch, written)?;
            writer.write(&batch).map_err(failed)?;
            written += chunk.len();
            chunk.clear();
        }
        writer.finish().map_err(failed).map(|_| ())
    })();
    match (hashed.failed.take(), encoding) {
        // An I/O error keeps its kind, so that a full disk is not taken for a defect.
        (Some(e), Err(_)) => Err(Error::io("write", path, e)),
        (_, Err(e)) => Err(e),
        (_, Ok(())) => {
            let sha256 = hex(&hashed.hasher.finalize());
            Ok(Encoded { rows: written as u64, bytes: hashed.bytes, sha256 })
        }
    }
}

/// Size and digest of a written Parquet file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    pub rows: u64,
    pub bytes: u64,
    /// Digest of its bytes, hexadecimal.
    pub sha256: String,
}

/// Passes bytes on and takes their digest; keeps the error that ended it.
struct HashedWriter<'a> {
    to: &'a mut (dyn Write + Send),
    hasher: Sha256,
    bytes: u64,
    failed: Option<std::io::Error>,
}

impl HashedWriter<'_> {
    fn keep<T>(&mut self, result: std::io::Result<T>) -> std::io::Result<T> {
        result.map_err(|e| {
            let kind = e.kind();
            self.failed.get_or_insert(e);
            kind.into()
        })
    }
}

impl Write for HashedWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes);
        let written = self.keep(written)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let flushed = self.to.flush();
        self.keep(flushed)
    }
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
        Self::of_file(Self::intact(path, expected)?, path)
    }

    /// The file itself, whatever becomes of its name.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file when its digest differs from the expected one.
    pub(crate) fn intact(path: &Path, expected: Option<(u64, &str)>) -> Result<File> {
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
        Ok(file)
    }

    /// A file that is open already; `path` names it in messages.
    ///
    /// # Errors
    /// [`Error::BadData`] when it is not Parquet.
    pub(crate) fn of_file(file: File, path: &Path) -> Result<Self> {
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

    /// All batches in file order, at most `rows` rows in each, read as they are asked for.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file.
    pub fn batches(self, rows: usize) -> Result<Batches> {
        let name = self.name;
        match self.builder.with_batch_size(rows).build() {
            Ok(reader) => Ok(Batches { reader, name }),
            Err(e) => Err(Error::bad_data(&name, format!("cannot be decoded: {e}"))),
        }
    }

    /// Only the named top-level columns; a column that the file lacks is left out.
    pub fn columns(mut self, names: &[impl AsRef<str>]) -> Self {
        let mask = ProjectionMask::columns(self.builder.parquet_schema(), names.iter().map(AsRef::as_ref));
        self.builder = self.builder.with_projection(mask);
        self
    }

    /// Only the rows from number `first` on, counted from 0, and at most `count` of them.
    pub fn rows_from(mut self, first: u64, count: u64) -> Self {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        self.builder = self.builder.with_offset(number(first)).with_limit(number(count));
        self
    }

    /// Only the row groups from the first one on that may hold a text of `least` or above in `column`, by their statistics.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file when it has no such column.
    pub fn groups_from(mut self, column: &str, least: &str) -> Result<Self> {
        let Some(index) = self.builder.parquet_schema().columns().iter().position(|c| c.path().string() == column)
        else {
            return Err(Error::bad_data(&self.name, format!("column {column} is missing")));
        };
        let groups = self.builder.metadata().row_groups();
        let below = |group: &&RowGroupMetaData| match group.column(index).statistics() {
            // A greatest value that is cut short was rounded upwards.
            Some(Statistics::ByteArray(bounds)) => bounds.max_opt().is_some_and(|most| most.data() < least.as_bytes()),
            _ => false,
        };
        let first = groups.iter().take_while(below).count();
        let wanted = (first..groups.len()).collect();
        self.builder = self.builder.with_row_groups(wanted);
        Ok(self)
    }

    /// All rows in file order.
    ///
    /// # Errors
    /// [`Error::BadData`] naming the file and the column when the columns are not the table's.
    pub fn read<R: Row>(self) -> Result<Vec<R>> {
        let name = self.name.clone();
        let mut rows = Vec::new();
        for batch in self.batches(BATCH_ROWS)? {
            rows.extend(R::from_batch(&batch?).map_err(|e| Error::bad_data(&name, e))?);
        }
        Ok(rows)
    }
}

/// The batches of a part; errors name the file.
#[derive(Debug)]
pub struct Batches {
    reader: ParquetRecordBatchReader,
    name: String,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|e| Error::bad_data(&self.name, format!("cannot be decoded: {e}"))))
    }
}

/// Writes bytes; an I/O error keeps its kind, so that a full disk is not taken for a defect.
pub(crate) fn write_bytes<'a>(bytes: &'a [u8], path: &'a Path) -> impl FnOnce(&mut dyn Write) -> Result<()> + 'a {
    move |writer| writer.write_all(bytes).map_err(|e| Error::io("write", path, e))
}

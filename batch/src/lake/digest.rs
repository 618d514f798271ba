//! SHA-256 as lower-case hexadecimal: of bytes, of files, of rows.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The digest of bytes.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The digest of a file's bytes, read in pieces.
///
/// # Errors
/// When the file cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io("read", path, e))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let n = file.read(&mut buffer).map_err(|e| Error::io("read", path, e))?;
        if n == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The digest of a batch's rows without `left_out` columns; independent of how a file encodes them.
pub fn content_digest(batch: &RecordBatch, left_out: &[String]) -> String {
    let mut hasher = Sha256::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if left_out.contains(field.name()) {
            continue;
        }
        hasher.update(field.name().as_bytes());
        hasher.update([0]);
        for row in 0..column.len() {
            hash_cell(&mut hasher, column.as_ref(), row);
        }
    }
    hasher.update((batch.num_rows() as u64).to_le_bytes());
    hex(&hasher.finalize())
}

/// One cell: a mark for null or a value, and the value's bytes.
fn hash_cell(hasher: &mut Sha256, column: &dyn Array, row: usize) {
    if column.is_null(row) {
        hasher.update([0]);
        return;
    }
    hasher.update([1]);
    match column.data_type() {
        DataType::Utf8 => {
            let text = column.as_string::<i32>().value(row);
            hasher.update((text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        DataType::Boolean => hasher.update([u8::from(column.as_boolean().value(row))]),
        DataType::Int32 => hasher.update(column.as_primitive::<Int32Type>().value(row).to_le_bytes()),
        DataType::Int64 => hasher.update(column.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        DataType::Float32 => hasher.update(column.as_primitive::<Float32Type>().value(row).to_le_bytes()),
        DataType::Float64 => hasher.update(column.as_primitive::<Float64Type>().value(row).to_le_bytes()),
        // Cells have no other types (see `d2r_contracts::rows::Cell`).
        other => hasher.update(other.to_string().as_bytes()),
    }
}

/// A cell as text, for messages about keys.
pub fn cell_text(batch: &RecordBatch, column: &str, row: usize) -> String {
    let Some(column) = batch.column_by_name(column) else { return "?".into() };
    arrow::util::display::array_value_to_string(column, row).unwrap_or_else(|_| "?".into())
}

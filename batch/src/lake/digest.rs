//! SHA-256 of bytes, files and table content.
//!
//! The content digest of a part covers its rows in key order without the columns that the contract marks as
//! measurements. It depends on values and column types only, never on how a file encodes them.

use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use d2r_contracts::contract::TableContract;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lake::cell::{Cell, cell};

/// A file and its content's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    pub path: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// Digest of its bytes, hexadecimal.
    pub sha256: String,
}

/// SHA-256 of bytes, 64 hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

/// Size and SHA-256 of what a reader yields.
///
/// # Errors
/// The reader's.
pub fn sha256_of(reader: &mut dyn Read) -> std::io::Result<(u64, String)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut bytes = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex(&hasher.finalize()))),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                bytes += n as u64;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// SHA-256 of a file, 64 hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_file(path: &Path) -> Result<String> {
    Ok(file_digest(path)?.sha256)
}

/// Size and SHA-256 of a file.
///
/// # Errors
/// When it cannot be read.
pub fn file_digest(path: &Path) -> Result<FileDigest> {
    let mut file = std::fs::File::open(path).map_err(|e| Error::io("read", path, e))?;
    let (bytes, sha256) = sha256_of(&mut file).map_err(|e| Error::io("read", path, e))?;
    Ok(FileDigest { path: path.to_path_buf(), bytes, sha256 })
}

/// The digest of a table's rows, taken batch by batch.
pub struct ContentDigest {
    hasher: Sha256,
    columns: Vec<usize>,
}

impl ContentDigest {
    /// An empty digest of a table's rows.
    pub fn new(contract: &TableContract) -> Self {
        let mut hasher = Sha256::new();
        let mut columns = Vec::new();
        write_text(&mut hasher, &contract.name);
        for (index, column) in contract.columns.iter().enumerate().filter(|(_, c)| !c.measurement) {
            write_text(&mut hasher, &column.name);
            write_text(&mut hasher, column.column_type.logical());
            columns.push(index);
        }
        Self { hasher, columns }
    }

    /// Adds a batch whose columns are the contract's.
    pub fn update(&mut self, batch: &RecordBatch) {
        for row in 0..batch.num_rows() {
            for &column in &self.columns {
                write_cell(&mut self.hasher, cell(batch.column(column), row));
            }
        }
    }

    /// The digest, 64 hexadecimal digits.
    pub fn finish(self) -> String {
        hex(&self.hasher.finalize())
    }
}

/// Adds a value; values of different types differ, and a text does not run into the next one.
pub(crate) fn write_cell(hasher: &mut Sha256, value: Cell<'_>) {
    match value {
        Cell::Null => hasher.update([0]),
        Cell::Text(text) => {
            hasher.update([1]);
            write_text(hasher, text);
        }
        Cell::Bool(value) => hasher.update([2, u8::from(value)]),
        Cell::Int(value) => {
            hasher.update([3]);
            hasher.update(value.to_le_bytes());
        }
        Cell::Float(value) => {
            hasher.update([4]);
            hasher.update(value.to_bits().to_le_bytes());
        }
        Cell::Other => hasher.update([5]),
    }
}

// The length first: ("ab", "c") and ("a", "bc") differ.
fn write_text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_empty_string_has_its_known_digest() {
        assert_eq!(sha256_hex(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(sha256_of(&mut &b"abc"[..]).unwrap(), (3, sha256_hex(b"abc")));
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = sha256_file(Path::new("no/such/file")).unwrap_err();
        assert!(matches!(error, Error::InputMissing { ref path, .. } if path.ends_with("no/such/file")), "{error}");
    }
}

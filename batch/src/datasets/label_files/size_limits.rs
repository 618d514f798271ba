//! How much of a label file is read. A file is bounded before it is held in memory, so that a small gzip file, or a
//! quote that is never closed, is an error and not gigabytes.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};

/// Bytes of a JSON file, which is held in memory whole.
pub const JSON_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a list with a name in each line.
pub const LIST_BYTES_MAX: u64 = 1 << 28;
/// Bytes of a file with one report.
pub const REPORT_FILE_BYTES_MAX: u64 = 1 << 20;
/// Characters of a report's text: some three thousand words.
pub const REPORT_CHARS_MAX: usize = 20_000;
/// Bytes of a csv file, unpacked.
pub const CSV_BYTES_MAX: u64 = 4 << 30;
/// Bytes of one record of a csv file, which may hold a report.
pub const CSV_RECORD_BYTES_MAX: u64 = 1 << 20;
/// Records of a csv file; MIMIC-CXR lists 377,110 images.
pub const CSV_RECORDS_MAX: u64 = 10_000_000;

/// A file's bytes; `None` when there are more than `most`.
///
/// # Errors
/// Those of the file system.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

/// A file's bytes, when there are not more than `most`.
///
/// # Errors
/// [`Error::InputMissing`] without the file, [`Error::BadData`] when it is larger, [`Error::Io`] when it cannot be read.
pub fn read_file(path: &Path, most: u64) -> Result<Vec<u8>> {
    let too_large = || Error::bad_data(path.display(), format!("more than {most} bytes, the most that are read"));
    read_at_most(path, most).map_err(|e| Error::io("read", path, e))?.ok_or_else(too_large)
}

/// Most bytes of a csv file, in one record and in all.
#[derive(Debug, Clone, Copy)]
pub struct CsvLimits {
    pub record: u64,
    pub all: u64,
}

impl CsvLimits {
    /// Of label files.
    pub const LABELS: Self = Self { record: CSV_RECORD_BYTES_MAX, all: CSV_BYTES_MAX };
}

/// Bytes of a csv file on their way to the parser: they end with an error after too many in all, or in one record.
pub struct BoundedCsv<R> {
    inner: R,
    limits: CsvLimits,
    read: u64,
    consumed: Rc<Cell<u64>>,
}

impl<R> BoundedCsv<R> {
    /// The reader, and the cell in which the caller sets after each record how many bytes the parser has used.
    pub fn new(inner: R, limits: CsvLimits) -> (Self, Rc<Cell<u64>>) {
        let consumed = Rc::new(Cell::new(0));
        (Self { inner, limits, read: 0, consumed: Rc::clone(&consumed) }, consumed)
    }
}

impl<R: Read> Read for BoundedCsv<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let too_large = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let CsvLimits { record, all } = self.limits;
        if self.read - self.consumed.get().min(self.read) > record {
            return too_large(format!("a record has more than {record} bytes; is a quotation mark not closed?"));
        }
        if self.read > all {
            return too_large(format!("it has more than {all} bytes, the most that are read; split it"));
        }
        let n = self.inner.read(buffer)?;
        self.read += n as u64;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csv_ends_with_an_error_beyond_either_limit() {
        // Reads in steps of 4 bytes, of which the parser uses all but those of the last `held` steps.
        let read = |held: u64, limits: CsvLimits| -> Result<u64, String> {
            let (mut bounded, consumed) = BoundedCsv::new(&[0u8; 64][..], limits);
            let mut all = 0;
            loop {
                match bounded.read(&mut [0; 4]).map_err(|e| e.to_string())? {
                    0 => return Ok(all),
                    n => all += n as u64,
                }
                consumed.set(all.saturating_sub(4 * held));
            }
        };
        assert_eq!(read(1, CsvLimits { record: 8, all: 64 }), Ok(64));
        assert!(read(3, CsvLimits { record: 8, all: 64 }).unwrap_err().contains("a record has more than 8 bytes"));
        assert!(read(1, CsvLimits { record: 8, all: 60 }).unwrap_err().contains("more than 60 bytes"));
    }

    #[test]
    fn a_file_is_read_up_to_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("list.txt");
        std::fs::write(&path, b"four").unwrap();
        assert_eq!(read_file(&path, 4).unwrap(), b"four");
        assert_eq!(read_file(&path, 3).unwrap_err().exit().code(), 65);
        assert_eq!(read_file(&dir.path().join("none"), 3).unwrap_err().exit().code(), 66);
        // A device has no size that could be asked before.
        assert_eq!(read_file(Path::new("/dev/zero"), 1000).unwrap_err().exit().code(), 65);
    }
}

//! Tables of the phantom's layouts as bytes: csv with line feeds, gzip without a time in its header.

use std::io::Write;

use flate2::{Compression, GzBuilder};

use crate::error::{Error, Result};

/// A csv file.
///
/// # Errors
/// [`Error::Internal`] for a row of another length than the header.
pub fn csv(header: &[&str], rows: &[Vec<String>]) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |e: csv::Error| Error::Internal(format!("csv table of the phantom: {e}"));
    writer.write_record(header).map_err(failed)?;
    for row in rows {
        writer.write_record(row).map_err(failed)?;
    }
    writer.into_inner().map_err(|e| Error::Internal(format!("csv table of the phantom: {e}")))
}

/// The same bytes in a gzip file whose bytes depend on nothing else.
///
/// # Errors
/// [`Error::Internal`] when compression fails.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().mtime(0).write(Vec::new(), Compression::default());
    let failed = |e: std::io::Error| Error::Internal(format!("gzip table of the phantom: {e}"));
    encoder.write_all(bytes).map_err(failed)?;
    encoder.finish().map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn gzip_carries_no_time_and_reads_back() {
        let table = csv(&["a", "b"], &[vec!["1".into(), "x, y".into()]]).unwrap();
        assert_eq!(table, b"a,b\n1,\"x, y\"\n");
        let packed = gzip(&table).unwrap();
        assert_eq!(&packed[4..8], [0; 4], "the header's time");
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, table);
    }

    #[test]
    fn a_short_row_is_our_mistake() {
        assert!(csv(&["a", "b"], &[vec!["1".into()]]).is_err());
    }
}

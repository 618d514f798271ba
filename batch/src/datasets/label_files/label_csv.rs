//! Label files: csv or csv.gz, read by column name, row after row, each row with its line number.
//! What is wrong with one row concerns that row; what is wrong with the file (no header, a missing column, a truncated
//! gzip stream) is an error.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use csv::ByteRecord;
use flate2::bufread::MultiGzDecoder;

use crate::datasets::label_files::size_limits::{BoundedCsv, CSV_RECORDS_MAX, CsvLimits, LIST_BYTES_MAX};
use crate::datasets::label_files::text_encoding::utf8;
use crate::error::{Error, Result};
use crate::exit::Exit;

/// An open label file.
pub struct LabelCsv {
    path: PathBuf,
    columns: BTreeMap<String, usize>,
    /// Of the columns, in their order, lower case.
    names: Vec<String>,
    /// Added to the parser's line numbers: between CR and LF it counts the line as not ended yet.
    line_offset: u64,
    /// Bytes that the parser has used, for the limit on a record.
    consumed: Rc<Cell<u64>>,
    reader: csv::Reader<BoundedCsv<Box<dyn BufRead>>>,
}

/// A row's place and fields.
#[derive(Debug, Clone)]
pub struct CsvRow {
    /// Line in the (uncompressed) file, from 1; the header is line 1.
    pub line: u64,
    fields: Vec<String>,
}

/// A row that cannot be read at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// Line in the file.
    pub line: u64,
    /// Code for the `failures` table.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// A column's place, for [`CsvRow::get`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column(usize);

impl Column {
    /// The column `n` places to the right.
    pub fn right(self, n: usize) -> Self {
        Self(self.0 + n)
    }
}

impl CsvRow {
    /// The field in a column, without surrounding blanks; empty when the row ends before it.
    pub fn get(&self, column: Column) -> &str {
        self.fields.get(column.0).map_or("", |f| f.trim())
    }

    /// The field of a column that the file may lack.
    pub fn get_optional(&self, column: Option<Column>) -> &str {
        column.map_or("", |c| self.get(c))
    }
}

impl LabelCsv {
    /// Opens a csv file; gzip is recognised by content, so are semicolons or tabs between the fields and UTF-16.
    /// Header names are matched whatever their case; a byte order mark is skipped.
    ///
    /// # Errors
    /// [`Error::InputMissing`] without the file, [`Error::BadData`] without a header.
    pub fn open(path: &Path) -> Result<Self> {
        let mut source = plain_text(path)?;
        let start = source.fill_buf().map_err(|e| broken(path, e.into()))?;
        let delimiter = delimiter(start);
        let (source, consumed) = BoundedCsv::new(source, CsvLimits::LABELS);
        let mut reader =
            csv::ReaderBuilder::new().flexible(true).has_headers(true).delimiter(delimiter).from_reader(source);
        let header = reader.byte_headers().map_err(|e| broken(path, e))?.clone();
        let mut columns = BTreeMap::new();
        let mut names = Vec::with_capacity(header.len());
        for (i, name) in header.iter().enumerate() {
            let name = String::from_utf8_lossy(name);
            let name = name.trim_start_matches('\u{feff}').trim().trim_matches('"').to_ascii_lowercase();
            columns.entry(name.clone()).or_insert(i);
            names.push(name);
        }
        if columns.keys().all(String::is_empty) {
            return Err(Error::bad_data(path.display(), "the file is empty; download it again"));
        }
        let line_offset = u64::from(reader.position().line() == 1);
        consumed.set(reader.position().byte());
        Ok(Self { path: path.to_path_buf(), columns, names, line_offset, consumed, reader })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A column that must be there.
    ///
    /// # Errors
    /// [`Error::BadData`] that names the columns which are there.
    pub fn column(&self, name: &str) -> Result<Column> {
        self.optional(name).ok_or_else(|| {
            let present = self.columns.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Error::bad_data(
                self.path.display(),
                format!("column `{name}` is missing (the header has: {present}); is this the right file?"),
            )
        })
    }

    /// A column that may be missing.
    pub fn optional(&self, name: &str) -> Option<Column> {
        self.columns.get(&name.to_ascii_lowercase()).map(|&i| Column(i))
    }

    /// The first column whose name begins with `prefix`, for headers whose name spreads over several columns
    /// (`Bbox [x,y,w,h],,,`).
    pub fn beginning_with(&self, prefix: &str) -> Option<Column> {
        let prefix = prefix.to_ascii_lowercase();
        self.names.iter().position(|name| name.starts_with(&prefix)).map(Column)
    }

    /// The first of several names that a column may have.
    pub fn any_of(&self, names: &[&str]) -> Option<Column> {
        names.iter().find_map(|name| self.optional(name))
    }

    /// Calls `each` for every row, readable or not. Rows without any content are left out, and so are empty fields
    /// beyond the last named column.
    ///
    /// # Errors
    /// When the file ends in the middle of its gzip stream or cannot be read on.
    pub fn for_each(self, each: impl FnMut(Result<CsvRow, BadRow>)) -> Result<()> {
        self.for_each_of(CSV_RECORDS_MAX, each)
    }

    fn for_each_of(mut self, most: u64, mut each: impl FnMut(Result<CsvRow, BadRow>)) -> Result<()> {
        let expected = self.names.len();
        let named = self.names.iter().rposition(|name| !name.is_empty()).map_or(0, |i| i + 1);
        let mut record = ByteRecord::new();
        let mut n_records = 0;
        while self.reader.read_byte_record(&mut record).map_err(|e| self.broken_at(e))? {
            self.consumed.set(self.reader.position().byte());
            n_records += 1;
            if n_records > most {
                let problem = format!("more than {most} rows, the most that are read; split the dataset");
                return Err(Error::bad_data(self.path.display(), problem));
            }
            let line = record.position().map_or(0, csv::Position::line) + self.line_offset;
            let blank = |field: &[u8]| field.iter().all(u8::is_ascii_whitespace);
            if record.iter().all(blank) {
                continue;
            }
            let too_long = record.iter().skip(expected).any(|field| !blank(field));
            if record.len() < named || too_long {
                let message =
                    format!("{} fields where the header has {expected}; repair or remove the line", record.len());
                each(Err(BadRow { line, code: "wrong_field_count", message }));
                continue;
            }
            let fields: Result<Vec<String>, _> = record.iter().map(|f| String::from_utf8(f.to_vec())).collect();
            each(fields.map(|fields| CsvRow { line, fields }).map_err(|_| BadRow {
                line,
                code: "not_utf8",
                message: "not UTF-8 text; save the file as UTF-8".into(),
            }));
        }
        Ok(())
    }

    /// [`broken`], with the line up to which the file was read.
    fn broken_at(&self, error: csv::Error) -> Error {
        let line = self.reader.position().line();
        match broken(&self.path, error) {
            Error::BadData { place, problem } => {
                Error::BadData { place: format!("{place}, from line {line}"), problem }
            }
            other => other,
        }
    }
}

/// A file's text: unpacked, without a byte order mark, UTF-16 as UTF-8.
fn plain_text(path: &Path) -> Result<Box<dyn BufRead>> {
    let mut file = BufReader::new(File::open(path).map_err(|e| Error::io("read", path, e))?);
    let gzip = file.fill_buf().map_err(|e| Error::io("read", path, e))?.starts_with(&[0x1f, 0x8b]);
    let mut text: Box<dyn BufRead> =
        if gzip { Box::new(BufReader::new(MultiGzDecoder::new(file))) } else { Box::new(file) };
    let start = text.fill_buf().map_err(|e| broken(path, e.into()))?;
    if !start.starts_with(&[0xff, 0xfe]) && !start.starts_with(&[0xfe, 0xff]) {
        return Ok(text);
    }
    let mut bytes = Vec::new();
    text.take(LIST_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| broken(path, e.into()))?;
    if bytes.len() as u64 > LIST_BYTES_MAX {
        let problem = format!("more than {LIST_BYTES_MAX} bytes of UTF-16; save the file as UTF-8");
        return Err(Error::bad_data(path.display(), problem));
    }
    let bytes = utf8(&bytes).map_err(|e| Error::bad_data(path.display(), e))?.into_owned();
    Ok(Box::new(Cursor::new(bytes)))
}

/// What separates the fields of a file that begins with `start`: a header without commas has semicolons or tabs.
fn delimiter(start: &[u8]) -> u8 {
    let header = start.split(|b| *b == b'\n' || *b == b'\r').find(|line| !line.is_empty()).unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|d| header.contains(d)).unwrap_or(b',')
}

/// A truncated gzip stream or malformed csv is bad data; an error of the file system is not.
fn broken(path: &Path, error: csv::Error) -> Error {
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(e) if Exit::of_io(e.kind()) != Exit::BadData => Error::io("read", path, e),
        _ => Error::bad_data(
            path.display(),
            format!("cannot be read to its end ({text}); repair it or download it again"),
        ),
    }
}

/// The file `stem.csv` or `stem.csv.gz` in a folder, the uncompressed one first.
pub fn find_csv(folder: &Path, stem: &str) -> Option<PathBuf> {
    [".csv", ".csv.gz"].iter().map(|ext| folder.join(format!("{stem}{ext}"))).find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels.csv");
        std::fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    fn rows(path: &Path) -> Vec<Result<(u64, String), BadRow>> {
        let csv = LabelCsv::open(path).unwrap();
        let b = csv.column("B").unwrap();
        let mut out = Vec::new();
        csv.for_each(|row| out.push(row.map(|r| (r.line, r.get(b).to_owned())))).unwrap();
        out
    }

    #[test]
    fn byte_order_mark_crlf_and_blanks() {
        let (_dir, path) = file("\u{feff}a , B\r\n1, x \r\n2,\"y, z\"\r\n".as_bytes());
        assert_eq!(rows(&path), [Ok((2, "x".into())), Ok((3, "y, z".into()))]);
        assert!(LabelCsv::open(&path).unwrap().optional("a").is_some(), "the mark is not part of the first name");
    }

    #[test]
    fn a_bad_row_keeps_its_line_and_leaves_the_others() {
        let (_dir, path) = file(b"a,b\n1,x\n2\n3,\xff\n4,y\n");
        let rows = rows(&path);
        assert_eq!(rows[0], Ok((2, "x".into())));
        assert_eq!(rows[1].as_ref().unwrap_err().code, "wrong_field_count");
        assert_eq!(rows[1].as_ref().unwrap_err().line, 3);
        assert_eq!(rows[2].as_ref().unwrap_err().code, "not_utf8");
        assert_eq!(rows[3], Ok((5, "y".into())));
    }

    #[test]
    fn empty_rows_and_empty_columns_at_the_end_are_no_rows_and_no_columns() {
        let (_dir, path) = file(b"a,B,[x,y,,\n1,x,3,4\n2,y,3,4,,\n,,,,,\n  ,\n3,z,3,4,,,\n4,w,3,4,5,6,7\n5,v\n\n,,,\n");
        let rows = rows(&path);
        assert_eq!(rows[..3], [Ok((2, "x".into())), Ok((3, "y".into())), Ok((6, "z".into()))]);
        let codes: Vec<_> = rows[3..].iter().map(|r| r.as_ref().map_err(|bad| (bad.line, bad.code))).collect();
        assert_eq!(codes, [Err((7, "wrong_field_count")), Err((8, "wrong_field_count"))]);
        let csv = LabelCsv::open(&path).unwrap();
        let x = csv.beginning_with("[X").unwrap();
        let mut fields = Vec::new();
        csv.for_each(|row| fields.extend(row.map(|r| r.get(x.right(1)).to_owned()))).unwrap();
        assert_eq!(fields, ["4", "4", "4"]);
    }

    #[test]
    fn semicolons_tabs_and_utf_16_are_recognised() {
        for text in ["a;B\n1;x, y\n", "a\tB\n1\tx, y\n"] {
            let (_dir, path) = file(text.as_bytes());
            assert_eq!(rows(&path), [Ok((2, "x, y".into()))]);
        }
        let wide: Vec<u8> = "\u{feff}a,B\r\n1,x\r\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let (_dir, path) = file(&wide);
        assert_eq!(rows(&path), [Ok((2, "x".into()))]);
    }

    #[test]
    fn gzip_is_recognised_and_a_torn_one_is_an_error() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        let mut text = b"a,b\n".to_vec();
        for i in 0..2000u32 {
            writeln!(text, "{i},{}", i.wrapping_mul(2_654_435_761)).unwrap();
        }
        encoder.write_all(&text).unwrap();
        let whole = encoder.finish().unwrap();
        let (_dir, path) = file(&whole);
        assert_eq!(rows(&path).len(), 2000);
        let (_dir, path) = file(&whole[..whole.len() / 2]);
        let error = LabelCsv::open(&path).unwrap().for_each(|_| {}).unwrap_err();
        assert_eq!(error.exit().code(), 65);
    }

    #[test]
    fn a_quote_that_is_not_closed_and_too_many_rows_are_errors() {
        let open_quote = |unpacked: usize| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(b"a,b\n1,x\n2,\"").unwrap();
            let zeros = vec![b'0'; 1 << 20];
            (0..unpacked).for_each(|_| encoder.write_all(&zeros).unwrap());
            encoder.finish().unwrap()
        };
        let (_dir, path) = file(&open_quote(64));
        let mut rows = 0;
        let error = LabelCsv::open(&path).unwrap().for_each(|_| rows += 1).unwrap_err();
        assert_eq!((rows, error.exit().code()), (1, 65));
        let message = error.to_string();
        assert!(message.contains("from line 3") && message.contains("quotation mark"), "{message}");
        let (_dir, path) = file(b"a,b\n1,x\n2,y\n");
        assert!(LabelCsv::open(&path).unwrap().for_each_of(2, |_| {}).is_ok());
        let error = LabelCsv::open(&path).unwrap().for_each_of(1, |_| {}).unwrap_err();
        assert!(error.exit().code() == 65 && error.to_string().contains("more than 1 rows"), "{error}");
        // A header is a record too.
        let (_dir, path) = file(&[&b"\"a"[..], &vec![b'0'; 4 << 20]].concat());
        assert_eq!(LabelCsv::open(&path).err().map(|e| e.exit().code()), Some(65));
    }

    #[test]
    fn records_up_to_the_limit_are_read_however_many() {
        let long = "r".repeat(1_000_000);
        let text = format!("a,b\n1,{long}\n2,{long}\n3,{long}\n");
        let (_dir, path) = file(text.as_bytes());
        assert_eq!(rows(&path).len(), 3);
    }

    #[test]
    fn what_the_file_system_refuses_is_not_the_files_fault() {
        let path = Path::new("labels.csv");
        let of = |kind: std::io::ErrorKind| broken(path, std::io::Error::from(kind).into()).exit();
        assert_eq!(of(std::io::ErrorKind::UnexpectedEof), Exit::BadData);
        assert_eq!(of(std::io::ErrorKind::TimedOut), Exit::Temporary);
        assert_eq!(of(std::io::ErrorKind::PermissionDenied), Exit::BadConfig);
    }

    #[test]
    fn empty_file_and_missing_column_are_bad_data() {
        let (_dir, path) = file(b"");
        assert_eq!(LabelCsv::open(&path).err().map(|e| e.exit().code()), Some(65));
        let (_dir, path) = file(b"a,b\n");
        let error = LabelCsv::open(&path).unwrap().column("rad_id").unwrap_err();
        assert_eq!(error.exit().code(), 65);
        assert!(error.to_string().contains("rad_id"));
        assert_eq!(LabelCsv::open(Path::new("/nonexistent.csv")).err().map(|e| e.exit().code()), Some(66));
    }
}

//! Sample studies of a bundle: an uncompressed Arrow IPC file, read by arrow2.

use std::io::Cursor;

use arrow2::array::{BinaryArray, Utf8Array};
use arrow2::io::ipc::read::{FileReader, read_file_metadata};
use serde::Serialize;

use crate::error::{Result, ViewerError};

/// Columns, in this order: all are text but `image`, which is bytes.
pub const COLUMNS: [&str; 5] = ["study_id", "image", "reference", "teacher", "boxes"];

/// A sample study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    /// The visit.
    pub study_id: String,
    /// The film's file.
    #[serde(skip)]
    pub image: Vec<u8>,
    /// The reference report.
    pub reference: String,
    /// The teacher's report.
    pub teacher: String,
    /// The teacher's boxes, JSON: a list of `{class_name, score, region}`.
    pub boxes: String,
}

/// Reads the samples.
///
/// # Errors
/// [`ViewerError::Bundle`] for bytes that are no such file.
pub fn read_samples(bytes: &[u8]) -> Result<Vec<Sample>> {
    let bad = |e: String| ViewerError::Bundle(format!("samples.arrow: {e}"));
    let mut cursor = Cursor::new(bytes);
    let metadata = read_file_metadata(&mut cursor).map_err(|e| bad(e.to_string()))?;
    let names: Vec<&str> = metadata.schema.fields.iter().map(|f| f.name.as_str()).collect();
    if names != COLUMNS {
        return Err(bad(format!("its columns are {names:?}, expected {COLUMNS:?}")));
    }
    let mut samples = Vec::new();
    for chunk in FileReader::new(cursor, metadata, None, None) {
        let chunk = chunk.map_err(|e| bad(e.to_string()))?;
        let columns = chunk.columns();
        let text = |i: usize| {
            columns[i]
                .as_any()
                .downcast_ref::<Utf8Array<i32>>()
                .ok_or_else(|| bad(format!("{} is no text", COLUMNS[i])))
        };
        let images =
            columns[1].as_any().downcast_ref::<BinaryArray<i32>>().ok_or_else(|| bad("image is no bytes".into()))?;
        let (study, reference, teacher, boxes) = (text(0)?, text(2)?, text(3)?, text(4)?);
        samples.extend((0..chunk.len()).map(|i| Sample {
            study_id: study.value(i).into(),
            image: images.value(i).to_vec(),
            reference: reference.value(i).into(),
            teacher: teacher.value(i).into(),
            boxes: boxes.value(i).into(),
        }));
    }
    Ok(samples)
}

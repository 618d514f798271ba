//! Sample studies of a bundle: an uncompressed Arrow IPC file, read with arrow2.

use std::io::Cursor;

use arrow2::array::{BinaryArray, Utf8Array};
use arrow2::io::ipc::read::{FileReader, read_file_metadata};
use d2r_contracts::foreign_code;
use d2r_contracts::report_text::readable;
use serde::Serialize;

use crate::error::{Result, ViewerError};

/// Columns, in this order: all are text but `image`, which is bytes.
pub const COLUMNS: [&str; 5] = ["study_id", "image", "reference", "report_model", "boxes"];

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sample {
    pub study_id: String,
    /// Bytes of the image file.
    #[serde(skip)]
    pub image: Vec<u8>,
    /// The reference report as a person writes it.
    pub reference: String,
    /// The report model's report as a person writes it.
    pub report_model: String,
    /// The boxes given to the report model, JSON: a list of `{class_name, score, region}`, coordinates over the image's
    /// width.
    pub boxes: String,
}

/// Reads the samples. arrow2 panics on some files whose lengths do not fit together: that is an error; in WebAssembly, where
/// nothing can be caught, the worker ends and the page starts another one.
///
/// # Errors
/// [`ViewerError::Bundle`] for bytes that are not such a file.
pub fn read_samples(bytes: &[u8]) -> Result<Vec<Sample>> {
    foreign_code::caught(|| read(bytes)).unwrap_or_else(|| Err(bad("its lengths do not fit together".into())))
}

fn bad(e: String) -> ViewerError {
    ViewerError::Bundle(format!("samples.arrow: {e}"))
}

fn read(bytes: &[u8]) -> Result<Vec<Sample>> {
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
                .ok_or_else(|| bad(format!("{} is not text", COLUMNS[i])))
        };
        let images =
            columns[1].as_any().downcast_ref::<BinaryArray<i32>>().ok_or_else(|| bad("image is not bytes".into()))?;
        let (study, reference, report_model, boxes) = (text(0)?, text(2)?, text(3)?, text(4)?);
        samples.extend((0..chunk.len()).map(|i| Sample {
            study_id: study.value(i).into(),
            image: images.value(i).to_vec(),
            reference: readable(reference.value(i)),
            report_model: readable(report_model.value(i)),
            boxes: boxes.value(i).into(),
        }));
    }
    Ok(samples)
}

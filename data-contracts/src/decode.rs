//! Decodes the bytes of a PNG, JPEG or DICOM file to a [`Radiograph`].
//!
//! The format is found by magic numbers, never by a file name. Sizes are checked from headers before pixels are
//! decoded, and no bytes make it panic. Every error has a stable code ([`DecodeError::code`]).

mod colour;
mod dicom;
mod error;
mod jpeg_2000;
mod jpeg_frame;
mod memory;
pub mod notes;
mod options;
mod orientation;
mod other_file;
mod raster;
mod tint;

use crate::radiograph::Radiograph;
use crate::space::ImageSize;

pub use error::{DecodeError, SCANS_MAX, SIZE_MIN_PX};
pub use memory::decoded_bytes;
use notes::{Colour, DicomNotes};
pub use options::ImageDecodeOptions;
pub use orientation::Orientation;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Portable Network Graphics, 1 to 16 bits.
    Png,
    /// JPEG, 8 bits.
    Jpeg,
    /// DICOM Part 10, or a bare data set.
    Dicom,
}

impl FileKind {
    /// `png`, `jpeg` or `dicom`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpeg",
            Self::Dicom => "dicom",
        }
    }
}

/// A decoded file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The image as it is shown, bright = dense.
    pub radiograph: Radiograph,
    /// Size of the image as it is stored, before `orientation` turned it.
    pub stored_size: ImageSize,
    /// The EXIF orientation by which the stored image was turned; upright for DICOM.
    pub orientation: Orientation,
    /// Where the grey levels come from.
    pub colour: Colour,
    /// The grey levels of a 16-bit PNG that became 0 and 255.
    pub window: Option<[u16; 2]>,
    /// The file's format.
    pub kind: FileKind,
    /// `PA`, `AP` or `LATERAL`, when a DICOM file has one of them in (0018,5101) ViewPosition.
    pub projection: Option<String>,
    /// What a DICOM header says and what was applied.
    pub dicom: Option<DicomNotes>,
}

impl Decoded {
    /// (0028,0301) Burned In Annotation: true for YES, false for NO; `None` when the header does not say, and for other
    /// formats.
    pub fn burned_in_annotation(&self) -> Option<bool> {
        self.dicom.as_ref()?.burned_in_annotation
    }
}

/// Decodes the bytes of one file.
///
/// PNG and JPEG: grey images, and colour images whose channels are nearly equal or whose colour is a tint. Alpha is ignored. An EXIF orientation
/// is applied: the radiograph is the image as it is shown, and [`Decoded`] says how it is stored. 16-bit images are windowed to 8 bits: the grey levels at 0.5 % and 99.5 %
/// of the sorted pixels become 0 and 255. 8-bit images keep their levels.
///
/// DICOM: modality LUT, VOI LUT and inversion, each at most once (PS3.3 C.11). The first frame of a multi-frame object
/// is taken. Functional groups of enhanced objects, presentation states and palettes are not read.
///
/// # Errors
/// See [`DecodeError`].
pub fn decode(bytes: &[u8], options: &ImageDecodeOptions) -> Result<Decoded, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::EmptyFile);
    }
    if bytes.starts_with(&raster::PNG_SIGNATURE) {
        return raster::decode_png(bytes, options);
    }
    if bytes.starts_with(&raster::JPEG_START) {
        return raster::decode_jpeg(bytes, options);
    }
    match dicom::part_10(bytes) {
        Some(part_10) => dicom::decode(&part_10, options),
        None => Err(other_file::recognised(bytes).unwrap_or(DecodeError::NotAnImage)),
    }
}

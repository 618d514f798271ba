//! Decodes the bytes of a PNG, JPEG or DICOM file to a [`Radiograph`].
//!
//! The format is found by magic numbers, never by a file name. Sizes are checked from headers before pixels are
//! decoded, and no bytes make it panic. Every error has a stable code ([`DecodeError::code`]).

mod dicom;
mod error;
mod jpeg_frame;
mod options;
mod raster;

use crate::radiograph::Radiograph;

pub use error::{DecodeError, SIZE_MIN_PX};
pub use options::ImageDecodeOptions;

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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The image, bright = dense.
    pub radiograph: Radiograph,
    /// The file's format.
    pub kind: FileKind,
    /// `PA`, `AP` or `LATERAL`, when a DICOM file has one of them in (0018,5101) ViewPosition.
    pub projection: Option<String>,
}

/// Decodes the bytes of one file.
///
/// PNG and JPEG: grey images, or colour images whose channels are nearly equal. Alpha and EXIF rotation are ignored
/// (boxes are measured on the stored pixels). 16-bit images are windowed to 8 bits: the grey levels at 0.5 % and 99.5 %
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
        let radiograph = raster::decode_png(bytes, options)?;
        return Ok(Decoded { radiograph, kind: FileKind::Png, projection: None });
    }
    if bytes.starts_with(&raster::JPEG_START) {
        let radiograph = raster::decode_jpeg(bytes, options)?;
        return Ok(Decoded { radiograph, kind: FileKind::Jpeg, projection: None });
    }
    match dicom::part_10(bytes) {
        Some(part_10) => {
            let (radiograph, projection) = dicom::decode(&part_10, options)?;
            Ok(Decoded { radiograph, kind: FileKind::Dicom, projection })
        }
        None => Err(DecodeError::NotAnImage),
    }
}

//! Decodes the bytes of a PNG, JPEG or DICOM file to a [`Radiograph`].
//!
//! The format is found by magic numbers, never by a file name. Sizes are checked from headers before pixels are
//! decoded, and no bytes make it panic. Every error has a stable code ([`DecodeError::code`]).

mod dicom;
mod error;
mod jpeg_frame;
mod options;
mod orientation;
mod raster;

use crate::radiograph::Radiograph;
use crate::space::ImageSize;

pub use error::{DecodeError, SIZE_MIN_PX};
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
    /// The file's format.
    pub kind: FileKind,
    /// `PA`, `AP` or `LATERAL`, when a DICOM file has one of them in (0018,5101) ViewPosition.
    pub projection: Option<String>,
}

/// Decodes the bytes of one file.
///
/// PNG and JPEG: grey images, or colour images whose channels are nearly equal. Alpha is ignored. An EXIF orientation
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
        Some(part_10) => {
            let (radiograph, projection) = dicom::decode(&part_10, options)?;
            let (stored_size, orientation) = (radiograph.size(), Orientation::Upright);
            Ok(Decoded { radiograph, stored_size, orientation, kind: FileKind::Dicom, projection })
        }
        None => Err(DecodeError::NotAnImage),
    }
}

//! Bytes of a PNG, JPEG or DICOM file to a [`Radiograph`]: the one front door for images.
//!
//! The format is found by magic numbers, never by a name. Sizes are checked from headers before pixels are
//! decoded, and no bytes make it panic. What is refused carries a stable code ([`DecodeError::code`]).

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::radiograph::Radiograph;
use crate::{decode_dicom, decode_raster};

/// What the caller allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Accept DICOM files that do not say (0012,0062) PatientIdentityRemoved = YES.
    pub allow_phi: bool,
    /// Refuse images with more pixels than this, before decoding them.
    pub max_pixels: u64,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { allow_phi: false, max_pixels: 100_000_000 }
    }
}

/// The kind of a file.
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The image, bright = dense.
    pub radiograph: Radiograph,
    /// What the file was.
    pub kind: FileKind,
    /// `PA`, `AP` or `LATERAL`, when a DICOM file says so in (0018,5101) ViewPosition.
    pub view: Option<String>,
}

/// Shorter sides show no chest.
pub const SIZE_MIN_PX: u32 = 32;

/// Why a file cannot be used. Messages name no value of the file beyond sizes and formats.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes.
    #[error("the file is empty; copy it again from its source")]
    EmptyFile,
    /// Not one of the three formats.
    #[error("not a PNG, JPEG or DICOM file (judged by its first bytes, not by its name)")]
    NotAnImage,
    /// The end is missing.
    #[error("the file ends early ({what}); copy it again from its source")]
    Truncated {
        /// What is incomplete.
        what: &'static str,
    },
    /// The bytes contradict themselves.
    #[error("the file is damaged ({what}); copy it again from its source")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
    },
    /// A side is shorter than [`SIZE_MIN_PX`].
    #[error("{width} x {height} pixels are too few; both sides need {SIZE_MIN_PX} or more")]
    TooSmall {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// More pixels than allowed.
    #[error("{width} x {height} pixels are too many; at most {max_pixels} are allowed, shrink the image first")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// A colour image, see [`crate::decode_raster::is_colour`].
    #[error("a colour photograph, not a radiograph; export the original grey image")]
    ColourPhotograph,
    /// A DICOM file without an image (a report, a presentation state).
    #[error("the DICOM file holds no pixel data; it is not an image object")]
    NoPixelData,
    /// A DICOM file that does not say it was de-identified.
    #[error("the DICOM file is not marked as de-identified (PatientIdentityRemoved, 0012,0062, is not YES)")]
    NotDeidentified,
    /// A format this program does not read.
    #[error("{what} is not supported; convert the file to an uncompressed or losslessly compressed form")]
    Unsupported {
        /// The format.
        what: String,
    },
}

impl DecodeError {
    /// The stable code written to the table of failures.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyFile => "empty_file",
            Self::NotAnImage => "not_an_image",
            Self::Truncated { .. } => "truncated",
            Self::Corrupt { .. } => "corrupt",
            Self::TooSmall { .. } => "too_small",
            Self::TooLarge { .. } => "too_large",
            Self::ColourPhotograph => "colour_photograph",
            Self::NoPixelData => "no_pixel_data",
            Self::NotDeidentified => "not_deidentified",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}

/// Decodes the bytes of one file.
///
/// PNG and JPEG: grey images, or colour images whose channels are nearly equal; alpha is ignored, EXIF rotation
/// too (boxes are measured on the stored pixels); 16 bits are windowed to 8 by percentiles
/// ([`crate::decode_raster`]). DICOM: see [`crate::decode_dicom`].
///
/// # Errors
/// See [`DecodeError`]; every refusal has a code.
pub fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Decoded, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::EmptyFile);
    }
    if bytes.starts_with(&decode_raster::PNG_SIGNATURE) {
        let radiograph = decode_raster::decode_png(bytes, options)?;
        return Ok(Decoded { radiograph, kind: FileKind::Png, view: None });
    }
    if bytes.starts_with(&decode_raster::JPEG_START) {
        let radiograph = decode_raster::decode_jpeg(bytes, options)?;
        return Ok(Decoded { radiograph, kind: FileKind::Jpeg, view: None });
    }
    match decode_dicom::part_10(bytes) {
        Some(part_10) => {
            let (radiograph, view) = decode_dicom::decode(&part_10, options)?;
            Ok(Decoded { radiograph, kind: FileKind::Dicom, view })
        }
        None => Err(DecodeError::NotAnImage),
    }
}

/// Refuses sizes outside the limits.
pub(crate) fn check_size(width: u32, height: u32, options: &DecodeOptions) -> Result<(), DecodeError> {
    let max_pixels = options.max_pixels;
    if width < SIZE_MIN_PX || height < SIZE_MIN_PX {
        Err(DecodeError::TooSmall { width, height })
    } else if u64::from(width) * u64::from(height) > max_pixels {
        Err(DecodeError::TooLarge { width, height, max_pixels })
    } else {
        Ok(())
    }
}

/// Runs a codec of a third party on foreign bytes. A panic inside it counts as damage to the file: one bad file
/// must not end a batch of a hundred thousand. (In a browser a panic cannot be caught and ends the decoding.)
pub(crate) fn guarded<T>(codec: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    catch_unwind(AssertUnwindSafe(codec)).unwrap_or(Err(DecodeError::Corrupt { what: "its codec gave up" }))
}

//! Reasons for refusing an image file, each with a stable code. Messages name no value of the file beyond sizes and
//! formats.

use crate::foreign_code;

/// Smallest width and height of a radiograph, pixels.
pub const SIZE_MIN_PX: u32 = 32;

/// Most scans (SOS segments) of a JPEG. Progressive files have about ten.
pub const SCANS_MAX: u32 = 100;

/// Why a file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The file has no bytes.
    #[error("the file is empty; copy it again from its source")]
    EmptyFile,
    /// Neither PNG, JPEG nor DICOM.
    #[error("not a PNG, JPEG or DICOM file (judged by its first bytes, not by its name)")]
    NotAnImage,
    /// Neither PNG, JPEG nor DICOM, but something known.
    #[error("this is {what}, no PNG, JPEG or DICOM file; {remedy}")]
    OtherFile {
        /// With its article.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The file ends before its last marker or element.
    #[error("the file ends early ({what}); copy it again from its source")]
    Truncated {
        /// What is incomplete.
        what: &'static str,
    },
    /// Header and content contradict each other.
    #[error("the file is damaged ({what}); copy it again from its source")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
    },
    /// Width or height below [`SIZE_MIN_PX`].
    #[error("{width} x {height} pixels are too few; width and height must be {SIZE_MIN_PX} or more")]
    TooSmall {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// More pixels than [`ImageDecodeOptions::max_pixels`](super::ImageDecodeOptions).
    #[error("{width} x {height} pixels are too many; at most {max_pixels} are allowed, shrink the image first")]
    TooLarge {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// The limit.
        max_pixels: u64,
    },
    /// A JPEG of more than [`SCANS_MAX`] scans: each scan passes over the whole image, so that a small file would take
    /// hours.
    #[error("a JPEG of more than {SCANS_MAX} scans; save it again as a baseline JPEG")]
    TooManyScans,
    /// An image whose channels differ by more than those of a grey image saved in colour.
    #[error("a colour photograph, not a radiograph; export the original grey image")]
    ColourPhotograph,
    /// A DICOM file without an image (a structured report, a presentation state).
    #[error("the DICOM file holds no pixel data; it is not an image object")]
    NoPixelData,
    /// A DICOM file without (0012,0062) PatientIdentityRemoved = YES.
    #[error("the DICOM file is not marked as de-identified (PatientIdentityRemoved, 0012,0062, is not YES)")]
    NotDeidentified,
    /// The declared transfer syntax and the data contradict each other, and the data do not say what they are.
    #[error("the file contradicts itself: it declares {declared}, but {found}; export it again from its source")]
    Contradiction {
        /// What the meta information says.
        declared: String,
        /// What the data are.
        found: String,
    },
    /// A number that decides how the image is shown and cannot be read.
    #[error("{attribute} is not a number, and without it another image would be shown; correct the header")]
    NotANumber {
        /// Name and tag.
        attribute: &'static str,
    },
    /// A variant of a format that is not read.
    #[error("{what} is not supported; convert the file to an uncompressed or losslessly compressed form")]
    Unsupported {
        /// The variant.
        what: String,
    },
}

impl DecodeError {
    /// The stable code written to the `failures` table.
    pub fn code(&self) -> &'static str {
        match self {
            Self::EmptyFile => "empty_file",
            Self::NotAnImage | Self::OtherFile { .. } => "not_an_image",
            Self::Truncated { .. } => "truncated",
            Self::Corrupt { .. } => "corrupt",
            Self::TooSmall { .. } => "too_small",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyScans => "too_many_scans",
            Self::ColourPhotograph => "colour_photograph",
            Self::NoPixelData => "no_pixel_data",
            Self::NotDeidentified => "not_deidentified",
            Self::NotANumber { .. } => "corrupt",
            Self::Contradiction { .. } | Self::Unsupported { .. } => "unsupported",
        }
    }
}

/// Runs a third-party codec on untrusted bytes. A panic inside it counts as damage to the file.
pub(super) fn catch_codec_panic<T>(codec: impl FnOnce() -> Result<T, DecodeError>) -> Result<T, DecodeError> {
    foreign_code::caught(codec).unwrap_or(Err(DecodeError::Corrupt { what: "its codec gave up" }))
}

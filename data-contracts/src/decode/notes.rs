//! What decoding found in a file and did to its pixels, for those who ask why an image appears as it does.

use serde::Serialize;

/// How the colours of a file became grey levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// Stored as grey, or as red, green and blue that are equal.
    Grey,
    /// Channels that are nearly equal, as after a colour JPEG; their luminance is taken.
    NearlyGrey,
    /// A tint: colour is a function of luminance, which is taken.
    Tinted,
    /// One channel holds the image and the others are constant; that channel is taken.
    OneChannel,
}

/// What a DICOM file says, and what was applied.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DicomNotes {
    pub transfer_syntax: TransferSyntaxNotes,
    /// (0028,0004), for instance `MONOCHROME1`.
    pub photometric_interpretation: String,
    pub bits_stored: u16,
    /// Frames in the file; the first one is taken.
    pub frames: u32,
    /// `None` for colour, which has no grayscale pipeline.
    pub grayscale: Option<GrayscaleNotes>,
    /// Bytes behind the end of the compressed image that were left out.
    pub padding_bytes: usize,
    /// (0028,0301) Burned In Annotation: true for YES, false for NO, `None` otherwise.
    pub burned_in_annotation: Option<bool>,
    /// (0012,0062) Patient Identity Removed: true for YES, false for NO, `None` otherwise.
    pub patient_identity_removed: Option<bool>,
}

/// Declared and true encoding of a DICOM file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TransferSyntaxNotes {
    /// The UID in the file's meta information; `None` when there is none.
    pub declared: Option<String>,
    /// What the data are, for instance `explicit VR little endian, JPEG`.
    pub used: String,
    /// Whether declared and true encoding are the same.
    pub agrees: bool,
}

/// The grayscale transformations that were applied, in their order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GrayscaleNotes {
    pub modality: ModalityNotes,
    pub voi: VoiNotes,
    /// Bright and dark were exchanged, for MONOCHROME1 or a presentation LUT shape INVERSE.
    pub is_inverted: bool,
    /// Attributes that cannot be applied and have no effect, for instance a window 0 wide.
    pub ignored: Vec<&'static str>,
}

/// From stored values to the manufacturer-independent ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModalityNotes {
    Rescale { slope: f64, intercept: f64 },
    Table(TableNotes),
}

/// From manufacturer-independent values to grey levels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum VoiNotes {
    Table(TableNotes),
    Window {
        center: f64,
        width: f64,
        /// `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.
        function: &'static str,
    },
    /// Nothing to apply in the file: the range of the values that occur.
    Range {
        min: f64,
        max: f64,
    },
}

/// A lookup table.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TableNotes {
    pub entries: usize,
    /// Third value of the LUT Descriptor.
    pub bits_declared: u16,
    /// Bits of the largest entry.
    pub bits_used: u16,
    /// The entry value that is white; without effect in a modality table.
    pub white: u16,
}

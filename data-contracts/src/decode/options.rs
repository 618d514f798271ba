//! What the caller of [`decode`](super::decode) allows.

use super::error::{DecodeError, SIZE_MIN_PX};

/// Limits on the files that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDecodeOptions {
    /// Accept DICOM files that do not say (0012,0062) PatientIdentityRemoved = YES.
    pub allow_phi: bool,
    /// Refuse images with more pixels than this, before decoding them.
    pub max_pixels: u64,
}

impl Default for ImageDecodeOptions {
    fn default() -> Self {
        Self { allow_phi: false, max_pixels: 100_000_000 }
    }
}

impl ImageDecodeOptions {
    /// Refuses sizes outside the limits.
    pub(super) fn check_size(&self, width: u32, height: u32) -> Result<(), DecodeError> {
        let max_pixels = self.max_pixels;
        if width < SIZE_MIN_PX || height < SIZE_MIN_PX {
            Err(DecodeError::TooSmall { width, height })
        } else if u64::from(width) * u64::from(height) > max_pixels {
            Err(DecodeError::TooLarge { width, height, max_pixels })
        } else {
            Ok(())
        }
    }
}

//! What the caller of [`decode`](super::decode) allows.

use super::error::{DecodeError, SIZE_MIN_PX};
use crate::space::ImageSize;

/// Limits on the files that are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageDecodeOptions {
    /// Accept DICOM files without (0012,0062) PatientIdentityRemoved = YES.
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
    /// Largest file that is read, bytes: four a pixel and a large header. What is longer is no radiograph that the
    /// decoder would accept.
    pub const fn file_bytes_max(&self) -> u64 {
        self.max_pixels.saturating_mul(4).saturating_add(64 << 20)
    }

    /// Refuses sizes outside the limits.
    pub(super) fn check_size(&self, size: ImageSize) -> Result<(), DecodeError> {
        let (ImageSize { width, height }, max_pixels) = (size, self.max_pixels);
        if width < SIZE_MIN_PX || height < SIZE_MIN_PX {
            Err(DecodeError::TooSmall { width, height })
        } else if size.pixels() > max_pixels {
            Err(DecodeError::TooLarge { width, height, max_pixels })
        } else {
            Ok(())
        }
    }
}

//! A decoded radiograph.

use crate::space::ImageSize;

/// A grey image, 8 bits, row-major; bright is dense (bone is white), whatever the file's photometric
/// interpretation was. Modality LUT, VOI and inversion have been applied exactly once, at decoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Radiograph {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height` grey levels.
    pub pixels: Vec<u8>,
}

impl Radiograph {
    /// A radiograph from its pixels; `None` when their number is not `width * height`, or width or height is 0.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Option<Self> {
        let fits = width > 0 && height > 0 && pixels.len() as u64 == u64::from(width) * u64::from(height);
        fits.then_some(Self { width, height, pixels })
    }

    /// Width and height.
    pub fn size(&self) -> ImageSize {
        ImageSize { width: self.width, height: self.height }
    }

    /// The grey level at column `x`, row `y`; `None` outside the image.
    pub fn get(&self, x: u32, y: u32) -> Option<u8> {
        (x < self.width && y < self.height).then(|| self.pixels[(y * self.width + x) as usize])
    }
}

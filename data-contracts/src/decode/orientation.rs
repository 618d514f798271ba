//! EXIF orientation (tag 0x0112): how the stored pixels of a file are turned for display, and the same turn for boxes.

use image::metadata::Orientation as ExifOrientation;
use serde::{Serialize, Serializer};

use crate::boxes::BoxXyxy;
use crate::space::ImageSize;

/// How a file's stored pixels are turned to the image that is shown. The names say what is done to the stored pixels;
/// turns are clockwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Orientation {
    /// 1: shown as stored.
    #[default]
    Upright,
    /// 2: left and right are exchanged.
    Mirrored,
    /// 3: turned by 180 degrees.
    Turned180,
    /// 4: top and bottom are exchanged.
    Flipped,
    /// 5: rows become columns.
    Transposed,
    /// 6: turned by 90 degrees.
    Turned90,
    /// 7: turned by 180 degrees, then rows become columns.
    Transversed,
    /// 8: turned by 270 degrees.
    Turned270,
}

impl Orientation {
    /// All orientations in the order of their EXIF values, from 1.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::Mirrored,
        Self::Turned180,
        Self::Flipped,
        Self::Transposed,
        Self::Turned90,
        Self::Transversed,
        Self::Turned270,
    ];

    /// The orientation of an EXIF value, 1 to 8.
    pub fn from_exif(value: u8) -> Option<Self> {
        Self::ALL.get(usize::from(value.checked_sub(1)?)).copied()
    }

    /// The EXIF value, 1 to 8.
    pub fn exif(self) -> u8 {
        self as u8 + 1
    }

    /// The orientation that an EXIF block (a TIFF header and its first directory) names; upright when it names none.
    pub(super) fn of_exif_block(block: &[u8]) -> Self {
        let tiff = block.strip_prefix(EXIF_HEAD).unwrap_or(block);
        ExifOrientation::from_exif_chunk(tiff).and_then(|o| Self::from_exif(o.to_exif())).unwrap_or_default()
    }

    /// True when the shown image differs from the stored one.
    pub fn is_turned(self) -> bool {
        self != Self::Upright
    }

    /// True when stored rows are shown as columns, so that width and height are exchanged.
    pub fn swaps_axes(self) -> bool {
        self.exif() >= 5
    }

    /// The size of the shown image.
    pub fn shown_size(self, stored: ImageSize) -> ImageSize {
        if self.swaps_axes() { ImageSize { width: stored.height, height: stored.width } } else { stored }
    }

    /// The orientation that turns the shown image back into the stored one.
    pub fn inverse(self) -> Self {
        match self {
            Self::Turned90 => Self::Turned270,
            Self::Turned270 => Self::Turned90,
            own_inverse => own_inverse,
        }
    }

    /// A box of the stored image, of size `stored`, as a box of the shown one.
    pub fn turn_box<S>(self, b: &BoxXyxy<S>, stored: ImageSize) -> BoxXyxy<S> {
        let (w, h) = (stored.width as f32, stored.height as f32);
        let [x0, y0, x1, y1] = b.to_array();
        let [x_min, y_min, x_max, y_max] = match self {
            Self::Upright => [x0, y0, x1, y1],
            Self::Mirrored => [w - x1, y0, w - x0, y1],
            Self::Turned180 => [w - x1, h - y1, w - x0, h - y0],
            Self::Flipped => [x0, h - y1, x1, h - y0],
            Self::Transposed => [y0, x0, y1, x1],
            Self::Turned90 => [h - y1, x0, h - y0, x1],
            Self::Transversed => [h - y1, w - x1, h - y0, w - x0],
            Self::Turned270 => [y0, w - x1, y1, w - x0],
        };
        BoxXyxy::new(x_min, y_min, x_max, y_max)
    }

    /// A box of the shown image as a box of the stored one, which has the size `stored`; undoes [`Self::turn_box`].
    pub fn turn_box_back<S>(self, b: &BoxXyxy<S>, stored: ImageSize) -> BoxXyxy<S> {
        self.inverse().turn_box(b, self.shown_size(stored))
    }

    /// The stored pixels, row by row, as the pixels of the shown image.
    pub(super) fn turn_pixels(self, pixels: Vec<u8>, stored: ImageSize) -> Vec<u8> {
        if !self.is_turned() {
            return pixels;
        }
        let (w, h) = (stored.width as usize, stored.height as usize);
        let shown = self.shown_size(stored);
        // For every shown pixel the stored one.
        let at = |u: usize, v: usize| match self {
            Self::Upright => (u, v),
            Self::Mirrored => (w - 1 - u, v),
            Self::Turned180 => (w - 1 - u, h - 1 - v),
            Self::Flipped => (u, h - 1 - v),
            Self::Transposed => (v, u),
            Self::Turned90 => (v, h - 1 - u),
            Self::Transversed => (w - 1 - v, h - 1 - u),
            Self::Turned270 => (w - 1 - v, u),
        };
        let mut turned = Vec::with_capacity(pixels.len());
        for v in 0..shown.height as usize {
            turned.extend((0..shown.width as usize).map(|u| {
                let (x, y) = at(u, v);
                pixels[y * w + x]
            }));
        }
        turned
    }
}

/// What precedes the TIFF header in a JPEG segment, and in the PNG chunks of some writers.
pub(super) const EXIF_HEAD: &[u8] = b"Exif\0\0";

impl Serialize for Orientation {
    /// As its EXIF value.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.exif())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Original;
    use image::{DynamicImage, GrayImage, Luma};

    const STORED: ImageSize = ImageSize { width: 7, height: 5 };

    fn stored() -> GrayImage {
        GrayImage::from_fn(STORED.width, STORED.height, |x, y| Luma([(10 * y + x) as u8]))
    }

    #[test]
    fn pixels_are_turned_as_exif_says() {
        for orientation in Orientation::ALL {
            let mut shown = DynamicImage::ImageLuma8(stored());
            shown.apply_orientation(ExifOrientation::from_exif(orientation.exif()).unwrap());
            let size = orientation.shown_size(STORED);
            assert_eq!((shown.width(), shown.height()), (size.width, size.height), "{orientation:?}");
            let turned = orientation.turn_pixels(stored().into_raw(), STORED);
            assert_eq!(turned, shown.into_luma8().into_raw(), "{orientation:?}");
        }
    }

    /// Pixels of a box, in ascending order.
    fn inside(pixels: &[u8], width: u32, b: &BoxXyxy<Original>) -> Vec<u8> {
        let mut found = Vec::new();
        for y in b.y_min as u32..b.y_max as u32 {
            found.extend((b.x_min as u32..b.x_max as u32).map(|x| pixels[(y * width + x) as usize]));
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn a_turned_box_holds_the_same_pixels_and_turns_back() {
        let b = BoxXyxy::<Original>::new(1.0, 2.0, 4.0, 3.0);
        let expected = inside(stored().as_raw(), STORED.width, &b);
        for orientation in Orientation::ALL {
            let turned = orientation.turn_box(&b, STORED);
            let pixels = orientation.turn_pixels(stored().into_raw(), STORED);
            assert!(turned.is_proper(), "{orientation:?}");
            assert_eq!(inside(&pixels, orientation.shown_size(STORED).width, &turned), expected, "{orientation:?}");
            assert_eq!(orientation.turn_box_back(&turned, STORED), b, "{orientation:?}");
        }
        // EXIF value 6, 120 x 96 stored: the shown box (10, 20)-(40, 80) is (20, 56)-(80, 86) in stored pixels.
        let shown = BoxXyxy::<Original>::new(10.0, 20.0, 40.0, 80.0);
        let size = ImageSize { width: 120, height: 96 };
        let back = Orientation::Turned90.turn_box_back(&shown, size);
        assert_eq!(back.to_array(), [20.0, 56.0, 80.0, 86.0]);
    }

    #[test]
    fn exif_values_are_one_to_eight() {
        assert_eq!(Orientation::ALL.map(Orientation::exif), [1, 2, 3, 4, 5, 6, 7, 8]);
        for orientation in Orientation::ALL {
            assert_eq!(Orientation::from_exif(orientation.exif()), Some(orientation));
        }
        assert_eq!((Orientation::from_exif(0), Orientation::from_exif(9)), (None, None));
        assert_eq!(Orientation::of_exif_block(b"no tiff header"), Orientation::Upright);
    }
}

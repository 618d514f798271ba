//! A square miniature of a picture or of a part of it; proportions are not kept, so that a copy with another aspect ratio
//! has the same one.

use super::border::content;
use crate::preprocess::resize_rect;
use crate::radiograph::Radiograph;
use crate::space::{ImageSize, PixelRect};

/// A square picture, row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// Columns and rows.
    pub size: usize,
    pub pixels: Box<[u8]>,
}

/// Which part of a picture a thumbnail shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// Without the uniform border.
    Content,
}

/// A border narrower than this share of the width or the height is no reason for a second thumbnail.
const BORDER_SHARE_MIN: f64 = 0.01;

impl Thumbnail {
    /// A part of a radiograph at `size` x `size` pixels.
    pub fn of(radiograph: &Radiograph, part: PixelRect, size: usize) -> Self {
        let small = resize_rect(radiograph, part, ImageSize::square(size as u32));
        Self { size, pixels: small.pixels.into_boxed_slice() }
    }
}

/// The thumbnails of a radiograph: of its content (`inside`) and, where it has a border, of the whole. A copy may have lost the
/// border, or have one that noise or saturation hides.
pub fn thumbnails(radiograph: &Radiograph, inside: PixelRect, size: usize) -> Vec<(Extent, Thumbnail)> {
    let (w, h) = (f64::from(radiograph.width), f64::from(radiograph.height));
    let lost = (w - f64::from(inside.size.width)) / w;
    let lost = lost.max((h - f64::from(inside.size.height)) / h);
    let mut found = vec![(Extent::Content, Thumbnail::of(radiograph, inside, size))];
    if lost >= BORDER_SHARE_MIN {
        found.push((Extent::Whole, Thumbnail::of(radiograph, rect(radiograph, Extent::Whole), size)));
    }
    found
}

/// The part of a radiograph that a thumbnail of this extent shows.
pub fn rect(radiograph: &Radiograph, extent: Extent) -> PixelRect {
    match extent {
        Extent::Whole => PixelRect { left: 0, top: 0, size: radiograph.size() },
        Extent::Content => content(radiograph),
    }
}

//! Pixel spaces as types, and the map between them.
//!
//! A box carries the space it is measured in, so that mixing spaces does not compile. Only [`Letterbox`] changes the
//! space.

use serde::{Deserialize, Serialize};

use crate::boxes::BoxXyxy;

/// Pixels of the decoded radiograph: the image of the file, turned as its EXIF orientation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Original {}

/// Pixels of a model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {}

/// Width and height of an image, pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSize {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl ImageSize {
    /// A square of `size` by `size` pixels.
    pub const fn square(size: u32) -> Self {
        Self { width: size, height: size }
    }

    pub fn pixels(self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// The affine map between a radiograph's own pixels and a model's input, of every fit:
/// `model = original * scale + pad`, per axis.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Letterbox {
    /// Model pixels per original pixel along x.
    pub scale_x: f32,
    /// Model pixels per original pixel along y.
    pub scale_y: f32,
    /// Left padding, in model pixels.
    pub pad_x: f32,
    /// Top padding, in model pixels.
    pub pad_y: f32,
    /// Size of the radiograph, in original pixels.
    pub original: ImageSize,
    /// Size of the model's input, in model pixels; without what a batch adds at the right and the bottom.
    pub model: ImageSize,
}

/// Whole pixels of a radiograph or of a model's input; width and height are at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelRect {
    /// First column.
    pub left: u32,
    /// First row.
    pub top: u32,
    /// Columns and rows.
    pub size: ImageSize,
}

impl Letterbox {
    /// Scales an image into the centre of a square of `size` pixels and keeps its proportions.
    ///
    /// The two margins of an axis are equal, so that a flipped image gives a flipped input; the shorter axis is rounded
    /// to a length that allows this.
    pub fn centred(original: ImageSize, size: u32) -> Self {
        let longest = u64::from(original.width.max(original.height));
        // Half up, in integers: the browser and the batch job cannot differ.
        let margin = |length: u32| {
            let spare = u64::from(size) * (longest - u64::from(length));
            (((spare + longest) / (2 * longest)) as u32).min((size - 1) / 2)
        };
        Self::with_margins(original, size, margin(original.width), margin(original.height))
    }

    /// Stretches an image to a square of `size` pixels.
    pub fn stretched(original: ImageSize, size: u32) -> Self {
        Self::with_margins(original, size, 0, 0)
    }

    /// Scales an image to a shortest edge of `edge` pixels, or less where the longest would exceed `longest`; no margins.
    /// The sizes are those of detectron2's `ResizeShortestEdge`, in its order of operations.
    pub fn short_edge(original: ImageSize, edge: u32, longest: u32) -> Self {
        let (width, height) = (f64::from(original.width.max(1)), f64::from(original.height.max(1)));
        let (edge, longest) = (f64::from(edge), f64::from(longest));
        let scale = edge / width.min(height);
        let scaled = if height < width { (scale * width, edge) } else { (edge, scale * height) };
        let over = scaled.0.max(scaled.1);
        let shrink = if over > longest { longest / over } else { 1.0 };
        let rounded = |length: f64| ((length * shrink + 0.5) as u32).max(1);
        let model = ImageSize { width: rounded(scaled.0), height: rounded(scaled.1) };
        Self {
            scale_x: model.width as f32 / width as f32,
            scale_y: model.height as f32 / height as f32,
            pad_x: 0.0,
            pad_y: 0.0,
            original,
            model,
        }
    }

    fn with_margins(original: ImageSize, size: u32, left: u32, top: u32) -> Self {
        Self {
            scale_x: (size - 2 * left) as f32 / original.width as f32,
            scale_y: (size - 2 * top) as f32 / original.height as f32,
            pad_x: left as f32,
            pad_y: top as f32,
            original,
            model: ImageSize::square(size),
        }
    }

    /// Where the image lies in the model's input.
    pub fn image_rect(&self) -> PixelRect {
        let (left, top) = (self.pad_x as u32, self.pad_y as u32);
        let size = ImageSize { width: self.model.width - 2 * left, height: self.model.height - 2 * top };
        PixelRect { left, top, size }
    }

    /// The whole model input in original pixels, beyond the radiograph where it is padded.
    pub fn model_extent(&self) -> BoxXyxy<Original> {
        self.unclipped(&BoxXyxy::new(0.0, 0.0, self.model.width as f32, self.model.height as f32))
    }

    /// The box in model pixels.
    pub fn model_from_original(&self, b: &BoxXyxy<Original>) -> BoxXyxy<Model> {
        BoxXyxy::new(
            b.x_min * self.scale_x + self.pad_x,
            b.y_min * self.scale_y + self.pad_y,
            b.x_max * self.scale_x + self.pad_x,
            b.y_max * self.scale_y + self.pad_y,
        )
    }

    /// The box in original pixels, clipped to the radiograph.
    pub fn original_from_model(&self, b: &BoxXyxy<Model>) -> BoxXyxy<Original> {
        self.unclipped(b).clip(self.original.width as f32, self.original.height as f32)
    }

    fn unclipped(&self, b: &BoxXyxy<Model>) -> BoxXyxy<Original> {
        BoxXyxy::new(
            (b.x_min - self.pad_x) / self.scale_x,
            (b.y_min - self.pad_y) / self.scale_y,
            (b.x_max - self.pad_x) / self.scale_x,
            (b.y_max - self.pad_y) / self.scale_y,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sizes computed in Python from the formula of detectron2's `ResizeShortestEdge` with a longest edge of 1333: original
    /// width and height, shortest edge, model width and height.
    const SHORT_EDGE_SIZES: [([u32; 2], u32, [u32; 2]); 24] = [
        ([2048, 2500], 800, [800, 977]),
        ([2500, 2048], 800, [977, 800]),
        ([3000, 3000], 800, [800, 800]),
        ([640, 480], 800, [1067, 800]),
        ([480, 640], 1200, [1000, 1333]),
        ([2000, 3333], 800, [800, 1333]),
        ([2000, 3332], 800, [800, 1333]),
        ([1000, 4000], 800, [333, 1333]),
        ([4000, 1000], 400, [1333, 333]),
        ([1333, 800], 800, [1333, 800]),
        ([101, 57], 401, [711, 401]),
        ([2021, 2021], 799, [799, 799]),
        ([3, 1000], 800, [4, 1333]),
        ([2836, 2336], 617, [749, 617]),
        ([1626, 917], 804, [1333, 752]),
        ([2966, 497], 474, [1333, 223]),
        ([2494, 685], 774, [1333, 366]),
        ([2687, 537], 919, [1333, 266]),
        ([1179, 453], 488, [1270, 488]),
        ([2076, 2012], 471, [486, 471]),
        ([1285, 671], 964, [1333, 696]),
        ([2038, 542], 979, [1333, 355]),
        ([807, 1214], 1045, [886, 1333]),
        ([2869, 2687], 463, [494, 463]),
    ];

    #[test]
    fn short_edge_sizes_are_detectron2s() {
        for ([width, height], edge, [model_width, model_height]) in SHORT_EDGE_SIZES {
            let map = Letterbox::short_edge(ImageSize { width, height }, edge, 1333);
            assert_eq!(map.model, ImageSize { width: model_width, height: model_height }, "{width} x {height}, {edge}");
        }
        let line = Letterbox::short_edge(ImageSize { width: 1, height: 60_000 }, 800, 1333);
        assert_eq!(line.model, ImageSize { width: 1, height: 1333 }, "an edge is never shorter than a pixel");
    }

    proptest! {
        #[test]
        fn short_edge_inputs_cover_the_image_and_nothing_else(
            width in 1u32..4000, height in 1u32..4000, edge in 32u32..1300,
            at in proptest::array::uniform4(-0.2f32..1.2),
        ) {
            let map = Letterbox::short_edge(ImageSize { width, height }, edge, 1333);
            prop_assert!(map.model.width.max(map.model.height) <= 1333);
            prop_assert!(map.model.width.min(map.model.height) <= edge);
            prop_assert_eq!((map.pad_x, map.pad_y), (0.0, 0.0));
            prop_assert_eq!(map.image_rect().size, map.model);
            let (w, h) = (width as f32, height as f32);
            let [a, b, c, d] = at;
            let there = BoxXyxy::<Original>::new(a.min(c) * w, b.min(d) * h, a.max(c) * w, b.max(d) * h);
            let back = map.original_from_model(&map.model_from_original(&there));
            for (a, b) in there.clip(w, h).to_array().iter().zip(back.to_array()) {
                prop_assert!((a - b).abs() < 0.01, "{:?} came back as {:?}", there, back);
            }
        }

        #[test]
        fn there_and_back_stays_within_half_a_pixel(
            x in 0.0f32..400.0, y in 0.0f32..400.0, w in 1.0f32..100.0, h in 1.0f32..100.0, scale in 0.1f32..4.0,
        ) {
            let map = Letterbox {
                scale_x: scale, scale_y: scale, pad_x: 7.0, pad_y: 0.0,
                original: ImageSize::square(512), model: ImageSize::square(256),
            };
            let there = BoxXyxy::<Original>::new(x, y, x + w, y + h);
            let back = map.original_from_model(&map.model_from_original(&there));
            for (a, b) in there.to_array().iter().zip(back.to_array()) {
                prop_assert!((a - b).abs() < 0.5, "{there:?} came back as {back:?}");
            }
        }
    }
}

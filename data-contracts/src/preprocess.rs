//! From a radiograph to a model's input: resizing, letterboxing, crops around boxes, horizontal flip.
//!
//! Resizing is Pillow's BILINEAR for 8-bit images: a triangle filter whose support widens when shrinking, with
//! rounding to 8 bits between the horizontal and the vertical pass. Parity within one grey level is tested.

use std::borrow::Cow;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use serde::{Deserialize, Serialize};

use crate::boxes::BoxXyxy;
use crate::radiograph::Radiograph;
use crate::space::{ImageSize, Letterbox, Original, PixelRect};

/// How a radiograph of any shape becomes a model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// Keeps the proportions; the radiograph is centred, the padding is black.
    Letterbox,
    /// Stretches width and height to the square.
    Squash,
    /// Keeps the proportions; the shortest edge has the given size, unless the longest would be too long. Detectors only:
    /// inputs have different sizes, and a batch is padded to its largest.
    ShortEdge,
}

/// The longest edge over the shortest, at most, with [`Fit::ShortEdge`]: 1333 and 800 pixels in detectron2.
const LONGEST_OVER_SHORTEST: (u64, u64) = (1333, 800);

/// What a model expects at its input; part of its card.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Width and height of the square input, or its shortest edge with [`Fit::ShortEdge`]; model pixels.
    pub size: u32,
    /// How the radiograph gets this size.
    pub fit: Fit,
    /// Subtracted from grey levels on the scale 0 to 1.
    pub mean: f32,
    /// Divides after the subtraction.
    pub std: f32,
}

impl InputSpec {
    /// The longest edge of an input, model pixels: with [`Fit::ShortEdge`] 1333 where the shortest has 800, and in this
    /// proportion for other sizes.
    pub fn longest_edge(&self) -> u32 {
        let (longest, shortest) = LONGEST_OVER_SHORTEST;
        match self.fit {
            Fit::Letterbox | Fit::Squash => self.size,
            Fit::ShortEdge => ((u64::from(self.size) * longest + shortest / 2) / shortest) as u32,
        }
    }
}

/// A model's input before normalisation, and where the radiograph lies in it.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelInput {
    /// Grey levels, row-major, as many as `letterbox.model` has pixels; padding is 0.
    pub pixels: Vec<u8>,
    /// The map between the radiograph's pixels and these.
    pub letterbox: Letterbox,
}

/// Smallest width and height of a region, original pixels.
const REGION_SIZE_MIN_PX: f32 = 8.0;
/// Smallest area of a region as a share of the image.
const REGION_AREA_MIN_SHARE: f32 = 0.0002;

/// The radiograph at another size (at least 1 x 1), as by Pillow's BILINEAR.
pub fn resize(radiograph: &Radiograph, size: ImageSize) -> Radiograph {
    resize_rect(radiograph, whole(radiograph), ImageSize { width: size.width.max(1), height: size.height.max(1) })
}

fn whole(radiograph: &Radiograph) -> PixelRect {
    PixelRect { left: 0, top: 0, size: radiograph.size() }
}

/// The model's input before normalisation.
pub fn to_model_input(radiograph: &Radiograph, spec: &InputSpec) -> ModelInput {
    let letterbox = letterbox_of(radiograph.size(), spec);
    ModelInput { pixels: letterboxed(radiograph, whole(radiograph), &letterbox), letterbox }
}

/// A crop around a box as `size * size` grey levels: the box, clipped to the image and with a margin of `margin` times
/// its width and height, scaled to fit; the short axis is padded symmetrically with 0.
///
/// `None` for a box that is not finite or inverted, is narrower or lower than 8 px inside the image, or covers less
/// than 0.02 % of it.
pub fn crop_region(radiograph: &Radiograph, region: &BoxXyxy<Original>, size: u32, margin: f32) -> Option<Vec<u8>> {
    if size == 0 {
        return None;
    }
    let cut = crop_rect(radiograph.size(), region, margin)?;
    Some(letterboxed(radiograph, cut, &Letterbox::centred(cut.size, size)))
}

/// What [`crop_region`] cuts out of an image of this size, `None` where it gives no crop.
pub fn crop_rect(image: ImageSize, region: &BoxXyxy<Original>, margin: f32) -> Option<PixelRect> {
    let (width, height) = (image.width as f32, image.height as f32);
    if !region.is_proper() {
        return None;
    }
    let inside = region.clip(width, height);
    let is_tiny = inside.width() < REGION_SIZE_MIN_PX
        || inside.height() < REGION_SIZE_MIN_PX
        || inside.area() < REGION_AREA_MIN_SHARE * width * height;
    if is_tiny {
        return None;
    }
    let grown = inside.with_margin(margin.max(0.0)).clip(width, height);
    let (left, top) = (grown.x_min.floor() as u32, grown.y_min.floor() as u32);
    let size = ImageSize {
        width: (grown.x_max.ceil() as u32).min(image.width).checked_sub(left)?,
        height: (grown.y_max.ceil() as u32).min(image.height).checked_sub(top)?,
    };
    Some(PixelRect { left, top, size })
}

/// Mean and standard deviation of the grey levels of a part of the radiograph, on the scale 0 to 1; the deviation divides by the
/// number of pixels. Both are 0 for a part without pixels.
pub fn grey_statistics(radiograph: &Radiograph, part: PixelRect) -> [f32; 2] {
    let mut histogram = [0u64; 256];
    cut_out(radiograph, part).iter().for_each(|&grey| histogram[usize::from(grey)] += 1);
    let count = histogram.iter().sum::<u64>().max(1) as f64;
    let mean_of = |value: &dyn Fn(f64) -> f64| {
        histogram.iter().enumerate().map(|(grey, &n)| n as f64 * value(grey as f64 / 255.0)).sum::<f64>() / count
    };
    let mean = mean_of(&|grey| grey);
    [mean as f32, mean_of(&|grey| (grey - mean).powi(2)).sqrt() as f32]
}

/// Where an image of this size lies in the model's input.
pub fn letterbox_of(image: ImageSize, spec: &InputSpec) -> Letterbox {
    let size = spec.size.max(1);
    match spec.fit {
        Fit::Squash => Letterbox::stretched(image, size),
        Fit::Letterbox => Letterbox::centred(image, size),
        Fit::ShortEdge => Letterbox::short_edge(image, size, spec.longest_edge()),
    }
}

/// The radiograph flipped horizontally.
pub fn mirror(radiograph: &Radiograph) -> Radiograph {
    let width = radiograph.width as usize;
    let pixels = radiograph.pixels.chunks_exact(width).flat_map(|row| row.iter().rev().copied()).collect();
    Radiograph { width: radiograph.width, height: radiograph.height, pixels }
}

/// `source` resized to its place in the model's input, the rest black.
fn letterboxed(radiograph: &Radiograph, source: PixelRect, letterbox: &Letterbox) -> Vec<u8> {
    let place = letterbox.image_rect();
    let resized = resize_rect(radiograph, source, place.size);
    let mut pixels = vec![0; letterbox.model.pixels() as usize];
    let rows = pixels.chunks_exact_mut(letterbox.model.width as usize).skip(place.top as usize);
    for (row, resized_row) in rows.zip(resized.pixels.chunks_exact(place.size.width as usize)) {
        let left = place.left as usize;
        row[left..left + resized_row.len()].copy_from_slice(resized_row);
    }
    pixels
}

/// A part of the radiograph at another size.
pub(crate) fn resize_rect(radiograph: &Radiograph, source: PixelRect, size: ImageSize) -> Radiograph {
    let cut = cut_out(radiograph, source);
    let ImageSize { width, height } = size;
    if source.size == size {
        return Radiograph { width, height, pixels: cut.into_owned() };
    }
    let mut pixels = vec![0; size.pixels() as usize];
    let mut target = TypedImage::<U8>::from_buffer(width, height, &mut pixels).expect("the target has its own size");
    let image = TypedImageRef::<U8>::from_buffer(source.size.width, source.size.height, &cut)
        .expect("the cut has its own size");
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).use_alpha(false);
    // Of one pixel type: all of them would bring the browser's module a quarter of a megabyte of tables for alpha.
    Resizer::new().resize_typed(&image, &mut target, &options).expect("the whole image is inside itself");
    Radiograph { width, height, pixels }
}

fn cut_out(radiograph: &Radiograph, rect: PixelRect) -> Cow<'_, [u8]> {
    if rect.size == radiograph.size() {
        return Cow::Borrowed(&radiograph.pixels);
    }
    let rows = radiograph.pixels.chunks_exact(radiograph.width as usize);
    let (left, right) = (rect.left as usize, rect.left as usize + rect.size.width as usize);
    rows.skip(rect.top as usize)
        .take(rect.size.height as usize)
        .flat_map(|row| row[left..right].iter().copied())
        .collect()
}

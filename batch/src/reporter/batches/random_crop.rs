//! R2Gen's random crop of training images: the shortest edge is resized to 256 pixels for an input of 224, and a square of 224 is
//! cut out at a random place. Regions follow their image.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::preprocess::Fit;
use d2r_contracts::space::{ImageSize, Letterbox, Model};
use rand::{Rng, RngExt};

use crate::detector::batches::augment::visible;
use crate::reporter::batches::study::{Region, StudyVisual, VisualSpec};

/// Pixels of the shortest edge for an input of so many pixels.
const EDGE_FOR_INPUT: (u32, u32) = (256, 224);

/// How images are prepared that are cropped at random for a model with this preprocessing.
pub fn prepared_spec(spec: &VisualSpec) -> VisualSpec {
    let (edge, input) = EDGE_FOR_INPUT;
    let mut prepared = *spec;
    prepared.image.fit = Fit::ShortEdge;
    prepared.image.size = (u64::from(spec.image.size) * u64::from(edge) / u64::from(input)) as u32;
    prepared
}

/// A square of `size` pixels of each view, black beyond a view that is smaller; and for each region of `visual` whether most of it
/// is inside, as boxes of [`crate::detector::batches::augment`]. The others are dropped.
pub fn random_crop(visual: &StudyVisual, size: u32, rng: &mut impl Rng) -> (StudyVisual, Vec<bool>) {
    let mut pixels = Vec::with_capacity(visual.letterboxes.len() * (size as usize).pow(2));
    let mut corners = Vec::with_capacity(visual.letterboxes.len());
    let mut rest = visual.pixels.as_slice();
    for letterbox in &visual.letterboxes {
        let view = letterbox.model;
        let (pixels_of_view, others) = rest.split_at(view.pixels() as usize);
        let corner = (offset(view.width, size, rng), offset(view.height, size, rng));
        cut(pixels_of_view, view, corner, size, &mut pixels);
        corners.push(corner);
        rest = others;
    }
    let moved: Vec<Option<Region>> = match (visual.letterboxes.first(), corners.first()) {
        (Some(first), Some(&corner)) => {
            visual.regions.iter().map(|region| inside(region, first.model, corner, size)).collect()
        }
        _ => Vec::new(),
    };
    let kept = moved.iter().map(Option::is_some).collect();
    let square = Letterbox::stretched(ImageSize::square(size), size);
    let letterboxes = vec![square; visual.letterboxes.len()];
    (StudyVisual { pixels, letterboxes, regions: moved.into_iter().flatten().collect() }, kept)
}

/// The first column or row of a cut of `size` in `length` pixels.
fn offset(length: u32, size: u32, rng: &mut impl Rng) -> u32 {
    rng.random_range(0..=length.saturating_sub(size))
}

/// Appends the square of `size` pixels whose upper left corner is at `corner`.
fn cut(view: &[u8], of: ImageSize, corner: (u32, u32), size: u32, pixels: &mut Vec<u8>) {
    let (left, width) = (corner.0 as usize, size.min(of.width) as usize);
    let rows = view.chunks_exact(of.width.max(1) as usize).skip(corner.1 as usize).take(size as usize);
    let end = pixels.len() + (size as usize).pow(2);
    for row in rows {
        pixels.extend_from_slice(&row[left..left + width]);
        pixels.resize(pixels.len() + size as usize - width, 0);
    }
    pixels.resize(end, 0);
}

/// The region with its box as shares of the square; `None` when most of it is outside.
fn inside(region: &Region, view: ImageSize, corner: (u32, u32), size: u32) -> Option<Region> {
    let [score, x, y, width, height] = region.scored_box;
    let (x, y) = (x * view.width as f32 - corner.0 as f32, y * view.height as f32 - corner.1 as f32);
    let (half_width, half_height) = (width * view.width as f32 / 2.0, height * view.height as f32 / 2.0);
    let unclipped: BoxXyxy<Model> = BoxXyxy::new(x - half_width, y - half_height, x + half_width, y + half_height);
    let clipped = visible(&unclipped, ImageSize::square(size))?;
    let (x, y) = clipped.centre();
    let shares = [x, y, clipped.width(), clipped.height()].map(|pixels| pixels / size as f32);
    Some(Region { scored_box: [score, shares[0], shares[1], shares[2], shares[3]], ..region.clone() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::training::streams::sample_rng;

    const SIZE: u32 = 8;

    /// A view whose grey levels are `first + column + 16 * row`.
    fn view(width: u32, height: u32, first: u8) -> (Vec<u8>, Letterbox) {
        let grey = |i: u32| first.wrapping_add((i % width + 16 * (i / width)) as u8);
        let size = ImageSize { width, height };
        (
            (0..width * height).map(grey).collect(),
            Letterbox { model: size, ..Letterbox::stretched(size, width.max(height)) },
        )
    }

    fn study(regions: Vec<Region>) -> StudyVisual {
        let ((mut pixels, first), (more, second)) = (view(12, 10, 0), view(9, 14, 100));
        pixels.extend(more);
        StudyVisual { pixels, letterboxes: vec![first, second], regions }
    }

    fn region(scored_box: [f32; 5]) -> Region {
        Region { crop: vec![1], statistics: [0.5, 0.2], class_id: 3, scored_box }
    }

    #[test]
    fn every_place_of_every_view_is_drawn_and_regions_follow() {
        // 3 x 2 pixels at column 5 and row 4, the same for every crop: always inside.
        let study = study(vec![region([0.9, 6.5 / 12.0, 5.0 / 10.0, 3.0 / 12.0, 2.0 / 10.0])]);
        let (mut first, mut second) = (BTreeSet::new(), BTreeSet::new());
        for index in 0..300 {
            let (crop, kept) = random_crop(&study, SIZE, &mut sample_rng(4, 0, index));
            assert_eq!((crop.pixels.len(), kept), (2 * 64, vec![true]));
            let (left, top) = (u32::from(crop.pixels[0] % 16), u32::from(crop.pixels[0] / 16));
            first.insert((left, top));
            second.insert(crop.pixels[64]);
            for (i, &grey) in crop.pixels[..64].iter().enumerate() {
                assert_eq!(u32::from(grey), left + i as u32 % 8 + 16 * (top + i as u32 / 8));
            }
            let [score, x, y, width, height] = crop.regions[0].scored_box;
            let expected = [6.5 - left as f32, 5.0 - top as f32, 3.0, 2.0].map(|pixels| pixels / 8.0);
            assert_eq!(score, 0.9);
            for (found, expected) in [x, y, width, height].into_iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
            assert!(crop.letterboxes.iter().all(|l| l.model == ImageSize::square(SIZE)));
        }
        assert_eq!((first.len(), second.len()), (5 * 3, 2 * 7), "{first:?} {second:?}");
    }

    #[test]
    fn a_region_that_is_mostly_cut_off_is_dropped_and_one_at_the_edge_is_clipped() {
        // Two columns at the left edge, and the whole image.
        let study = study(vec![region([0.9, 1.0 / 12.0, 0.5, 2.0 / 12.0, 1.0]), region([0.8, 0.5, 0.5, 1.0, 1.0])]);
        let (mut dropped, mut stayed) = (0, 0);
        for index in 0..50 {
            let (crop, kept) = random_crop(&study, SIZE, &mut sample_rng(4, 0, index));
            let left = crop.pixels[0] % 16;
            assert_eq!(kept, [left < 2, true]);
            dropped += usize::from(left >= 2);
            stayed += usize::from(left < 2);
            assert_eq!(crop.regions.last().unwrap().scored_box, [0.8, 0.5, 0.5, 1.0, 1.0]);
        }
        assert!(dropped > 0 && stayed > 0);
    }

    #[test]
    fn a_view_smaller_than_the_crop_is_black_beyond() {
        let (pixels, letterbox) = view(12, 5, 1);
        let study = StudyVisual { pixels, letterboxes: vec![letterbox], regions: Vec::new() };
        let (crop, _) = random_crop(&study, SIZE, &mut sample_rng(4, 0, 0));
        assert_eq!(crop.pixels.len(), 64);
        assert!(crop.pixels[..40].iter().all(|&p| p > 0) && crop.pixels[40..].iter().all(|&p| p == 0));
    }

    #[test]
    fn an_input_of_224_pixels_is_cut_out_of_256() {
        let spec = |size| prepared_spec(&VisualSpec::new(size, 2, 32, 0.0)).image;
        assert_eq!((spec(224).size, spec(224).fit), (256, Fit::ShortEdge));
        assert_eq!(spec(384).size, 438);
    }
}

//! A study as plain data: images at the trunk's input size, crops of boxes from the full resolution, token ids, and the
//! boxes that each sentence names. Prepared once and kept as bytes over the epochs.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::LabelState;
use d2r_contracts::preprocess::{Fit, InputSpec, crop_rect, crop_region, grey_statistics, to_model_input};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::{ImageSize, Letterbox, Original};
use d2r_contracts::tables::{ImageRow, LesionRow};
use serde::{Deserialize, Serialize};

use crate::reporter::batches::text_tokens::EncodedTexts;
use crate::reporter::batches::visual_handle::VisualHandle;

/// Least width and height of a box that is cropped, original pixels.
const BOX_SIZE_MIN: f32 = 4.0;

/// Preprocessing of images and regions; part of the model card.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VisualSpec {
    /// Size, fit and normalisation of images.
    pub image: InputSpec,
    /// Regions per image at most, by score; 0 uses none.
    pub max_regions: usize,
    /// Height and width of a crop, pixels.
    pub region_size: u32,
    /// Context added at each edge of a box, as a share of its width or height.
    pub region_margin: f32,
    /// Images per study.
    pub views: usize,
}

impl VisualSpec {
    /// One letterboxed image of `size` pixels per study, normalised with ImageNet's statistics averaged over channels.
    pub fn new(size: u32, max_regions: usize, region_size: u32, region_margin: f32) -> Self {
        // Means of the three channels of ImageNet's published statistics.
        let image = InputSpec { size, fit: Fit::Letterbox, mean: 0.449, std: 0.226 };
        Self { image, max_regions, region_size, region_margin, views: 1 }
    }
}

/// A bounding box of an image with its pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// `region_size^2` grey levels.
    pub crop: Vec<u8>,
    /// Mean and standard deviation of what was cropped, before resizing and padding, on the scale 0 to 1.
    pub statistics: [f32; 2],
    /// VinDr-CXR class.
    pub class_id: i32,
    /// Detection score, then x and y of the centre, width and height as shares of the image.
    pub scored_box: [f32; 5],
}

/// Pixels of a study's views, and the regions of the first view.
#[derive(Debug, Clone, PartialEq)]
pub struct StudyVisual {
    /// Grey levels of each view, one after the other.
    pub pixels: Vec<u8>,
    /// Letterbox of each view; its `model` is the size that the view has in `pixels`.
    pub letterboxes: Vec<Letterbox>,
    /// At most `max_regions`, by descending score.
    pub regions: Vec<Region>,
}

impl StudyVisual {
    /// Appends further views.
    pub fn with_views<'a>(mut self, views: impl Iterator<Item = &'a Radiograph>, spec: &VisualSpec) -> Self {
        for input in views.map(|view| to_model_input(view, &spec.image)) {
            self.pixels.extend(input.pixels);
            self.letterboxes.push(input.letterbox);
        }
        self
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.pixels.len() + self.regions.iter().map(|r| r.crop.len() + 40).sum::<usize>()
    }
}

/// The bounding box of a row of `lesions`.
pub fn box_of(row: &LesionRow) -> BoxXyxy<Original> {
    BoxXyxy::new(row.x_min, row.y_min, row.x_max, row.y_max)
}

/// A region without its pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredRegion {
    /// VinDr-CXR class.
    pub class_id: i32,
    /// As in [`Region`].
    pub scored_box: [f32; 5],
    /// The box, clipped to the image.
    pub region: BoxXyxy<Original>,
}

/// The regions of an image of this size, each with the index of its row in `lesions`.
///
/// Boxes are sorted by descending score, then by `box_id`; a box without a proper crop is dropped.
pub fn scored_regions(image: ImageSize, lesions: &[LesionRow], spec: &VisualSpec) -> Vec<(usize, ScoredRegion)> {
    let mut order: Vec<usize> = (0..lesions.len()).collect();
    order.sort_by(|&a, &b| {
        lesions[b].score.total_cmp(&lesions[a].score).then_with(|| lesions[a].box_id.cmp(&lesions[b].box_id))
    });
    let (width, height) = (image.width as f32, image.height as f32);
    let mut regions = Vec::new();
    for index in order {
        if regions.len() == spec.max_regions {
            break;
        }
        let row = &lesions[index];
        let region = box_of(row).clip(width, height);
        if !region.is_proper() || region.width() < BOX_SIZE_MIN || region.height() < BOX_SIZE_MIN {
            continue;
        }
        if spec.region_size == 0 || crop_rect(image, &region, spec.region_margin).is_none() {
            continue;
        }
        let (x, y) = region.centre();
        let scored_box = [row.score, x / width, y / height, region.width() / width, region.height() / height];
        regions.push((index, ScoredRegion { class_id: row.class_id, scored_box, region }));
    }
    regions
}

/// Prepares an image and its boxes. Returns also, for each region, the index of its row in `lesions`.
pub fn study_visual(radiograph: &Radiograph, lesions: &[LesionRow], spec: &VisualSpec) -> (StudyVisual, Vec<usize>) {
    let (mut regions, mut kept) = (Vec::new(), Vec::new());
    for (index, ScoredRegion { class_id, scored_box, region }) in scored_regions(radiograph.size(), lesions, spec) {
        let Some(crop) = crop_region(radiograph, &region, spec.region_size, spec.region_margin) else { continue };
        let cut = crop_rect(radiograph.size(), &region, spec.region_margin);
        let statistics = cut.map_or([0.0; 2], |cut| grey_statistics(radiograph, cut));
        regions.push(Region { crop, statistics, class_id, scored_box });
        kept.push(index);
    }
    let input = to_model_input(radiograph, &spec.image);
    (StudyVisual { pixels: input.pixels, letterboxes: vec![input.letterbox], regions }, kept)
}

/// A sentence of a reference report and the regions that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedRegions {
    /// First token, counted from 0 without the leading boundary.
    pub first: usize,
    /// One past the last token.
    pub end: usize,
    /// Indices in [`StudyVisual::regions`].
    pub regions: Vec<usize>,
}

/// Groups images into model inputs: each image alone for `views <= 1`; else the first `views` images of each study, by image
/// id, padded with the first image.
pub fn study_views(images: Vec<ImageRow>, views: usize) -> Vec<Vec<ImageRow>> {
    if views <= 1 {
        return images.into_iter().map(|image| vec![image]).collect();
    }
    let mut studies: Vec<Vec<ImageRow>> = Vec::new();
    let mut indices: BTreeMap<String, usize> = BTreeMap::new();
    for image in images {
        let index = *indices.entry(image.study_id.clone()).or_insert_with(|| {
            studies.push(Vec::new());
            studies.len() - 1
        });
        studies[index].push(image);
    }
    for images in &mut studies {
        images.sort_by(|a, b| a.image_id.cmp(&b.image_id));
        let first = images[0].clone();
        images.resize(views, first);
    }
    studies
}

/// A training or validation study.
#[derive(Debug, Clone)]
pub struct ReportExample {
    pub study_id: String,
    /// Images and regions.
    pub visual: VisualHandle,
    /// Token ids between boundaries, truncated to the longest target.
    pub ids: Vec<i64>,
    /// Sentences that name regions.
    pub named: Vec<NamedRegions>,
    /// The cleaned reference report, not truncated.
    pub reference: String,
    /// Labels of the reference as it stands in its source.
    pub labels: [LabelState; 14],
    /// The reference for the text encoder; empty without alignment.
    pub texts: EncodedTexts,
}

/// The letterbox of a square image of `size` pixels that is not resized.
#[cfg(test)]
pub fn square(size: u32) -> Letterbox {
    Letterbox::stretched(d2r_contracts::space::ImageSize::square(size), size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::lesion;

    fn row(box_id: &str, score: f32, corners: [f32; 4]) -> LesionRow {
        LesionRow { score, ..lesion("i", box_id, 3, corners) }
    }

    #[test]
    fn crops_come_from_original_pixels_and_are_padded_to_squares() {
        // 800 x 400 pixels; the bright bar in the lower right corner is four times as wide as high.
        let (width, height) = (800usize, 400usize);
        let mut pixels = vec![20u8; width * height];
        for y in 330..370 {
            pixels[y * width + 600..y * width + 760].fill(240);
        }
        let radiograph = Radiograph::new(800, 400, pixels).unwrap();
        let spec = VisualSpec::new(64, 2, 32, 0.0);
        let (visual, _) = study_visual(&radiograph, &[row("bar", 0.9, [600.0, 330.0, 760.0, 370.0])], &spec);
        let rows: Vec<&[u8]> = visual.regions[0].crop.chunks(32).collect();
        assert!(rows[14..18].iter().all(|r| r.iter().all(|&p| p > 200)), "the bar spans the crop's middle rows");
        assert!(rows[..10].iter().chain(&rows[22..]).all(|r| r.iter().all(|&p| p == 0)), "above and below is padding");
        assert_eq!(visual.regions[0].scored_box, [0.9, 0.85, 0.875, 0.2, 0.1]);
        let [mean, std] = visual.regions[0].statistics;
        assert!(
            (mean - 240.0 / 255.0).abs() < 1e-6 && std < 1e-6,
            "of the bar alone, without the padding: {mean} {std}"
        );
    }

    #[test]
    fn regions_are_sorted_by_score_and_degenerate_boxes_are_dropped() {
        let radiograph = Radiograph::new(100, 80, (0..8000).map(|i| (i % 251) as u8).collect()).unwrap();
        let lesions = [
            row("b", 0.5, [10.0, 10.0, 50.0, 50.0]),
            row("flat", 0.9, [10.0, 10.0, 10.0, 50.0]),
            row("outside", 0.9, [200.0, 10.0, 220.0, 50.0]),
            row("a", 0.5, [20.0, 20.0, 60.0, 70.0]),
            row("top", 0.8, [0.0, 0.0, 50.0, 40.0]),
            row("nan", f32::NAN, [f32::NAN, 0.0, 50.0, 40.0]),
        ];
        let spec = VisualSpec::new(64, 2, 32, 0.1);
        let (visual, kept) = study_visual(&radiograph, &lesions, &spec);
        assert_eq!(kept, [4, 3]);
        assert_eq!(visual.pixels.len(), 64 * 64);
        assert!(visual.regions.iter().all(|r| r.crop.len() == 32 * 32));
        assert_eq!(visual.regions[0].scored_box, [0.8, 0.25, 0.25, 0.5, 0.5]);
        let none = study_visual(&radiograph, &lesions, &VisualSpec::new(64, 0, 32, 0.1));
        assert!(none.0.regions.is_empty() && none.1.is_empty());
    }
}

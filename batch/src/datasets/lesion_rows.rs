//! From the annotation of an image to rows of the `lesions` table: the annotators' boxes, and the lesions fused from
//! them. All boxes are clipped to the image, as the detector's training clips its targets; boxes outside it are left out
//! and reported, and an image of which no box can be used is unread, never normal.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::{ImageSize, Original};
use d2r_contracts::tables::LesionRow;

use crate::datasets::frames::box_fit::BoxFit;
use crate::datasets::fusion::{AnnotatedBox, Annotator, Fusion, fuse};
use crate::datasets::listing::{FrameSize, Labels, ListedBox, ListedImage};

/// Code of the `failures` table for a box outside its image.
pub const BOX_OUTSIDE: &str = "box_outside";

/// How the annotators' boxes are fused.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusionRule {
    /// Boxes of two annotators are one lesion above this IoU.
    pub iou_min: f64,
    /// A fused box is accepted when at least this many annotators marked it.
    pub min_annotators: i32,
}

/// The lesions of one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lesions {
    /// Rows, by box id.
    pub rows: Vec<LesionRow>,
    /// Number of fused lesions; `None` for an image without annotators, and where no box can be used.
    pub n_boxes: Option<i32>,
    /// Boxes outside the image, for the `failures` table; they are left out.
    pub outside: Vec<OutsideBox>,
}

/// A box that does not belong to the pixels of its image.
#[derive(Debug, Clone, PartialEq)]
pub struct OutsideBox {
    /// Row of the label file.
    pub place: String,
    pub annotator: String,
    /// In the pixels of the image.
    pub bbox: BoxXyxy<Original>,
    /// As listed.
    pub listed: BoxXyxy<Original>,
}

/// The rows of one image; its `size` is `None` when only labels are read. `labels`: the set of the boxes' classes.
pub fn lesion_rows(image: &ListedImage, size: Option<ImageSize>, rule: &FusionRule, labels: &LabelSet) -> Lesions {
    let mut lesions = Lesions::default();
    let scale = scale(image.frame, size);
    let size = size.map(frame_of);
    let boxes: Vec<BoxXyxy<Original>> =
        image.labels.boxes().into_iter().map(|(_, b)| b.bbox.scaled(scale.x, scale.y)).collect();
    // Without the image's size only the frame's edges are known, or nothing but that coordinates are not negative.
    let edges = size.or(image.frame).unwrap_or(FrameSize { width: f32::MAX, height: f32::MAX });
    let fit = BoxFit::of(boxes.iter(), edges);
    let mut inside = |who: &str, boxes: &[ListedBox]| -> Vec<ListedBox> {
        let mut kept = Vec::with_capacity(boxes.len());
        for b in boxes {
            let full = b.bbox.scaled(scale.x, scale.y);
            match fit.clipped(&full).filter(|_| !is_share(&b.bbox)) {
                Some(bbox) => kept.push(ListedBox { bbox, ..b.clone() }),
                None => lesions.outside.push(outside(who, b, full)),
            }
        }
        // A canonical order, so that the order of rows in the file has no effect.
        kept.sort_by(|a, b| order(a).partial_cmp(&order(b)).unwrap_or(std::cmp::Ordering::Equal));
        kept
    };
    match &image.labels {
        Labels::Unannotated => {}
        Labels::Annotators(annotators) => {
            let annotators: BTreeMap<&str, Vec<ListedBox>> =
                annotators.iter().map(|(id, boxes)| (id.as_str(), inside(id, boxes))).collect();
            for (id, boxes) in &annotators {
                for (k, b) in boxes.iter().enumerate() {
                    let box_id = format!("{}-{id}-{k:03}", image.image_id);
                    let base = row(image, box_id, b, "reader", labels);
                    lesions.rows.push(LesionRow { reader_id: Some((*id).to_owned()), accepted: false, ..base });
                }
            }
            let fused = fused_boxes(&annotators, size, rule);
            lesions.n_boxes = Some(fused.len() as i32);
            for (k, (b, n_annotators)) in fused.iter().enumerate() {
                let box_id = format!("{}-fused-{k:03}", image.image_id);
                let accepted = *n_annotators >= rule.min_annotators;
                let base = row(image, box_id, b, "fused", labels);
                lesions.rows.push(LesionRow { n_readers: Some(*n_annotators), accepted, ..base });
            }
        }
        Labels::Consensus(boxes) => {
            let boxes = inside("consensus", boxes);
            lesions.n_boxes = Some(boxes.len() as i32);
            for (k, b) in boxes.iter().enumerate() {
                let box_id = format!("{}-fused-{k:03}", image.image_id);
                lesions.rows.push(row(image, box_id, b, "fused", labels));
            }
        }
        Labels::Detector { boxes, threshold, model_sha256 } => {
            for (k, b) in inside("detector", boxes).iter().enumerate() {
                let box_id = format!("{}-pseudo-{k:03}", image.image_id);
                let base = row(image, box_id, b, "pseudo", labels);
                let accepted = threshold.is_none_or(|t| b.score >= t);
                let (threshold, model_sha256) = (*threshold, model_sha256.clone());
                lesions.rows.push(LesionRow { accepted, threshold, model_sha256, ..base });
            }
        }
    }
    if fit.wrong_frame || (lesions.n_boxes == Some(0) && !lesions.outside.is_empty()) {
        lesions.n_boxes = None;
        lesions.rows.clear();
    }
    lesions.rows.sort_by(|a, b| a.box_id.cmp(&b.box_id));
    lesions
}

/// The lesions of an image whose set has its boxes in another frame: none, and all boxes are reported.
pub fn in_another_frame(image: &ListedImage, size: Option<ImageSize>) -> Lesions {
    let scale = scale(image.frame, size);
    let boxes = image.labels.boxes();
    let outside = boxes.into_iter().map(|(who, b)| outside(who, b, b.bbox.scaled(scale.x, scale.y))).collect();
    Lesions { outside, ..Lesions::default() }
}

/// Whether the boxes of an image are taken as they are: no larger frame is known for them.
pub fn is_in_own_frame(image: &ListedImage, size: Option<ImageSize>) -> bool {
    scale(image.frame, size) == Scale::ONE
}

/// Whether a box has coordinates between 0 and 1, shares of the image instead of pixels.
pub fn is_share(b: &BoxXyxy<Original>) -> bool {
    b.x_max <= 1.0 && b.y_max <= 1.0
}

fn outside(who: &str, listed: &ListedBox, bbox: BoxXyxy<Original>) -> OutsideBox {
    OutsideBox { place: listed.place.clone(), annotator: who.to_owned(), bbox, listed: listed.bbox }
}

fn frame_of(size: ImageSize) -> FrameSize {
    FrameSize { width: size.width as f32, height: size.height as f32 }
}

fn order(b: &ListedBox) -> (i32, [f32; 4], f32) {
    (b.class_id, b.bbox.to_array(), -b.score)
}

/// Pixels of the file per pixel of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scale {
    x: f32,
    y: f32,
}

impl Scale {
    const ONE: Self = Self { x: 1.0, y: 1.0 };
}

/// Boxes in the pixels of a larger original, or of a smaller copy, are scaled to the file's own pixels.
fn scale(frame: Option<FrameSize>, size: Option<ImageSize>) -> Scale {
    match (frame, size.map(frame_of)) {
        (Some(frame), Some(size)) if frame.width > 0.0 && frame.height > 0.0 => {
            Scale { x: size.width / frame.width, y: size.height / frame.height }
        }
        _ => Scale::ONE,
    }
}

/// Fused boxes in a canonical order, each with its number of distinct annotators.
///
/// IoU has no unit, so without the image's size the largest coordinates serve as its extent.
fn fused_boxes(
    annotators: &BTreeMap<&str, Vec<ListedBox>>,
    size: Option<FrameSize>,
    rule: &FusionRule,
) -> Vec<(ListedBox, i32)> {
    let all = || annotators.values().flatten();
    let extent = |get: fn(&ListedBox) -> f32| all().map(get).fold(1.0f32, f32::max);
    let size = size.unwrap_or_else(|| FrameSize { width: extent(|b| b.bbox.x_max), height: extent(|b| b.bbox.y_max) });
    let (w, h) = (f64::from(size.width), f64::from(size.height));
    let annotated = |b: &ListedBox| {
        let [x0, y0, x1, y1] = b.bbox.to_array().map(f64::from);
        AnnotatedBox { label: b.class_id, score: f64::from(b.score), xyxy: [x0 / w, y0 / h, x1 / w, y1 / h] }
    };
    let annotators: Vec<Annotator> = annotators
        .values()
        .map(|boxes| Annotator { weight: 1.0, boxes: boxes.iter().map(annotated).collect() })
        .collect();
    let mut fused: Vec<(ListedBox, i32)> = fuse(&annotators, &Fusion::of_annotators(rule.iou_min))
        .into_iter()
        .map(|f| {
            let [x0, y0, x1, y1] = f.xyxy;
            let bbox = BoxXyxy::new((x0 * w) as f32, (y0 * h) as f32, (x1 * w) as f32, (y1 * h) as f32);
            (ListedBox { class_id: f.label, bbox, score: f.score as f32, place: String::new() }, f.n_annotators as i32)
        })
        .collect();
    fused.sort_by(|a, b| order(&a.0).partial_cmp(&order(&b.0)).unwrap_or(std::cmp::Ordering::Equal));
    fused
}

/// A row with the parts that all sources share.
fn row(image: &ListedImage, box_id: String, listed: &ListedBox, source: &str, labels: &LabelSet) -> LesionRow {
    let b = &listed.bbox;
    LesionRow {
        image_id: image.image_id.clone(),
        box_id,
        class_name: labels.class_name(listed.class_id).unwrap_or_default().to_owned(),
        class_id: listed.class_id,
        x_min: b.x_min,
        y_min: b.y_min,
        x_max: b.x_max,
        y_max: b.y_max,
        score: listed.score.clamp(0.0, 1.0),
        source: source.to_owned(),
        reader_id: None,
        n_readers: None,
        std_x_min: None,
        std_y_min: None,
        std_x_max: None,
        std_y_max: None,
        student_iou: None,
        accepted: true,
        threshold: None,
        model_sha256: None,
    }
}

//! From the annotation of an image to rows of the `lesions` table: the annotators' boxes, and the lesions fused from
//! them. All boxes are clipped to the image, as the detector's training clips its targets; a box wholly outside is left
//! out and reported.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::lesion_class_name;
use d2r_contracts::space::{ImageSize, Original};
use d2r_contracts::tables::LesionRow;

use crate::datasets::fusion::{AnnotatedBox, Annotator, Fusion, fuse};
use crate::datasets::listing::{FrameSize, Labels, ListedBox, ListedImage};

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
    /// Number of fused lesions; `None` for an image without annotators.
    pub n_boxes: Option<i32>,
    /// Boxes that lie wholly outside the image, as `(annotator, box)` for the `failures` table; they are left out.
    pub outside: Vec<(String, BoxXyxy<Original>)>,
}

/// The rows of one image; its `size` is `None` when only labels are read.
pub fn lesion_rows(image: &ListedImage, size: Option<ImageSize>, rule: &FusionRule) -> Lesions {
    let mut lesions = Lesions::default();
    let size = size.map(|s| FrameSize { width: s.width as f32, height: s.height as f32 });
    // Boxes in the pixels of a resized copy are scaled to the file's own pixels.
    let scale = match (image.frame, size) {
        (Some(frame), Some(size)) if frame.width > 0.0 && frame.height > 0.0 => {
            Scale { x: size.width / frame.width, y: size.height / frame.height }
        }
        _ => Scale { x: 1.0, y: 1.0 },
    };
    let mut inside = |who: &str, boxes: &[ListedBox]| -> Vec<ListedBox> {
        // Without the image's size only negative coordinates are known to lie outside.
        let FrameSize { width, height } = size.unwrap_or(FrameSize { width: f32::MAX, height: f32::MAX });
        let mut kept = Vec::with_capacity(boxes.len());
        for b in boxes {
            let full = scaled(&b.bbox, scale);
            let bbox = full.clip(width, height);
            if bbox.is_proper() {
                kept.push(ListedBox { bbox, ..*b });
            } else {
                lesions.outside.push((who.to_owned(), full));
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
                    let base = row(image, box_id, b, "reader");
                    lesions.rows.push(LesionRow { reader_id: Some((*id).to_owned()), accepted: false, ..base });
                }
            }
            let fused = fused_boxes(&annotators, size, rule);
            lesions.n_boxes = Some(fused.len() as i32);
            for (k, (b, n_annotators)) in fused.iter().enumerate() {
                let box_id = format!("{}-fused-{k:03}", image.image_id);
                let accepted = *n_annotators >= rule.min_annotators;
                let base = row(image, box_id, b, "fused");
                lesions.rows.push(LesionRow { n_readers: Some(*n_annotators), accepted, ..base });
            }
        }
        Labels::Consensus(boxes) => {
            let boxes = inside("consensus", boxes);
            lesions.n_boxes = Some(boxes.len() as i32);
            for (k, b) in boxes.iter().enumerate() {
                let box_id = format!("{}-fused-{k:03}", image.image_id);
                lesions.rows.push(row(image, box_id, b, "fused"));
            }
        }
        Labels::Detector { boxes, threshold, model_sha256 } => {
            for (k, b) in inside("detector", boxes).iter().enumerate() {
                let box_id = format!("{}-pseudo-{k:03}", image.image_id);
                let base = row(image, box_id, b, "pseudo");
                let accepted = threshold.is_none_or(|t| b.score >= t);
                let (threshold, model_sha256) = (*threshold, model_sha256.clone());
                lesions.rows.push(LesionRow { accepted, threshold, model_sha256, ..base });
            }
        }
    }
    lesions.rows.sort_by(|a, b| a.box_id.cmp(&b.box_id));
    lesions
}

fn order(b: &ListedBox) -> (i32, [f32; 4], f32) {
    (b.class_id, b.bbox.to_array(), -b.score)
}

/// Original pixels per pixel of the frame.
#[derive(Debug, Clone, Copy)]
struct Scale {
    x: f32,
    y: f32,
}

fn scaled(b: &BoxXyxy<Original>, scale: Scale) -> BoxXyxy<Original> {
    BoxXyxy::new(b.x_min * scale.x, b.y_min * scale.y, b.x_max * scale.x, b.y_max * scale.y)
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
            (ListedBox { class_id: f.label, bbox, score: f.score as f32 }, f.n_annotators as i32)
        })
        .collect();
    fused.sort_by(|a, b| order(&a.0).partial_cmp(&order(&b.0)).unwrap_or(std::cmp::Ordering::Equal));
    fused
}

/// A row with the parts that all sources share.
fn row(image: &ListedImage, box_id: String, listed: &ListedBox, source: &str) -> LesionRow {
    let b = &listed.bbox;
    LesionRow {
        image_id: image.image_id.clone(),
        box_id,
        class_name: lesion_class_name(listed.class_id).unwrap_or_default().to_owned(),
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

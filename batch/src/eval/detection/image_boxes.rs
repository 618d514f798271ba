//! Truth boxes and detections, image by image: what every detection figure is computed from.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Original;

/// A box of the reference: annotated or drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TruthBox {
    pub class_id: i32,
    pub region: BoxXyxy<Original>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoredBox {
    pub class_id: i32,
    /// Confidence; any finite scale.
    pub score: f32,
    pub region: BoxXyxy<Original>,
}

/// The boxes of one image; both lists may be empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageBoxes {
    pub truths: Vec<TruthBox>,
    pub detections: Vec<ScoredBox>,
}

/// Groups boxes by image, in the order of `image_ids`, which must list every evaluated image (also the normal
/// ones); boxes of other images are left out.
pub fn by_image<'a>(
    image_ids: &[String],
    truths: impl IntoIterator<Item = (&'a str, TruthBox)>,
    detections: impl IntoIterator<Item = (&'a str, ScoredBox)>,
) -> Vec<ImageBoxes> {
    let index: BTreeMap<&str, usize> = image_ids.iter().enumerate().map(|(i, id)| (id.as_str(), i)).collect();
    let mut images = vec![ImageBoxes::default(); image_ids.len()];
    for (id, truth) in truths {
        if let Some(&i) = index.get(id) {
            images[i].truths.push(truth);
        }
    }
    for (id, detection) in detections {
        if let Some(&i) = index.get(id) {
            images[i].detections.push(detection);
        }
    }
    images
}

/// IoU in double precision, as the reference computes it.
pub(crate) fn iou(a: &BoxXyxy<Original>, b: &BoxXyxy<Original>) -> f64 {
    let [ax0, ay0, ax1, ay1] = a.to_array().map(f64::from);
    let [bx0, by0, bx1, by1] = b.to_array().map(f64::from);
    let (w, h) = (ax1.min(bx1) - ax0.max(bx0), ay1.min(by1) - ay0.max(by0));
    if w <= 0.0 || h <= 0.0 {
        return 0.0;
    }
    let shared = w * h;
    shared / ((ax1 - ax0) * (ay1 - ay0) + (bx1 - bx0) * (by1 - by0) - shared)
}

/// Area in double precision.
pub(crate) fn area(b: &BoxXyxy<Original>) -> f64 {
    let [x0, y0, x1, y1] = b.to_array().map(f64::from);
    (x1 - x0) * (y1 - y0)
}

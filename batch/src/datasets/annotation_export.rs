//! D2R-Net's `annotation.json` from rows of the lake: an entry per image with a report, boxes `[x, y, w, h]` in
//! original pixels by falling score, padded with -1 to one length (the published loader stacks batches). The published
//! loader ignores `labels`, `score_threshold` and `model_sha256`.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::Original;
use d2r_contracts::tables::{ImageRow, LesionRow, ReportRow};
use serde::Serialize;

/// One entry of the file: an image with its report and boxes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Example {
    /// `image_id` of the lake.
    pub id: String,
    pub study_id: String,
    pub subject_id: String,
    /// `train`, `val` or `test`.
    pub split: String,
    /// Reference report, not cleaned.
    pub report: String,
    /// Relative to the dataset's root.
    pub image_path: Vec<String>,
    /// `[x, y, w, h]`, then padding.
    pub boxes: Vec<[f32; 4]>,
    /// Score of the detector or share of the annotators; -1 for padding.
    pub scores: Vec<f32>,
    /// Ids of the classes, [`LabelSet::file_id`]; -1 for padding.
    pub labels: Vec<i64>,
    /// Names of the classes, where they are not those of VinDr-CXR; empty for padding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub label_names: Vec<String>,
    /// Pixels of the image, which the boxes refer to.
    pub height: Option<i32>,
    pub width: Option<i32>,
    /// The score threshold of accepted boxes.
    pub score_threshold: Option<f32>,
    /// SHA-256 of the detector's weights.
    pub model_sha256: Option<String>,
}

const PAD: [f32; 4] = [-1.0; 4];

/// The examples of one split, in the order of `images`. Images whose study has no report in `section` are left out.
/// Boxes are the accepted ones of the detector, or the annotators' fused ones where there are none of a detector; their
/// classes are those of `labels`.
pub fn examples(
    split: &str,
    images: Vec<ImageRow>,
    lesions: &[LesionRow],
    reports: Vec<ReportRow>,
    section: &str,
    labels: &LabelSet,
) -> Vec<Example> {
    let named = !labels.is_vindr();
    let reports: BTreeMap<String, String> =
        reports.into_iter().filter(|r| r.section == section).map(|r| (r.study_id, r.text)).collect();
    let mut by_image: BTreeMap<&str, Vec<&LesionRow>> = BTreeMap::new();
    for lesion in lesions.iter().filter(|l| l.accepted && l.source != "reader") {
        by_image.entry(&lesion.image_id).or_default().push(lesion);
    }
    let example = |image: ImageRow| {
        let report = reports.get(&image.study_id)?.clone();
        let mut boxes = by_image.remove(image.image_id.as_str()).unwrap_or_default();
        if boxes.iter().any(|l| l.source == "pseudo") {
            boxes.retain(|l| l.source == "pseudo");
        }
        boxes.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.box_id.cmp(&b.box_id)));
        let xywh = |l: &&LesionRow| BoxXyxy::<Original>::new(l.x_min, l.y_min, l.x_max, l.y_max).to_xywh();
        Some(Example {
            id: image.image_id,
            study_id: image.study_id,
            subject_id: image.subject_id,
            split: split.to_owned(),
            report,
            image_path: vec![image.path],
            boxes: boxes.iter().map(xywh).collect(),
            scores: boxes.iter().map(|l| l.score).collect(),
            labels: boxes.iter().map(|l| labels.file_id(l.class_id)).collect(),
            label_names: boxes.iter().filter(|_| named).map(|l| l.class_name.clone()).collect(),
            height: image.height,
            width: image.width,
            // Classes may have their own: all that is here scores above the lowest.
            score_threshold: boxes.iter().filter_map(|l| l.threshold).min_by(f32::total_cmp),
            model_sha256: boxes.iter().find_map(|l| l.model_sha256.clone()),
        })
    };
    images.into_iter().filter_map(example).collect()
}

/// Pads the boxes of all examples to one length, at least 1, and returns it.
pub fn pad<'a>(examples: impl Iterator<Item = &'a mut Example>) -> usize {
    let examples: Vec<&mut Example> = examples.collect();
    let length = examples.iter().map(|e| e.boxes.len()).max().unwrap_or(0).max(1);
    for example in examples {
        example.boxes.resize(length, PAD);
        example.scores.resize(length, -1.0);
        if !example.label_names.is_empty() {
            example.label_names.resize(length, String::new());
        }
        example.labels.resize(length, -1);
    }
    length
}

#[cfg(test)]
mod tests;

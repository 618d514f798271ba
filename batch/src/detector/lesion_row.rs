//! Detections as rows of the table `lesions`.

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::Original;
use d2r_contracts::tables::LesionRow;

use crate::detector::detection::Detection;
use crate::detector::thresholds::Thresholds;
use crate::error::{Error, Result};

/// The detector that rows come from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowOrigin<'a> {
    /// Boxes with a score strictly above are accepted.
    pub thresholds: &'a Thresholds,
    /// SHA-256 of the detector's weights, hexadecimal.
    pub model_sha256: Option<&'a str>,
    /// The detector's classes.
    pub labels: &'a LabelSet,
}

/// The rows of one image's detections, best first, in their order; `student_iou` is left empty.
///
/// # Errors
/// [`Error::Internal`] for a class without a name.
pub fn lesion_rows(image_id: &str, detections: &[Detection<Original>], origin: RowOrigin) -> Result<Vec<LesionRow>> {
    let row = |(rank, detection)| lesion_row(image_id, rank, detection, origin);
    detections.iter().enumerate().map(row).collect()
}

/// The row of a detection, the `rank`-th (from 0) of its image; `student_iou` is left empty.
///
/// # Errors
/// [`Error::Internal`] for a class without a name.
pub fn lesion_row(
    image_id: &str,
    rank: usize,
    detection: &Detection<Original>,
    origin: RowOrigin,
) -> Result<LesionRow> {
    let Detection { class_id, score, region, edge_stds, .. } = *detection;
    let class_name = origin
        .labels
        .class_name(class_id)
        .ok_or_else(|| Error::Internal(format!("the detector gave class {class_id}, which has no name")))?;
    let [std_x_min, std_y_min, std_x_max, std_y_max] = edge_stds.map_or([None; 4], |stds| stds.map(Some));
    Ok(LesionRow {
        image_id: image_id.to_owned(),
        box_id: format!("{image_id}-p{rank:03}"),
        class_name: class_name.into(),
        class_id,
        x_min: region.x_min,
        y_min: region.y_min,
        x_max: region.x_max,
        y_max: region.y_max,
        score,
        source: "pseudo".into(),
        reader_id: None,
        n_readers: None,
        std_x_min,
        std_y_min,
        std_x_max,
        std_y_max,
        student_iou: None,
        accepted: origin.thresholds.accept(class_id, score),
        threshold: Some(origin.thresholds.of(class_id) as f32),
        model_sha256: origin.model_sha256.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;

    use super::*;

    #[test]
    fn rows_carry_edge_deviations_and_the_strict_threshold() {
        let detection = |score, edge_stds| Detection {
            class_id: 3,
            score,
            region: BoxXyxy::new(1.0, 2.0, 3.0, 4.0),
            edge_logits: None,
            edge_stds,
        };
        let detections = [detection(0.75, Some([0.1, 0.2, 0.3, 0.4])), detection(0.5, None)];
        let labels = LabelSet::vindr();
        let thresholds = Thresholds::one(0.5);
        let origin = RowOrigin { thresholds: &thresholds, model_sha256: Some("ab"), labels: &labels };
        let rows = lesion_rows("i", &detections, origin).unwrap();
        let stds = |r: &LesionRow| [r.std_x_min, r.std_y_min, r.std_x_max, r.std_y_max];
        assert_eq!(stds(&rows[0]), [Some(0.1), Some(0.2), Some(0.3), Some(0.4)]);
        assert_eq!(stds(&rows[1]), [None; 4]);
        assert_eq!([&rows[0].box_id, &rows[1].box_id], ["i-p000", "i-p001"]);
        assert_eq!([rows[0].accepted, rows[1].accepted], [true, false]);
        assert_eq!((rows[0].threshold, rows[0].model_sha256.as_deref()), (Some(0.5), Some("ab")));
        let unnamed = Detection { class_id: 99, ..detections[0] };
        assert!(lesion_row("i", 0, &unnamed, origin).is_err());
    }
}

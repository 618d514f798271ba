//! All figures of a detector on a set of images: COCO, the challenge's variant, curves, intervals.

use d2r_contracts::label_set::LabelSet;

use crate::eval::bootstrap::interval;
use crate::eval::detection::average_precision::{ClassAp, Coco, ImageBoxes};
use crate::eval::detection::kaggle_ap::{Interpolation, KaggleAp};
use crate::eval::figure::Figure;

/// How bootstrap intervals are computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// Number of bootstrap samples; 0 computes no interval.
    pub draws: usize,
    pub seed: u64,
}

/// Figures, tables and curves of a detector.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectionFigures {
    pub figures: Vec<Figure>,
    /// Class names and their figures, in the classes' order.
    pub classes: Vec<(String, ClassAp)>,
    /// Precision at 101 recalls, IoU 0.5: the mean over classes first, then each class with truth boxes.
    pub curves: Vec<(String, Vec<f64>)>,
    /// Free-response curve at IoU 0.5: (false positives per image, share of lesions found).
    pub froc: Vec<(f64, f64)>,
}

impl DetectionFigures {
    /// Of detections and truths of every evaluated image, normal ones among them, whose classes are those of `labels`.
    /// `truth` names the reference in signatures: `drawn` or `readers`. Figures without truth boxes are left out.
    pub fn of(images: &[ImageBoxes], labels: &LabelSet, truth: &str, resampling: Resampling) -> Self {
        let ids: Vec<i32> = (0..labels.classes.len() as i32).collect();
        let coco = Coco::new(images, &ids);
        let all = coco.figures();
        let sampled = |threshold: Option<usize>| {
            interval(images.len(), resampling.draws, resampling.seed, |w| coco.mean_ap(threshold, Some(w)))
        };
        let mut figures = Vec::new();
        let mut push = |metric: &str, name: &str, value: Option<f64>, parts: &[(&str, &str)]| {
            let mut all_parts = vec![("truth", truth)];
            all_parts.extend_from_slice(parts);
            figures.extend(value.map(|v| Figure::new("detector", metric, name, v, images.len(), &all_parts)));
        };
        const COCO: &str = "interp:101|max:100";
        push("ap50", "Detector AP50", all.ap50, &[("iou", "0.50"), ("area", "all"), ("coco", COCO)]);
        push("ap", "Detector AP", all.ap, &[("iou", "0.50:0.95"), ("area", "all"), ("coco", COCO)]);
        push("ap75", "AP75", all.ap75, &[("iou", "0.75"), ("area", "all"), ("coco", COCO)]);
        push("ap_small", "AP, small boxes", all.ap_small, &[("iou", "0.50:0.95"), ("area", "small"), ("coco", COCO)]);
        push(
            "ap_medium",
            "AP, medium boxes",
            all.ap_medium,
            &[("iou", "0.50:0.95"), ("area", "medium"), ("coco", COCO)],
        );
        push("ap_large", "AP, large boxes", all.ap_large, &[("iou", "0.50:0.95"), ("area", "large"), ("coco", COCO)]);
        push("ar1", "Recall, 1 box per class", all.ar1, &[("iou", "0.50:0.95"), ("max", "1")]);
        push("ar10", "Recall, 10 boxes per class", all.ar10, &[("iou", "0.50:0.95"), ("max", "10")]);
        push("ar100", "Recall, 100 boxes per class", all.ar100, &[("iou", "0.50:0.95"), ("max", "100")]);
        let voc = |interpolation, include_no_finding| {
            KaggleAp { iou: 0.4, interpolation, include_no_finding }.of(images, &ids)
        };
        let iou = ("iou", ">0.40");
        let all_points = voc(Interpolation::AllPoints, false);
        push("ap40", "AP at IoU 0.4, all points", all_points, &[iou, ("interp", "all"), ("no-finding", "out")]);
        let with_normal = voc(Interpolation::AllPoints, true);
        push(
            "ap40_no_finding",
            "AP at IoU 0.4, with No finding",
            with_normal,
            &[iou, ("interp", "all"), ("no-finding", "in")],
        );
        let froc = coco.froc(0);
        for (metric, false_positives) in FROC {
            let found = sensitivity(&froc, false_positives);
            let line = [("iou", "0.50"), ("classes", "pooled")];
            push(metric, &format!("Share of boxes found at {false_positives} false positives per image"), found, &line);
        }
        for figure in &mut figures {
            match figure.metric.as_str() {
                "ap50" => (figure.interval, figure.headline) = (sampled(Some(0)), true),
                "ap" => figure.interval = sampled(None),
                _ => {}
            }
        }
        let name = |id: i32| labels.class_name(id).unwrap_or("unknown").to_owned();
        let per_class: Vec<(String, Vec<f64>)> =
            ids.iter().enumerate().filter_map(|(k, &id)| Some((name(id), coco.precision_curve(k, 0)?))).collect();
        Self {
            figures,
            classes: all.per_class.into_iter().map(|c| (name(c.class_id), c)).collect(),
            curves: mean_curve(&per_class).into_iter().chain(per_class).collect(),
            froc,
        }
    }
}

/// False positives per image at which the free-response curve (FROC) is read.
const FROC: [(&str, f64); 3] = [("froc_0_5", 0.5), ("froc_1", 1.0), ("froc_2", 2.0)];

/// The largest share of boxes found at no more than so many false positives per image; `None` without a curve.
fn sensitivity(curve: &[(f64, f64)], false_positives: f64) -> Option<f64> {
    let within = curve.iter().filter(|(fp, _)| *fp <= false_positives).map(|(_, found)| *found);
    (!curve.is_empty()).then(|| within.fold(0.0, f64::max))
}

fn mean_curve(curves: &[(String, Vec<f64>)]) -> Option<(String, Vec<f64>)> {
    let points = curves.first()?.1.len();
    let at = |i: usize| curves.iter().map(|(_, c)| c[i]).sum::<f64>() / curves.len() as f64;
    Some(("mean over classes".into(), (0..points).map(at).collect()))
}

#[cfg(test)]
mod tests {
    use d2r_contracts::boxes::BoxXyxy;

    use super::*;
    use crate::eval::detection::average_precision::{ScoredBox, TruthBox};

    const FEW: Resampling = Resampling { draws: 40, seed: 9223 };

    fn image(found: bool) -> ImageBoxes {
        let region = BoxXyxy::new(0.0, 0.0, 50.0, 50.0);
        ImageBoxes {
            truths: vec![TruthBox { class_id: 3, region }],
            detections: if found { vec![ScoredBox { class_id: 3, score: 0.5, region }] } else { Vec::new() },
        }
    }

    #[test]
    fn figures_carry_signature_interval_and_count() {
        let images = [image(true), image(false), image(true), ImageBoxes::default()];
        let all = DetectionFigures::of(&images, &LabelSet::vindr(), "drawn", FEW);
        let ap50 = &all.figures[0];
        assert_eq!((ap50.metric.as_str(), ap50.n, ap50.headline), ("ap50", 4, true));
        assert!(ap50.signature.starts_with("ap50|truth:drawn|iou:0.50|area:all|"), "{}", ap50.signature);
        let within = ap50.interval.unwrap();
        assert!(within.low <= ap50.value && ap50.value <= within.high && within.low < within.high, "{within:?}");
        assert_eq!(all.curves.len(), 2, "the mean and one class");
        assert_eq!(all.classes.len(), 22);
        let metrics: std::collections::BTreeSet<&str> = all.figures.iter().map(|f| f.metric.as_str()).collect();
        assert_eq!(metrics.len(), all.figures.len(), "metric names are unique");
    }

    #[test]
    fn sensitivity_is_read_at_no_more_than_the_false_positives() {
        let curve = [(0.1, 0.2), (0.5, 0.4), (1.5, 0.7), (3.0, 0.9)];
        let read = FROC.map(|(_, false_positives)| sensitivity(&curve, false_positives).unwrap());
        assert_eq!(read, [0.4, 0.4, 0.7]);
        assert_eq!(sensitivity(&[(0.9, 0.3)], 0.5), Some(0.0));
        assert_eq!(sensitivity(&[], 1.0), None);
    }

    #[test]
    fn all_normal_images_give_only_the_figure_that_counts_them() {
        let all =
            DetectionFigures::of(&[ImageBoxes::default(), ImageBoxes::default()], &LabelSet::vindr(), "drawn", FEW);
        assert_eq!(all.figures.iter().map(|f| f.metric.as_str()).collect::<Vec<_>>(), ["ap40_no_finding"]);
        assert!(all.curves.is_empty() && all.froc.is_empty());
        assert!(DetectionFigures::of(&[], &LabelSet::vindr(), "drawn", FEW).figures.is_empty());
    }
}

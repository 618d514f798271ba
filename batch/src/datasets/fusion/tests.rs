//! Fusion against the published implementation (golden file), and against numbers worked out by hand.

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const PARITY: f64 = 1e-6;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    confidence: Confidence,
    equal_scores: bool,
    #[serde(rename = "readers")]
    annotators: Vec<Vec<Boxed>>,
    weights: Vec<f64>,
    iou_min: f64,
    score_min: f64,
    allows_overflow: bool,
    fused: Vec<Boxed>,
}

#[derive(Deserialize)]
struct Boxed {
    label: i32,
    score: f64,
    xyxy: [f64; 4],
}

fn annotator(weight: f64, boxes: &[Boxed]) -> Annotator {
    let boxes = boxes.iter().map(|b| AnnotatedBox { label: b.label, score: b.score, xyxy: b.xyxy }).collect();
    Annotator { weight, boxes }
}

/// The largest difference of any number, or infinity when the lists do not correspond.
fn distance(ours: &[Fused], theirs: &[Boxed]) -> f64 {
    if ours.len() != theirs.len() {
        return f64::INFINITY;
    }
    // Equal scores leave the order open; compare as sets.
    let key = |label: i32, xyxy: &[f64; 4]| (label, xyxy.map(|v| (v * 1e5).round() as i64));
    let mut ours: Vec<_> = ours.iter().map(|f| (f.label, f.score, f.xyxy)).collect();
    let mut theirs: Vec<_> = theirs.iter().map(|f| (f.label, f.score, f.xyxy)).collect();
    ours.sort_by_key(|(label, _, xyxy)| key(*label, xyxy));
    theirs.sort_by_key(|(label, _, xyxy)| key(*label, xyxy));
    let mut worst = 0.0f64;
    for (a, b) in ours.iter().zip(&theirs) {
        if a.0 != b.0 {
            return f64::INFINITY;
        }
        worst = worst.max((a.1 - b.1).abs());
        worst = a.2.iter().zip(b.2).fold(worst, |w, (x, y)| w.max((x - y).abs()));
    }
    worst
}

fn golden() -> Golden {
    serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/fusion/fusion.json")))
        .expect("the golden file is JSON of this shape")
}

fn fuse_case(case: &Case, iou_min: f64) -> Vec<Fused> {
    let annotators: Vec<Annotator> = case.weights.iter().zip(&case.annotators).map(|(w, b)| annotator(*w, b)).collect();
    let Case { score_min, confidence, allows_overflow, .. } = *case;
    fuse(&annotators, &Fusion { iou_min, score_min, confidence, allows_overflow })
}

#[test]
fn agrees_with_the_published_implementation() {
    let golden = golden();
    assert_eq!(golden.cases.len(), 16);
    for (i, case) in golden.cases.iter().enumerate() {
        let ours = fuse_case(case, case.iou_min);
        let worst = distance(&ours, &case.fused);
        assert!(worst <= PARITY, "case {i} ({:?}): off by {worst}", case.confidence);
        if !case.equal_scores {
            let order = |s: &[f64]| s.windows(2).all(|w| w[0] >= w[1]);
            assert!(order(&ours.iter().map(|f| f.score).collect::<Vec<_>>()));
        }
    }
}

#[test]
fn another_threshold_is_seen_as_different() {
    let moved = golden().cases.iter().filter(|c| distance(&fuse_case(c, 0.95), &c.fused) > PARITY).count();
    assert!(moved >= 12, "only {moved} cases change with a wrong threshold");
}

fn three_annotators() -> Vec<Annotator> {
    let c3 = |xyxy| Boxed { label: 3, score: 1.0, xyxy };
    let c7 = |xyxy| Boxed { label: 7, score: 1.0, xyxy };
    vec![
        annotator(1.0, &[c3([0.10, 0.10, 0.50, 0.50]), c7([0.6, 0.6, 0.9, 0.9])]),
        annotator(1.0, &[c3([0.12, 0.11, 0.52, 0.49])]),
        annotator(1.0, &[c3([0.11, 0.08, 0.48, 0.52]), c7([0.61, 0.62, 0.88, 0.91])]),
    ]
}

#[test]
fn numbers_worked_out_by_hand() {
    let expected = |c7: f64| {
        [
            Boxed { label: 3, score: 1.0, xyxy: [0.11, 0.0966667, 0.50, 0.5033333] },
            Boxed { label: 7, score: c7, xyxy: [0.605, 0.61, 0.89, 0.905] },
        ]
    };
    for (confidence, c7) in [
        (Confidence::Avg, 2.0 / 3.0),
        (Confidence::Max, 1.0),
        (Confidence::BoxAndModelAvg, 2.0 / 3.0),
        (Confidence::AbsentModelAwareAvg, 2.0 / 3.0),
    ] {
        let fused = fuse(&three_annotators(), &Fusion { confidence, ..Fusion::of_annotators(0.5) });
        let worst = distance(&fused, &expected(c7));
        assert!(worst <= PARITY, "{confidence:?}: off by {worst}: {fused:?}");
        let n: Vec<_> = fused.iter().map(|f| (f.label, f.n_annotators)).collect();
        assert!(n.contains(&(3, 3)) && n.contains(&(7, 2)), "{n:?}");
    }
}

#[test]
fn an_annotator_who_marks_a_lesion_twice_counts_once() {
    let twice = |xyxy| Boxed { label: 0, score: 1.0, xyxy };
    let annotators = [
        annotator(1.0, &[twice([0.1, 0.1, 0.5, 0.5]), twice([0.1, 0.1, 0.5, 0.51])]),
        annotator(1.0, &[]),
        annotator(1.0, &[]),
    ];
    let fused = fuse(&annotators, &Fusion::of_annotators(0.5));
    assert_eq!(fused.len(), 1);
    assert_eq!((fused[0].n_annotators, fused[0].members.len()), (1, 2));
    assert!((fused[0].score - 1.0 / 3.0).abs() < PARITY);
}

#[test]
fn nothing_degenerate_and_the_threshold_itself() {
    assert!(fuse(&[], &Fusion::of_annotators(0.5)).is_empty());
    assert!(fuse(&[annotator(1.0, &[]), annotator(1.0, &[])], &Fusion::of_annotators(0.5)).is_empty());
    let line = Boxed { label: 0, score: 1.0, xyxy: [0.2, 0.2, 0.2, 0.7] };
    let nan = Boxed { label: 0, score: 1.0, xyxy: [0.2, f64::NAN, 0.4, 0.7] };
    assert!(fuse(&[annotator(1.0, &[line, nan])], &Fusion::of_annotators(0.5)).is_empty());
    // IoU of exactly one half does not join.
    let a = Boxed { label: 0, score: 1.0, xyxy: [0.0, 0.0, 0.5, 0.5] };
    let b = Boxed { label: 0, score: 1.0, xyxy: [0.0, 0.0, 1.0, 0.5] };
    assert_eq!(fuse(&[annotator(1.0, &[a]), annotator(1.0, &[b])], &Fusion::of_annotators(0.5)).len(), 2);
}

#[test]
fn a_score_of_zero_everywhere_gives_numbers() {
    let zero = |xyxy| Boxed { label: 0, score: 0.0, xyxy };
    let annotators = [annotator(1.0, &[zero([0.1, 0.1, 0.5, 0.5])]), annotator(1.0, &[zero([0.1, 0.1, 0.5, 0.6])])];
    for confidence in [Confidence::Avg, Confidence::Max, Confidence::BoxAndModelAvg, Confidence::AbsentModelAwareAvg] {
        let fused = fuse(&annotators, &Fusion { confidence, ..Fusion::of_annotators(0.5) });
        assert!(fused.iter().all(|f| f.xyxy.iter().all(|v| v.is_finite()) && f.score == 0.0), "{fused:?}");
    }
}

proptest! {
    /// Two images that differ by a scale fuse alike: IoU has no unit.
    #[test]
    fn fusion_has_no_unit(scale in 0.05f64..1.0, boxes in prop::collection::vec((0usize..3, 0.0f64..0.5, 0.0f64..0.5, 0.05f64..0.5, 0.05f64..0.5), 0..12)) {
        let at = |k: f64| {
            let mut annotators = vec![Annotator { weight: 1.0, boxes: Vec::new() }; 3];
            for (r, x, y, w, h) in &boxes {
                annotators[*r].boxes.push(AnnotatedBox { label: 0, score: 1.0, xyxy: [x * k, y * k, (x + w) * k, (y + h) * k] });
            }
            fuse(&annotators, &Fusion::of_annotators(0.5))
        };
        let (one, scaled) = (at(1.0), at(scale));
        prop_assert_eq!(one.len(), scaled.len());
        for (a, b) in one.iter().zip(&scaled) {
            prop_assert_eq!(&a.members, &b.members);
            prop_assert!((a.score - b.score).abs() < PARITY);
        }
    }
}

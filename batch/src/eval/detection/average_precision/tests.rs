use d2r_contracts::boxes::BoxXyxy;
use serde::Deserialize;

use super::*;
use crate::eval::detection::kaggle_ap::{Interpolation, KaggleAp};

const EXACT: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    classes: Vec<i32>,
    images: Vec<Image>,
    expected: Expected,
    kaggle: std::collections::BTreeMap<String, Option<f64>>,
}

#[derive(Deserialize)]
struct Image {
    truths: Vec<(i32, f32, f32, f32, f32)>,
    detections: Vec<(i32, f32, f32, f32, f32, f32)>,
}

#[derive(Deserialize)]
struct Expected {
    stats: Vec<Option<f64>>,
    class_ap: Vec<Option<f64>>,
    class_ap50: Vec<Option<f64>>,
}

fn cases() -> Vec<Case> {
    let golden: Golden =
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/eval/coco_ap.json"))).unwrap();
    golden.cases
}

fn images(case: &Case) -> Vec<ImageBoxes> {
    let truth =
        |&(class_id, a, b, c, d): &(i32, f32, f32, f32, f32)| TruthBox { class_id, region: BoxXyxy::new(a, b, c, d) };
    let found = |&(class_id, score, a, b, c, d): &(i32, f32, f32, f32, f32, f32)| ScoredBox {
        class_id,
        score,
        region: BoxXyxy::new(a, b, c, d),
    };
    case.images
        .iter()
        .map(|i| ImageBoxes {
            truths: i.truths.iter().map(truth).collect(),
            detections: i.detections.iter().map(found).collect(),
        })
        .collect()
}

fn assert_close(what: &str, found: Option<f64>, expected: Option<f64>) {
    let close = match (found, expected) {
        (Some(a), Some(b)) => (a - b).abs() <= EXACT,
        (a, b) => a == b,
    };
    assert!(close, "{what}: {found:?}, expected {expected:?}");
}

#[test]
fn figures_are_those_of_pycocotools() {
    for case in cases() {
        let f = coco(&images(&case), &case.classes);
        let stats = [f.ap, f.ap50, f.ap75, f.ap_small, f.ap_medium, f.ap_large, f.ar1, f.ar10, f.ar100];
        for (i, (found, expected)) in stats.into_iter().zip(&case.expected.stats).enumerate() {
            assert_close(&format!("{} figure {i}", case.name), found, *expected);
        }
        for (k, class) in f.per_class.iter().enumerate() {
            assert_close(&format!("{} class {k}", case.name), class.ap, case.expected.class_ap[k]);
            assert_close(&format!("{} class {k} at 0.5", case.name), class.ap50, case.expected.class_ap50[k]);
        }
    }
}

#[test]
fn kaggle_variants_are_those_of_the_definition() {
    for case in cases() {
        for (name, expected) in &case.kaggle {
            let variant = KaggleAp {
                iou: 0.4,
                interpolation: if name.starts_with("all") {
                    Interpolation::AllPoints
                } else {
                    Interpolation::Points101
                },
                include_no_finding: name.ends_with("no_finding"),
            };
            assert_close(&format!("{} {name}", case.name), variant.of(&images(&case), &case.classes), *expected);
        }
    }
}

#[test]
fn doubling_every_image_by_weight_equals_listing_it_twice() {
    let case = &cases()[0];
    let once = images(case);
    let twice: Vec<ImageBoxes> = once.iter().flat_map(|i| [i.clone(), i.clone()]).collect();
    let by_weight = Coco::new(&once, &case.classes).mean_ap(None, Some(&vec![2; once.len()]));
    assert_close("twice", by_weight, coco(&twice, &case.classes).ap);
    let none = Coco::new(&once, &case.classes).mean_ap(None, Some(&vec![0; once.len()]));
    assert_eq!(none, None, "no image, no figure");
}

#[test]
fn images_are_grouped_by_id_and_normal_ones_stay() {
    let ids: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
    let region = BoxXyxy::new(0.0, 0.0, 9.0, 9.0);
    let truth = TruthBox { class_id: 0, region };
    let found = ScoredBox { class_id: 0, score: 0.5, region };
    let grouped = by_image(&ids, [("c", truth), ("elsewhere", truth)], [("a", found), ("c", found), ("a", found)]);
    assert_eq!(
        grouped.iter().map(|i| (i.truths.len(), i.detections.len())).collect::<Vec<_>>(),
        [(0, 2), (0, 0), (1, 1)]
    );
    let f = coco(&grouped, &[0]);
    assert_close("false alarms count", f.ap50, Some(1.0 / 3.0));
    assert_eq!((f.per_class[0].truths, f.per_class[0].recall50), (1, Some(1.0)));
}

#[test]
fn a_nan_box_or_score_neither_panics_nor_matches() {
    let odd = BoxXyxy::new(f32::NAN, 0.0, 9.0, 9.0);
    let image = ImageBoxes {
        truths: vec![TruthBox { class_id: 0, region: BoxXyxy::new(0.0, 0.0, 9.0, 9.0) }],
        detections: vec![ScoredBox { class_id: 0, score: f32::NAN, region: odd }],
    };
    assert_eq!(coco(&[image], &[0]).ap50, Some(0.0));
}

#[test]
fn the_free_response_curve_steps_at_distinct_scores() {
    let region = |x: f32| BoxXyxy::new(x, 0.0, x + 10.0, 10.0);
    let found = |score, x| ScoredBox { class_id: 0, score, region: region(x) };
    let image = ImageBoxes {
        truths: vec![TruthBox { class_id: 0, region: region(0.0) }, TruthBox { class_id: 0, region: region(50.0) }],
        detections: vec![found(0.9, 0.0), found(0.5, 100.0), found(0.5, 50.0)],
    };
    let curve = Coco::new(&[image, ImageBoxes::default()], &[0]).froc(0);
    assert_eq!(curve, [(0.0, 0.5), (0.5, 1.0)]);
    assert!(Coco::new(&[], &[0]).froc(0).is_empty());
}

//! Selection, order and padding of boxes.

use d2r_contracts::label_set::LabelSet;

use super::*;
use crate::test_fixtures;

fn image(id: &str, study: &str) -> ImageRow {
    ImageRow {
        image_id: id.into(),
        study_id: study.into(),
        subject_id: "p".into(),
        view: "PA".into(),
        path: format!("{id}.png"),
        width: Some(20),
        height: Some(10),
        sha256: None,
        n_boxes: None,
        burned_in_annotation: None,
    }
}

fn lesion(image_id: &str, box_id: &str, score: f32, source: &str, accepted: bool) -> LesionRow {
    LesionRow {
        score,
        source: source.into(),
        accepted,
        threshold: (source == "pseudo").then_some(0.5),
        model_sha256: (source == "pseudo").then(|| "ab".into()),
        ..test_fixtures::lesion(image_id, box_id, 9, [1.0, 2.0, 4.0, 6.0])
    }
}

fn report(study: &str, section: &str) -> ReportRow {
    ReportRow {
        study_id: study.into(),
        section: section.into(),
        text: format!("of {study}"),
        text_clean: String::new(),
    }
}

#[test]
fn boxes_are_sorted_by_score_and_padded_to_one_length() {
    let lesions = [
        LesionRow { threshold: Some(0.4), ..lesion("a", "1", 0.6, "pseudo", true) },
        lesion("a", "2", 0.9, "pseudo", true),
        lesion("a", "3", 0.1, "pseudo", false),
        lesion("a", "4", 1.0, "reader", true),
        lesion("a", "5", 1.0, "fused", true),
        lesion("c", "6", 1.0, "fused", true),
    ];
    let images = vec![image("a", "s1"), image("b", "s1"), image("c", "s2"), image("d", "s3")];
    let reports = vec![report("s1", "findings"), report("s2", "findings"), report("s3", "impression")];
    let mut found = examples("val", images, &lesions, reports, "findings", &LabelSet::vindr());
    assert_eq!(pad(found.iter_mut()), 2);
    assert_eq!(found.iter().map(|e| e.id.as_str()).collect::<Vec<_>>(), ["a", "b", "c"], "d has no findings section");
    assert_eq!(found[0].scores, [0.9, 0.6], "the detector's accepted boxes by score");
    assert_eq!(found[0].boxes, [[1.0, 2.0, 3.0, 4.0]; 2]);
    assert_eq!((found[0].score_threshold, found[0].model_sha256.as_deref()), (Some(0.4), Some("ab")), "the lowest");
    assert_eq!(
        (&found[1].boxes[..], &found[1].scores[..], &found[1].labels[..]),
        (&[PAD; 2][..], &[-1.0; 2][..], &[-1; 2][..])
    );
    assert_eq!(
        (found[2].labels.as_slice(), found[2].score_threshold),
        (&[9, -1][..], None),
        "annotators' boxes where there are no others"
    );
    assert_eq!((found[0].height, found[0].width, found[0].report.as_str()), (Some(10), Some(20), "of s1"));
}

#[test]
fn without_any_box_the_length_is_one() {
    let mut found =
        examples("val", vec![image("a", "s1")], &[], vec![report("s1", "findings")], "findings", &LabelSet::vindr());
    assert_eq!(pad(found.iter_mut()), 1);
    assert_eq!(found[0].boxes, [PAD]);
    assert_eq!(pad([].iter_mut()), 1);
}

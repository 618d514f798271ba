//! The competition's tables in small.

use std::fs;

use super::*;
use crate::datasets::label_sets::LabelChoice;

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };

const LABELS: &str = "patientId,x,y,width,height,Target
aa,264.0,152.0,213.0,379.0,1
aa,562.0,152.0,256.0,453.0,1
bb,,,,,0
cc,,,,,0
";
const CLASSES: &str = "patientId,class
aa,Lung Opacity
aa,Lung Opacity
bb,Normal
cc,No Lung Opacity / Not Normal
";

fn folder(labels: &str, classes: Option<&str>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("stage_2_train_labels.csv", labels);
    if let Some(classes) = classes {
        put("stage_2_detailed_class_info.csv", classes);
    }
    for path in ["train_images/aa.dcm", "train_images/bb.dcm", "train_images/cc.dcm", "test_images/tt.dcm"] {
        put(&format!("stage_2_{path}"), "x");
    }
    put("stage_2_sample_submission.csv", "patientId,PredictionString\n");
    dir
}

#[test]
fn opacities_normal_images_and_other_diseases() {
    let dir = folder(LABELS, Some(CLASSES));
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(listing.failures, []);
    let brief: Vec<_> = listing.images.iter().map(|i| (i.image_id.as_str(), i.split, i.path.as_str())).collect();
    assert_eq!(
        brief,
        [
            ("aa", Split::Train, "stage_2_train_images/aa.dcm"),
            ("bb", Split::Train, "stage_2_train_images/bb.dcm"),
            ("cc", Split::Train, "stage_2_train_images/cc.dcm"),
            ("tt", Split::Test, "stage_2_test_images/tt.dcm"),
        ]
    );
    let Labels::Consensus(boxes) = &listing.images[0].labels else { panic!("{:?}", listing.images[0]) };
    let corners: Vec<_> = boxes.iter().map(|b| (b.class_id, b.bbox.to_array())).collect();
    assert_eq!(corners, [(11, [264.0, 152.0, 477.0, 531.0]), (11, [562.0, 152.0, 818.0, 605.0])]);
    assert_eq!(listing.images[1].labels, Labels::Consensus(Vec::new()), "normal");
    assert_eq!(listing.images[2].labels, Labels::Unannotated, "another disease, without boxes");
    assert_eq!(listing.images[3].labels, Labels::Unannotated);
    let positive: Vec<Vec<&str>> = listing
        .studies
        .iter()
        .map(|s| s.labels.iter().filter(|(_, state)| *state == LabelState::Positive).map(|(l, _)| *l).collect())
        .collect();
    assert_eq!(positive, [vec!["Lung Opacity"], vec!["No Finding"], vec![]]);
}

#[test]
fn without_classes_no_image_is_known_to_be_normal() {
    let dir = folder(LABELS, None);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert!(matches!(&listing.images[0].labels, Labels::Consensus(b) if b.len() == 2));
    assert!(listing.images[1..].iter().all(|i| i.labels == Labels::Unannotated));
    assert_eq!(listing.notes["images_not_known_to_be_normal"], 2);
}

#[test]
fn a_bad_row_names_its_line_and_leaves_no_normal_image() {
    let labels = "patientId,x,y,width,height,Target
aa,,,,,1
bb,1,2,3,x,1
cc,1,2,0,3,1
aa,1,2,3,4,2
dd,1,2,3,4,1
dd,1,2,3,4,1
,1,2,3,4,1
";
    let dir = folder(labels, Some("patientId,class\naa,Normal\nbb,Normal\ncc,Normal\ndd,Normal\ncc,Martian\n"));
    fs::write(dir.path().join("stage_2_train_images/dd.png"), "x").unwrap();
    let listing = list(dir.path(), &OPTIONS).unwrap();
    let found: Vec<_> = listing.failures.iter().map(|f| (f.path.as_str(), f.code)).collect();
    let line = |n: u32| format!("stage_2_train_labels.csv:{n}");
    assert_eq!(
        found,
        [
            ("stage_2_detailed_class_info.csv:6", "unknown_label"),
            (line(2).as_str(), "missing_coordinates"),
            (line(3).as_str(), "not_a_number"),
            (line(4).as_str(), "inverted_box"),
            (line(5).as_str(), "unknown_state"),
            (line(6).as_str(), "contradiction"),
            (line(7).as_str(), "duplicate_row"),
            (line(8).as_str(), "missing_image_id"),
        ]
    );
    assert!(listing.images[..3].iter().all(|i| i.labels == Labels::Unannotated));
    assert!(matches!(&listing.images[3].labels, Labels::Consensus(b) if b.len() == 1), "boxes outweigh the class");
    assert_eq!(listing.images[3].path, "stage_2_train_images/dd.png");
}

#[test]
fn what_is_missing_is_named() {
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(list(empty.path(), &OPTIONS).unwrap_err().exit().code(), 66);
    fs::write(empty.path().join("stage_2_train_labels.csv"), LABELS).unwrap();
    assert_eq!(list(empty.path(), &OPTIONS).unwrap_err().exit().code(), 66, "no images");
    let labels = ListOptions { labels_only: true, ..OPTIONS };
    assert_eq!(list(empty.path(), &labels).unwrap().images.len(), 3);
}

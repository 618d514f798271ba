//! Entries of both projects; unusable entries.

use std::fs;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::ImageSize;

use super::*;
use crate::datasets::label_sets::LabelChoice;
use crate::datasets::lesion_rows::{FusionRule, lesion_rows};

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.1, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };

fn folder(json: &str, images: &[&str]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("annotation.json"), json).unwrap();
    for image in images {
        let path = dir.path().join(image);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    dir
}

fn read(json: &str, images: &[&str]) -> Listing {
    list(folder(json, images).path(), "annotation-json", CleaningRules::MimicCxr, &OPTIONS).unwrap()
}

#[test]
fn boxes_come_from_their_frame_into_original_pixels() {
    let json = r#"{"train": [{"id": "d1", "study_id": 50, "subject_id": 10, "split": "train", "surprise": {"a": [1]},
        "report": "Heart large.", "image_path": ["p10/d1.png"], "height": 100, "width": 200,
        "boxes": [[20, 10, 40, 30], [-1, -1, -1, -1], [0, 0, 50.5, 50]], "scores": [0.9, -1, 0.3], "labels": [3, -1, "ILD"],
        "score_threshold": 0.5, "model_sha256": "ab"}]}"#;
    let listing = read(json, &["files/p10/d1.png"]);
    assert_eq!(listing.failures, []);
    let image = &listing.images[0];
    assert_eq!((image.image_id.as_str(), image.study_id.as_str(), image.subject_id.as_str()), ("d1", "s50", "p10"));
    assert_eq!(image.path, "files/p10/d1.png");
    let lesions = lesion_rows(
        image,
        Some(ImageSize { width: 400, height: 400 }),
        &FusionRule { iou_min: 0.5, min_annotators: 1 },
        &LabelSet::vindr(),
    );
    let rows: Vec<_> =
        lesions.rows.iter().map(|r| (r.class_name.as_str(), r.x_min, r.y_min, r.x_max, r.y_max, r.accepted)).collect();
    assert_eq!(rows, [("Cardiomegaly", 40.0, 40.0, 120.0, 160.0, true), ("ILD", 0.0, 0.0, 101.0, 200.0, false)]);
    assert!(
        lesions
            .rows
            .iter()
            .all(|r| r.source == "pseudo" && r.threshold == Some(0.5) && r.model_sha256.as_deref() == Some("ab"))
    );
    assert_eq!(lesions.n_boxes, None, "no annotator");
}

#[test]
fn a_file_of_r2gen_without_boxes_or_frame() {
    let json = r#"{"train": [], "val": [{"id": "a", "report": "x.", "image_path": "a.png", "study_id": 7}], "test": [{"id": "b", "report": "x.", "image_path": ["b.png"], "study_id": 7}]}"#;
    let listing = read(json, &["images/a.png", "b.png"]);
    assert_eq!(listing.failures, []);
    assert_eq!(
        listing.images.iter().map(|i| (i.image_id.as_str(), i.split)).collect::<Vec<_>>(),
        [("a", Split::Val), ("b", Split::Test)]
    );
    assert!(listing.images.iter().all(|i| i.labels == Labels::Unannotated));
    assert_eq!((listing.studies.len(), listing.notes["repeated_reports"]), (1, 1), "one report a study");
}

#[test]
fn several_images_of_a_mimic_study_keep_their_own_ids() {
    let json = r#"{"test": [{"id": "aa", "study_id": 5, "report": "x.", "image_path": ["p1/aa.jpg", "p1/bb.jpg"]}]}"#;
    let listing = read(json, &["images/p1/aa.jpg", "images/p1/bb.jpg"]);
    assert_eq!(listing.images.iter().map(|i| i.image_id.as_str()).collect::<Vec<_>>(), ["aa", "bb"]);
}

#[test]
fn a_bad_entry_names_its_place_and_leaves_the_rest() {
    let json = r#"{"train": [{"id": "a", "report": "x.", "image_path": ["a.png"]}, {"id": "n"}, 5,
        {"id": "a", "report": "x.", "image_path": ["a.png"]}, {"id": "m", "report": "x.", "image_path": ["m.png"]},
        {"id": "o", "report": "x.", "image_path": ["../a.png"]}, {"id": "e", "report": " ", "image_path": ["a.png"]},
        {"id": "f", "report": "x.", "image_path": []},
        {"id": "g", "report": "x.", "image_path": ["a.png"], "boxes": [[1, 2, 3], [5, 5, 0, 5], [1, 1, 2, 2], [1, 1, 2, 2]], "labels": [0, 0, 99]}]}"#;
    let listing = read(json, &["a.png"]);
    let found: Vec<_> = listing.failures.iter().map(|f| (f.path.as_str(), f.code)).collect();
    let expected = [
        ("annotation.json#train[1]", "bad_entry"),
        ("annotation.json#train[2]", "bad_entry"),
        ("annotation.json#train[3]", "duplicate_id"),
        ("annotation.json#train[4][0]", "missing_file"),
        ("annotation.json#train[5][0]", "missing_file"),
        ("annotation.json#train[6]", "missing_report"),
        ("annotation.json#train[7]", "bad_entry"),
        ("annotation.json#train[8].boxes[0]", "bad_box"),
        ("annotation.json#train[8].boxes[1]", "inverted_box"),
        ("annotation.json#train[8].boxes[2]", "unknown_class"),
    ];
    assert_eq!(found, expected);
    assert_eq!(listing.images.iter().map(|i| i.image_id.as_str()).collect::<Vec<_>>(), ["a", "e", "g"]);
    assert_eq!(listing.notes["boxes_without_class"], 1);
    assert!(listing.failures.iter().all(|f| !f.message.contains("x.")), "no report text");
}

#[test]
fn files_that_are_something_else() {
    let code = |json: &str| {
        let dir = folder(json, &[]);
        list(dir.path(), "annotation-json", CleaningRules::MimicCxr, &OPTIONS).err().map(|e| e.exit().code())
    };
    assert_eq!(code("{}"), Some(65));
    assert_eq!(code("[1, 2"), Some(65));
    assert_eq!(code(""), Some(65));
    assert_eq!(code(r#"{"train": []}"#), None);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(
        list(empty.path(), "annotation-json", CleaningRules::MimicCxr, &OPTIONS).err().map(|e| e.exit().code()),
        Some(66)
    );
}

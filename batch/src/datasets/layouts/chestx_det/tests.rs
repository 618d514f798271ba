//! The two JSON files in small.

use std::fs;

use super::*;
use crate::datasets::label_sets::LabelChoice;

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

#[test]
fn boxes_and_images_that_were_read_without_any() {
    let train = r#"[{"file_name": "36200.png", "syms": ["Effusion", "Diffuse Nodule"], "boxes": [[799, 666, 937, 761], [1, 2, 30, 40]],
        "polygons": [[[799, 678], [801, 681]], [[1, 2]]]}, {"file_name": "36201.png", "syms": [], "boxes": [], "polygons": []}]"#;
    let test = r#"[{"file_name": "36199.png", "syms": ["Pleural Thickening"], "boxes": [[1, 2, 3, 4]]}]"#;
    let dir = folder(&[
        ("ChestX_Det_train.json", train),
        ("ChestX_Det_test.json", test),
        ("._ChestX_Det_test.json", "resource fork"),
        ("train_data/36200.png", "x"),
        ("train_data/36201.png", "x"),
        ("test_data/36199.png", "x"),
    ]);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(listing.failures, []);
    let brief: Vec<_> = listing
        .images
        .iter()
        .map(|i| {
            let Labels::Consensus(boxes) = &i.labels else { panic!("{i:?}") };
            (i.image_id.as_str(), i.split, i.path.as_str(), boxes.iter().map(|b| (b.class_id, b.bbox.x_max)).collect())
        })
        .collect();
    assert_eq!(
        brief,
        [
            ("36199", Split::Test, "test_data/36199.png", vec![(17, 3.0)]),
            ("36200", Split::Train, "train_data/36200.png", vec![(16, 937.0), (15, 30.0)]),
            ("36201", Split::Train, "train_data/36201.png", vec![]),
        ]
    );
}

#[test]
fn the_first_edition_and_entries_that_cannot_be_used() {
    let train = r#"[{"file_name": "a.png", "syms": ["Martian", "Mass"], "boxes": [[1, 2, 3, 4], [9, 9, 3, 3]]},
        {"file_name": "b.png", "syms": ["Mass"], "boxes": []}, {"file_name": "c.png", "syms": ["Mass"], "boxes": [["1", "2", "3", "4"]]},
        {"file_name": "c.png", "syms": [], "boxes": []}, {"file_name": "gone.png", "syms": [], "boxes": []}, 5]"#;
    let images = [("images/a.png", "x"), ("images/b.png", "x"), ("images/c.png", "x")];
    let dir = folder(&[&images[..], &[("annotations/train.json", train)]].concat());
    let listing = list(dir.path(), &OPTIONS).unwrap();
    let found: Vec<_> = listing.failures.iter().map(|f| (f.path.as_str(), f.code)).collect();
    assert_eq!(
        found,
        [
            ("annotations/train.json#[0].boxes[0]", "unknown_class"),
            ("annotations/train.json#[0].boxes[1]", "inverted_box"),
            ("annotations/train.json#[1]", "bad_entry"),
            ("annotations/train.json#[3]", "duplicate_id"),
            ("annotations/train.json#[4]", "missing_file"),
            ("annotations/train.json#[5]", "bad_entry"),
        ]
    );
    assert_eq!(listing.images.len(), 2);
    assert_eq!(listing.images[0].labels, Labels::Unannotated, "no usable box: unread, not normal");
    assert!(matches!(&listing.images[1].labels, Labels::Consensus(b) if b.len() == 1));
}

#[test]
fn what_is_missing_or_something_else_is_named() {
    let code = |files: &[(&str, &str)]| list(folder(files).path(), &OPTIONS).err().map(|e| e.exit().code());
    assert_eq!(code(&[("readme.txt", "")]), Some(66));
    assert_eq!(code(&[("train.json", "[]")]), Some(66), "no images");
    assert_eq!(code(&[("train.json", "{}"), ("train_data/a.png", "x")]), Some(65));
    assert_eq!(code(&[("train.json", "[1"), ("train_data/a.png", "x")]), Some(65));
    let dir = folder(&[("test.json", r#"[{"file_name": "a.png", "syms": [], "boxes": []}]"#)]);
    let listing = list(dir.path(), &ListOptions { labels_only: true, ..OPTIONS }).unwrap();
    assert_eq!(listing.images[0].path, "test_data/a.png");
}

//! A written document is parsed again; unusable annotations.

use std::fs;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::ImageSize;

use super::*;
use crate::datasets::label_sets::LabelChoice;
use crate::datasets::layouts::coco;
use crate::datasets::lesion_rows::{FusionRule, lesion_rows};
use crate::datasets::listing::{Labels, ListOptions, Split};
use crate::test_fixtures;

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };
const RULE: FusionRule = FusionRule { iou_min: 0.5, min_annotators: 1 };

fn image(id: &str, n_boxes: Option<i32>) -> ImageRow {
    ImageRow {
        image_id: id.into(),
        study_id: format!("s-{id}"),
        subject_id: format!("p-{id}"),
        view: "PA".into(),
        path: format!("train/{id}.png"),
        width: Some(100),
        height: Some(80),
        sha256: None,
        n_boxes,
        burned_in_annotation: None,
    }
}

fn lesion(image_id: &str, k: usize, class_id: i32, corners: [f32; 4], source: &str, accepted: bool) -> LesionRow {
    LesionRow {
        score: 1.0,
        source: source.into(),
        accepted,
        ..test_fixtures::lesion(image_id, &format!("{image_id}-{source}-{k:03}"), class_id, corners)
    }
}

fn rows() -> (Vec<ImageRow>, Vec<LesionRow>) {
    let images = vec![image("a", Some(2)), image("b", Some(0)), image("c", None)];
    let lesions = vec![
        lesion("a", 0, 3, [10.0, 20.0, 60.5, 70.25], "fused", true),
        lesion("a", 1, 21, [1.0, 2.0, 3.0, 4.0], "fused", true),
        lesion("a", 2, 5, [1.0, 2.0, 3.0, 4.0], "fused", false),
        lesion("a", 0, 3, [10.0, 20.0, 60.0, 70.0], "reader", false),
    ];
    (images, lesions)
}

fn write(coco: &Coco, name: &str, images: &[ImageRow]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("annotations")).unwrap();
    fs::create_dir_all(dir.path().join("train")).unwrap();
    fs::write(dir.path().join("annotations").join(name), serde_json::to_vec(coco).unwrap()).unwrap();
    for image in images {
        fs::write(dir.path().join(&image.path), "x").unwrap();
    }
    dir
}

#[test]
fn a_written_document_is_parsed_to_the_same_rows() {
    let (images, lesions) = rows();
    let coco = document("vindr train", &images, &lesions, Content::Labelled, &LabelSet::vindr(), None).unwrap();
    assert_eq!(
        coco.images.iter().map(|i| i.id).collect::<Vec<_>>(),
        [1, 2],
        "normal images stay, unannotated ones are left out"
    );
    let annotations = coco.annotations.as_ref().unwrap();
    assert_eq!(annotations.len(), 2, "accepted fused lesions only");
    assert_eq!((annotations[0].bbox, annotations[0].area), ([10.0, 20.0, 50.5, 50.25], 50.5 * 50.25));
    assert_eq!(coco.categories[3], Category { id: 4, name: "Cardiomegaly".into(), supercategory: "lesion".into() });
    assert_eq!(annotations[0].category_id, 4);

    let dir = write(&coco, "instances_test2017.json", &images);
    let listing = coco::list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(listing.failures, []);
    assert_eq!(listing.images.len(), 2);
    assert!(listing.images.iter().all(|i| i.split == Split::Test));
    let a = lesion_rows(&listing.images[0], Some(ImageSize { width: 100, height: 80 }), &RULE, &LabelSet::vindr());
    assert_eq!(a.rows, lesions[..2]);
    for (listed, row) in listing.images.iter().zip(&images) {
        assert_eq!(
            (&listed.image_id, &listed.study_id, &listed.subject_id, &listed.path),
            (&row.image_id, &row.study_id, &row.subject_id, &row.path)
        );
        assert_eq!(listed.projection.as_str(), row.view);
        assert_eq!(
            lesion_rows(listed, Some(ImageSize { width: 100, height: 80 }), &RULE, &LabelSet::vindr()).n_boxes,
            row.n_boxes
        );
    }
}

#[test]
fn images_only_have_no_annotations_key_and_stay_unannotated() {
    let (images, lesions) = rows();
    let coco = document("mimic", &images, &lesions, Content::ImagesOnly, &LabelSet::vindr(), None).unwrap();
    assert_eq!(coco.images.len(), 3);
    assert!(!serde_json::to_string(&coco).unwrap().contains("annotations"));
    let dir = write(&coco, "unlabelled.json", &images);
    let listing = coco::list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(listing.images.len(), 3);
    assert!(listing.images.iter().all(|i| i.labels == Labels::Unannotated && i.split == Split::Train));
}

#[test]
fn nothing_and_unknown_sizes() {
    let empty = document("none", &[], &[], Content::Labelled, &LabelSet::vindr(), None).unwrap();
    assert_eq!((empty.images.len(), empty.annotations), (0, Some(Vec::new())));
    let unknown = ImageRow { width: None, ..image("a", Some(0)) };
    let error = document("labels", &[unknown], &[], Content::Labelled, &LabelSet::vindr(), None).unwrap_err();
    assert_eq!(error.exit().code(), 65);
}

#[test]
fn a_bad_annotation_names_its_place_and_leaves_the_rest() {
    let json = r#"{"images": [{"id": 7, "file_name": "x.png", "width": 50, "height": 40}, {"id": 8, "file_name": "y.png", "width": 9, "height": 9},
        {"id": 9, "file_name": "gone.png", "width": 9, "height": 9}, {"id": 10, "file_name": "x.png", "width": 9, "height": 9}],
      "categories": [{"id": 1, "name": "ild"}, {"id": 2, "name": "airplane"}], "licenses": [],
      "annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 10, 10], "segmentation": []},
        {"image_id": 7, "category_id": 2, "bbox": [0, 0, 10, 10]}, {"image_id": 7, "category_id": 3, "bbox": [0, 0, 10, 10]},
        {"image_id": 8, "category_id": 1, "bbox": [0, 0, 0, 10]}, {"image_id": 99, "category_id": 1, "bbox": [0, 0, 1, 1]},
        {"image_id": 7, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1}]}"#;
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("val")).unwrap();
    fs::write(dir.path().join("val/_annotations.coco.json"), json).unwrap();
    for name in ["x.png", "y.png"] {
        fs::write(dir.path().join("val").join(name), "x").unwrap();
    }
    let listing = coco::list(dir.path(), &OPTIONS).unwrap();
    let found: Vec<_> = listing
        .failures
        .iter()
        .map(|f| (f.path.strip_prefix("val/_annotations.coco.json#").unwrap(), f.code))
        .collect();
    let expected = [
        ("annotations[1]", "unknown_class"),
        ("annotations[2]", "unknown_class"),
        ("annotations[3]", "inverted_box"),
        ("annotations[4]", "unknown_image"),
        ("annotations[5]", "crowd"),
        ("images[id=10]", "duplicate_id"),
        ("images[id=9]", "missing_file"),
    ];
    assert_eq!(found, expected);
    let ids: Vec<_> = listing.images.iter().map(|i| (i.image_id.as_str(), i.split, i.path.as_str())).collect();
    assert_eq!(ids, [("x", Split::Val, "val/x.png"), ("y", Split::Val, "val/y.png")]);
    assert_eq!(listing.images[1].labels, Labels::Unannotated, "no usable annotation is not a normal image");
    // Boxes refer to 50 x 40 pixels; the file may be a larger copy.
    let lesions =
        lesion_rows(&listing.images[0], Some(ImageSize { width: 100, height: 80 }), &RULE, &LabelSet::vindr());
    assert_eq!((lesions.rows[0].x_max, lesions.rows[0].y_max), (20.0, 20.0));
}

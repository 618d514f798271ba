//! Both layouts from small hand-made folders; unusable rows.

use std::fs;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::space::ImageSize;

use super::*;
use crate::datasets::label_sets::LabelChoice;
use crate::datasets::lesion_rows::{FusionRule, lesion_rows};

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };
const LABELS: ListOptions = ListOptions { labels_only: true, ..OPTIONS };

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn codes(listing: &Listing) -> Vec<(String, &'static str)> {
    listing.failures.iter().map(|f| (f.path.clone(), f.code)).collect()
}

const TRAIN: &str = "\u{feff}rad_id,x_max,x_min,class_name,image_id,y_min,y_max\r
R2,60,10,Cardiomegaly,a,20,70\r
R1,62,11,cardiomegaly,a,21,69\r
R3,,,No finding,a,,\r
R1,,,No finding,b,,\r
R2,,,No finding,b,,\r
";
const TEST: &str = "image_id,class_name,x_min,y_min,x_max,y_max\nt,ILD,1,2,30,40\nt,ILD,1,2,31,41\nu,No finding,,,,\n";

#[test]
fn physionet_layout_whatever_the_order_of_columns() {
    let dir = folder(&[
        ("annotations/annotations_train.csv", TRAIN),
        ("annotations/annotations_test.csv", TEST),
        ("annotations/image_labels_train.csv", "image_id,rad_id,No finding\nb,R9,1\n"),
        ("train/a.dicom", "x"),
        ("train/b.png", "x"),
        ("train/notes.txt", "x"),
        ("test/t.dcm", "x"),
        ("test/u.jpg", "x"),
    ]);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(listing.layout, "vindr-physionet");
    assert_eq!(codes(&listing), []);
    let found: Vec<_> = listing.images.iter().map(|i| (i.image_id.as_str(), i.split, i.path.as_str())).collect();
    let expected = [
        ("a", Split::Train, "train/a.dicom"),
        ("b", Split::Train, "train/b.png"),
        ("t", Split::Test, "test/t.dcm"),
        ("u", Split::Test, "test/u.jpg"),
    ];
    assert_eq!(found, expected);
    let rule = FusionRule { iou_min: 0.5, min_annotators: 2 };
    let a = lesion_rows(&listing.images[0], Some(ImageSize { width: 100, height: 100 }), &rule, &LabelSet::vindr());
    assert_eq!(a.n_boxes, Some(1));
    let fused: Vec<_> = a.rows.iter().filter(|r| r.source == "fused").collect();
    assert_eq!(fused.len(), 1);
    assert_eq!((fused[0].x_min, fused[0].y_min, fused[0].x_max, fused[0].y_max), (10.5, 20.5, 61.0, 69.5));
    assert_eq!((fused[0].n_readers, fused[0].accepted, fused[0].class_name.as_str()), (Some(2), true, "Cardiomegaly"));
    assert!((fused[0].score - 2.0 / 3.0).abs() < 1e-6, "the annotator without a box counts: {}", fused[0].score);
    let annotators: Vec<_> =
        a.rows.iter().filter(|r| r.source == "reader").map(|r| r.reader_id.clone().unwrap()).collect();
    assert_eq!(annotators, ["R1", "R2"]);
    assert!(
        matches!(&listing.images[1].labels, Labels::Annotators(a) if a.len() == 3),
        "image labels add an annotator"
    );
    // The consensus is taken as it is: two boxes of one class that overlap stay two.
    let t = lesion_rows(&listing.images[2], Some(ImageSize { width: 100, height: 100 }), &rule, &LabelSet::vindr());
    assert_eq!((t.n_boxes, t.rows.len()), (Some(2), 2));
    assert!(t.rows.iter().all(|r| r.accepted && r.n_readers.is_none() && r.source == "fused"));
    assert_eq!(lesion_rows(&listing.images[3], None, &rule, &LabelSet::vindr()).n_boxes, Some(0));
}

#[test]
fn kaggle_layout_has_unlabelled_test_images() {
    let csv = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\nk,No finding,14,R1,,,,\n";
    let dir =
        folder(&[("train.csv", csv), ("train/k.dicom", "x"), ("test/q.dicom", "x"), ("sample_submission.csv", "x")]);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(listing.layout, "vindr-kaggle");
    assert_eq!(listing.images[1].image_id, "q");
    assert_eq!((listing.images[1].split, &listing.images[1].labels), (Split::Test, &Labels::Unannotated));
    assert_eq!(
        lesion_rows(
            &listing.images[1],
            Some(ImageSize { width: 9, height: 9 }),
            &FusionRule { iou_min: 0.5, min_annotators: 1 },
            &LabelSet::vindr()
        )
        .n_boxes,
        None
    );
}

#[test]
fn a_bad_row_names_its_file_and_line_and_leaves_the_rest() {
    let csv = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max
a,R1,Heart thing,1,1,5,5
a,R1,ILD,1,oops,5,5
a,R1,ILD,5,1,1,5
a,R1,ILD,,,,
,R1,ILD,1,1,5,5
a,,ILD,1,1,5,5
a,R1,ILD,1,1,5,5
a,R1,ILD,1.0,1,5,5
a,R1,ILD,nan,1,5,5
c,R1,ILD,1
d,R1,Edema,9,9,3,3
e,R1,Edema,1,1,3,3
";
    let dir =
        folder(&[("annotations_train.csv", csv), ("train/a.dicom", ""), ("train/d.png", ""), ("train/c.png", "")]);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    let mut found: Vec<_> = codes(&listing);
    found.sort_by_key(|(path, _)| path.rsplit(':').next().and_then(|l| l.parse::<u64>().ok()));
    let line = |n: u32| format!("annotations_train.csv:{n}");
    let expected = [
        ("train/e.dicom".to_owned(), "missing_file"),
        (line(2), "unknown_class"),
        (line(3), "not_a_number"),
        (line(4), "inverted_box"),
        (line(5), "missing_coordinates"),
        (line(6), "missing_image_id"),
        (line(7), "missing_reader"),
        (line(9), "duplicate_row"),
        (line(10), "not_a_number"),
        (line(11), "wrong_field_count"),
        (line(12), "inverted_box"),
    ];
    assert_eq!(found, expected);
    assert!(matches!(&listing.images[0].labels, Labels::Annotators(a) if a["R1"].len() == 1));
    // Without a usable row an image is unannotated, not normal.
    let d = listing.images.iter().find(|i| i.image_id == "d").unwrap();
    assert_eq!(d.labels, Labels::Unannotated);
    assert_eq!(listing.images.iter().find(|i| i.image_id == "c").map(|i| &i.labels), Some(&Labels::Unannotated));
}

#[test]
fn files_that_cannot_be_used_are_errors_with_their_exit_code() {
    let code = |files: &[(&str, &str)], options: &ListOptions| {
        let dir = folder(files);
        list(dir.path(), options).err().map(|e| e.exit().code())
    };
    assert_eq!(code(&[("readme.txt", "")], &OPTIONS), Some(66), "no layout");
    assert_eq!(code(&[("annotations/annotations_train.csv", "")], &LABELS), Some(65), "empty file");
    let no_annotator = "image_id,class_name,x_min,y_min,x_max,y_max\n";
    assert_eq!(code(&[("annotations/annotations_train.csv", no_annotator)], &LABELS), Some(65), "no rad_id");
    assert_eq!(code(&[("annotations/annotations_test.csv", no_annotator)], &LABELS), None, "the consensus has none");
    assert_eq!(code(&[("annotations/annotations_train.csv", TRAIN)], &OPTIONS), Some(66), "no radiographs");
    assert_eq!(code(&[("annotations/annotations_train.csv", TRAIN)], &LABELS), None);
    let dir = folder(&[("train.csv", "x")]);
    assert_eq!(
        list(&dir.path().join("train.csv"), &OPTIONS).err().map(|e| e.exit().code()),
        Some(2),
        "a file needs labels-only"
    );
}

#[test]
fn an_image_in_train_and_test_is_tested_on_only() {
    let dir = folder(&[
        ("annotations_train.csv", TRAIN),
        ("annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max\na,No finding,,,,\n"),
    ]);
    let listing = list(dir.path(), &LABELS).unwrap();
    let a: Vec<_> = listing.images.iter().filter(|i| i.image_id == "a").map(|i| i.split).collect();
    assert_eq!(a, [Split::Test]);
    assert_eq!(listing.failures.iter().map(|f| f.code).collect::<Vec<_>>(), ["in_two_splits"]);
}

#[test]
fn the_order_of_rows_has_no_effect() {
    let mut lines: Vec<&str> = TRAIN.lines().skip(1).collect();
    lines.push("R1,61,12,Cardiomegaly,a,22,68");
    let header = TRAIN.lines().next().unwrap();
    let rows = |lines: &[&str]| {
        let dir = folder(&[("train.csv", &format!("{header}\n{}\n", lines.join("\n")))]);
        let listing = list(dir.path(), &LABELS).unwrap();
        listing
            .images
            .iter()
            .map(|i| lesion_rows(i, None, &FusionRule { iou_min: 0.5, min_annotators: 1 }, &LabelSet::vindr()))
            .collect::<Vec<_>>()
    };
    let forward = rows(&lines);
    lines.reverse();
    assert_eq!(forward, rows(&lines));
    let fused: Vec<_> = forward[0].rows.iter().filter(|r| r.source == "fused").collect();
    assert_eq!((fused.len(), fused[0].n_readers), (1, Some(2)), "two boxes of one annotator count once");
}

#[test]
fn boxes_beyond_the_edge_are_clipped_and_outside_ones_reported() {
    let csv = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\na,R1,ILD,-5,2,30,120\na,R1,ILD,200,200,300,300\na,R1,Edema,40,40,60,60\n";
    let dir = folder(&[("train.csv", csv)]);
    let listing = list(dir.path(), &LABELS).unwrap();
    let lesions = lesion_rows(
        &listing.images[0],
        Some(ImageSize { width: 100, height: 80 }),
        &FusionRule { iou_min: 0.5, min_annotators: 1 },
        &LabelSet::vindr(),
    );
    let fused: Vec<_> = lesions.rows.iter().filter(|r| r.source == "fused").collect();
    let ild = fused.iter().find(|r| r.class_name == "ILD").unwrap();
    assert_eq!((ild.x_min, ild.y_min, ild.x_max, ild.y_max), (0.0, 2.0, 30.0, 80.0));
    let drawn = lesions.rows.iter().find(|r| r.source == "reader" && r.class_name == "ILD").unwrap();
    assert_eq!((drawn.x_min, drawn.y_max), (0.0, 80.0));
    assert_eq!(lesions.outside.iter().map(|o| o.place.as_str()).collect::<Vec<_>>(), ["train.csv:3"]);
    assert_eq!((lesions.n_boxes, lesions.rows.len()), (Some(2), 4));
    let unsized_ =
        lesion_rows(&listing.images[0], None, &FusionRule { iou_min: 0.5, min_annotators: 1 }, &LabelSet::vindr());
    assert_eq!((unsized_.rows.len(), unsized_.outside.len()), (6, 0), "outside is known only with the size");
    assert!(unsized_.rows.iter().all(|r| r.x_min >= 0.0));
}

/// The public sample of VinBigData's csv, where it is present: `D2R_SHARED_DATA`, or `../shared/data` beside the workspace.
#[test]
fn the_vinbigdata_sample_is_read_whole() {
    let beside = PathBuf::from("../../shared/data");
    let folder = std::env::var_os("D2R_SHARED_DATA").map_or(beside, Into::into);
    let path = folder.join("vinbigdata_train_1500_images.csv.gz");
    if !path.is_file() {
        eprintln!("skipped: no VinBigData sample at {}", path.display());
        return;
    }
    let listing = list(&path, &ListOptions { val_share: 0.1, ..LABELS }).unwrap();
    assert_eq!(codes(&listing), []);
    assert_eq!(listing.images.len(), 1500);
    let rule = FusionRule { iou_min: 0.5, min_annotators: 1 };
    let lesions: Vec<_> = listing.images.iter().map(|i| lesion_rows(i, None, &rule, &LabelSet::vindr())).collect();
    let count = |source: &str| lesions.iter().flat_map(|l| &l.rows).filter(|r| r.source == source).count();
    assert_eq!(count("reader"), 8185);
    assert_eq!(lesions.iter().filter(|l| l.n_boxes == Some(0)).count(), 733);
    let readings: usize =
        listing.images.iter().map(|i| if let Labels::Annotators(a) = &i.labels { a.len() } else { 0 }).sum();
    assert_eq!(readings, 4500, "three annotators an image");
    assert!(count("fused") < 8185 && count("fused") > 8185 / 3, "{}", count("fused"));
    let agreement =
        |r: &d2r_contracts::tables::LesionRow| (r.score * 3.0 - r.n_readers.unwrap_or(0) as f32).abs() < 1e-5;
    assert!(lesions.iter().flat_map(|l| &l.rows).filter(|r| r.source == "fused").all(agreement));
}

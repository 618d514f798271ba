//! The published tables in small: headers that spread over columns, image folders, lists of splits, unusable rows.

use std::fs;

use super::*;
use crate::datasets::label_sets::LabelChoice;

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };

const ENTRIES: &str = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],
00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143,
00000001_001.png,Cardiomegaly|Effusion,1,1,58,M,AP,2894,2729,0.143,0.143,
00000002_000.png,No Finding,0,2,80,M,PA,2500,2048,0.171,0.171,
00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143,
";
const BOXES: &str = "Image Index,Finding Label,Bbox [x,y,w,h],,,
00000001_001.png,Cardiomegaly,300.5,400,500,300,,,
00000001_001.png,Infiltrate,10,20,30,40,,,
";

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

const IMAGES: [(&str, &str); 4] = [
    ("images_001/images/00000001_000.png", "x"),
    ("images_001/images/00000001_001.png", "x"),
    ("images_002/images/00000002_000.jpg", "x"),
    ("images_002/images/00000003_000.png", "x"),
];

fn codes(listing: &Listing) -> Vec<(&str, &'static str)> {
    listing.failures.iter().map(|f| (f.path.as_str(), f.code)).collect()
}

#[test]
fn the_published_layout() {
    let tables = [
        ("Data_Entry_2017.csv", ENTRIES),
        ("BBox_List_2017.csv", BOXES),
        ("train_val_list.txt", "00000001_000.png\r\n00000001_001.png\r\n00000003_000.png\r\n"),
        ("test_list.txt", "00000002_000.png\n"),
    ];
    let dir = folder(&[&tables[..], &IMAGES].concat());
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(codes(&listing), []);
    let found: Vec<_> = listing
        .images
        .iter()
        .map(|i| (i.image_id.as_str(), i.subject_id.as_str(), i.split, i.projection, i.path.as_str()))
        .collect();
    let image = |k: usize| IMAGES[k].0;
    assert_eq!(
        found,
        [
            ("00000001_000", "00000001", Split::Train, Projection::Pa, image(0)),
            ("00000001_001", "00000001", Split::Train, Projection::Ap, image(1)),
            ("00000002_000", "00000002", Split::Test, Projection::Pa, image(2)),
            ("00000003_000", "00000003", Split::Train, Projection::Pa, image(3)),
        ]
    );
    assert!(listing.images.iter().all(|i| i.frame == Some(FRAME)));
    let Labels::Annotators(annotators) = &listing.images[1].labels else { panic!("{:?}", listing.images[1]) };
    let boxes: Vec<_> =
        annotators[ANNOTATOR].iter().map(|b| (b.class_id, b.bbox.to_array(), b.place.as_str())).collect();
    assert_eq!(
        boxes,
        [
            (3, [300.5, 400.0, 800.5, 700.0], "BBox_List_2017.csv:2"),
            (10, [10.0, 20.0, 40.0, 60.0], "BBox_List_2017.csv:3"),
        ]
    );
    // Only labels of reports are known of the other images.
    assert!([0, 2, 3].iter().all(|&k| listing.images[k].labels == Labels::Unannotated));
    let positive = |k: usize| -> Vec<&str> {
        listing.studies[k].labels.iter().filter(|(_, s)| *s == LabelState::Positive).map(|(l, _)| *l).collect()
    };
    assert_eq!(positive(1), ["Cardiomegaly", "Pleural Effusion"]);
    assert_eq!(positive(2), ["No Finding"]);
    assert!(positive(3).is_empty() && listing.studies[3].labels.len() == 14, "a hernia has no CheXpert label");
}

#[test]
fn without_lists_patients_stay_in_one_split() {
    let mut rows = "Image Index,Finding Labels,Patient ID\n".to_owned();
    let mut files = Vec::new();
    for patient in 0..60 {
        for visit in 0..3 {
            let name = format!("{patient:08}_{visit:03}.png");
            // Through a data frame, and once without the column's value.
            rows.push_str(&format!(
                "{name},No Finding,{}\n",
                if visit == 2 { String::new() } else { format!("{patient}.0") }
            ));
            files.push(format!("images/{name}"));
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|f| (f.as_str(), "x")).collect();
    let dir = folder(&[&files[..], &[("Data_Entry_2017_v2020.csv", &rows)]].concat());
    let listing = list(dir.path(), &ListOptions { val_share: 0.3, ..OPTIONS }).unwrap();
    assert_eq!((listing.images.len(), codes(&listing)), (180, vec![]));
    let mut split_of = BTreeMap::new();
    for i in &listing.images {
        assert_eq!(*split_of.entry(&i.subject_id).or_insert(i.split), i.split, "{}", i.subject_id);
    }
    let val = split_of.values().filter(|s| **s == Split::Val).count();
    assert!(split_of.len() == 60 && (5..35).contains(&val), "{val}");
}

#[test]
fn a_bad_row_names_its_file_and_line_and_costs_only_itself() {
    let boxes = "Image Index,Finding Label,Bbox [x,y,w,h],,,
00000001_000.png,Martian,1,2,3,4
00000001_001.png,Mass,1,oops,3,4
00000001_001.png,Mass,1,2,0,4
00000002_000.png,Mass,1,2,3
00000003_000.png,Mass,1,2,3,4
00000003_000.png,Nodule,1,2,3,4
00000009_000.png,Mass,1,2,3,4
";
    let entries = format!(
        "{ENTRIES}00000003_000.png,Hernia,0,3,81,F,PA,2582,2991,0.143,0.143,\n00000004_000.png,Martian,0,4,81,F,PA,1,1,1,1,\n"
    );
    let dir = folder(&[&IMAGES[..], &[("Data_Entry_2017.csv", &entries), ("BBox_List_2017.csv", boxes)]].concat());
    let listing = list(dir.path(), &OPTIONS).unwrap();
    assert_eq!(
        codes(&listing),
        [
            ("BBox_List_2017.csv:2", "unknown_class"),
            ("BBox_List_2017.csv:3", "not_a_number"),
            ("BBox_List_2017.csv:4", "inverted_box"),
            ("BBox_List_2017.csv:5", "wrong_field_count"),
            ("BBox_List_2017.csv:7", "duplicate_row"),
            ("BBox_List_2017.csv:8", "unknown_image"),
            ("Data_Entry_2017.csv:6", "duplicate_row"),
            ("Data_Entry_2017.csv:7", "unknown_label"),
            ("images/00000004_000.png", "missing_file"),
        ]
    );
    assert!(listing.images[..3].iter().all(|i| i.labels == Labels::Unannotated), "no usable box: unread, not normal");
    assert!(matches!(&listing.images[3].labels, Labels::Annotators(a) if a[ANNOTATOR].len() == 1));
}

#[test]
fn what_is_missing_is_named() {
    let code = |files: &[(&str, &str)], options: &ListOptions| {
        let dir = folder(files);
        list(dir.path(), options).err().map(|e| e.exit().code())
    };
    assert_eq!(code(&[("readme.txt", "")], &OPTIONS), Some(66), "no table");
    assert_eq!(code(&[("Data_Entry_2017.csv", ENTRIES)], &OPTIONS), Some(66), "no images");
    assert_eq!(code(&[("Data_Entry_2017.csv", "a,b\n")], &ListOptions { labels_only: true, ..OPTIONS }), Some(65));
    let labels = ListOptions { labels_only: true, ..OPTIONS };
    let dir = folder(&[("Data_Entry_2017.csv", ENTRIES), ("BBox_List_2017.csv", BOXES)]);
    let listing = list(dir.path(), &labels).unwrap();
    assert_eq!((listing.images.len(), codes(&listing)), (4, vec![]));
    assert_eq!(listing.images[0].path, "images/00000001_000.png");
}

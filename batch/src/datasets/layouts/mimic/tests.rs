//! The layout from small hand-made folders; both file versions, gzip, views, rows that cannot be used.

use std::fs;
use std::io::Write;

use super::*;
use crate::datasets::label_sets::LabelChoice;

const OPTIONS: ListOptions =
    ListOptions { seed: 1, val_share: 0.5, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };

const METADATA: &str = "study_id,dicom_id,subject_id,ViewPosition,Rows
50000001,aa,10000001,PA,9
50000001,ab,10000001,LATERAL,9
50000002,ba,10000001,AP,9
50000003,ca,11000001,,9
50000004,da,12000001,PA,9
";
const SPLITS: &str = "dicom_id,study_id,subject_id,split
aa,50000001,10000001,train
ab,50000001,10000001,train
ba,50000002,10000001,train
ca,50000003,11000001,validate
da,50000004,12000001,test
";

fn folder(metadata: &str, splits: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let gz = |path: &str, text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        fs::write(dir.path().join(path), encoder.finish().unwrap()).unwrap();
    };
    gz("mimic-cxr-2.0.0-metadata.csv.gz", metadata);
    write("mimic-cxr-2.0.0-split.csv", splits);
    let header = CHEXPERT_LABELS.iter().rev().copied().collect::<Vec<_>>().join(",");
    let row = |states: &str| format!("{states}{}", ",".repeat(11));
    let chexpert = format!(
        "subject_id,study_id,{header}\n10000001,50000001,{}\n10000001,50000002,{}\n",
        row("1.0,0.0,-1.0"),
        row("2.0,,")
    );
    gz("mimic-cxr-2.0.0-chexpert.csv.gz", &chexpert);
    for path in [
        "p10/p10000001/s50000001/aa.jpg",
        "p10/p10000001/s50000001/ab.jpg",
        "p10/p10000001/s50000002/ba.png",
        "p11/p11000001/s50000003/ca.jpg",
    ] {
        write(&format!("files/{path}"), "x");
    }
    write("files/p10/p10000001/s50000001.txt", "FINDINGS: clear.");
    write("mimic-cxr-reports/files/p10/p10000001/s50000002.txt", "FINDINGS: clear.");
    dir
}

#[test]
fn frontal_projections_with_official_splits_reports_and_labels() {
    let dir = folder(METADATA, SPLITS);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    let images: Vec<_> = listing
        .images
        .iter()
        .map(|i| (i.image_id.as_str(), i.study_id.as_str(), i.split, i.projection, i.path.as_str()))
        .collect();
    let expected = [
        ("aa", "s50000001", Split::Train, Projection::Pa, "files/p10/p10000001/s50000001/aa.jpg"),
        ("ba", "s50000002", Split::Train, Projection::Ap, "files/p10/p10000001/s50000002/ba.png"),
    ];
    assert_eq!(images, expected);
    assert_eq!(listing.notes["views_left_out"], 2, "the lateral one and the one without a projection");
    let failures: Vec<_> = listing.failures.iter().map(|f| (f.code, f.split, f.path.as_str())).collect();
    let expected = [
        ("missing_file", Split::Test, "files/p12/p12000001/s50000004/da.jpg"),
        ("unknown_state", Split::Train, "mimic-cxr-2.0.0-chexpert.csv.gz:3"),
    ];
    assert_eq!(failures, expected);
    let reports: Vec<_> = listing.studies.iter().map(|s| s.report.clone()).collect();
    let file = |path: &str| Some(ReportSource::File(path.into()));
    assert_eq!(
        reports,
        [file("files/p10/p10000001/s50000001.txt"), file("mimic-cxr-reports/files/p10/p10000001/s50000002.txt")]
    );
    let first = &listing.studies[0].labels;
    assert_eq!(first.len(), 14);
    assert!(first.contains(&("No Finding", LabelState::Positive)));
    assert!(first.contains(&("Support Devices", LabelState::Negative)));
    assert!(first.contains(&("Fracture", LabelState::Uncertain)));
    assert!(first.contains(&("Cardiomegaly", LabelState::Blank)));
    assert!(listing.studies[1].labels.is_empty());
}

#[test]
fn all_views_when_asked_for() {
    let dir = folder(METADATA, SPLITS);
    let listing = list(dir.path(), &ListOptions { frontal_only: false, ..OPTIONS }).unwrap();
    assert_eq!(listing.images.iter().map(|i| i.image_id.as_str()).collect::<Vec<_>>(), ["aa", "ab", "ba", "ca"]);
    assert_eq!(listing.images[3].split, Split::Val, "`validate` is val");
    assert!(
        listing.failures.iter().any(|f| f.code == "missing_report" && f.path == "files/p11/p11000001/s50000003.txt")
    );
}

#[test]
fn rows_that_cannot_be_used() {
    let metadata = format!(
        "{METADATA}50000001,aa,10000001,PA,9\n50000009,zz,10000001,PA,9\n5x,yy,10000001,PA,9\n50000001,,10000001,PA,9\n"
    );
    let splits = format!("{SPLITS}yy,1,1,train\nxx,1,1,holdout\n");
    let dir = folder(&metadata, &splits);
    let listing = list(dir.path(), &OPTIONS).unwrap();
    let found: Vec<_> = listing.failures.iter().map(|f| f.code).collect();
    for code in ["duplicate_row", "no_split", "bad_id", "missing_image_id", "unknown_split"] {
        assert!(found.contains(&code), "{code} in {found:?}");
    }
    assert_eq!(listing.images.len(), 2);
}

#[test]
fn a_folder_without_its_csv_files_is_missing_input() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(list(dir.path(), &OPTIONS).err().map(|e| e.exit().code()), Some(66));
    let dir = folder("dicom_id,subject_id,study_id\n", SPLITS);
    let error = list(dir.path(), &OPTIONS).unwrap_err();
    assert_eq!(error.exit().code(), 65);
    assert!(error.to_string().contains("ViewPosition"), "{error}");
}

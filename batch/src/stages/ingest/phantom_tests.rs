//! Phantoms written in every layout are read back completely, under the ids of their truth tables.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use d2r_contracts::tables::{FailureRow, FindingRow, ImageRow, LesionRow, ReportRow, TruthFindingRow, TruthLesionRow};

use super::*;
use crate::stages::ingest::tests::{args_of, context, rows_of};
use crate::stages::phantom;

const SIZE: &str = "phantom.size=96";

/// One phantom for the tests of this file.
fn phantom() -> &'static Path {
    static DRAWN: OnceLock<tempfile::TempDir> = OnceLock::new();
    DRAWN
        .get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let out = dir.path().join("phantom");
            let ctx = context(&[SIZE, "phantom.lateral_share=0.4", "phantom.two_view_studies=3"]);
            phantom::run(&ctx, phantom::Args { out, images: Some(16), seed: Some(5) }).unwrap();
            dir
        })
        .path()
}

fn ingest(kind: Kind, folder: &str, set: &[&str]) -> (tempfile::TempDir, StageResult) {
    let lake = tempfile::tempdir().unwrap();
    let root = phantom().join("phantom").join(folder);
    let result = run(&context(set), args_of(kind, &root, lake.path(), folder)).unwrap();
    (lake, result)
}

fn truth<R: d2r_contracts::rows::Row>(folder: &str) -> Vec<R> {
    rows_of(&phantom().join("phantom").join(phantom::TRUTH), folder)
}

fn ids(rows: &[ImageRow]) -> BTreeSet<&str> {
    rows.iter().map(|r| r.image_id.as_str()).collect()
}

#[test]
fn both_vindr_layouts() {
    for folder in ["vindr", "vindr_kaggle"] {
        let (lake, result) = ingest(Kind::Vindr { labels_only: false }, folder, &[]);
        assert_eq!(rows_of::<FailureRow>(lake.path(), folder), [], "{folder}");
        let images: Vec<ImageRow> = rows_of(lake.path(), folder);
        assert_eq!(result.rows["images"], images.len() as u64);
        for i in &images {
            assert_eq!((i.width, i.height), (Some(96), Some(96)), "{folder}");
            assert!(i.view == "PA" || i.view == "AP", "{folder}: {}", i.view);
        }
        let drawn: Vec<TruthLesionRow> = truth(folder);
        assert!(!drawn.is_empty());
        assert!(drawn.iter().all(|l| ids(&images).contains(l.image_id.as_str())), "{folder}: ids of the truth");
        // Readers are good enough that most drawn lesions have a fused box of their place.
        let lesions: Vec<LesionRow> = rows_of(lake.path(), folder);
        let read: BTreeSet<&str> = images.iter().filter(|i| i.n_boxes.is_some()).map(|i| i.image_id.as_str()).collect();
        let wanted: Vec<_> = drawn.iter().filter(|l| read.contains(l.image_id.as_str())).collect();
        let area = |b: [f32; 4]| (b[2] - b[0]).max(0.0) * (b[3] - b[1]).max(0.0);
        let overlap = |t: &TruthLesionRow, l: &LesionRow| {
            let shared = area([t.x_min.max(l.x_min), t.y_min.max(l.y_min), t.x_max.min(l.x_max), t.y_max.min(l.y_max)]);
            shared / (area([t.x_min, t.y_min, t.x_max, t.y_max]) + area([l.x_min, l.y_min, l.x_max, l.y_max]) - shared)
        };
        let fused: Vec<_> = lesions.iter().filter(|l| l.source == "fused").collect();
        let hit =
            wanted.iter().filter(|t| fused.iter().any(|l| l.image_id == t.image_id && overlap(t, l) > 0.4)).count();
        assert!(hit * 10 >= wanted.len() * 7, "{folder}: {hit} of {} drawn lesions are found again", wanted.len());
        let unread = images.len() - read.len();
        let test = phantom().join("phantom").join(folder).join("test");
        let without_labels =
            if folder == "vindr_kaggle" { std::fs::read_dir(test).map_or(0, Iterator::count) } else { 0 };
        assert_eq!(unread, without_labels, "Kaggle's test images have no labels");
    }
}

#[test]
fn the_mimic_layout() {
    let (lake, _) = ingest(Kind::Mimic, "mimic", &["ingest.frontal_only=false"]);
    assert_eq!(rows_of::<FailureRow>(lake.path(), "mimic"), []);
    let images: Vec<ImageRow> = rows_of(lake.path(), "mimic");
    let studies: BTreeSet<&str> = images.iter().map(|i| i.study_id.as_str()).collect();
    assert_eq!(studies.len(), 16);
    let reports: Vec<ReportRow> = rows_of(lake.path(), "mimic");
    assert_eq!(reports.iter().map(|r| r.study_id.as_str()).collect::<BTreeSet<_>>(), studies);
    assert!(reports.iter().all(|r| r.section == "findings" && r.text_clean.ends_with(" .")));
    // The reference labels are the truth's, study by study.
    let state = |study: &str, label: &str, state: &str| (study.to_owned(), label.to_owned(), state.to_owned());
    let found: BTreeSet<_> =
        rows_of::<FindingRow>(lake.path(), "mimic").iter().map(|f| state(&f.study_id, &f.label, &f.state)).collect();
    let known: BTreeSet<_> =
        truth::<TruthFindingRow>("mimic").iter().map(|f| state(&f.study_id, &f.label, &f.state)).collect();
    assert_eq!(found, known);
    let (frontal, result) = ingest(Kind::Mimic, "mimic", &[]);
    let kept: Vec<ImageRow> = rows_of(frontal.path(), "mimic");
    assert!(kept.iter().all(|i| i.view == "PA" || i.view == "AP"));
    assert_eq!(kept.len() + result.figures["views_left_out"] as usize, images.len());
}

#[test]
fn the_layouts_of_r2gen() {
    for (kind, folder) in [(Kind::IuXray, "iu_xray"), (Kind::AnnotationJson, "annotation")] {
        let (lake, result) = ingest(kind, folder, &[]);
        assert_eq!(rows_of::<FailureRow>(lake.path(), folder), [], "{folder}");
        let images: Vec<ImageRow> = rows_of(lake.path(), folder);
        let drawn: Vec<TruthLesionRow> = truth(folder);
        assert!(drawn.iter().all(|l| ids(&images).contains(l.image_id.as_str())), "{folder}: ids of the truth");
        let studies: BTreeSet<&str> = images.iter().map(|i| i.study_id.as_str()).collect();
        let known: Vec<TruthFindingRow> = truth(folder);
        assert_eq!(known.iter().map(|f| f.study_id.as_str()).collect::<BTreeSet<_>>(), studies, "{folder}");
        assert_eq!(result.rows["reports"] as usize, studies.len());
        if kind == Kind::IuXray {
            assert_eq!((studies.len(), images.len()), (3, 6), "two views a study");
        }
    }
}

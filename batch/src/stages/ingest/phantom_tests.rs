//! Phantoms written in every layout are read back completely, under the ids of their truth tables.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use d2r_contracts::tables::{FailureRow, FindingRow, ImageRow, LesionRow, ReportRow, TruthFindingRow, TruthLesionRow};

use d2r_phantom::layouts::Layout;

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
            phantom::run(&ctx, phantom::Args { out, images: Some(16), seed: Some(5), layouts: Layout::ALL.to_vec() })
                .unwrap();
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
        let (lake, result) = ingest(Kind::Vindr, folder, &[]);
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

/// Boxes of a set, by image, class and rounded corners.
fn corners(rows: &[LesionRow], source: &str) -> BTreeSet<(String, i32, [i32; 4])> {
    let of = |l: &LesionRow| [l.x_min, l.y_min, l.x_max, l.y_max].map(|v| v.round() as i32);
    rows.iter().filter(|l| l.source == source).map(|l| (l.image_id.clone(), l.class_id, of(l))).collect()
}

/// What was drawn, as [`corners`] has it.
fn drawn(folder: &str) -> BTreeSet<(String, i32, [i32; 4])> {
    let of = |l: &TruthLesionRow| [l.x_min, l.y_min, l.x_max, l.y_max].map(|v| v.round() as i32);
    truth::<TruthLesionRow>(folder).iter().map(|l| (l.image_id.clone(), l.class_id, of(l))).collect()
}

/// Every box is a drawn one, within a pixel, of a class that passes.
fn assert_drawn(found: &BTreeSet<(String, i32, [i32; 4])>, folder: &str, same: impl Fn(i32, i32) -> bool) {
    assert!(!found.is_empty(), "{folder}");
    let drawn = drawn(folder);
    for (image, class, b) in found {
        let near = |o: &[i32; 4]| o.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1);
        assert!(
            drawn.iter().any(|(i, c, o)| i == image && same(*c, *class) && near(o)),
            "{folder}: {image} {class} {b:?}"
        );
    }
}

#[test]
fn the_nih_layout() {
    let (lake, result) = ingest(Kind::Nih, "nih", &["ingest.val_share=0.0"]);
    assert_eq!(rows_of::<FailureRow>(lake.path(), "nih"), []);
    let images: Vec<ImageRow> = rows_of(lake.path(), "nih");
    assert_eq!((images.len(), result.figures["listed_studies"]), (16, 16.0));
    // Boxes refer to 1024 pixels and the images have 96.
    let found = corners(&rows_of(lake.path(), "nih"), "reader");
    assert_drawn(&found, "nih", |a, b| a == b);
    let boxed: BTreeSet<&str> = found.iter().map(|(image, _, _)| image.as_str()).collect();
    for i in &images {
        assert_eq!(i.n_boxes.is_some(), boxed.contains(i.image_id.as_str()), "{}: no box, no annotator", i.image_id);
        assert!(i.image_id.starts_with(&i.subject_id), "{}", i.image_id);
    }
    let positive: Vec<FindingRow> =
        rows_of(lake.path(), "nih").into_iter().filter(|f: &FindingRow| f.state == "positive").collect();
    let known: BTreeSet<(String, String)> = truth::<TruthFindingRow>("nih")
        .into_iter()
        .filter(|f| f.state == "positive")
        .map(|f| (f.study_id, f.label))
        .collect();
    assert!(!positive.is_empty());
    for f in positive.iter().filter(|f| f.label != "No Finding" && f.label != "Pneumonia") {
        assert!(known.contains(&(f.study_id.clone(), f.label.clone())), "{} {}", f.study_id, f.label);
    }
    let (labels, _) = {
        let lake = tempfile::tempdir().unwrap();
        let root = phantom().join("phantom/nih");
        let args = Args { labels_only: true, ..args_of(Kind::Nih, &root, lake.path(), "nih") };
        let result = run(&context(&[]), args).unwrap();
        (rows_of::<ImageRow>(lake.path(), "nih"), result)
    };
    assert_eq!(ids(&labels), ids(&images));
}

#[test]
fn the_rsna_layout() {
    let root = phantom().join("phantom/rsna");
    let lake = tempfile::tempdir().unwrap();
    let refused = run(&context(&[]), args_of(Kind::Rsna, &root, lake.path(), "rsna")).unwrap_err();
    assert_eq!(refused.exit().code(), 65);
    assert!(refused.to_string().contains("not_deidentified"), "{refused}");
    let (lake, _) = ingest(Kind::Rsna, "rsna", &["ingest.allow_phi=true"]);
    assert_eq!(rows_of::<FailureRow>(lake.path(), "rsna"), []);
    let images: Vec<ImageRow> = rows_of(lake.path(), "rsna");
    assert_eq!(images.len(), 16);
    let opacity = d2r_contracts::labels::lesion_class_id("Lung Opacity").unwrap();
    let opacities = ["Lung Opacity", "Consolidation", "Infiltration"].map(d2r_contracts::labels::lesion_class_id);
    let found = corners(&rows_of(lake.path(), "rsna"), "fused");
    assert!(found.iter().all(|(_, class, _)| *class == opacity));
    assert_drawn(&found, "rsna", |drawn, _| opacities.contains(&Some(drawn)));
    // Normal is what was drawn without any lesion; another disease is unread.
    let with_lesion: BTreeSet<String> = drawn("rsna").into_iter().map(|(image, _, _)| image).collect();
    let test: Vec<ImageRow> =
        Lake::open(lake.path()).unwrap().read(&Partition::new("rsna", Split::Test.as_str())).unwrap();
    for i in &images {
        let boxes = found.iter().filter(|(image, _, _)| *image == i.image_id).count() as i32;
        let expected = match (boxes, with_lesion.contains(&i.image_id)) {
            _ if ids(&test).contains(i.image_id.as_str()) => None,
            (0, false) => Some(0),
            (0, true) => None,
            (n, _) => Some(n),
        };
        assert_eq!(i.n_boxes, expected, "{}", i.image_id);
    }
}

#[test]
fn the_chestx_det_layout() {
    let (lake, _) = ingest(Kind::ChestxDet, "chestx_det", &[]);
    assert_eq!(rows_of::<FailureRow>(lake.path(), "chestx_det"), []);
    let images: Vec<ImageRow> = rows_of(lake.path(), "chestx_det");
    assert!(images.len() == 16 && images.iter().all(|i| i.n_boxes.is_some()));
    let fractures = ["Rib fracture", "Clavicle fracture"].map(d2r_contracts::labels::lesion_class_id);
    let both = |a: i32, b: i32| fractures.contains(&Some(a)) && fractures.contains(&Some(b));
    let found = corners(&rows_of(lake.path(), "chestx_det"), "fused");
    assert_drawn(&found, "chestx_det", |a, b| a == b || both(a, b));
}

#[test]
fn the_openi_layout() {
    for (section, of_impression) in [("findings", false), ("impression", true)] {
        let (lake, _) = ingest(Kind::Openi, "openi", &[&format!("ingest.section={section}")]);
        assert_eq!(rows_of::<FailureRow>(lake.path(), "openi"), []);
        let images: Vec<ImageRow> = rows_of(lake.path(), "openi");
        assert_eq!(images.len(), 32, "two views a study");
        let reports: Vec<ReportRow> = rows_of(lake.path(), "openi");
        assert_eq!(reports.len(), 16);
        let file = phantom().join("phantom/openi/ecgen-radiology/1.xml");
        let text = std::fs::read_to_string(file).unwrap();
        let one = reports.iter().find(|r| r.study_id == "CXR1").unwrap();
        assert!(text.contains(&format!("Label=\"{}\">{}<", section.to_uppercase(), one.text)), "{}", one.text);
        assert!(of_impression || one.text_clean.split(' ').count() > 20);
        let positive: BTreeSet<_> = rows_of::<FindingRow>(lake.path(), "openi")
            .into_iter()
            .filter(|f| f.state == "positive")
            .map(|f| (f.study_id, f.label))
            .collect();
        let known: BTreeSet<_> = truth::<TruthFindingRow>("openi")
            .into_iter()
            .filter(|f| f.state == "positive")
            .map(|f| (f.study_id, f.label))
            .collect();
        assert!(!positive.is_empty() && positive.is_subset(&known));
    }
}

use std::collections::BTreeSet;
use std::io::Read;

use d2r_contracts::labels::{GLOBAL_LABELS, LESION_CLASSES};
use dicom_object::open_file;
use flate2::read::GzDecoder;

use super::*;
use crate::config::{Layers, resolve};
use crate::test_fixtures;

fn context() -> Context {
    test_fixtures::context(&["phantom.size=96", "phantom.lateral_share=0.4"])
}

fn args(out: &Path) -> Args {
    Args { out: out.to_path_buf(), images: Some(10), seed: Some(5), ..Args::default() }
}

/// Path and digest of every file below a folder.
fn digests(root: &Path) -> BTreeMap<String, String> {
    WalkDir::new(root)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned();
            (path, sha256_hex(&std::fs::read(entry.path()).unwrap()))
        })
        .collect()
}

fn gz_table(path: &Path) -> Vec<Vec<String>> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn csv_header(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().lines().next().unwrap().to_owned()
}

#[test]
fn the_same_settings_give_the_same_bytes_and_other_seeds_other_ones() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = run(&context(), args(one.path())).unwrap();
    run(&context(), args(two.path())).unwrap();
    assert!(!first.cached && first.rows["truth_findings"] > 0);
    let all = digests(one.path());
    assert!(all.len() > 60, "{}", all.len());
    assert_eq!(all, digests(two.path()));

    let again = run(&context(), args(one.path())).unwrap();
    assert!(again.cached);
    assert_eq!(again.files, first.files);

    let other = run(&context(), Args { seed: Some(6), ..args(one.path()) }).unwrap();
    assert!(!other.cached);
    let shared: Vec<_> = digests(one.path()).into_iter().filter(|(path, _)| all.contains_key(path)).collect();
    assert!(shared.iter().all(|(path, _)| !path.ends_with(".dicom") && !path.ends_with(".jpg")), "stale images");
}

#[test]
fn a_torn_folder_is_made_whole() {
    let dir = tempfile::tempdir().unwrap();
    run(&context(), args(dir.path())).unwrap();
    let whole = digests(dir.path());
    let table = dir.path().join("vindr/annotations/annotations_train.csv");
    let mut text = std::fs::read(&table).unwrap();
    text[40] ^= 1;
    std::fs::write(&table, text).unwrap();
    std::fs::write(dir.path().join("mimic/stray.jpg"), "x").unwrap();
    assert!(!run(&context(), args(dir.path())).unwrap().cached);
    assert_eq!(digests(dir.path()), whole);
}

#[test]
fn a_stopped_run_leaves_no_manifest_and_is_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context();
    let whole = tempfile::tempdir().unwrap();
    run(&ctx, args(whole.path())).unwrap();
    let stopped = context();
    stopped.stop.request(15);
    assert!(matches!(run(&stopped, args(dir.path())), Err(Error::Stopped { signal: 15 })));
    assert!(!dir.path().join(MANIFEST).exists());
    // What a run leaves that is killed in the middle of a file.
    std::fs::create_dir_all(dir.path().join("vindr/train")).unwrap();
    std::fs::write(dir.path().join("vindr/train/half.dicom.part"), "half").unwrap();
    assert!(!run(&ctx, args(dir.path())).unwrap().cached);
    assert_eq!(digests(dir.path()), digests(whole.path()));
}

#[test]
fn tables_have_the_datasets_columns() {
    let dir = tempfile::tempdir().unwrap();
    run(&context(), args(dir.path())).unwrap();
    let annotations = dir.path().join("vindr/annotations");
    let labels = [&LESION_CLASSES[..], &GLOBAL_LABELS[..]].concat().join(",");
    let header = |name: &str| csv_header(&annotations.join(name));
    assert_eq!(header("annotations_train.csv"), "image_id,rad_id,class_name,x_min,y_min,x_max,y_max");
    assert_eq!(header("annotations_test.csv"), "image_id,class_name,x_min,y_min,x_max,y_max");
    assert_eq!(header("image_labels_train.csv"), format!("image_id,rad_id,{labels}"));
    assert_eq!(header("image_labels_test.csv"), format!("image_id,{labels}"));
    assert_eq!(
        csv_header(&dir.path().join("vindr_kaggle/train.csv")),
        "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
    );
    let mimic = |name: &str| gz_table(&dir.path().join(format!("mimic/mimic-cxr-2.0.0-{name}.csv.gz")));
    assert_eq!(mimic("split")[0].join(","), "dicom_id,study_id,subject_id,split");
    assert_eq!(
        mimic("metadata")[0][..7].join(","),
        "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,Columns"
    );
    assert_eq!(
        mimic("chexpert")[0].join(","),
        "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,Enlarged Cardiomediastinum,Fracture,Lung Lesion,\
         Lung Opacity,No Finding,Pleural Effusion,Pleural Other,Pneumonia,Pneumothorax,Support Devices"
    );
    assert!(mimic("chexpert")[1..].iter().all(|row| row.len() == 16));
}

#[test]
fn mimic_rows_name_files_and_split_by_subject() {
    let dir = tempfile::tempdir().unwrap();
    run(&context(), args(dir.path())).unwrap();
    let mut split_of: BTreeMap<String, String> = BTreeMap::new();
    let rows = gz_table(&dir.path().join("mimic/mimic-cxr-2.0.0-split.csv.gz"));
    for row in &rows[1..] {
        let [dicom, study, subject, split] = &row[..] else { panic!("{row:?}") };
        assert_eq!(split_of.entry(subject.clone()).or_insert_with(|| split.clone()), split);
        let folder = dir.path().join(format!("mimic/files/p{}/p{subject}", &subject[..2]));
        assert!(folder.join(format!("s{study}/{dicom}.jpg")).is_file());
        let report = std::fs::read_to_string(folder.join(format!("s{study}.txt"))).unwrap();
        for part in ["FINAL REPORT", "FINDINGS:", "IMPRESSION:"] {
            assert!(report.contains(part), "{part}");
        }
        assert!(report.lines().all(|line| line.len() <= 81), "lines are wrapped");
    }
    let splits: BTreeSet<&str> = split_of.values().map(String::as_str).collect();
    assert_eq!(splits, BTreeSet::from(["train", "validate", "test"]));
}

#[test]
fn dicom_files_are_chests_without_identity() {
    use dicom_dictionary_std::tags;
    let dir = tempfile::tempdir().unwrap();
    run(&context(), args(dir.path())).unwrap();
    let mut interpretations = BTreeSet::new();
    for split in ["train", "test"] {
        for entry in std::fs::read_dir(dir.path().join("vindr").join(split)).unwrap() {
            let path = entry.unwrap().path();
            let object = open_file(&path).unwrap();
            let text = |tag| object.element(tag).unwrap().to_str().unwrap().trim().to_owned();
            assert_eq!(text(tags::PATIENT_IDENTITY_REMOVED), "YES");
            assert_eq!(text(tags::BODY_PART_EXAMINED), "CHEST");
            assert_eq!(text(tags::ROWS), "96");
            assert_eq!(text(tags::VIEW_POSITION), "PA");
            let pixels = object.element(tags::PIXEL_DATA).unwrap().to_bytes().unwrap().len();
            assert_eq!(pixels, 96 * 96 * 2);
            interpretations.insert(text(tags::PHOTOMETRIC_INTERPRETATION));
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            assert!(stem.len() == 32 && stem.chars().all(|c| c.is_ascii_hexdigit()), "{stem}");
        }
    }
    assert_eq!(interpretations.len(), 2);
}

#[test]
fn annotation_files_name_images_that_exist_and_carry_extra_fields() {
    let dir = tempfile::tempdir().unwrap();
    run(&context(), args(dir.path())).unwrap();
    for (set, extra) in [("annotation", Some("view_position")), ("iu_xray", None)] {
        let text = std::fs::read(dir.path().join(set).join("annotation.json")).unwrap();
        let all: serde_json::Value = serde_json::from_slice(&text).unwrap();
        let mut examples = 0;
        for split in ["train", "val", "test"] {
            for example in all[split].as_array().unwrap() {
                examples += 1;
                assert!(example["report"].as_str().unwrap().split(' ').count() >= 25);
                assert!(extra.is_none_or(|field| example.get(field).is_some()));
                let paths = example["image_path"].as_array().unwrap();
                assert!(set != "iu_xray" || paths.len() == 2);
                for path in paths {
                    assert!(dir.path().join(set).join("images").join(path.as_str().unwrap()).is_file());
                }
            }
        }
        assert!(examples > 0, "{set}");
    }
}

#[test]
fn shares_and_sizes_that_cannot_be_drawn_are_refused() {
    for set in ["phantom.val_share=0.9", "phantom.normal_share=1.5", "phantom.size=8"] {
        let layers = Layers { set: vec![set.into(), "phantom.test_share=0.2".into()], ..Layers::default() };
        let ctx = Context { config: resolve(&layers).unwrap().config, ..context() };
        let dir = tempfile::tempdir().unwrap();
        let refused = run(&ctx, args(dir.path())).unwrap_err();
        assert!(matches!(refused, Error::Config { .. }), "{set}: {refused}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[test]
fn no_images_at_all_is_an_empty_phantom() {
    let dir = tempfile::tempdir().unwrap();
    let mut ctx = context();
    ctx.config.phantom.two_view_studies = 0;
    let done = run(&ctx, Args { images: Some(0), ..args(dir.path()) }).unwrap();
    assert!(done.rows.is_empty() && !done.cached);
    assert!(run(&ctx, Args { images: Some(0), ..args(dir.path()) }).unwrap().cached);
}

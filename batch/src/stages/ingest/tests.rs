//! Whole ingests of small hand-made folders into a lake in a temporary folder, and exports back out of it.

use std::fs;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, FindingRow, ImageRow, LesionRow, ReportRow};
use dicom_core::{PrimitiveValue, VR, dicom_value};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use image::{GrayImage, Luma};

use super::*;
use crate::stages::exchange::{export_annotation, export_coco};

pub(super) use crate::test_fixtures::context;

pub(super) fn grey_image(width: u32, height: u32) -> GrayImage {
    GrayImage::from_fn(width, height, |x, y| Luma([((x * 3 + y * 5) % 251) as u8]))
}

pub(super) fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(super) fn put_image(root: &Path, path: &str, width: u32, height: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    grey_image(width, height).save(path).unwrap();
}

pub(super) fn put_dicom(root: &Path, path: &str, width: u16, height: u16, view: &str) {
    let mut object = InMemDicomObject::new_empty();
    let text = |object: &mut InMemDicomObject, tag, vr, value: &str| {
        object.put(dicom_core::DataElement::new(tag, vr, PrimitiveValue::from(value)));
    };
    text(&mut object, tags::SOP_CLASS_UID, VR::UI, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION);
    text(&mut object, tags::SOP_INSTANCE_UID, VR::UI, "1.2.3.4");
    text(&mut object, tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES");
    text(&mut object, tags::MODALITY, VR::CS, "DX");
    text(&mut object, tags::VIEW_POSITION, VR::CS, view);
    text(&mut object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2");
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, height),
        (tags::COLUMNS, width),
        (tags::BITS_ALLOCATED, 8),
        (tags::BITS_STORED, 8),
        (tags::HIGH_BIT, 7),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(dicom_core::DataElement::new(tag, VR::US, dicom_value!(U16, [value])));
    }
    let pixels = grey_image(width.into(), height.into()).into_raw();
    object.put(dicom_core::DataElement::new(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(pixels.into())));
    let meta = FileMetaTableBuilder::new()
        .media_storage_sop_class_uid(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
        .media_storage_sop_instance_uid("1.2.3.4")
        .transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    object.with_meta(meta).unwrap().write_to_file(path).unwrap();
}

/// A VinDr folder: a DICOM file, a PNG file, a JPEG file, one that is text, one that is not there.
fn vindr_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let train = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max
a,R1,Cardiomegaly,10,10,50,50
a,R2,Cardiomegaly,12,10,52,50
a,R3,No finding,,,,
a,R1,ILD,500,500,600,600
b,R1,No finding,,,,
c,R1,Martian,1,1,2,2
d,R1,No finding,,,,
";
    put(dir.path(), "annotations/annotations_train.csv", train);
    put(
        dir.path(),
        "annotations/annotations_test.csv",
        "image_id,class_name,x_min,y_min,x_max,y_max\nt,Edema,5,6,30,40\n",
    );
    put_dicom(dir.path(), "train/a.dicom", 128, 96, "AP");
    put_image(dir.path(), "train/b.png", 100, 80);
    put(dir.path(), "train/c.png", "not a picture");
    put_image(dir.path(), "test/t.jpg", 90, 70);
    dir
}

pub(super) fn args_of(kind: Kind, root: &Path, lake: &Path, dataset: &str) -> Args {
    let (root, dataset, lake) = (root.into(), dataset.into(), lake.into());
    let shard = Shard::default();
    let (labels_only, original_size, refuse_burned_in, labels) = (false, None, false, LabelChoice::Vindr);
    Args { kind, root, dataset, lake, shard, labels_only, original_size, refuse_burned_in, labels }
}

fn args(kind: Kind, root: &Path, lake: &Path) -> Args {
    args_of(kind, root, lake, "set")
}

const VINDR: Kind = Kind::Vindr;

/// A dataset's rows of all splits.
pub(super) fn rows_of<R: Row>(lake: &Path, dataset: &str) -> Vec<R> {
    let lake = Lake::open(lake).unwrap();
    let part = |split: &str| lake.read(&Partition::new(dataset, split)).unwrap();
    ["train", "val", "test"].iter().flat_map(|s| part(s)).collect()
}

fn rows<R: Row>(lake: &Path) -> Vec<R> {
    rows_of(lake, "set")
}

#[test]
fn a_labelled_folder_goes_in_whole() {
    let (dir, lake) = (vindr_folder(), tempfile::tempdir().unwrap());
    let ctx = context(&["ingest.val_share=0.0", "ingest.min_annotators=2"]);
    let result = run(&ctx, args(VINDR, dir.path(), lake.path())).unwrap();
    assert!(!result.cached);
    let images: Vec<ImageRow> = rows(lake.path());
    let brief: Vec<_> =
        images.iter().map(|i| (i.image_id.as_str(), i.view.as_str(), i.width, i.height, i.n_boxes)).collect();
    let expected = [
        ("a", "AP", Some(128), Some(96), Some(1)),
        ("b", "PA", Some(100), Some(80), Some(0)),
        ("t", "PA", Some(90), Some(70), Some(1)),
    ];
    assert_eq!(brief, expected, "the file's view over the dataset's");
    let digest = crate::lake::digest::sha256_file(&dir.path().join("train/b.png")).unwrap();
    assert_eq!(images[1].sha256.as_deref(), Some(digest.as_str()));
    let lesions: Vec<LesionRow> = rows(lake.path());
    let brief: Vec<_> = lesions.iter().map(|l| (l.box_id.as_str(), l.n_readers, l.accepted, l.x_min)).collect();
    let expected = [
        ("a-R1-000", None, false, 10.0),
        ("a-R2-000", None, false, 12.0),
        ("a-fused-000", Some(2), true, 11.0),
        ("t-fused-000", None, true, 5.0),
    ];
    assert_eq!(brief, expected);
    let failures: Vec<FailureRow> = rows(lake.path());
    let brief: Vec<_> = failures.iter().map(|f| (f.code.as_str(), f.path.as_deref().unwrap_or_default())).collect();
    let expected = [
        ("box_outside", "annotations/annotations_train.csv:5"),
        ("unknown_class", "annotations/annotations_train.csv:7"),
        ("not_an_image", "train/c.png"),
        ("missing_file", "train/d.dicom"),
    ];
    assert_eq!(brief, expected);
    assert_eq!((result.rows["images"], result.rows["lesions"], result.rows["failures"]), (3, 4, 4));
    assert!(result.files.iter().all(|f| f.path.is_file() && f.bytes > 0));
}

#[test]
fn the_same_folder_again_is_cached_and_a_changed_one_replaces_all() {
    let (dir, lake) = (vindr_folder(), tempfile::tempdir().unwrap());
    let ctx = context(&[]);
    let first = run(&ctx, args(VINDR, dir.path(), lake.path())).unwrap();
    let second = run(&ctx, args(VINDR, dir.path(), lake.path())).unwrap();
    assert!(second.cached);
    assert_eq!((&first.rows, &first.files), (&second.rows, &second.files));
    // A copy of the folder is read again, and gives the same tables.
    let elsewhere = vindr_folder();
    let copied = run(&ctx, args(VINDR, elsewhere.path(), lake.path())).unwrap();
    assert_eq!((copied.cached, &copied.rows), (false, &first.rows));
    // So is an image that was written again with the same name, size and time.
    assert!(!run(&ctx, args(VINDR, dir.path(), lake.path())).unwrap().cached);
    let (image, before) = (dir.path().join("train/c.png"), fs::metadata(dir.path().join("train/c.png")).unwrap());
    fs::write(&image, vec![b'x'; before.len() as usize]).unwrap();
    fs::File::open(&image).unwrap().set_modified(before.modified().unwrap()).unwrap();
    assert!(!run(&ctx, args(VINDR, dir.path(), lake.path())).unwrap().cached);
    put(
        dir.path(),
        "annotations/annotations_test.csv",
        "image_id,class_name,x_min,y_min,x_max,y_max\nt,No finding,,,,\n",
    );
    let third = run(&ctx, args(VINDR, dir.path(), lake.path())).unwrap();
    assert!(!third.cached);
    assert_eq!(third.rows["lesions"], first.rows["lesions"] - 1);
    assert!(rows::<LesionRow>(lake.path()).iter().all(|l| l.image_id != "t"), "the old part is gone");
    let mut stricter = context(&[]);
    stricter.config.ingest.fusion_iou = 0.99;
    assert!(!run(&stricter, args(VINDR, dir.path(), lake.path())).unwrap().cached);
}

#[test]
fn labels_alone_need_no_image() {
    let (dir, lake) = (vindr_folder(), tempfile::tempdir().unwrap());
    fs::remove_dir_all(dir.path().join("train")).unwrap();
    let csv = dir.path().join("annotations/annotations_train.csv");
    run(&context(&[]), Args { labels_only: true, ..args(VINDR, &csv, lake.path()) }).unwrap();
    let images: Vec<ImageRow> = rows(lake.path());
    assert_eq!(images.len(), 4);
    assert!(images.iter().all(|i| i.width.is_none() && i.sha256.is_none()));
    let fused: Vec<LesionRow> = rows::<LesionRow>(lake.path()).into_iter().filter(|l| l.source == "fused").collect();
    assert_eq!(fused.len(), 2, "the box outside is not known to be outside");
    assert!(export_coco::run(&context(&[]), coco_args(lake.path(), &dir.path().join("x.json"), false)).is_err());
}

#[test]
fn shards_together_are_the_whole() {
    let (dir, whole, parts) = (vindr_folder(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ctx = context(&[]);
    run(&ctx, args(VINDR, dir.path(), whole.path())).unwrap();
    for index in 0..3 {
        let shard = Shard { index, count: 3 };
        run(&ctx, Args { shard, ..args(VINDR, dir.path(), parts.path()) }).unwrap();
    }
    assert_eq!(rows::<ImageRow>(whole.path()), rows::<ImageRow>(parts.path()));
    assert_eq!(rows::<LesionRow>(whole.path()), rows::<LesionRow>(parts.path()));
    assert_eq!(rows::<FailureRow>(whole.path()), rows::<FailureRow>(parts.path()));
}

#[test]
fn a_folder_of_which_nothing_can_be_used_is_bad_data_every_time() {
    let (dir, lake) = (vindr_folder(), tempfile::tempdir().unwrap());
    for file in ["train/a.dicom", "train/b.png", "test/t.jpg"] {
        put(dir.path(), file, "damaged");
    }
    for _ in 0..2 {
        let error = run(&context(&[]), args(VINDR, dir.path(), lake.path())).unwrap_err();
        assert_eq!(error.exit().code(), 65, "{error}");
    }
    assert!(rows::<FailureRow>(lake.path()).len() >= 5);
    put(dir.path(), "annotations/annotations_train.csv", "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n");
    put(dir.path(), "annotations/annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max\n");
    let labels = Args { labels_only: true, ..args(VINDR, dir.path(), lake.path()) };
    assert_eq!(run(&context(&[]), labels).unwrap_err().exit().code(), 99);
}

pub(super) fn mimic_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    put(
        dir.path(),
        "mimic-cxr-2.0.0-metadata.csv",
        "dicom_id,subject_id,study_id,ViewPosition\naa,10000001,50000001,PA\nab,10000001,50000001,LATERAL\nba,10000001,50000002,AP\nca,10000002,50000003,PA\n",
    );
    put(
        dir.path(),
        "mimic-cxr-2.0.0-split.csv",
        "dicom_id,study_id,subject_id,split\naa,1,1,train\nab,1,1,train\nba,1,1,train\nca,1,1,validate\n",
    );
    let labels = d2r_contracts::labels::CHEXPERT_LABELS.join(",");
    put(
        dir.path(),
        "mimic-cxr-2.0.0-chexpert.csv",
        &format!("subject_id,study_id,{labels}\n10000001,50000001,{}1.0\n", ",".repeat(13)),
    );
    for path in ["p10/p10000001/s50000001/aa.jpg", "p10/p10000001/s50000002/ba.jpg", "p10/p10000002/s50000003/ca.jpg"] {
        put_image(dir.path(), &format!("files/{path}"), 80, 100);
    }
    put(
        dir.path(),
        "files/p10/p10000001/s50000001.txt",
        "FINAL REPORT\n FINDINGS:\n 1. The Heart is large.\n\n IMPRESSION:\n Large heart.\n",
    );
    put(dir.path(), "files/p10/p10000001/s50000002.txt", "IMPRESSION:\n Nothing secret.\n");
    put(dir.path(), "files/p10/p10000002/s50000003.txt", "FINDINGS: Clear lungs.\n");
    dir
}

#[test]
fn reports_are_cut_cleaned_and_labelled() {
    let (dir, lake) = (mimic_folder(), tempfile::tempdir().unwrap());
    let result = run(&context(&[]), args(Kind::Mimic, dir.path(), lake.path())).unwrap();
    assert_eq!(result.figures["views_left_out"], 1.0);
    let reports: Vec<ReportRow> = rows(lake.path());
    let brief: Vec<_> = reports
        .iter()
        .map(|r| (r.study_id.as_str(), r.section.as_str(), r.text.as_str(), r.text_clean.as_str()))
        .collect();
    let expected = [
        ("s50000001", "findings", "1. The Heart is large.", "the heart is large ."),
        ("s50000003", "findings", "Clear lungs.", "clear lungs ."),
    ];
    assert_eq!(brief, expected);
    let failures: Vec<FailureRow> = rows(lake.path());
    let found: Vec<_> = failures.iter().map(|f| (f.code.as_str(), f.path.as_deref())).collect();
    assert_eq!(found, [("missing_section", Some("files/p10/p10000001/s50000002.txt"))]);
    assert!(!failures[0].message.contains("secret"), "no report text in messages");
    let findings: Vec<FindingRow> = rows(lake.path());
    assert_eq!(findings.len(), 14);
    assert_eq!(
        findings.iter().filter(|f| f.state == "positive").map(|f| f.label.as_str()).collect::<Vec<_>>(),
        ["No Finding"]
    );
    let both = context(&["ingest.section=both"]);
    run(&both, args(Kind::Mimic, dir.path(), lake.path())).unwrap();
    assert_eq!(rows::<ReportRow>(lake.path()).len(), 3);
    assert!(rows::<FailureRow>(lake.path()).is_empty());
    // An edit that keeps the size is detected.
    put(dir.path(), "files/p10/p10000002/s50000003.txt", "FINDINGS: Clean lungs.\n");
    assert!(!run(&both, args(Kind::Mimic, dir.path(), lake.path())).unwrap().cached);
}

#[test]
fn rows_of_other_stages_stay_and_do_not_disturb() {
    let (dir, lake) = (mimic_folder(), tempfile::tempdir().unwrap());
    run(&context(&[]), args(Kind::Mimic, dir.path(), lake.path())).unwrap();
    let provenance = crate::lake::Provenance { run_id: "annotate-1".into(), ..crate::lake::Provenance::default() };
    let partition = Partition::new("set", "train");
    let vindr = (vindr_folder(), tempfile::tempdir().unwrap());
    run(&context(&[]), args(VINDR, vindr.0.path(), vindr.1.path())).unwrap();
    let boxes: Vec<LesionRow> = rows::<LesionRow>(vindr.1.path())
        .into_iter()
        .take(1)
        .map(|l| LesionRow { image_id: "aa".into(), ..l })
        .collect();
    Lake::open(lake.path()).unwrap().write(&partition, Shard::default(), boxes, &provenance).unwrap();
    let failure = FailureRow {
        stage: "annotate".into(),
        path: None,
        image_id: Some("aa".into()),
        code: "truncated".into(),
        message: "m".into(),
    };
    Lake::open(lake.path()).unwrap().write(&partition, Shard::default(), vec![failure], &provenance).unwrap();
    assert_eq!(rows::<FailureRow>(lake.path()).len(), 2, "another stage leaves the rows of ingest");
    assert!(run(&context(&[]), args(Kind::Mimic, dir.path(), lake.path())).unwrap().cached);
    assert_eq!(rows::<LesionRow>(lake.path()).len(), 1);
    assert!(!run(&context(&["run.seed=1"]), args(Kind::Mimic, dir.path(), lake.path())).unwrap().cached);
    assert_eq!(rows::<FailureRow>(lake.path()).len(), 2, "and ingest leaves theirs");
    assert_eq!(rows::<LesionRow>(lake.path()).len(), 1);
}

fn coco_args(lake: &Path, out: &Path, unlabelled: bool) -> export_coco::Args {
    let content = if unlabelled { export_coco::Content::ImagesOnly } else { export_coco::Content::Labelled };
    let (lake, dataset, split, out) = (lake.into(), "set".into(), "train".into(), out.into());
    export_coco::Args { lake, dataset, split, content, image_ids: None, out }
}

#[test]
fn out_as_coco_and_in_again() {
    let (dir, lake, again) = (vindr_folder(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ctx = context(&["ingest.val_share=0.0"]);
    run(&ctx, args(VINDR, dir.path(), lake.path())).unwrap();
    let out = dir.path().join("coco/vindr_train.json");
    let result = export_coco::run(&ctx, coco_args(lake.path(), &out, false)).unwrap();
    assert_eq!((result.rows["images"], result.rows["annotations"]), (2, 1));
    assert_eq!(result.files[0].path, out);
    // The file is in the dataset's folder, so that its relative paths are valid.
    fs::rename(&out, dir.path().join("vindr_train.json")).unwrap();
    run(&ctx, args(Kind::Coco, dir.path(), again.path())).unwrap();
    let before: Vec<ImageRow> = rows::<ImageRow>(lake.path()).into_iter().filter(|i| i.image_id != "t").collect();
    assert_eq!(rows::<ImageRow>(again.path()), before);
    let fused: Vec<_> =
        rows::<LesionRow>(lake.path()).into_iter().filter(|l| l.source == "fused" && l.image_id != "t").collect();
    let back: Vec<LesionRow> = rows(again.path());
    assert_eq!(back.len(), fused.len());
    for (a, b) in back.iter().zip(&fused) {
        assert_eq!(
            (&a.image_id, &a.class_name, a.x_min, a.y_max, a.score),
            (&b.image_id, &b.class_name, b.x_min, b.y_max, b.score)
        );
    }
    let bytes = fs::read(dir.path().join("vindr_train.json")).unwrap();
    export_coco::run(&ctx, coco_args(lake.path(), &out, false)).unwrap();
    assert_eq!(bytes, fs::read(&out).unwrap(), "the same bytes twice");
    export_coco::run(&ctx, coco_args(lake.path(), &out, true)).unwrap();
    assert!(!fs::read_to_string(&out).unwrap().contains("\"annotations\""));
}

#[test]
fn out_as_annotation_json_and_in_again() {
    let (dir, lake, again) = (mimic_folder(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let ctx = context(&[]);
    run(&ctx, args(Kind::Mimic, dir.path(), lake.path())).unwrap();
    let out = dir.path().join("annotation.json");
    let result =
        export_annotation::run(&ctx, export_annotation::Args { lake: lake.path().into(), dataset: "set".into(), out })
            .unwrap();
    assert_eq!((result.rows["train"], result.rows["val"], result.rows["test"]), (1, 1, 0));
    run(&ctx, args(Kind::AnnotationJson, dir.path(), again.path())).unwrap();
    let with_report = |i: &ImageRow| i.image_id != "ba";
    let before: Vec<_> = rows::<ImageRow>(lake.path())
        .into_iter()
        .filter(with_report)
        .map(|i| ImageRow { view: "UNKNOWN".into(), ..i })
        .collect();
    assert_eq!(rows::<ImageRow>(again.path()), before);
    assert_eq!(rows::<ReportRow>(again.path()), rows::<ReportRow>(lake.path()));
    let (boxes, failures) = (rows::<LesionRow>(again.path()), rows::<FailureRow>(again.path()));
    assert!(boxes.is_empty() && failures.is_empty(), "padding is no box");
}

#[test]
fn settings_and_names_are_checked_before_anything_is_read() {
    let (lake, dir) = (tempfile::tempdir().unwrap(), vindr_folder());
    let code = |set: &[&str], dataset: &str, root: &Path| {
        let args = Args { dataset: dataset.into(), ..args(VINDR, root, lake.path()) };
        run(&context(set), args).unwrap_err().exit().code()
    };
    assert_eq!(code(&["ingest.section=all"], "set", dir.path()), 78);
    assert_eq!(["../set", ""].map(|name| code(&[], name, dir.path())), [2, 2]);
    assert_eq!(code(&[], "set", Path::new("/nowhere")), 66);
}

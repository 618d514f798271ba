use std::path::Path;

use d2r_contracts::tables::{FailureRow, ImageRow};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::tags;

use super::super::tests::{args_of, context, put, put_dicom, put_image, rows_of};
use super::super::{Args, Kind, run};
use super::burned_in;
use crate::exit::Exit;

/// A DICOM file with these values of Patient Identity Removed and Burned In Annotation.
fn put_flags(root: &Path, name: &str, removed: Option<&str>, burned_in: Option<&str>) {
    let path = format!("train/{name}.dicom");
    put_dicom(root, &path, 64, 48, "PA");
    let mut object = dicom_object::open_file(root.join(&path)).unwrap();
    for (tag, value) in [(tags::PATIENT_IDENTITY_REMOVED, removed), (tags::BURNED_IN_ANNOTATION, burned_in)] {
        match value {
            Some(value) => drop(object.put(DataElement::new(tag, VR::CS, PrimitiveValue::from(value)))),
            None => drop(object.remove_element(tag)),
        }
    }
    object.write_to_file(root.join(&path)).unwrap();
}

fn labels(root: &Path, ids: &[&str]) {
    let rows: String = ids.iter().map(|id| format!("{id},R1,No finding,,,,\n")).collect();
    put(
        root,
        "annotations/annotations_train.csv",
        &format!("image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n{rows}"),
    );
    put(root, "annotations/annotations_test.csv", "image_id,class_name,x_min,y_min,x_max,y_max\n");
}

#[test]
fn images_say_what_their_headers_say_about_burned_in_text() {
    let (dir, lake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    labels(dir.path(), &["no", "png", "silent", "yes"]);
    put_flags(dir.path(), "yes", Some("YES"), Some("YES"));
    put_flags(dir.path(), "no", Some("YES"), Some("NO"));
    put_flags(dir.path(), "silent", Some("YES"), None);
    put_image(dir.path(), "train/png.png", 64, 48);
    run(&context(&["ingest.val_share=0.0"]), args_of(Kind::Vindr, dir.path(), lake.path(), "set")).unwrap();
    let images: Vec<ImageRow> = rows_of(lake.path(), "set");
    let flags: Vec<_> = images.iter().map(|i| (i.image_id.as_str(), i.burned_in_annotation)).collect();
    assert_eq!(flags, [("no", Some(false)), ("png", None), ("silent", None), ("yes", Some(true))]);
    assert_eq!(burned_in(&images), 1);
    let refused = Args { refuse_burned_in: true, ..args_of(Kind::Vindr, dir.path(), lake.path(), "set") };
    run(&context(&["ingest.val_share=0.0"]), refused).unwrap();
    assert_eq!(rows_of::<ImageRow>(lake.path(), "set").len(), 3);
    let failures: Vec<FailureRow> = rows_of(lake.path(), "set");
    let codes: Vec<_> = failures.iter().map(|f| (f.image_id.as_deref(), f.code.as_str())).collect();
    assert_eq!(codes, [(Some("yes"), "burned_in_annotation")]);
}

#[test]
fn a_set_without_the_mark_is_bad_data_and_is_read_with_permission() {
    let (dir, lake) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    labels(dir.path(), &["a", "b"]);
    put_flags(dir.path(), "a", None, None);
    put_flags(dir.path(), "b", Some("NO"), None);
    let args = || args_of(Kind::Vindr, dir.path(), lake.path(), "set");
    // The second time the rows are found instead of written.
    for _ in 0..2 {
        let error = run(&context(&[]), args()).unwrap_err();
        assert_eq!(error.exit(), Exit::BadData);
        let line = error.chain();
        assert!(line.contains("2 not_deidentified") && line.contains("--allow-phi") && !line.contains('\n'), "{line}");
        let failures: Vec<FailureRow> = rows_of(lake.path(), "set");
        assert!(failures.iter().all(|f| f.code == "not_deidentified") && failures.len() == 2);
    }
    run(&context(&["ingest.allow_phi=true"]), args()).unwrap();
    assert_eq!(rows_of::<ImageRow>(lake.path(), "set").len(), 2);
}

//! Files that are not marked as de-identified, and text burned into pixels: what the command says and when it reads.

use std::fs;
use std::path::Path;

use d2r_acceptance::images::failures;
use d2r_acceptance::{outcome, root, run};

/// A DICOM file in Explicit VR Little Endian, 64 x 48, with these values of Patient Identity Removed (0012,0062) and
/// Burned In Annotation (0028,0301).
fn dicom(removed: Option<&str>, burned_in: Option<&str>) -> Vec<u8> {
    let mut file = [vec![0; 128], b"DICM".to_vec()].concat();
    let mut element = |group: u16, element: u16, vr: &[u8; 2], value: &[u8]| {
        file.extend([group.to_le_bytes(), element.to_le_bytes(), *vr].concat());
        if vr == b"OB" {
            file.extend([0, 0]);
            file.extend((value.len() as u32).to_le_bytes());
        } else {
            file.extend((value.len() as u16).to_le_bytes());
        }
        file.extend(value);
    };
    let flag = |value: &str| format!("{value:<4}").into_bytes();
    element(0x0002, 0x0010, b"UI", b"1.2.840.10008.1.2.1\0");
    element(0x0008, 0x0060, b"CS", b"DX");
    if let Some(removed) = removed {
        element(0x0012, 0x0062, b"CS", &flag(removed));
    }
    element(0x0028, 0x0002, b"US", &1u16.to_le_bytes());
    element(0x0028, 0x0004, b"CS", b"MONOCHROME2 ");
    for (number, value) in [(0x0010, 48), (0x0011, 64), (0x0100, 8), (0x0101, 8), (0x0102, 7), (0x0103, 0u16)] {
        element(0x0028, number, b"US", &value.to_le_bytes());
    }
    if let Some(burned_in) = burned_in {
        element(0x0028, 0x0301, b"CS", &flag(burned_in));
    }
    let pixels: Vec<u8> = (0..64 * 48).map(|i| (i % 256) as u8).collect();
    element(0x7fe0, 0x0010, b"OB", &pixels);
    file
}

/// A VinDr-CXR folder with these training images, all normal.
fn vindr(root: &Path, images: &[(&str, Vec<u8>)]) {
    fs::create_dir_all(root.join("annotations")).unwrap();
    fs::create_dir_all(root.join("train")).unwrap();
    let header = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n";
    let rows: String = images.iter().map(|(id, _)| format!("{id},R1,No finding,,,,\n")).collect();
    fs::write(root.join("annotations/annotations_train.csv"), format!("{header}{rows}")).unwrap();
    fs::write(root.join("annotations/annotations_test.csv"), "image_id,class_name,x_min,y_min,x_max,y_max\n").unwrap();
    for (id, bytes) in images {
        fs::write(root.join(format!("train/{id}.dicom")), bytes).unwrap();
    }
}

fn lines_with<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines().filter(|l| l.contains(word)).collect()
}

#[test]
fn a_set_without_the_mark_is_refused_in_one_line_and_read_with_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let unmarked: Vec<_> = ["a", "b", "c"].map(|id| (id, dicom(None, None))).into();
    vindr(&folder.path().join("set"), &unmarked);
    let ingest = ["ingest", "vindr", "--root", "set", "--lake", "lake"];
    let (code, _, err) = outcome(&run(folder.path(), &ingest));
    assert_eq!(code, 65, "{err}");
    let errors = lines_with(&err, "error:");
    assert_eq!(errors.len(), 1, "{err}");
    assert!(errors[0].contains("3 not_deidentified") && errors[0].contains("--allow-phi"), "{err}");
    let (code, _, err) = outcome(&run(folder.path(), &[&ingest[..], &["--allow-phi"]].concat()));
    assert_eq!(code, 0, "{err}");
    assert!(lines_with(&err, "not marked as de-identified").is_empty(), "{err}");
    // The flag stands for the key.
    let (code, out, _) = outcome(&run(folder.path(), &["config", "show", "--allow-phi"]));
    assert!(code == 0 && out.contains("allow_phi = true"), "{out}");
}

#[test]
fn burned_in_text_and_left_out_files_are_one_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut images: Vec<_> = ["a", "b"].map(|id| (id, dicom(Some("YES"), Some("YES")))).into();
    images.push(("c", dicom(Some("YES"), Some("NO"))));
    images.extend(["d", "e", "f"].map(|id| (id, dicom(None, None))));
    vindr(&folder.path().join("set"), &images);
    let (code, _, err) = outcome(&run(folder.path(), &["ingest", "vindr", "--root", "set", "--lake", "lake"]));
    assert_eq!(code, 0, "{err}");
    let burned_in = lines_with(&err, "BurnedInAnnotation");
    assert!(burned_in.len() == 1 && burned_in[0].contains("images=2"), "{err}");
    let left_out = lines_with(&err, "not marked as de-identified");
    assert!(left_out.len() == 1 && left_out[0].contains("images=3") && left_out[0].contains("--allow-phi"), "{err}");
}

#[test]
fn reports_of_images_with_burned_in_text_are_refused_with_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    for (id, burned_in) in [("clean", Some("NO")), ("silent", None), ("burned", Some("YES"))] {
        fs::write(folder.path().join(format!("images/{id}.dcm")), dicom(Some("YES"), burned_in)).unwrap();
    }
    let model = root().join("batch/models/reporter");
    let report = ["report", "--preset", "demo", "--images", "images", "--reporter", model.to_str().unwrap(), "--json"];
    let run_with = |more: &[&str]| {
        let (code, out, err) = outcome(&run(folder.path(), &[&report[..], &["--out", "out"], more].concat()));
        assert_eq!(code, 0, "{err}");
        let result: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
        (result["rows"]["generated_reports"].as_u64(), failures(&folder.path().join("out")), err)
    };
    // Without the flag the image is read, and one line warns of it.
    let (reports, failed, err) = run_with(&[]);
    assert_eq!((reports, failed.len()), (Some(3), 0), "{err}");
    assert_eq!(lines_with(&err, "BurnedInAnnotation").len(), 1, "{err}");
    // With it the image is a row of `failures`, and what was written of it before is gone.
    let (reports, failed, err) = run_with(&["--refuse-burned-in"]);
    assert_eq!(reports, Some(2), "{err}");
    assert_eq!(failed, [("burned.dcm".to_owned(), "burned_in_annotation".to_owned())].into());
    let texts: Vec<_> =
        fs::read_dir(folder.path().join("out/reports")).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert!(texts.len() == 2 && !format!("{texts:?}").contains("burned"), "{texts:?}");
    // The page names it as an input that failed, and shows two studies.
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert_eq!(page.matches("class=\"case\"").count(), 2);
    assert_eq!(run_with(&[]).0, Some(3));
}

#[test]
fn inspect_image_writes_the_image_and_says_what_the_header_says() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("marked.dcm"), dicom(Some("YES"), Some("YES"))).unwrap();
    fs::write(folder.path().join("unmarked.dcm"), dicom(None, None)).unwrap();
    let (code, out, err) = outcome(&run(folder.path(), &["inspect", "image", "marked.dcm", "--out", "marked.png"]));
    assert_eq!(code, 0, "{err}");
    for line in ["(0028,0301): YES", "(0012,0062): YES", "stored size", "none in the header: the values 0 to 255"] {
        assert!(out.contains(line), "{line}: {out}");
    }
    let written = image::open(folder.path().join("marked.png")).unwrap().into_luma8();
    assert_eq!((written.dimensions(), written.get_pixel(63, 0)[0]), ((64, 48), 63));
    let (code, _, err) = outcome(&run(folder.path(), &["inspect", "image", "unmarked.dcm", "--out", "no.png"]));
    assert!(code == 65 && err.contains("not_deidentified") && err.contains("--allow-phi"), "{err}");
    assert!(!folder.path().join("no.png").exists());
    let allowed = run(folder.path(), &["--json", "inspect", "image", "unmarked.dcm", "--allow-phi"]);
    let (code, out, err) = outcome(&allowed);
    assert_eq!(code, 0, "{err}");
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["dicom"]["patient_identity_removed"], serde_json::Value::Null);
    assert_eq!((&json["size"]["width"], &json["format"]), (&64.into(), &"dicom".into()));
}

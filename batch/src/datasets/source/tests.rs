//! Listing a folder, reading files, and the codes of what cannot be read.

use std::fs;

use image::{GrayImage, Luma};

use super::*;

fn gradient() -> GrayImage {
    GrayImage::from_fn(96, 80, |x, y| Luma([((x + 2 * y) % 256) as u8]))
}

fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    gradient().write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn row(path: &str) -> ImageRow {
    ImageRow {
        image_id: "i".into(),
        study_id: "s".into(),
        subject_id: "p".into(),
        view: "PA".into(),
        path: path.into(),
        width: None,
        height: None,
        sha256: None,
        n_boxes: None,
        burned_in_annotation: None,
    }
}

#[test]
fn folders_are_listed_by_extension_or_content() {
    let dir = tempfile::tempdir().unwrap();
    let put = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let mut dicom = vec![0u8; 128];
    dicom.extend(b"DICM");
    put("b/IM0001", &dicom);
    put("b/deep/x.JPG", b"whatever it holds");
    put("a.png", &png());
    put("a.dcm", &dicom);
    put("scan", &png());
    put("1.2.840.113.7", &dicom);
    put("1.2.840.113.8", &dicom);
    put("1.2.840.113.9.DCM", &dicom);
    put("notes.txt", b"text");
    put("._a.png", b"resource fork");
    put("__MACOSX/a.png", b"resource fork");
    put(".DS_Store", b"x");
    put(".hidden.png", &png());
    put(".cache/y.png", &png());
    put("empty", b"");
    let listed = list_folder(dir.path(), "report").unwrap();
    let found: Vec<_> = listed.images.iter().map(|i| (i.image_id.as_str(), i.path.as_str())).collect();
    let expected = [
        ("1.2.840.113.7", "1.2.840.113.7"),
        ("1.2.840.113.8", "1.2.840.113.8"),
        ("1.2.840.113.9", "1.2.840.113.9.DCM"),
        ("a.dcm", "a.dcm"),
        ("a.png", "a.png"),
        ("b/IM0001", "b/IM0001"),
        ("b/deep/x", "b/deep/x.JPG"),
        ("scan", "scan"),
    ];
    assert_eq!(found, expected, "two files of one stem differ by their extension");
    assert_eq!(listed.ignored, 2);
    assert!(listed.failures.is_empty());
    assert_eq!(list_folder(&dir.path().join("nowhere"), "report").unwrap_err().exit().code(), 66);
    let empty = tempfile::tempdir().unwrap();
    assert!(list_folder(empty.path(), "report").unwrap().images.is_empty());
}

#[test]
fn dangling_links_become_failures() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("gone.png", dir.path().join("link.png")).unwrap();
    let listed = list_folder(dir.path(), "report").unwrap();
    assert!(listed.images.is_empty());
    assert_eq!(listed.failures.len(), 1);
    let failure = &listed.failures[0];
    assert_eq!(
        (failure.stage.as_str(), failure.path.as_deref(), failure.code.as_str()),
        ("report", Some("link.png"), "missing_file")
    );
}

#[test]
fn a_radiograph_is_read_or_the_reason_has_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let options = ImageDecodeOptions::default();
    fs::write(dir.path().join("good.png"), png()).unwrap();
    fs::write(dir.path().join("text.png"), "text").unwrap();
    let radiograph = read_radiograph(dir.path(), &row("good.png"), &options).unwrap();
    assert_eq!((radiograph.width, radiograph.height), (96, 80));
    assert_eq!(radiograph.pixels, gradient().into_raw());
    let code = |row: &ImageRow| read_radiograph(dir.path(), row, &options).unwrap_err().code;
    assert_eq!(code(&row("text.png")), "not_an_image");
    assert_eq!(code(&row("gone.png")), "missing_file");
    let replaced = ImageRow { width: Some(80), height: Some(96), ..row("good.png") };
    assert_eq!(code(&replaced), "changed_size");
    let same = ImageRow { width: Some(96), height: Some(80), ..row("good.png") };
    assert!(read_radiograph(dir.path(), &same, &options).is_ok());
    // Another patient's image of the same size under the same name.
    let another = ImageRow { sha256: Some("0".repeat(64)), ..same };
    assert_eq!(code(&another), "changed_content");
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf8_is_one_failure() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("good.png"), png()).unwrap();
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"b\xff.png")), png()).unwrap();
    let listed = list_folder(dir.path(), "report").unwrap();
    assert_eq!(listed.images.len(), 1);
    let codes: Vec<_> = listed.failures.iter().map(|f| f.code.as_str()).collect();
    assert_eq!(codes, ["file_name"]);
}

#[test]
fn files_longer_than_any_radiograph_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge.dcm");
    fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    assert_eq!(measure(&path, &ImageDecodeOptions::default()).unwrap_err().code, "too_large");
}

#[test]
fn a_refused_dicom_file_names_the_override_that_exists() {
    let error = SourceError::of_decoding(&DecodeError::NotDeidentified);
    assert_eq!(error.code, "not_deidentified");
    assert!(error.message.contains("not marked as de-identified") && error.message.contains("--allow-phi"));
    let other = DecodeError::EmptyFile;
    assert_eq!(SourceError::of_decoding(&other).message, other.to_string());
}

#[test]
fn decoding_waits_for_the_budget_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    fs::write(&path, png()).unwrap();
    let all = decode_budget::PROCESS.acquire(u64::MAX);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| measure(&path, &ImageDecodeOptions::default()));
        std::thread::sleep(std::time::Duration::from_millis(300));
        assert!(!reading.is_finished(), "a small image is decoded at once where nothing is waited for");
        drop(all);
        assert_eq!(reading.join().unwrap().unwrap().decoded.radiograph.width, 96);
    });
}

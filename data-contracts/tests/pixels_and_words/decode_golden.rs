use std::path::PathBuf;

use d2r_contracts::decode::{FileKind, ImageDecodeOptions, decode};
use serde_json::Value;

use crate::from_hex;

/// Rounding of a last bit may move a value over a step between two grey levels.
const GREY_LEVELS: u8 = 1;

fn golden_folder() -> PathBuf {
    PathBuf::from("golden/dicom")
}

#[test]
fn dicom_files_of_other_writers_decode_like_pydicom() {
    let folder = golden_folder();
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("expected.json")).unwrap()).unwrap();
    let mut compared = 0;
    for (name, grey) in golden["grey"].as_object().unwrap() {
        let bytes = std::fs::read(folder.join(format!("{name}.dcm"))).unwrap();
        let result = decode(&bytes, &ImageDecodeOptions::default());
        let Some(grey) = grey.as_str() else {
            assert_eq!(result.unwrap_err().code(), "unsupported", "{name}");
            continue;
        };
        let decoded = result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let expected = from_hex(grey);
        assert_eq!(decoded.radiograph.pixels.len(), expected.len(), "{name}");
        let differences = decoded.radiograph.pixels.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
        let worst = differences.clone().max().unwrap();
        assert!(worst <= GREY_LEVELS, "{name}: {worst} levels off");
        let exact = differences.filter(|&d| d == 0).count();
        assert!(exact * 100 >= expected.len() * 99, "{name}: only {exact} of {} pixels are equal", expected.len());
        compared += 1;
    }
    assert!(compared >= 16, "only {compared} files compared");
}

#[test]
fn golden_files_cut_anywhere_are_refused() {
    for name in ["range_12", "rle_12", "jpeg_lossless_12", "jpeg_2000_12", "deflated", "linear_m1_implicit"] {
        let bytes = std::fs::read(golden_folder().join(format!("{name}.dcm"))).unwrap();
        for length in (0..bytes.len() - 12).step_by(7) {
            assert!(
                decode(&bytes[..length], &ImageDecodeOptions::default()).is_err(),
                "{name} cut at {length} decodes"
            );
        }
    }
}

/// A file of the folder of real radiographs, which not every machine has.
fn real_file(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("D2R_REAL_DATA").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| PathBuf::from("../../shared/data"));
    std::fs::read(folder.join(name)).ok()
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says so")]
fn real_files_decode() {
    if let Some(bytes) = real_file("Fake_MONOHR1.dcm") {
        let strict = decode(&bytes, &ImageDecodeOptions::default());
        let decoded = decode(&bytes, &ImageDecodeOptions { allow_phi: true, ..ImageDecodeOptions::default() }).unwrap();
        assert_eq!(decoded.kind, FileKind::Dicom);
        assert!(strict.is_ok() || strict.unwrap_err().code() == "not_deidentified");
        assert!(uses_many_levels(&decoded.radiograph.pixels));
    } else {
        println!("skipped: no Fake_MONOHR1.dcm");
    }
    if let Some(bytes) = real_file("nih_00000001_000.png") {
        let decoded = decode(&bytes, &ImageDecodeOptions::default()).unwrap();
        assert_eq!(decoded.kind, FileKind::Png);
        assert!(uses_many_levels(&decoded.radiograph.pixels));
    } else {
        println!("skipped: no nih_00000001_000.png");
    }
}

fn uses_many_levels(pixels: &[u8]) -> bool {
    let mut seen = [false; 256];
    for &pixel in pixels {
        seen[usize::from(pixel)] = true;
    }
    seen.iter().filter(|&&s| s).count() > 100
}

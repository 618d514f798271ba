//! Fuzz targets. Each takes bytes as a file, a text or a bundle would bring them, and gives a text of what was read. A
//! target must not panic, must end, and must give the same text for the same bytes; libFuzzer bounds time and memory.
//!
//! `tests/fuzz/run.py` drives them with coverage; the tests of this package run the first inputs, mutations of them and
//! the inputs that once failed.

use std::sync::Once;

use d2r_contracts::foreign_code;

pub mod dicom_file;
pub mod mutation;
pub mod targets;

/// A reader of foreign bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line and in the table of results.
    pub name: &'static str,
    /// Reads the bytes; what was read, as text.
    pub read: fn(&[u8]) -> String,
    /// Good inputs, small so that a changed byte often hits something that matters.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Largest input, bytes.
    pub size_max: usize,
}

/// All targets.
pub const TARGETS: [Target; 17] = [
    targets::pixels::DICOM,
    targets::pixels::PNG,
    targets::pixels::JPEG,
    targets::pixels::JPEG_IN_DICOM,
    targets::pixels::JPEG_2000,
    targets::pixels::RLE,
    targets::texts::SECTIONS,
    targets::texts::LABELER,
    targets::texts::CLEANING,
    targets::datasets::ANNOTATION_JSON,
    targets::datasets::COCO,
    targets::datasets::MIMIC,
    targets::datasets::VINDR,
    targets::settings::CONFIGURATION,
    targets::settings::SAFETENSORS,
    targets::bundles::CARD_AND_SAMPLES,
    targets::bundles::ONNX,
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|t| t.name == name)
}

/// libFuzzer ends the process at every panic. Those of third-party code that is caught are refusals of the bytes.
fn let_foreign_code_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !foreign_code::is_running() {
                before(panic);
            }
        }));
    });
}

/// Reads the bytes, and one time in eight reads them again.
///
/// # Panics
/// When the second reading differs, or the target panics.
pub fn check(target: &Target, bytes: &[u8]) {
    let_foreign_code_panic();
    let first = (target.read)(bytes);
    let sum = bytes.iter().fold(0u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(*byte));
    if sum.is_multiple_of(8) {
        assert_eq!(first, (target.read)(bytes), "{} reads the same bytes in two ways", target.name);
    }
}

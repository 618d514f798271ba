use std::sync::LazyLock;

use d2r_contracts::decode::{ImageDecodeOptions, decode};
use d2r_contracts::radiograph::Radiograph;
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage};
use proptest::prelude::*;

use crate::dicom_file::DicomFile;
use crate::raster_file::{jpeg, png};

/// Good files of every kind, small so that a flipped bit often hits a header.
static GOOD_FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let grey = GrayImage::from_fn(40, 33, |x, y| Luma([(x * y) as u8]));
    let with_window = || DicomFile::new().window("2000", "500").text(tags::VIEW_POSITION, VR::CS, "PA");
    let mut files = vec![
        png(grey.clone()),
        png(ImageBuffer::from_fn(40, 33, |x, y| Luma([(x * y * 40) as u16]))),
        png(RgbImage::from_fn(40, 33, |x, _| Rgb([x as u8; 3]))),
        jpeg(grey.clone()),
        jpeg(RgbImage::from_fn(40, 33, |x, _| Rgb([x as u8; 3]))),
        with_window().build(),
        with_window().written_as(uids::IMPLICIT_VR_LITTLE_ENDIAN).build(),
        with_window().written_as("1.2.840.10008.1.2.2").build(),
        DicomFile::new().bits(8, 8, 7).fragments(uids::JPEG_BASELINE8_BIT, vec![jpeg(grey)]).build(),
    ];
    let golden = std::path::Path::new("golden/dicom");
    for name in ["voi_table_below_zero", "rle_12", "jpeg_lossless_12", "jpeg_2000_12", "jpeg_2000_colour", "deflated"] {
        files.push(std::fs::read(golden.join(format!("{name}.dcm"))).unwrap());
    }
    files
});

/// Decoding either refuses or gives a whole radiograph of at most 1 Mpx; a panic fails the test.
fn decodes_soundly(bytes: &[u8]) -> Result<(), TestCaseError> {
    let options = ImageDecodeOptions { allow_phi: true, max_pixels: 1 << 20 };
    if let Ok(decoded) = decode(bytes, &options) {
        let Radiograph { width, height, pixels } = decoded.radiograph;
        prop_assert_eq!(pixels.len(), width as usize * height as usize);
        prop_assert!(pixels.len() <= 1 << 20);
    }
    Ok(())
}

#[test]
fn all_good_files_are_good() {
    for file in GOOD_FILES.iter() {
        decode(file, &ImageDecodeOptions::default()).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0usize..6) {
        let magic: &[u8] = match start {
            0 => b"",
            1 => b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            2 => b"\xff\xd8\xff\xe0",
            3 => b"DICM\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0",
            4 => b"DICM\x02\0\x10\0UI\x12\x001.2.840.10008.1.2\0",
            _ => b"DICM\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.1.99",
        };
        decodes_soundly(&[magic, &bytes].concat())?;
    }

    #[test]
    fn cut_files_never_panic(file in 0usize..14, share in 0.0f64..1.0) {
        let bytes = &GOOD_FILES[file];
        decodes_soundly(&bytes[..(bytes.len() as f64 * share) as usize])?;
    }

    #[test]
    fn flipped_bytes_never_panic(file in 0usize..14, flips in prop::collection::vec((0.0f64..1.0, any::<u8>(), any::<bool>()), 1..6)) {
        let mut bytes = GOOD_FILES[file].clone();
        for (share, value, is_near_the_start) in flips {
            let reach = if is_near_the_start { bytes.len().min(700) } else { bytes.len() };
            bytes[(reach as f64 * share) as usize] = value;
        }
        decodes_soundly(&bytes)?;
    }
}

#[test]
fn lengths_and_depths_that_lie_cost_nothing() {
    let head = b"DICM\x02\0\x10\0UI\x14\x001.2.840.10008.1.2.1\0";
    let options = ImageDecodeOptions { allow_phi: true, ..ImageDecodeOptions::default() };
    // An element of 4 GiB that is not there.
    let claim = [head.as_slice(), b"\x08\0\x05\0UT\0\0\xfe\xff\xff\xff"].concat();
    assert_eq!(decode(&claim, &options).unwrap_err().code(), "truncated");
    // A hundred thousand sequences, one inside the other.
    let nest = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff".repeat(100_000);
    assert_eq!(decode(&[head.as_slice(), &nest].concat(), &options).unwrap_err().code(), "corrupt");
    // The same with items of defined length is one value that is stepped over, or too long.
    let nest = b"\x08\0\x15\x11SQ\0\0\x00\x00\x01\x00\xfe\xff\x00\xe0\xff\xff\xff\xff".repeat(100_000);
    assert!(decode(&[head.as_slice(), &nest].concat(), &options).is_err());
}

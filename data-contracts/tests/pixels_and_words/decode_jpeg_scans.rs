//! JPEG files of many scans, plain and in DICOM.

use d2r_contracts::decode::{DecodeError, ImageDecodeOptions, SCANS_MAX, decode};
use dicom_dictionary_std::uids;
use image::{GrayImage, Luma};

use crate::dicom_file::DicomFile;
use crate::raster_file::jpeg;

/// A JPEG whose only scan is there several times.
fn scans(count: u32) -> Vec<u8> {
    let whole = jpeg(GrayImage::from_fn(40, 33, |x, y| Luma([(x * 4 + y * 2) as u8])));
    let start = whole.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
    let end = whole.len() - 2;
    [&whole[..start], &whole[start..end].repeat(count as usize), &whole[end..]].concat()
}

/// A JPEG file, and a DICOM file that holds it.
fn files(count: u32) -> [Vec<u8>; 2] {
    [scans(count), DicomFile::new().bits(8, 8, 7).fragments(uids::JPEG_BASELINE8_BIT, vec![scans(count)]).build()]
}

#[test]
fn a_jpeg_of_too_many_scans_is_refused() {
    for file in files(SCANS_MAX + 1) {
        let error = decode(&file, &ImageDecodeOptions::default()).unwrap_err();
        assert_eq!(error, DecodeError::TooManyScans);
        assert_eq!(error.code(), "too_many_scans");
        assert!(error.to_string().contains("more than 100 scans"), "{error}");
    }
    for file in files(SCANS_MAX) {
        let result = decode(&file, &ImageDecodeOptions::default());
        assert_ne!(result.map(|_| ()), Err(DecodeError::TooManyScans));
    }
    for file in files(1) {
        assert!(decode(&file, &ImageDecodeOptions::default()).is_ok());
    }
}

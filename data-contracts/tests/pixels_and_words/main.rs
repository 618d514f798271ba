//! Tests of decoding, preprocessing and report text through the crate's public face.

mod preprocess;
mod report_text;

#[cfg(feature = "decode")]
mod decode_dicom;
#[cfg(feature = "decode")]
mod decode_dicom_encoding;
#[cfg(feature = "decode")]
mod decode_dicom_padding;
#[cfg(feature = "decode")]
mod decode_dicom_tables;
#[cfg(feature = "decode")]
mod decode_golden;
#[cfg(feature = "decode")]
mod decode_jpeg_2000;
#[cfg(feature = "decode")]
mod decode_jpeg_scans;
#[cfg(feature = "decode")]
mod decode_orientation;
#[cfg(feature = "decode")]
mod decode_other_files;
#[cfg(feature = "decode")]
mod decode_png_rows;
#[cfg(feature = "decode")]
mod decode_raster;
#[cfg(feature = "decode")]
mod decode_robustness;
#[cfg(feature = "decode")]
mod decode_tint;
#[cfg(feature = "decode")]
mod dicom_file;
#[cfg(feature = "decode")]
mod raster_file;

/// Bytes of a string of hexadecimal digits.
fn from_hex(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

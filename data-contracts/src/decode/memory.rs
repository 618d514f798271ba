//! How much memory decoding a file takes, known before it is decoded.

use super::options::ImageDecodeOptions;
use super::{dicom, raster};

/// Tables, buffers of rows, and what allocators add.
const FIXED_BYTES: u64 = 8 << 20;

/// Most bytes of memory that [`decode`](super::decode) holds at once for a file, beside the file's own bytes. Read from
/// headers, without decoding pixels: for a caller that decodes on several threads and bounds their sum.
///
/// A file that is refused by its headers takes little. Those of a deflated DICOM file are inflated for this.
pub fn decoded_bytes(bytes: &[u8], options: &ImageDecodeOptions) -> u64 {
    let pixels = if bytes.starts_with(&raster::PNG_SIGNATURE) {
        raster::png_decoding_bytes(bytes, options)
    } else if bytes.starts_with(&raster::JPEG_START) {
        raster::jpeg_decoding_bytes(bytes, options)
    } else {
        dicom::part_10(bytes).map_or(Ok(0), |file| dicom::decoding_bytes(&file, options))
    };
    pixels.unwrap_or(0).saturating_add(FIXED_BYTES)
}

use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode};
use dicom_dictionary_std::{tags, uids};
use image::{GrayImage, Luma};

use crate::dicom_file::{DicomFile, golden_codestream, ramp, rle};
use crate::raster_file::jpeg;

/// A byte for an even length, several, of one value or mixed.
const PADDINGS: [&[u8]; 8] =
    [&[0], &[0xff], &[0, 0], &[0xff, 0xff, 0xff], &[0, 0xff, 0], &[0xff, 0xd9, 0xff], &[0x20], &[0x20, 7, 0xff]];

/// 32 x 32, as the golden files are.
fn square() -> DicomFile {
    DicomFile::new().us(tags::ROWS, 32).us(tags::COLUMNS, 32)
}

fn read(file: DicomFile) -> Result<Decoded, DecodeError> {
    decode(&file.build(), &ImageDecodeOptions::default())
}

/// The image of a stream without padding equals those with it, in one fragment or with fragments of their own.
fn padding_changes_nothing(name: &str, file: fn() -> DicomFile, syntax: &'static str, stream: &[u8], is_counted: bool) {
    let expected = read(file().fragments(syntax, vec![stream.to_vec()])).unwrap().radiograph;
    for padding in PADDINGS {
        let padded = [stream, padding].concat();
        let decoded =
            read(file().fragments(syntax, vec![padded])).unwrap_or_else(|e| panic!("{name} {padding:?}: {e}"));
        assert_eq!(decoded.radiograph, expected, "{name} {padding:?}");
        if is_counted {
            // The writer may add a byte for an even length.
            let counted = decoded.dicom.unwrap().padding_bytes;
            assert!(counted == padding.len() || counted == padding.len() + 1, "{name} {padding:?}: {counted}");
        }
        let apart = file().fragments(syntax, vec![stream.to_vec(), padding.to_vec()]);
        assert_eq!(read(apart).unwrap().radiograph, expected, "{name} {padding:?} in its own fragment");
    }
}

#[test]
fn bytes_behind_a_jpeg_2000_codestream_do_not_matter() {
    for name in ["jpeg_2000_12", "jpeg_2000_signed"] {
        padding_changes_nothing(name, square, uids::JPEG2000_LOSSLESS, &golden_codestream(name), true);
    }
}

#[test]
fn bytes_behind_a_jpeg_do_not_matter() {
    let grey = GrayImage::from_fn(40, 33, |x, y| Luma([(x * 4 + y * 2) as u8]));
    let baseline = || DicomFile::new().bits(8, 8, 7);
    padding_changes_nothing("baseline", baseline, uids::JPEG_BASELINE8_BIT, &jpeg(grey), true);
    padding_changes_nothing("lossless", square, uids::JPEG_LOSSLESS_SV1, &golden_codestream("jpeg_lossless_12"), true);
}

#[test]
fn bytes_behind_an_rle_frame_do_not_matter() {
    padding_changes_nothing("RLE", DicomFile::new, uids::RLE_LOSSLESS, &rle(&ramp()), false);
}

#[test]
fn a_codestream_cut_anywhere_is_refused() {
    let whole = golden_codestream("jpeg_2000_12");
    let end = whole.windows(2).rposition(|w| w == [0xff, 0xd9]).unwrap();
    for length in (0..end).step_by(11) {
        for padding in [&[][..], &[0, 0], &[0xff, 0xff, 0xff]] {
            let cut = [&whole[..length], padding].concat();
            let error = read(square().fragments(uids::JPEG2000_LOSSLESS, vec![cut]));
            assert!(error.is_err(), "cut at {length}");
        }
    }
}

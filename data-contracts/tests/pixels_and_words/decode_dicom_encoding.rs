//! Files whose transfer syntax is wrong or absent.

use std::io::Write;

use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use image::{GrayImage, Luma};

use crate::dicom_file::{DicomFile, data_set, declared, golden_codestream, ramp, rle};
use crate::raster_file::jpeg;

const IMPLICIT: &str = uids::IMPLICIT_VR_LITTLE_ENDIAN;
const EXPLICIT: &str = uids::EXPLICIT_VR_LITTLE_ENDIAN;
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";

fn read(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    decode(bytes, &ImageDecodeOptions::default())
}

fn stretched() -> Vec<u8> {
    ramp().iter().map(|&v| (f64::from(v) / 4095.0 * 255.0 + 0.5).floor() as u8).collect()
}

/// A data set of the ramp in an encoding.
fn written_as(syntax: &'static str) -> Vec<u8> {
    data_set(&DicomFile::new().text(tags::VIEW_POSITION, VR::CS, "PA").written_as(syntax).build()).to_vec()
}

fn grey() -> GrayImage {
    GrayImage::from_fn(40, 33, |x, y| Luma([(x * 4 + y * 2) as u8]))
}

/// A data set with one fragment, as compressed pixel data are written.
fn with_fragment(file: DicomFile, fragment: Vec<u8>) -> Vec<u8> {
    data_set(&file.fragments(uids::JPEG_BASELINE8_BIT, vec![fragment]).build()).to_vec()
}

/// A refusal that names the contradiction and does not send people to copy the file again.
fn contradiction(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.code(), "unsupported", "{message}");
    assert!(!message.contains("copy it again") && !message.contains("damaged"), "{message}");
    message
}

#[test]
fn elements_are_read_as_they_are_written_whatever_is_declared() {
    for written in [IMPLICIT, EXPLICIT, BIG_ENDIAN] {
        let body = written_as(written);
        for says in [
            Some(IMPLICIT),
            Some(EXPLICIT),
            Some(BIG_ENDIAN),
            Some(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN),
            None,
            Some(""),
            Some("ISO_IR 100"),
        ] {
            let decoded = read(&declared(says, &body)).unwrap_or_else(|e| panic!("{written} declared {says:?}: {e}"));
            assert_eq!(decoded.radiograph.pixels, stretched(), "{written} declared {says:?}");
            assert_eq!(decoded.projection.as_deref(), Some("PA"));
            let notes = decoded.dicom.unwrap().transfer_syntax;
            assert_eq!(notes.agrees, says == Some(written), "{written} declared {says:?}");
            assert_eq!(notes.declared.is_some(), says.is_some_and(|s| s.starts_with("1.2")));
        }
    }
}

#[test]
fn a_data_set_without_meta_information_is_read_in_every_encoding() {
    for written in [IMPLICIT, EXPLICIT, BIG_ENDIAN] {
        let body = written_as(written);
        assert_eq!(read(&body).unwrap().radiograph.pixels, stretched(), "{written}");
        let after_magic = [b"DICM".to_vec(), body].concat();
        assert_eq!(read(&after_magic).unwrap().radiograph.pixels, stretched(), "{written} after DICM");
    }
}

#[test]
fn meta_information_without_vrs_is_read() {
    let uid = format!("{EXPLICIT}\0");
    let meta = [&[2, 0, 0x10, 0], (uid.len() as u32).to_le_bytes().as_slice(), uid.as_bytes()].concat();
    let group_length = [&[2, 0, 0, 0, 4, 0, 0, 0], (meta.len() as u32).to_le_bytes().as_slice()].concat();
    let bare = [group_length, meta, written_as(EXPLICIT)].concat();
    for file in [bare.clone(), [vec![0; 128], b"DICM".to_vec(), bare].concat()] {
        let decoded = read(&file).unwrap();
        assert_eq!(decoded.radiograph.pixels, stretched());
        assert!(decoded.dicom.unwrap().transfer_syntax.agrees);
    }
}

#[test]
fn elements_without_vrs_among_others_are_read() {
    let body = written_as(EXPLICIT);
    // (0010,4000) without a VR, between the patient's name and what follows.
    let at = body.windows(4).position(|w| w == [0x12, 0, 0x62, 0]).unwrap();
    let element = [&[0x10, 0, 0, 0x40], 6u32.to_le_bytes().as_slice(), b"no VR "].concat();
    let mixed = [&body[..at], &element, &body[at..]].concat();
    assert_eq!(read(&declared(Some(EXPLICIT), &mixed)).unwrap().radiograph.pixels, stretched());
}

#[test]
fn deflated_data_sets_are_found_and_zlib_headers_accepted() {
    let body = written_as(EXPLICIT);
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
    raw.write_all(&body).unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&body).unwrap();
    for deflated in [raw.finish().unwrap(), zlib.finish().unwrap()] {
        for says in [Some(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), Some(EXPLICIT), Some(IMPLICIT), None] {
            let decoded = read(&declared(says, &deflated)).unwrap_or_else(|e| panic!("{says:?}: {e}"));
            assert_eq!(decoded.radiograph.pixels, stretched(), "{says:?}");
        }
        let cut = &deflated[..deflated.len() / 2];
        let error = read(&declared(Some(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), cut)).unwrap_err();
        assert_eq!(error.code(), "truncated");
    }
}

#[test]
fn compressed_pixels_under_any_syntax_are_read_by_their_codestream() {
    let eight = || DicomFile::new().bits(8, 8, 7).window("127.5", "256");
    let square = || DicomFile::new().us(tags::ROWS, 32).us(tags::COLUMNS, 32);
    let lossless = golden_codestream("jpeg_lossless_12");
    let jpeg_2000 = golden_codestream("jpeg_2000_12");
    let cases = [
        ("JPEG", with_fragment(eight(), jpeg(grey())), uids::JPEG_BASELINE8_BIT),
        ("lossless JPEG", with_fragment(square(), lossless), uids::JPEG_LOSSLESS_SV1),
        ("JPEG 2000", with_fragment(square(), jpeg_2000), uids::JPEG2000_LOSSLESS),
        ("RLE", with_fragment(DicomFile::new(), rle(&ramp())), uids::RLE_LOSSLESS),
    ];
    for (name, body, right) in cases {
        let expected = read(&declared(Some(right), &body)).unwrap();
        assert!(expected.dicom.as_ref().unwrap().transfer_syntax.agrees, "{name}");
        for says in [
            EXPLICIT,
            IMPLICIT,
            uids::JPEG_BASELINE8_BIT,
            uids::JPEG2000_LOSSLESS,
            uids::RLE_LOSSLESS,
            uids::JPEGLS_LOSSLESS,
            "1.2.840.10008.1.2.1.98",
            "",
        ] {
            let decoded = read(&declared(Some(says), &body)).unwrap_or_else(|e| panic!("{name} declared {says}: {e}"));
            assert_eq!(decoded.radiograph, expected.radiograph, "{name} declared {says}");
        }
        assert_eq!(
            read(&declared(None, &body)).unwrap().radiograph,
            expected.radiograph,
            "{name} without a declaration"
        );
    }
}

#[test]
fn a_codestream_without_fragments_is_read() {
    // The codestream as the value of the pixel data, of defined length.
    let file = DicomFile::new().bits(8, 8, 7).window("127.5", "256").bytes(jpeg(grey()));
    let body = data_set(&file.build()).to_vec();
    for says in [EXPLICIT, uids::JPEG_BASELINE8_BIT, uids::RLE_LOSSLESS] {
        let decoded = read(&declared(Some(says), &body)).unwrap_or_else(|e| panic!("{says}: {e}"));
        let close = decoded.radiograph.pixels.iter().zip(grey().as_raw()).all(|(a, b)| a.abs_diff(*b) <= 6);
        assert!(close, "{says}");
    }
    // Items in a value of defined length.
    let stream = jpeg(grey());
    let stream = if stream.len() % 2 == 1 { [stream, vec![0]].concat() } else { stream };
    let item = |data: &[u8]| [&[0xfe, 0xff, 0, 0xe0], (data.len() as u32).to_le_bytes().as_slice(), data].concat();
    let items = [item(&[]), item(&stream), vec![0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]].concat();
    let file = DicomFile::new().bits(8, 8, 7).window("127.5", "256").bytes(items);
    let body = data_set(&file.build()).to_vec();
    let decoded = read(&declared(Some(uids::JPEG_BASELINE8_BIT), &body)).unwrap();
    assert!(decoded.radiograph.pixels.iter().zip(grey().as_raw()).all(|(a, b)| a.abs_diff(*b) <= 6));
}

#[test]
fn uncompressed_pixels_under_a_compressed_syntax_are_read_when_their_length_is_exact() {
    let body = written_as(EXPLICIT);
    let compressed = [
        uids::JPEG_BASELINE8_BIT,
        uids::JPEG2000,
        uids::RLE_LOSSLESS,
        uids::JPEGLS_LOSSLESS,
        "1.2.840.10008.1.2.4.202",
    ];
    for says in compressed {
        let decoded = read(&declared(Some(says), &body)).unwrap_or_else(|e| panic!("{says}: {e}"));
        assert_eq!(decoded.radiograph.pixels, stretched(), "{says}");
        assert!(!decoded.dicom.unwrap().transfer_syntax.agrees);
    }
    // An odd number of bytes is padded.
    let odd = DicomFile::new().us(tags::ROWS, 33).us(tags::COLUMNS, 39).bits(8, 8, 7).bytes(vec![7; 33 * 39 + 1]);
    assert!(read(&declared(Some(uids::JPEG_BASELINE8_BIT), data_set(&odd.build()))).is_ok());
    // Native samples in a fragment.
    let samples = ramp().into_iter().flat_map(u16::to_le_bytes).collect();
    let fragment = with_fragment(DicomFile::new(), samples);
    for says in [EXPLICIT, "1.2.840.10008.1.2.1.98"] {
        assert_eq!(read(&declared(Some(says), &fragment)).unwrap().radiograph.pixels, stretched(), "{says}");
    }
}

#[test]
fn what_is_ambiguous_is_refused_as_a_contradiction() {
    let longer = data_set(&DicomFile::new().words(vec![7; 40 * 33 + 10]).build()).to_vec();
    let message = contradiction(&declared(Some(uids::JPEG_BASELINE8_BIT), &longer));
    assert!(message.contains(uids::JPEG_BASELINE8_BIT) && message.contains("2660 bytes"), "{message}");
    let noise = with_fragment(DicomFile::new(), vec![0x5a; 500]);
    let message = contradiction(&declared(Some(EXPLICIT), &noise));
    assert!(message.contains(EXPLICIT) && message.contains("fragments"), "{message}");
}

#[test]
fn unknown_syntaxes_are_named() {
    let body = written_as(EXPLICIT);
    let message = contradiction(&declared(Some("1.2.840.113619.5.2"), &body));
    assert!(message.contains("1.2.840.113619.5.2"), "{message}");
    let video = with_fragment(DicomFile::new(), b"\0\0\x01\xb3 mpeg".to_vec());
    let message = contradiction(&declared(Some("1.2.840.10008.1.2.4.100"), &video));
    assert!(message.contains("1.2.840.10008.1.2.4.100"), "{message}");
    // JPEG-LS: a frame header of its own after the start of the image.
    let jpeg_ls = with_fragment(
        DicomFile::new(),
        [&[0xff, 0xd8, 0xff, 0xf7, 0, 11, 12, 0, 33, 0, 40, 1, 1, 0x11, 0], vec![0; 60].as_slice()].concat(),
    );
    for says in [EXPLICIT, uids::JPEGLS_LOSSLESS, uids::JPEG_BASELINE8_BIT] {
        let message = contradiction(&declared(Some(says), &jpeg_ls));
        assert!(message.contains("JPEG-LS"), "{message}");
    }
}

#[test]
fn short_pixel_data_remain_truncated() {
    let short = data_set(&DicomFile::new().words(vec![1; 100]).build()).to_vec();
    for says in [Some(EXPLICIT), Some(IMPLICIT), None] {
        assert_eq!(read(&declared(says, &short)).unwrap_err().code(), "truncated", "{says:?}");
    }
}

#[test]
fn uncompressed_pixels_of_undefined_length_are_read_when_they_are_all_there() {
    let body = written_as(EXPLICIT);
    let at = body.windows(4).position(|w| w == [0xe0, 0x7f, 0x10, 0]).unwrap();
    let mut undefined = body.clone();
    undefined[at + 8..at + 12].copy_from_slice(&[0xff; 4]);
    let delimited = [undefined.clone(), vec![0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]].concat();
    for says in [EXPLICIT, uids::JPEG_BASELINE8_BIT] {
        for body in [&undefined, &delimited] {
            let decoded = read(&declared(Some(says), body)).unwrap_or_else(|e| panic!("{says}: {e}"));
            assert_eq!(decoded.radiograph.pixels, stretched(), "{says}");
        }
    }
    let cut = declared(Some(EXPLICIT), &undefined[..undefined.len() - 100]);
    assert_eq!(read(&cut).unwrap_err().code(), "truncated");
}

#[test]
fn meta_information_behind_a_preamble_without_the_magic_is_read() {
    let whole = DicomFile::new().build();
    let without = [&whole[..128], &whole[132..]].concat();
    assert_eq!(read(&without).unwrap().radiograph.pixels, stretched());
}

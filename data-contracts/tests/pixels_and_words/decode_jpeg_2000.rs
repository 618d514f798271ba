//! JPEG 2000 in DICOM: which codestream is read, its limits, its samples bit for bit.

use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};

use crate::dicom_file::{DicomFile, golden_codestream};

/// Offsets in a codestream: the fields of SIZ (ITU-T T.800 A.5.1), and where the segment ends with one component.
const CAPABILITIES: usize = 6;
const GRID: usize = 8;
const TILE: usize = 24;
const COMPONENTS: usize = 40;
const SIZ_END: usize = 45;

fn read(file: DicomFile) -> Result<Decoded, DecodeError> {
    decode(&file.build(), &ImageDecodeOptions::default())
}

/// A file of a side, whose pixel data are one JPEG 2000 frame.
fn square(side: u16, frame: Vec<u8>) -> DicomFile {
    DicomFile::new().us(tags::ROWS, side).us(tags::COLUMNS, side).fragments(uids::JPEG2000_LOSSLESS, vec![frame])
}

/// 32 x 32, 12 bits.
fn stream() -> Vec<u8> {
    golden_codestream("jpeg_2000_12")
}

/// The codestream with two numbers of four bytes written over its header.
fn with_pair(mut stream: Vec<u8>, at: usize, pair: [u32; 2]) -> Vec<u8> {
    stream[at..at + 8].copy_from_slice(&pair.map(u32::to_be_bytes).concat());
    stream
}

/// The codestream with another marker segment behind SIZ.
fn with_segment(stream: &[u8], segment: &[u8]) -> Vec<u8> {
    [&stream[..SIZ_END], segment, &stream[SIZ_END..]].concat()
}

fn boxed(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&((content.len() + 8) as u32).to_be_bytes(), kind.as_slice(), content].concat()
}

/// A JP2 file of boxes.
fn jp2(boxes: &[Vec<u8>]) -> Vec<u8> {
    let start = [boxed(b"jP  ", b"\r\n\x87\n"), boxed(b"ftyp", b"jp2 \0\0\0\0jp2 ")].concat();
    [start, boxes.concat()].concat()
}

fn corrupt(frame: Vec<u8>, name: &str) {
    let error = read(square(32, frame)).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "corrupt", "{name}");
}

fn unsupported(side: u16, frame: Vec<u8>, says: &str) {
    let error = read(square(side, frame)).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), "unsupported", "{error}");
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn the_codestream_is_found_by_the_boxes_and_not_by_its_marker() {
    let expected = read(square(32, stream())).unwrap().radiograph;
    let large = with_pair(with_pair(stream(), GRID, [20_000; 2]), TILE, [20_000; 2]);
    let small = with_pair(with_pair(stream(), GRID, [16; 2]), TILE, [16; 2]);
    // A small codestream in front of the one that a decoder takes.
    for decoded in [large, small] {
        let frame = jp2(&[boxed(b"uuid", &stream()), boxed(b"jp2c", &decoded)]);
        corrupt(frame, "a decoy of the right size");
    }
    let frame = jp2(&[boxed(b"uuid", &with_pair(stream(), GRID, [7; 2])), boxed(b"jp2c", &stream())]);
    assert_eq!(read(square(32, frame)).unwrap().radiograph, expected, "a decoy of another size is ignored");
    // So is a codestream that follows.
    let second = boxed(b"jp2c", &golden_codestream("jpeg_2000_signed"));
    let frame = jp2(&[boxed(b"jp2c", &stream()), second]);
    assert_eq!(read(square(32, frame)).unwrap().radiograph, expected);
}

#[test]
fn boxes_are_read_in_all_their_forms() {
    let expected = read(square(32, stream())).unwrap().radiograph;
    let to_the_end = [b"\0\0\0\0jp2c".as_slice(), &stream()].concat();
    let length = (stream().len() as u64 + 16).to_be_bytes();
    let long = [b"\0\0\0\x01jp2c".as_slice(), &length, &stream()].concat();
    let header = boxed(b"jp2h", &[boxed(b"ihdr", &[0; 14]), boxed(b"colr", &[1, 0, 0, 0, 0, 0, 17])].concat());
    for (name, boxes) in
        [("to the end", vec![to_the_end]), ("long", vec![long]), ("header", vec![header, boxed(b"jp2c", &stream())])]
    {
        let decoded = read(square(32, jp2(&boxes))).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(decoded.radiograph, expected, "{name}");
    }
}

#[test]
fn damaged_boxes_are_refused() {
    corrupt(jp2(&[]), "no codestream");
    corrupt(jp2(&[boxed(b"uuid", &stream())]), "a codestream in another box");
    corrupt(jp2(&[boxed(b"jp2c", b"no codestream")]), "another content");
    corrupt(jp2(&[b"\0\0\0\x07jp2c".to_vec()]), "a box shorter than its header");
    corrupt([b"junk".as_slice(), &stream()].concat(), "a codestream that does not come first");
    let beyond = [b"\0\0\xff\xffuuid".as_slice(), &boxed(b"jp2c", &stream())].concat();
    assert_eq!(read(square(32, jp2(&[beyond]))).unwrap_err().code(), "truncated");
    let palette = boxed(b"jp2h", &boxed(b"pclr", &[0; 9]));
    unsupported(32, jp2(&[palette, boxed(b"jp2c", &stream())]), "palette");
}

#[test]
fn tiles_components_and_code_blocks_are_limited() {
    unsupported(128, with_pair(with_pair(stream(), GRID, [128; 2]), TILE, [1; 2]), "16384 tiles");
    let mut four = stream();
    four[COMPONENTS + 1] = 4;
    // Lsiz grows by three bytes for each component.
    four[5] += 9;
    let component = four[SIZ_END - 3..SIZ_END].to_vec();
    unsupported(32, with_segment(&four, &component.repeat(3)), "4 components");
    let mut deep = stream();
    deep[SIZ_END - 3] = 37;
    unsupported(32, deep, "16 bits");
    // Code-blocks of 4 x 4 samples in an image of 4096 x 4096.
    let mut fine = with_pair(with_pair(stream(), GRID, [4096; 2]), TILE, [4096; 2]);
    let style = fine.windows(2).position(|w| w == [0xff, 0x52]).unwrap();
    fine[style + 10..style + 12].copy_from_slice(&[0, 0]);
    unsupported(4096, fine, "code-blocks");
    // 256 tiles are few.
    let tiled = with_pair(stream(), TILE, [2; 2]);
    assert_ne!(read(square(32, tiled)).unwrap_err().code(), "unsupported");
}

#[test]
fn what_is_not_decoded_is_named() {
    unsupported(32, with_segment(&stream(), &[0xff, 0x50, 0, 8, 0, 2, 0, 0, 0, 0]), "HTJ2K");
    let mut high_throughput = stream();
    high_throughput[CAPABILITIES] |= 0x40;
    unsupported(32, high_throughput, "HTJ2K");
    let change = [0xff, 0x5f, 0, 9, 0, 0, 0, 1, 1, 1, 0];
    unsupported(32, with_segment(&stream(), &change), "progression order");
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    // A decoder that reads fields and not lengths would take the hidden segment for the header that counts.
    let mut longer = stream();
    let style = longer.windows(2).position(|w| w == [0xff, 0x52]).unwrap();
    let end = style + 2 + usize::from(longer[style + 3]);
    let hidden = longer[style..end].to_vec();
    longer[style + 3] += hidden.len() as u8;
    longer.splice(end..end, hidden);
    corrupt(longer, "a segment inside another one");
    corrupt(with_segment(&stream(), &[0xff, 0x30]), "a marker without a segment");
    corrupt(with_segment(&stream(), &[0xff, 0x5e, 0, 6, 0, 0, 1, 0]), "RGN of another length");
    corrupt(with_segment(&stream(), &[0xff, 0x51, 0, 4, 0, 0]), "a second SIZ");
}

/// The grey levels of a file in windows of 256 stored values, which together show every bit of `bits`.
fn all_bits(file: &dyn Fn() -> DicomFile, low: i32, bits: u32) -> Vec<Vec<u8>> {
    (0..1 << (bits - 8))
        .map(|window| {
            let center = low + 256 * window + 128;
            read(file().window(&center.to_string(), "256")).unwrap().radiograph.pixels
        })
        .collect()
}

#[test]
fn samples_of_12_and_16_bits_and_signed_ones_are_exact() {
    // The same samples, compressed and as they are, written by another encoder.
    for (compressed, plain, low, bits) in [
        ("jpeg_2000_12", "range_12", 0, 12),
        ("jpeg_2000_signed", "signed_16", -32768, 16),
        ("jpeg_2000_16", "jpeg_lossless_16", 0, 16),
    ] {
        let file = |name: &'static str| {
            let object = dicom_object::open_file(format!("golden/dicom/{name}.dcm")).unwrap();
            let transfer_syntax = match name {
                "range_12" | "signed_16" => uids::EXPLICIT_VR_LITTLE_ENDIAN,
                "jpeg_lossless_16" => uids::JPEG_LOSSLESS_SV1,
                _ => uids::JPEG2000_LOSSLESS,
            };
            let file = DicomFile { object: object.into_inner(), transfer_syntax };
            // No other transformation.
            file.without(tags::RESCALE_SLOPE).without(tags::RESCALE_INTERCEPT).without(tags::VOILUT_FUNCTION)
        };
        let shown = all_bits(&|| file(compressed), low, bits);
        // Not `assert_eq`, which prints all of them.
        assert!(shown == all_bits(&|| file(plain), low, bits), "{compressed} differs");
        let uses_all = shown.iter().all(|window| window.iter().any(|&level| level > 0));
        assert!(uses_all, "{compressed}");
    }
}

#[test]
fn colour_is_read_exactly() {
    let file = |photometric| {
        let object = dicom_object::open_file("golden/dicom/jpeg_2000_colour.dcm").unwrap().into_inner();
        DicomFile { object, transfer_syntax: uids::JPEG2000_LOSSLESS }.text(
            tags::PHOTOMETRIC_INTERPRETATION,
            VR::CS,
            photometric,
        )
    };
    let decoded = read(file("YBR_RCT")).unwrap();
    assert_eq!(read(file("RGB")).unwrap().radiograph, decoded.radiograph);
    let document = std::fs::read_to_string("golden/dicom/expected.json").unwrap();
    let document: serde_json::Value = serde_json::from_str(&document).unwrap();
    let expected = crate::from_hex(document["grey"]["jpeg_2000_colour"].as_str().unwrap());
    assert!(decoded.radiograph.pixels == expected);
}

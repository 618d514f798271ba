//! PNG and JPEG files made for a test.

use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{DynamicImage, ImageEncoder, ImageFormat};

/// The bytes of a PNG file.
pub fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.into().write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png).unwrap();
    bytes
}

/// The bytes of a JPEG file.
pub fn jpeg(image: impl Into<DynamicImage>) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.into().write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 95)).unwrap();
    bytes
}

/// An EXIF block with an orientation, most significant byte first or last.
pub fn exif(orientation: u16, big_endian: bool) -> Vec<u8> {
    let u16s = if big_endian { u16::to_be_bytes } else { u16::to_le_bytes };
    let u32s = if big_endian { u32::to_be_bytes } else { u32::to_le_bytes };
    let mut block = if big_endian { b"MM\0*".to_vec() } else { b"II*\0".to_vec() };
    block.extend(u32s(8));
    block.extend(u16s(2));
    // Two entries: the image's description, four characters, and its orientation.
    for (tag, kind, count, value) in [(0x010e, 2, 4, *b"abc\0"), (0x0112, 3, 1, [0; 4])] {
        block.extend([u16s(tag), u16s(kind)].concat());
        block.extend(u32s(count));
        block.extend(if tag == 0x0112 { [u16s(orientation), [0; 2]].concat() } else { value.to_vec() });
    }
    block.extend(u32s(0));
    block
}

/// A JPEG file with its EXIF block behind another segment.
pub fn jpeg_with_exif(image: impl Into<DynamicImage>, exif: &[u8]) -> Vec<u8> {
    let plain = jpeg(image);
    let segment = |code: u8, data: &[u8]| {
        let length = (data.len() + 2) as u16;
        [&[0xff, code], length.to_be_bytes().as_slice(), data].concat()
    };
    let head = [segment(0xfe, b"a comment"), segment(0xe1, &[b"Exif\0\0", exif].concat())].concat();
    [&plain[..2], &head, &plain[2..]].concat()
}

/// A PNG file with an EXIF chunk before its pixels.
pub fn png_with_exif(image: impl Into<DynamicImage>, exif: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = PngEncoder::new(&mut bytes);
    encoder.set_exif_metadata(exif.to_vec()).unwrap();
    image.into().write_with_encoder(encoder).unwrap();
    bytes
}

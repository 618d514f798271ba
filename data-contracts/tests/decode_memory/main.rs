//! What decoding holds in memory at its peak, counted by the allocator, and what [`decoded_bytes`] promises before.

#[path = "../pixels_and_words/dicom_file.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod dicom_file;
#[path = "../pixels_and_words/raster_file.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod raster_file;

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode, decoded_bytes};
use dicom_dictionary_std::{tags, uids};
use dicom_file::{DicomFile, data_set, declared, golden_codestream, rle};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use image::{GrayImage, ImageBuffer, Luma, LumaA, Pixel, Rgb, Rgba};
use peak_alloc::PeakAlloc;
use raster_file::{jpeg, png};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
/// Tests count one after the other.
static ALONE: Mutex<()> = Mutex::new(());

const WIDTH: u32 = 2000;
const HEIGHT: u32 = 1500;
const PIXELS: u64 = WIDTH as u64 * HEIGHT as u64;
/// Tables of decoders and of grey levels.
const TABLES: u64 = 4 << 20;

/// The result, and the bytes that were held beside the file.
fn decoded(file: &[u8]) -> (Result<Decoded, DecodeError>, u64) {
    let before = HEAP.current_usage();
    HEAP.reset_peak_usage();
    let result = decode(file, &ImageDecodeOptions::default());
    (result, (HEAP.peak_usage() - before) as u64)
}

fn promised(file: &[u8]) -> u64 {
    decoded_bytes(file, &ImageDecodeOptions::default())
}

/// The peak is below `per_pixel` bytes for each pixel, and decoding takes what was promised.
fn takes(name: &str, file: &[u8], per_pixel: u64) {
    let promised = promised(file);
    let (result, peak) = decoded(file);
    assert!(result.is_ok(), "{name}: {}", result.unwrap_err());
    let figures =
        format!("{name}: {peak} bytes, {:.1} for each pixel, {promised} promised", peak as f64 / PIXELS as f64);
    assert!(peak <= per_pixel * PIXELS + TABLES, "{figures}");
    assert!(peak <= promised, "{figures}");
    assert!(promised <= 2 * peak + (48 << 20), "{figures}");
}

fn ramp<P: Pixel>(pixel: impl Fn(u16) -> P) -> ImageBuffer<P, Vec<P::Subpixel>> {
    ImageBuffer::from_fn(WIDTH, HEIGHT, |x, y| pixel((x * 20 + y * 15) as u16))
}

#[test]
fn rasters_take_what_was_promised() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let byte = |v: u16| (v >> 8) as u8;
    takes("grey 8", &png(ramp(|v| Luma([byte(v)]))), 2);
    takes("grey 16", &png(ramp(|v| Luma([v]))), 3);
    takes("grey 16 and alpha", &png(ramp(|v| LumaA([v, 9]))), 3);
    takes("colour 8", &png(ramp(|v| Rgb([byte(v); 3]))), 4);
    takes("colour 8 and alpha", &png(ramp(|v| Rgba([byte(v); 4]))), 4);
    takes("colour 16", &png(ramp(|v| Rgb([v; 3]))), 7);
    takes("colour 16 and alpha", &png(ramp(|v| Rgba([v; 4]))), 7);
    takes("tint", &png(ramp(|v| Rgb([v, v / 2, v / 4]))), 8);
    takes("JPEG, grey", &jpeg(ramp(|v| Luma([byte(v)]))), 3);
    takes("JPEG, colour", &jpeg(ramp(|v| Rgb([byte(v); 3]))), 5);
}

/// A DICOM file of the ramp, 16 bits.
fn dicom() -> DicomFile {
    let file = DicomFile::new().us(tags::ROWS, HEIGHT as u16).us(tags::COLUMNS, WIDTH as u16).bits(16, 16, 15);
    file.words(ramp(|v| Luma([v])).into_raw())
}

fn deflated(file: DicomFile, behind: &[u8]) -> Vec<u8> {
    let body = data_set(&file.build()).to_vec();
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&body).unwrap();
    encoder.write_all(behind).unwrap();
    declared(Some(uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN), &encoder.finish().unwrap())
}

/// A codestream of a size with the headers of a golden file, in which each packet is empty.
fn empty_jpeg_2000(width: u32, height: u32) -> Vec<u8> {
    let mut stream = golden_codestream("jpeg_2000_12");
    for (at, number) in [(8, width), (12, height), (24, width), (28, height)] {
        stream[at..at + 4].copy_from_slice(&number.to_be_bytes());
    }
    let tile_part = stream.windows(2).position(|w| w == [0xff, 0x90]).unwrap();
    stream.truncate(tile_part);
    // One packet for each resolution, as many as there are decomposition levels, and one.
    let style = stream.windows(2).position(|w| w == [0xff, 0x52]).unwrap();
    let packets = vec![0; usize::from(stream[style + 9]) + 1];
    let length = (14 + packets.len() as u32).to_be_bytes();
    stream
        .extend([&[0xff, 0x90, 0, 10, 0, 0], length.as_slice(), &[0, 1, 0xff, 0x93], &packets, &[0xff, 0xd9]].concat());
    stream
}

#[test]
fn dicom_takes_what_was_promised() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    takes("native", &dicom().build(), 3);
    takes("big endian", &dicom().written_as("1.2.840.10008.1.2.2").build(), 9);
    takes("RLE", &dicom().fragments(uids::RLE_LOSSLESS, vec![rle(ramp(|v| Luma([v])).as_raw())]).build(), 5);
    let baseline = jpeg(ramp(|v| Luma([(v >> 8) as u8])));
    takes("JPEG", &dicom().bits(8, 8, 7).fragments(uids::JPEG_BASELINE8_BIT, vec![baseline]).build(), 7);
    let wavelet = empty_jpeg_2000(WIDTH, HEIGHT);
    takes("JPEG 2000", &dicom().fragments(uids::JPEG2000_LOSSLESS, vec![wavelet]).build(), 19);
    takes("deflated", &deflated(dicom(), &[]), 11);
}

#[test]
fn a_wrapped_decoy_takes_no_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let boxed = |kind: &[u8; 4], content: &[u8]| {
        [&((content.len() + 8) as u32).to_be_bytes(), kind.as_slice(), content].concat()
    };
    let frame = [
        boxed(b"jP  ", b"\r\n\x87\n"),
        boxed(b"uuid", &golden_codestream("jpeg_2000_12")),
        boxed(b"jp2c", &empty_jpeg_2000(20_000, 20_000)),
    ];
    let file = DicomFile::new().us(tags::ROWS, 32).us(tags::COLUMNS, 32);
    let file = file.fragments(uids::JPEG2000_LOSSLESS, vec![frame.concat()]).build();
    let (result, peak) = decoded(&file);
    assert_eq!(result.map(|_| ()).unwrap_err().code(), "corrupt");
    assert!(peak < 1 << 20, "{peak} bytes");
    assert!(promised(&file) < 50_000_000);
}

#[test]
fn a_large_image_of_a_few_bytes_takes_no_memory() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let file = DicomFile::new().us(tags::ROWS, 9000).us(tags::COLUMNS, 9000).bits(16, 16, 15);
    let file = file.fragments(uids::JPEG2000_LOSSLESS, vec![empty_jpeg_2000(9000, 9000)]).build();
    let (result, peak) = decoded(&file);
    assert!(result.map(|_| ()).unwrap_err().to_string().contains("too short for an image of this size"));
    assert!(peak < 1 << 20, "{peak} bytes");
}

#[test]
fn a_deflated_file_is_inflated_as_far_as_its_image_goes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let small = || DicomFile::new().us(tags::ROWS, 33).us(tags::COLUMNS, 40);
    let file = deflated(small(), &vec![0; 100_000_000]);
    let (result, peak) = decoded(&file);
    assert_eq!(
        result.unwrap_err().to_string(),
        "the file is damaged (the deflated data set is larger than its image); copy it again from its source"
    );
    assert!(peak < 32 << 20, "{peak} bytes");
    // A few bytes behind the image are not too many.
    assert!(decoded(&deflated(small(), &vec![0; 6_000_000])).0.is_ok());
}

#[test]
fn files_that_are_refused_take_little() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut large = png(GrayImage::new(40, 40));
    large[16..24].copy_from_slice(&[0, 0, 0x27, 0x11, 0, 0, 0x27, 0x11]);
    for file in [large, b"no image".to_vec(), Vec::new()] {
        assert!(promised(&file) < 16 << 20);
        let (result, peak) = decoded(&file);
        assert!(result.is_err() && peak < 1 << 20, "{peak} bytes");
    }
}

//! Files of radiographs.

use std::io::Cursor;
use std::sync::LazyLock;

use d2r_contracts::decode::{ImageDecodeOptions, decode};
use dicom_dictionary_std::uids;
use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};

use crate::Target;
use crate::dicom_file::{COLUMNS, FrameHead, PixelData, ROWS, dicom_file, frame_of};

pub const DICOM: Target = Target { name: "dicom", read: file, seeds: dicom_seeds, size_max: 16384 };
pub const PNG: Target = Target { name: "png", read: file, seeds: png_seeds, size_max: 16384 };
pub const JPEG: Target = Target { name: "jpeg", read: file, seeds: jpeg_seeds, size_max: 8192 };
pub const JPEG_IN_DICOM: Target =
    Target { name: "jpeg_in_dicom", read: jpeg_in_dicom, seeds: jpeg_in_dicom_seeds, size_max: 8192 };
pub const JPEG_2000: Target = Target { name: "jpeg_2000", read: jpeg_2000, seeds: jpeg_2000_seeds, size_max: 8192 };
pub const RLE: Target = Target { name: "rle", read: rle, seeds: rle_seeds, size_max: 8192 };

/// Pixels of a file that are decoded at most: time and memory of one input stay small.
const PIXELS_MAX: u64 = 1 << 18;

/// What decoding makes of a file: the radiograph's size and sum, or the code of the refusal.
fn file(bytes: &[u8]) -> String {
    let options = ImageDecodeOptions { allow_phi: true, max_pixels: PIXELS_MAX };
    match decode(bytes, &options) {
        Err(e) => format!("{} {e}", e.code()),
        Ok(decoded) => {
            let r = &decoded.radiograph;
            assert_eq!(r.pixels.len() as u64, u64::from(r.width) * u64::from(r.height));
            assert!(r.pixels.len() as u64 <= PIXELS_MAX);
            let sum: u64 = r.pixels.iter().map(|p| u64::from(*p)).sum();
            format!("{} x {} {sum} {:?}", r.width, r.height, decoded.projection)
        }
    }
}

/// Heads of files with 8, 12 and 16 bits.
type Heads = LazyLock<[FrameHead; 3]>;

fn heads(transfer_syntax: &str) -> [FrameHead; 3] {
    [8, 12, 16].map(|bits| FrameHead::new(transfer_syntax, bits))
}

static LOSSLESS: Heads = LazyLock::new(|| heads(uids::JPEG_LOSSLESS_SV1));
static EXTENDED: Heads = LazyLock::new(|| heads(uids::JPEG_EXTENDED12_BIT));
static WAVELETS: Heads = LazyLock::new(|| heads(uids::JPEG2000_LOSSLESS));
static RUN_LENGTHS: Heads = LazyLock::new(|| heads(uids::RLE_LOSSLESS));

/// The first byte chooses the stored bits, the others are the frame.
fn framed(bytes: &[u8], heads: &Heads) -> String {
    let Some((bits, frame)) = bytes.split_first() else { return String::new() };
    file(&heads[usize::from(*bits) % 3].with_frame(frame))
}

fn jpeg_in_dicom(bytes: &[u8]) -> String {
    let lossless = bytes.first().is_some_and(|bits| *bits >= 128);
    framed(bytes, if lossless { &LOSSLESS } else { &EXTENDED })
}

fn jpeg_2000(bytes: &[u8]) -> String {
    framed(bytes, &WAVELETS)
}

fn rle(bytes: &[u8]) -> String {
    framed(bytes, &RUN_LENGTHS)
}

fn grey() -> GrayImage {
    GrayImage::from_fn(COLUMNS.into(), ROWS.into(), |x, y| Luma([(x * y) as u8]))
}

fn written(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).expect("memory takes it");
    bytes.into_inner()
}

fn colour() -> RgbImage {
    RgbImage::from_fn(COLUMNS.into(), ROWS.into(), |x, _| Rgb([x as u8; 3]))
}

fn png_seeds() -> Vec<Vec<u8>> {
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(COLUMNS.into(), ROWS.into(), |x, y| Luma([(x * y * 40) as u16]));
    vec![
        written(grey(), ImageFormat::Png),
        written(deep, ImageFormat::Png),
        written(colour(), ImageFormat::Png),
        written(DynamicImage::ImageRgb8(colour()).to_rgba16(), ImageFormat::Png),
    ]
}

fn jpeg_seeds() -> Vec<Vec<u8>> {
    vec![written(grey(), ImageFormat::Jpeg), written(colour(), ImageFormat::Jpeg)]
}

macro_rules! golden {
    ($($name:literal),*) => {
        [$(include_bytes!(concat!("../../../../data-contracts/golden/dicom/", $name, ".dcm")).as_slice()),*]
    };
}

fn with_bits(bits: u8, frames: &[&[u8]]) -> Vec<Vec<u8>> {
    frames.iter().map(|file| [&[bits], frame_of(file).as_slice()].concat()).collect()
}

/// Chooses the lossless process and 12 bits.
const LOSSLESS_12: u8 = 130;

fn jpeg_in_dicom_seeds() -> Vec<Vec<u8>> {
    let mut seeds = with_bits(1, &golden!("jpeg_extended_12"));
    seeds.extend(with_bits(LOSSLESS_12, &golden!("jpeg_lossless_12", "jpeg_lossless_16")));
    seeds.extend(jpeg_seeds().into_iter().map(|jpeg| [&[0], jpeg.as_slice()].concat()));
    seeds
}

fn jpeg_2000_seeds() -> Vec<Vec<u8>> {
    let mut seeds = with_bits(1, &golden!("jpeg_2000_12"));
    seeds.extend(with_bits(2, &golden!("jpeg_2000_16", "jpeg_2000_signed")));
    seeds.extend(with_bits(0, &golden!("jpeg_2000_colour")));
    seeds
}

fn rle_seeds() -> Vec<Vec<u8>> {
    with_bits(1, &golden!("rle_12"))
}

fn dicom_seeds() -> Vec<Vec<u8>> {
    let words: Vec<u16> = (0..COLUMNS * ROWS).map(|i| i * 3).collect();
    let native = PixelData::Native(words);
    let mut seeds: Vec<Vec<u8>> =
        [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"]
            .map(|syntax| dicom_file(syntax, 12, native.clone()))
            .to_vec();
    let files =
        golden!("voi_table_below_zero", "deflated", "modality_table", "linear_m1_implicit", "sigmoid_big_endian");
    seeds.extend(files.map(<[u8]>::to_vec));
    seeds
}

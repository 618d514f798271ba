//! PNG and JPEG files to radiographs.
//!
//! 16-bit images are windowed to 8 bits: the grey levels at 0.5 % and 99.5 % of the sorted pixels become 0 and
//! 255, so that one hot pixel or a burned-in marker cannot darken the image. 8-bit images stay as they are.

mod png_rows;

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::error::ImageError;
use image::{ColorType, ImageDecoder, Limits};

use super::colour::{GreySource, grey_from_rgb};
use super::error::{DecodeError, catch_codec_panic};
use super::jpeg_frame;
use super::notes::Colour;
use super::options::ImageDecodeOptions;
use super::orientation::{EXIF_HEAD, Orientation};
use super::{Decoded, FileKind};
use crate::radiograph::Radiograph;
use crate::space::ImageSize;
use png_rows::PngHeader;

/// The first bytes of every PNG file.
pub(super) const PNG_SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// The first bytes of every JPEG file: start of image, then another marker.
pub(super) const JPEG_START: [u8; 3] = [0xff, 0xd8, 0xff];

/// The share of pixels that the 16-bit window cuts at each end.
const WINDOW_TAIL: f64 = 0.005;

pub(super) fn decode_png(bytes: &[u8], options: &ImageDecodeOptions) -> Result<Decoded, DecodeError> {
    let size = PngHeader::read(bytes)?.size;
    options.check_size(size)?;
    let chunks = PngChunks::read(bytes).ok_or(DecodeError::Truncated { what: "the PNG has no end chunk" })?;
    let stored = Stored::from_samples(png_rows::read(bytes, size)?, size)?;
    shown(stored, FileKind::Png, chunks.exif.map_or(Orientation::Upright, Orientation::of_exif_block))
}

pub(super) fn decode_jpeg(bytes: &[u8], options: &ImageDecodeOptions) -> Result<Decoded, DecodeError> {
    let frame = jpeg_frame::read(bytes)?;
    options.check_size(frame.size)?;
    let samples = catch_codec_panic(|| jpeg_samples(bytes, frame.size))?;
    let stored = Stored::from_samples(samples, frame.size)?;
    let exif =
        jpeg_frame::segments(bytes).find_map(|(code, data)| data.strip_prefix(EXIF_HEAD).filter(|_| code == 0xe1));
    shown(stored, FileKind::Jpeg, exif.map_or(Orientation::Upright, Orientation::of_exif_block))
}

fn jpeg_samples(bytes: &[u8], size: ImageSize) -> Result<Samples, DecodeError> {
    let mut decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(codec_error)?;
    let mut limits = Limits::no_limits();
    (limits.max_image_width, limits.max_image_height) = (Some(size.width), Some(size.height));
    decoder.set_limits(limits).map_err(codec_error)?;
    let channels = match decoder.color_type() {
        ColorType::L8 => 1,
        ColorType::Rgb8 => 3,
        _ => return Err(DecodeError::Unsupported { what: "this variant of the image format".into() }),
    };
    let mut pixels = vec![0; size.pixels() as usize * channels];
    if decoder.total_bytes() != pixels.len() as u64 {
        return Err(DecodeError::Corrupt { what: "the pixels cannot be decoded" });
    }
    decoder.read_image(&mut pixels).map_err(codec_error)?;
    Ok(Samples { bytes: pixels, channels, bytes_per_sample: 1 })
}

/// Most bytes that decoding a PNG file holds at once, from its header.
pub(super) fn png_decoding_bytes(bytes: &[u8], options: &ImageDecodeOptions) -> Result<u64, DecodeError> {
    let header = PngHeader::read(bytes)?;
    options.check_size(header.size)?;
    Ok(png_rows::decoding_bytes(header))
}

/// Most bytes that decoding a JPEG file holds at once, from its headers: the decoder's copy of the file, and for each
/// pixel what the decoder holds, the colours, the grey level, and the grey level of a turned image.
pub(super) fn jpeg_decoding_bytes(bytes: &[u8], options: &ImageDecodeOptions) -> Result<u64, DecodeError> {
    let frame = jpeg_frame::read(bytes)?;
    options.check_size(frame.size)?;
    Ok(bytes.len() as u64 + frame.coefficient_bytes() + frame.size.pixels() * (u64::from(frame.components) + 2))
}

/// The stored image, turned as its file says.
fn shown(stored: Stored, kind: FileKind, orientation: Orientation) -> Result<Decoded, DecodeError> {
    let Stored { size, pixels, colour, window } = stored;
    let ImageSize { width, height } = orientation.shown_size(size);
    let radiograph = (pixels.len() as u64 == size.pixels())
        .then(|| orientation.turn_pixels(pixels, size))
        .and_then(|pixels| Radiograph::new(width, height, pixels))
        .ok_or(DecodeError::Corrupt { what: "pixels are missing" })?;
    Ok(Decoded { radiograph, stored_size: size, orientation, colour, window, kind, projection: None, dicom: None })
}

fn codec_error(error: ImageError) -> DecodeError {
    match error {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { what: "pixels are missing" }
        }
        ImageError::Unsupported(_) => DecodeError::Unsupported { what: "this variant of the image format".into() },
        _ => DecodeError::Corrupt { what: "the pixels cannot be decoded" },
    }
}

/// Samples of an image, interleaved, row by row.
struct Samples {
    bytes: Vec<u8>,
    /// 1 for grey; 3 for red, green and blue.
    channels: usize,
    /// 1, or 2 with the most significant byte first.
    bytes_per_sample: usize,
}

/// Grey levels as they are stored, and where they come from.
struct Stored {
    size: ImageSize,
    pixels: Vec<u8>,
    colour: Colour,
    /// The grey levels of a 16-bit image that became 0 and 255.
    window: Option<[u16; 2]>,
}

impl Stored {
    /// Grey levels of samples. Colours are converted one by one, so that beside the samples there is one byte for each
    /// pixel only.
    fn from_samples(samples: Samples, size: ImageSize) -> Result<Self, DecodeError> {
        let Samples { bytes, channels, bytes_per_sample } = samples;
        if bytes.len() as u64 != size.pixels() * (channels * bytes_per_sample) as u64 {
            return Err(DecodeError::Corrupt { what: "pixels are missing" });
        }
        let (pixels, colour, window) = match (channels, bytes_per_sample) {
            (1, 1) => (bytes, Colour::Grey, None),
            (1, _) => {
                let levels = bytes.as_chunks::<2>().0.iter().map(|&level| u16::from_be_bytes(level));
                let (pixels, window) = window_16_bit(levels);
                (pixels, Colour::Grey, Some(window))
            }
            (_, 1) => {
                let (pixels, colour) = grey_from_rgb(&bytes, size)?;
                (pixels, colour, None)
            }
            _ => {
                let colours = bytes.as_chunks::<6>().0;
                let source = GreySource::of(colours, size)?;
                let levels = colours.iter().map(|&[r1, r0, g1, g0, b1, b0]| {
                    source.grey(&[[r1, r0], [g1, g0], [b1, b0]].map(u16::from_be_bytes)) as u16
                });
                let (pixels, window) = window_16_bit(levels);
                (pixels, source.colour, Some(window))
            }
        };
        Ok(Self { size, pixels, colour, window })
    }
}

/// 16-bit grey levels to 8 bits, see the module's header, and the two levels that became 0 and 255. A constant image
/// becomes black.
fn window_16_bit(levels: impl ExactSizeIterator<Item = u16> + Clone) -> (Vec<u8>, [u16; 2]) {
    let last = (levels.len() as u64).saturating_sub(1) as f64;
    let mut counts = vec![0u64; 1 << 16];
    for level in levels.clone() {
        counts[usize::from(level)] += 1;
    }
    let (mut low, mut high) = (
        level_at(&counts, (last * WINDOW_TAIL).floor() as u64),
        level_at(&counts, (last * (1.0 - WINDOW_TAIL)).ceil() as u64),
    );
    if low == high {
        // Fewer than 1 % of the pixels differ from the rest; show them.
        (low, high) = (level_at(&counts, 0), level_at(&counts, last as u64));
    }
    let width = u32::from(high - low).max(1);
    let table: Vec<u8> = (0..=u16::MAX)
        .map(|level| ((u32::from(level.clamp(low, high) - low) * 255 * 2 + width) / (2 * width)) as u8)
        .collect();
    (levels.map(|level| table[usize::from(level)]).collect(), [low, high])
}

/// The grey level of the pixel at `rank` (from 0) in ascending order.
fn level_at(counts: &[u64], rank: u64) -> u16 {
    let mut seen = 0;
    let found = counts.iter().position(|&count| {
        seen += count;
        seen > rank
    });
    found.unwrap_or(0) as u16
}

/// What the chunks of a whole PNG file hold beside the pixels.
struct PngChunks<'a> {
    /// The EXIF block, before or behind the pixels.
    exif: Option<&'a [u8]>,
}

impl<'a> PngChunks<'a> {
    /// Walks the chunks (PNG 5.3: length, type, data, CRC) to the end chunk; `None` without one. Decoders accept a file
    /// that ends after the image data; this function finds truncated files.
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut exif = None;
        let mut rest = &bytes[PNG_SIGNATURE.len()..];
        while let Some((head, tail)) = rest.split_first_chunk::<8>() {
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let after = tail.get(length.checked_add(4)?..)?;
            match &head[4..] {
                b"IEND" => return Some(Self { exif }),
                b"eXIf" => exif = exif.or(tail.get(..length)),
                _ => {}
            }
            rest = after;
        }
        None
    }
}

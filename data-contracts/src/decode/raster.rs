//! PNG and JPEG files to radiographs.
//!
//! 16-bit images are windowed to 8 bits: the grey levels at 0.5 % and 99.5 % of the sorted pixels become 0 and
//! 255, so that one hot pixel or a burned-in marker cannot darken the image. 8-bit images stay as they are.

use std::io::Cursor;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder};
use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, Limits};

use super::colour::{GreySource, grey_from_rgb};
use super::error::{DecodeError, catch_codec_panic};
use super::jpeg_frame;
use super::notes::Colour;
use super::options::ImageDecodeOptions;
use super::orientation::{EXIF_HEAD, Orientation};
use super::{Decoded, FileKind};
use crate::radiograph::Radiograph;
use crate::space::ImageSize;

/// The first bytes of every PNG file.
pub(super) const PNG_SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// The first bytes of every JPEG file: start of image, then another marker.
pub(super) const JPEG_START: [u8; 3] = [0xff, 0xd8, 0xff];

/// The share of pixels that the 16-bit window cuts at each end.
const WINDOW_TAIL: f64 = 0.005;

pub(super) fn decode_png(bytes: &[u8], options: &ImageDecodeOptions) -> Result<Decoded, DecodeError> {
    let size = png_size(bytes)?;
    options.check_size(size)?;
    let chunks = PngChunks::read(bytes).ok_or(DecodeError::Truncated { what: "the PNG has no end chunk" })?;
    let stored = catch_codec_panic(|| {
        let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits(size)).map_err(codec_error)?;
        Stored::from_image(DynamicImage::from_decoder(decoder).map_err(codec_error)?)
    })?;
    shown(stored, FileKind::Png, chunks.exif.map_or(Orientation::Upright, Orientation::of_exif_block))
}

pub(super) fn decode_jpeg(bytes: &[u8], options: &ImageDecodeOptions) -> Result<Decoded, DecodeError> {
    let frame = jpeg_frame::read(bytes)?;
    options.check_size(frame.size)?;
    let stored = catch_codec_panic(|| {
        let mut decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(codec_error)?;
        decoder.set_limits(limits(frame.size)).map_err(codec_error)?;
        Stored::from_image(DynamicImage::from_decoder(decoder).map_err(codec_error)?)
    })?;
    let exif =
        jpeg_frame::segments(bytes).find_map(|(code, data)| data.strip_prefix(EXIF_HEAD).filter(|_| code == 0xe1));
    shown(stored, FileKind::Jpeg, exif.map_or(Orientation::Upright, Orientation::of_exif_block))
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

/// Room for the pixels at their widest (four channels of 16 bits) and the codec's own tables.
fn limits(size: ImageSize) -> Limits {
    let mut limits = Limits::no_limits();
    limits.max_image_width = Some(size.width);
    limits.max_image_height = Some(size.height);
    limits.max_alloc = Some(size.pixels() * 8 + (64 << 20));
    limits
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

/// Grey levels as they are stored, and where they come from.
struct Stored {
    size: ImageSize,
    pixels: Vec<u8>,
    colour: Colour,
    /// The grey levels of a 16-bit image that became 0 and 255.
    window: Option<[u16; 2]>,
}

impl Stored {
    fn from_image(image: DynamicImage) -> Result<Self, DecodeError> {
        let size = ImageSize { width: image.width(), height: image.height() };
        let shallow = |pixels, colour| Ok(Self { size, pixels, colour, window: None });
        let deep = |levels: Vec<u16>, colour| {
            let (pixels, window) = window_16_bit(&levels);
            Ok(Self { size, pixels, colour, window: Some(window) })
        };
        match image {
            DynamicImage::ImageLuma8(grey) => shallow(grey.into_raw(), Colour::Grey),
            DynamicImage::ImageLumaA8(grey) => {
                shallow(grey.into_raw().as_chunks::<2>().0.iter().map(|p| p[0]).collect(), Colour::Grey)
            }
            DynamicImage::ImageLuma16(grey) => deep(grey.into_raw(), Colour::Grey),
            DynamicImage::ImageLumaA16(grey) => {
                deep(grey.into_raw().as_chunks::<2>().0.iter().map(|p| p[0]).collect(), Colour::Grey)
            }
            image @ (DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_)) => {
                let rgb = image.into_rgb16().into_raw();
                let source = GreySource::of(&rgb.iter().map(|v| (v >> 8) as u8).collect::<Vec<_>>(), size)?;
                deep(rgb.as_chunks::<3>().0.iter().map(|p| source.grey(p) as u16).collect(), source.colour)
            }
            // `into_rgb8` drops alpha.
            other => {
                let (pixels, colour) = grey_from_rgb(other.into_rgb8().as_raw(), size)?;
                shallow(pixels, colour)
            }
        }
    }
}

/// 16-bit grey levels to 8 bits, see the module's header, and the two levels that became 0 and 255. A constant image
/// becomes black.
fn window_16_bit(levels: &[u16]) -> (Vec<u8>, [u16; 2]) {
    let mut counts = vec![0u64; 1 << 16];
    for &level in levels {
        counts[usize::from(level)] += 1;
    }
    let last = (levels.len() as u64).saturating_sub(1) as f64;
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
    (levels.iter().map(|&level| table[usize::from(level)]).collect(), [low, high])
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

/// Width and height from the header chunk (PNG 11.2.2).
fn png_size(bytes: &[u8]) -> Result<ImageSize, DecodeError> {
    let header = bytes.get(8..24).ok_or(DecodeError::Truncated { what: "the PNG has no header chunk" })?;
    if &header[4..8] != b"IHDR" {
        return Err(DecodeError::Corrupt { what: "the PNG does not begin with its header chunk" });
    }
    let number = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    Ok(ImageSize { width: number(8), height: number(12) })
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

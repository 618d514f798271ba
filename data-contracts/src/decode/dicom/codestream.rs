//! Samples of the first frame of a DICOM image, native or compressed.
//!
//! The header of a JPEG or JPEG 2000 codestream is compared with the data set before the codestream is decoded, so that
//! the limit of pixels holds for both.

use std::borrow::Cow;

use super::frame::Frame;
use super::pixel_format::PixelFormat;
use super::rle;
use super::transfer_syntax::Codec;
use crate::decode::error::{DecodeError, catch_codec_panic};
use crate::decode::jpeg_2000::{self, Jpeg2000Frame};
use crate::decode::jpeg_frame::{self, JpegFrame};

const SHORT: DecodeError = DecodeError::Truncated { what: "pixel data is missing" };
const MISFIT: DecodeError =
    DecodeError::Corrupt { what: "the compressed image has another shape than its header says" };

/// The samples of a grey frame, as written (sign and spare bits untouched).
pub(super) fn samples(frame: &Frame<'_>, format: &PixelFormat) -> Result<Vec<u16>, DecodeError> {
    let pixels = format.pixels();
    let stored = &*frame.bytes;
    let bytes_per_sample = format.bytes_per_sample();
    match frame.codec {
        Codec::Native => {
            let bytes = stored.get(..pixels * bytes_per_sample).ok_or(SHORT)?;
            Ok(match bytes_per_sample {
                1 => bytes.iter().map(|&b| b.into()).collect(),
                _ => bytes.as_chunks::<2>().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect(),
            })
        }
        Codec::Rle => {
            let planes = rle::planes(stored, pixels, bytes_per_sample)?;
            Ok(match planes.as_slice() {
                [low] => low.iter().map(|&b| b.into()).collect(),
                [high, low] => high.iter().zip(low).map(|(&h, &l)| u16::from_be_bytes([h, l])).collect(),
                _ => return Err(MISFIT),
            })
        }
        Codec::Jpeg => {
            let header = check_jpeg(stored, format)?;
            let bytes = jpeg(stored, &header)?;
            // The codec gives whole bytes by the stream's own precision, not by Bits Allocated.
            Ok(match header.precision {
                ..=8 => bytes.iter().map(|&b| b.into()).collect(),
                _ => bytes.as_chunks::<2>().0.iter().map(|&pair| u16::from_ne_bytes(pair)).collect(),
            })
        }
        Codec::Jpeg2000 => {
            let header = check_jpeg_2000(stored, format)?;
            // Two's complement in the bits allocated.
            let mask = if format.bits_allocated == 8 { 0xff } else { 0xffff };
            jpeg_2000::samples(stored, &header, |sample| sample as u16 & mask)
        }
        Codec::JpegLs | Codec::Other => Err(undecoded(frame.codec)),
    }
}

/// Interleaved red, green and blue of a colour frame, 8 bits.
pub(super) fn rgb(frame: &Frame<'_>, format: &PixelFormat, photometric: &str) -> Result<Vec<u8>, DecodeError> {
    let unsupported = |what: &str| Err(DecodeError::Unsupported { what: what.into() });
    if format.bits_allocated != 8 {
        return unsupported("colour DICOM with more than 8 bits per sample");
    }
    let pixels = format.pixels();
    let stored = &*frame.bytes;
    let interleaved = match frame.codec {
        Codec::Native if photometric == "YBR_FULL_422" => return unsupported("uncompressed YBR_FULL_422 DICOM"),
        Codec::Native => {
            let bytes = stored.get(..3 * pixels).ok_or(SHORT)?;
            if format.is_planar {
                interleave([&bytes[..pixels], &bytes[pixels..2 * pixels], &bytes[2 * pixels..]])
            } else {
                bytes.to_vec()
            }
        }
        Codec::Rle => match rle::planes(stored, pixels, 3)?.as_slice() {
            [first, second, third] => interleave([first, second, third]),
            _ => return Err(MISFIT),
        },
        Codec::Jpeg => {
            let header = check_jpeg(stored, format)?;
            jpeg(stored, &header)?
        }
        Codec::Jpeg2000 => {
            let header = check_jpeg_2000(stored, format)?;
            jpeg_2000::samples(stored, &header, |sample| sample as u8)?
        }
        Codec::JpegLs | Codec::Other => return Err(undecoded(frame.codec)),
    };
    // Codecs undo their own colour transform; written-out YBR_FULL is still to be converted (C.7.6.3.1.2).
    let is_ybr = photometric == "YBR_FULL" && matches!(frame.codec, Codec::Native | Codec::Rle);
    Ok(if is_ybr {
        interleaved.as_chunks::<3>().0.iter().flat_map(|&ybr| rgb_of_ybr(ybr)).collect()
    } else {
        interleaved
    })
}

fn interleave(planes: [&[u8]; 3]) -> Vec<u8> {
    let [first, second, third] = planes;
    first.iter().zip(second).zip(third).flat_map(|((&a, &b), &c)| [a, b, c]).collect()
}

fn rgb_of_ybr([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (f32::from(y), f32::from(cb) - 128.0, f32::from(cr) - 128.0);
    [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|v| v.round().clamp(0.0, 255.0) as u8)
}

fn undecoded(codec: Codec) -> DecodeError {
    DecodeError::Unsupported { what: format!("{} in DICOM", codec.name()) }
}

/// Compares the frame header of a JPEG with the data set.
fn check_jpeg(frame: &[u8], format: &PixelFormat) -> Result<JpegFrame, DecodeError> {
    if !frame.starts_with(&[0xff, 0xd8]) {
        return Err(DecodeError::Corrupt { what: "the JPEG pixel data does not begin like one" });
    }
    let header = jpeg_frame::read(frame)?;
    let is_lossless = header.process == 3;
    if header.precision > 8 && !is_lossless {
        return Err(DecodeError::Unsupported { what: "lossy JPEG with 12 bits per sample in DICOM".into() });
    }
    let fits = header.size.width == u32::from(format.columns)
        && header.size.height == u32::from(format.rows)
        && u16::from(header.components) == format.samples_per_pixel
        && u16::from(header.precision) <= format.bits_allocated
        && (2..=16).contains(&header.precision);
    if fits { check_length(frame, format).map(|()| header) } else { Err(MISFIT) }
}

/// Compares the SIZ segment (ITU-T T.800 A.5.1) of the codestream with the data set.
fn check_jpeg_2000(codestream: &[u8], format: &PixelFormat) -> Result<Jpeg2000Frame, DecodeError> {
    let header = jpeg_2000::read(codestream)?;
    let fits = header.size.width == u32::from(format.columns)
        && header.size.height == u32::from(format.rows)
        && header.offset == (0, 0)
        && header.components.len() == usize::from(format.samples_per_pixel)
        && header.components.iter().all(|c| u16::from(c.depth) <= format.bits_allocated && c.steps == [1, 1]);
    if fits { check_length(codestream, format).map(|()| header) } else { Err(MISFIT) }
}

/// A large image is compressed to a 64th of its size or less only when it holds nothing.
fn check_length(codestream: &[u8], format: &PixelFormat) -> Result<(), DecodeError> {
    const LARGE_BYTES: u64 = 16 << 20;
    const RATIO_MAX: u64 = 64;
    let image = format.frame_bytes();
    if image >= LARGE_BYTES && (codestream.len() as u64) < image / RATIO_MAX {
        return Err(DecodeError::Corrupt { what: "the compressed pixel data are too short for an image of this size" });
    }
    Ok(())
}

/// The samples of a checked JPEG, interleaved: one byte each up to 8 bits, two above, in the order of this machine.
fn jpeg(codestream: &[u8], header: &JpegFrame) -> Result<Vec<u8>, DecodeError> {
    let bytes_per_sample = if header.precision > 8 { 2 } else { 1 };
    let length = header.size.pixels() as usize * usize::from(header.components) * bytes_per_sample;
    let decoded = catch_codec_panic(|| {
        let mut decoder = jpeg_decoder::Decoder::new(codestream);
        decoder.set_max_decoding_buffer_size(length);
        decoder.decode().map_err(|_| DecodeError::Corrupt { what: "the compressed pixel data cannot be decoded" })
    })?;
    if decoded.len() == length { Ok(decoded) } else { Err(MISFIT) }
}

/// Most bytes that a frame takes from here to the grey levels, from its headers.
pub(super) fn decoding_bytes(frame: &Frame<'_>, format: &PixelFormat) -> Result<u64, DecodeError> {
    let pixels = format.pixels() as u64;
    let samples = pixels * u64::from(format.samples_per_pixel);
    let for_codec = match frame.codec {
        Codec::Native | Codec::JpegLs | Codec::Other => 0,
        Codec::Rle => samples * format.bytes_per_sample() as u64,
        Codec::Jpeg => {
            let header = check_jpeg(&frame.bytes, format)?;
            let per_sample = if header.process == 3 { 6 } else { 3 };
            samples * per_sample + header.coefficient_bytes()
        }
        Codec::Jpeg2000 => jpeg_2000::decoding_bytes(&check_jpeg_2000(&frame.bytes, format)?),
    };
    // Grey: 16-bit samples, then grey levels; colour: 8-bit samples, as red, green and blue where the codec does not
    // convert them, then grey levels.
    let for_samples = pixels
        * match (format.samples_per_pixel, frame.codec) {
            (1, _) => 3,
            (_, Codec::Jpeg | Codec::Jpeg2000) => 4,
            _ => 7,
        };
    let for_copies = if matches!(frame.bytes, Cow::Owned(_)) { 2 * frame.bytes.len() as u64 } else { 0 };
    Ok(for_samples.saturating_add(for_codec).saturating_add(for_copies))
}

/// As [`decoding_bytes`], for a frame that is not known yet.
pub(super) fn decoding_bytes_max(format: &PixelFormat) -> u64 {
    20 * format.pixels() as u64 * u64::from(format.samples_per_pixel)
}

//! Samples of the first frame of a DICOM image, native or compressed.
//!
//! JPEG and JPEG 2000 go through `dicom-pixeldata`, which writes past its buffers when a codestream is larger
//! than the header says; hence the headers of both are compared first.

use std::borrow::Cow;

use dicom_core::smallvec::smallvec;
use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use dicom_pixeldata::PixelDecoder;

use super::data_set::DataSet;
use super::pixel_format::PixelFormat;
use super::rle;
use crate::decode::error::{DecodeError, catch_codec_panic};
use crate::decode::jpeg_frame;

/// Compression of the pixel data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Native,
    Rle,
    Jpeg,
    Jpeg2000,
}

const SHORT: DecodeError = DecodeError::Truncated { what: "pixel data is missing" };
const MISFIT: DecodeError =
    DecodeError::Corrupt { what: "the compressed image has another shape than its header says" };

/// The samples of a grey frame, as written (sign and spare bits untouched).
pub(super) fn samples(data_set: &DataSet<'_>, format: &PixelFormat, codec: Codec) -> Result<Vec<u16>, DecodeError> {
    let pixels = format.pixels();
    let frame = first_frame(data_set, format, codec)?;
    let (bytes, bytes_per_sample) = match codec {
        Codec::Native => (frame, format.bytes_per_sample()),
        Codec::Rle => {
            let planes = rle::planes(&frame, pixels, format.bytes_per_sample())?;
            return Ok(match planes.as_slice() {
                [low] => low.iter().map(|&b| b.into()).collect(),
                [high, low] => high.iter().zip(low).map(|(&h, &l)| u16::from_be_bytes([h, l])).collect(),
                _ => return Err(MISFIT),
            });
        }
        Codec::Jpeg => {
            let precision = check_jpeg(&frame, format)?;
            // The codec gives whole bytes by the stream's own precision, not by Bits Allocated.
            (decoded(&frame, format, codec)?, if precision > 8 { 2 } else { 1 })
        }
        Codec::Jpeg2000 => {
            check_jpeg_2000(&frame, format)?;
            (decoded(&frame, format, codec)?, format.bytes_per_sample())
        }
    };
    let bytes = bytes.get(..pixels * bytes_per_sample).ok_or(SHORT)?;
    Ok(match bytes_per_sample {
        1 => bytes.iter().map(|&b| b.into()).collect(),
        _ => bytes.as_chunks::<2>().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect(),
    })
}

/// Interleaved red, green and blue of a colour frame, 8 bits.
pub(super) fn rgb(
    data_set: &DataSet<'_>,
    format: &PixelFormat,
    codec: Codec,
    photometric: &str,
) -> Result<Vec<u8>, DecodeError> {
    let unsupported = |what: &str| Err(DecodeError::Unsupported { what: what.into() });
    if format.bits_allocated != 8 {
        return unsupported("colour DICOM with more than 8 bits per sample");
    }
    let pixels = format.pixels();
    let frame = first_frame(data_set, format, codec)?;
    let interleaved = match codec {
        Codec::Native if photometric == "YBR_FULL_422" => return unsupported("uncompressed YBR_FULL_422 DICOM"),
        Codec::Native => {
            let bytes = frame.get(..3 * pixels).ok_or(SHORT)?;
            if format.is_planar {
                interleave([&bytes[..pixels], &bytes[pixels..2 * pixels], &bytes[2 * pixels..]])
            } else {
                bytes.to_vec()
            }
        }
        Codec::Rle => match rle::planes(&frame, pixels, 3)?.as_slice() {
            [first, second, third] => interleave([first, second, third]),
            _ => return Err(MISFIT),
        },
        Codec::Jpeg => {
            check_jpeg(&frame, format)?;
            decoded(&frame, format, codec)?.get(..3 * pixels).ok_or(SHORT)?.to_vec()
        }
        Codec::Jpeg2000 => {
            check_jpeg_2000(&frame, format)?;
            decoded(&frame, format, codec)?.get(..3 * pixels).ok_or(SHORT)?.to_vec()
        }
    };
    // Codecs undo their own colour transform; written-out YBR_FULL is still to be converted (C.7.6.3.1.2).
    let is_ybr = photometric == "YBR_FULL" && matches!(codec, Codec::Native | Codec::Rle);
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

/// The bytes of the first frame: little-endian samples when native, one codestream when compressed.
fn first_frame<'a>(data_set: &DataSet<'a>, format: &PixelFormat, codec: Codec) -> Result<Cow<'a, [u8]>, DecodeError> {
    let tag = tags::PIXEL_DATA;
    let Some((offsets, fragments)) = data_set.fragments(tag) else {
        let bytes = data_set.bytes(tag).unwrap_or_default();
        if codec != Codec::Native {
            return Err(DecodeError::Corrupt { what: "a compressed transfer syntax with uncompressed pixel data" });
        }
        if bytes.is_empty() {
            return Err(DecodeError::NoPixelData);
        }
        // OW is written word by word; two 8-bit samples share a word, the first one in its lower byte.
        return Ok(match data_set.is_big_endian() {
            true => data_set.words(tag).unwrap_or_default().into_iter().flat_map(u16::to_le_bytes).collect(),
            false => Cow::Borrowed(bytes),
        });
    };
    match fragments.as_slice() {
        [] => Err(DecodeError::NoPixelData),
        [only] => Ok(Cow::Borrowed(only)),
        [first, ..] if fragments.len() as u64 == u64::from(format.frames) => Ok(Cow::Borrowed(first)),
        several => {
            // Offsets count from the first fragment's item header (A.4).
            let next_frame = offsets.get(1).map_or(usize::MAX, |&offset| offset as usize);
            let mut position = 0;
            let mut frame = Vec::new();
            for fragment in several {
                if position >= next_frame {
                    break;
                }
                frame.extend_from_slice(fragment);
                position += fragment.len() + 8;
            }
            Ok(Cow::Owned(frame))
        }
    }
}

/// Compares the frame header of a JPEG with the data set; returns its precision in bits.
fn check_jpeg(frame: &[u8], format: &PixelFormat) -> Result<u8, DecodeError> {
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
    if fits { Ok(header.precision) } else { Err(MISFIT) }
}

/// Compares the SIZ segment (ITU-T T.800 A.5.1) with the data set and looks for the end of the codestream.
fn check_jpeg_2000(frame: &[u8], format: &PixelFormat) -> Result<(), DecodeError> {
    // Some writers wrap the codestream in JP2 boxes, so its start is searched.
    let start = frame
        .windows(4)
        .position(|w| w == [0xff, 0x4f, 0xff, 0x51])
        .ok_or(DecodeError::Corrupt { what: "the JPEG 2000 pixel data has no codestream" })?;
    let siz = frame.get(start + 4..).ok_or(SHORT)?;
    let number = |at: usize| siz.get(at..).and_then(|b| b.first_chunk()).map(|&b| u32::from_be_bytes(b)).ok_or(SHORT);
    let short = |at: usize| siz.get(at..).and_then(|b| b.first_chunk()).map(|&b| u16::from_be_bytes(b)).ok_or(SHORT);
    let fits = number(4)? == u32::from(format.columns)
        && number(8)? == u32::from(format.rows)
        && (number(12)?, number(16)?) == (0, 0)
        && short(36)? == format.samples_per_pixel;
    let components = siz.get(38..38 + 3 * usize::from(format.samples_per_pixel)).ok_or(SHORT)?;
    let is_plain = components
        .as_chunks::<3>()
        .0
        .iter()
        .all(|&[depth, dx, dy]| u16::from(depth & 0x7f) < format.bits_allocated && (dx, dy) == (1, 1));
    if !fits || !is_plain {
        return Err(MISFIT);
    }
    // Fragments are padded to even length with zeros.
    let padding = frame.iter().rev().take_while(|&&b| b == 0).count();
    if frame[..frame.len() - padding].ends_with(&[0xff, 0xd9]) {
        Ok(())
    } else {
        Err(DecodeError::Truncated { what: "the JPEG 2000 codestream has no end marker" })
    }
}

/// Runs the codec on one checked codestream, wrapped in an object of its own.
fn decoded<'a>(frame: &[u8], format: &PixelFormat, codec: Codec) -> Result<Cow<'a, [u8]>, DecodeError> {
    let damaged = |_| DecodeError::Corrupt { what: "the compressed pixel data cannot be decoded" };
    let transfer_syntax = if codec == Codec::Jpeg { uids::JPEG_LOSSLESS } else { uids::JPEG2000 };
    catch_codec_panic(|| {
        let us = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
        let photometric = if format.samples_per_pixel == 1 { "MONOCHROME2" } else { "RGB" };
        let pixel_data = PixelFragmentSequence::new(Vec::new(), smallvec![frame.to_vec()]);
        let object = InMemDicomObject::from_element_iter([
            us(tags::SAMPLES_PER_PIXEL, format.samples_per_pixel),
            DataElement::new(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, PrimitiveValue::from(photometric)),
            us(tags::ROWS, format.rows),
            us(tags::COLUMNS, format.columns),
            us(tags::BITS_ALLOCATED, format.bits_allocated),
            us(tags::BITS_STORED, format.stored.bits_stored),
            us(tags::HIGH_BIT, format.stored.bits_stored - 1),
            us(tags::PIXEL_REPRESENTATION, format.stored.is_signed.into()),
            us(tags::PLANAR_CONFIGURATION, 0),
            DataElement::new(tags::PIXEL_DATA, VR::OB, pixel_data),
        ]);
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(transfer_syntax)
            .media_storage_sop_class_uid(uids::SECONDARY_CAPTURE_IMAGE_STORAGE)
            .media_storage_sop_instance_uid("1.2.3")
            .build()
            .map_err(|_| DecodeError::Corrupt { what: "the compressed pixel data cannot be wrapped" })?;
        let pixels = object.with_exact_meta(meta).decode_pixel_data_frame(0).map_err(damaged)?.into_data();
        Ok(Cow::Owned(pixels))
    })
}

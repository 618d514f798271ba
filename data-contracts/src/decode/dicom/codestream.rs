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

use super::frame::Frame;
use super::pixel_format::PixelFormat;
use super::rle;
use super::transfer_syntax::Codec;
use crate::decode::error::{DecodeError, catch_codec_panic};
use crate::decode::{jpeg_2000_frame, jpeg_frame};

const SHORT: DecodeError = DecodeError::Truncated { what: "pixel data is missing" };
const MISFIT: DecodeError =
    DecodeError::Corrupt { what: "the compressed image has another shape than its header says" };

/// The samples of a grey frame, as written (sign and spare bits untouched).
pub(super) fn samples(frame: &Frame<'_>, format: &PixelFormat) -> Result<Vec<u16>, DecodeError> {
    let pixels = format.pixels();
    let stored = &*frame.bytes;
    let (bytes, bytes_per_sample) = match frame.codec {
        Codec::Native => (Cow::Borrowed(stored), format.bytes_per_sample()),
        Codec::Rle => {
            let planes = rle::planes(stored, pixels, format.bytes_per_sample())?;
            return Ok(match planes.as_slice() {
                [low] => low.iter().map(|&b| b.into()).collect(),
                [high, low] => high.iter().zip(low).map(|(&h, &l)| u16::from_be_bytes([h, l])).collect(),
                _ => return Err(MISFIT),
            });
        }
        Codec::Jpeg => {
            let precision = check_jpeg(stored, format)?;
            // The codec gives whole bytes by the stream's own precision, not by Bits Allocated.
            (decoded(frame, format)?, if precision > 8 { 2 } else { 1 })
        }
        Codec::Jpeg2000 => {
            check_jpeg_2000(stored, format)?;
            (decoded(frame, format)?, format.bytes_per_sample())
        }
        Codec::JpegLs | Codec::Other => return Err(undecoded(frame.codec)),
    };
    let bytes = bytes.get(..pixels * bytes_per_sample).ok_or(SHORT)?;
    Ok(match bytes_per_sample {
        1 => bytes.iter().map(|&b| b.into()).collect(),
        _ => bytes.as_chunks::<2>().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect(),
    })
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
            check_jpeg(stored, format)?;
            decoded(frame, format)?.get(..3 * pixels).ok_or(SHORT)?.to_vec()
        }
        Codec::Jpeg2000 => {
            check_jpeg_2000(stored, format)?;
            decoded(frame, format)?.get(..3 * pixels).ok_or(SHORT)?.to_vec()
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

/// Compares the SIZ segment (ITU-T T.800 A.5.1) with the data set.
fn check_jpeg_2000(frame: &[u8], format: &PixelFormat) -> Result<(), DecodeError> {
    let header = jpeg_2000_frame::read(frame)?;
    let fits = header.size.width == u32::from(format.columns)
        && header.size.height == u32::from(format.rows)
        && header.offset == (0, 0)
        && header.components.len() == usize::from(format.samples_per_pixel);
    let is_plain = |&(depth, steps): &(u8, [u8; 2])| u16::from(depth) <= format.bits_allocated && steps == [1, 1];
    if fits && header.components.iter().all(is_plain) { Ok(()) } else { Err(MISFIT) }
}

/// Runs the codec on one checked codestream, wrapped in an object of its own.
fn decoded<'a>(frame: &Frame<'_>, format: &PixelFormat) -> Result<Cow<'a, [u8]>, DecodeError> {
    let damaged = |_| DecodeError::Corrupt { what: "the compressed pixel data cannot be decoded" };
    let transfer_syntax = if frame.codec == Codec::Jpeg { uids::JPEG_LOSSLESS } else { uids::JPEG2000 };
    catch_codec_panic(|| {
        let us = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
        let photometric = if format.samples_per_pixel == 1 { "MONOCHROME2" } else { "RGB" };
        let pixel_data = PixelFragmentSequence::new(Vec::new(), smallvec![frame.bytes.to_vec()]);
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

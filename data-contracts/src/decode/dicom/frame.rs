//! The bytes of the first frame, and how they are compressed.
//!
//! The transfer syntax says whether pixel data are compressed; where the data contradict it, they are read as what they
//! are, provided that this is unambiguous: a codestream with its own header, or exactly the bytes of an uncompressed
//! image.

use std::borrow::Cow;

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::pixel_format::PixelFormat;
use super::transfer_syntax::{Codec, TransferSyntax};
use crate::decode::error::DecodeError;
use crate::decode::{jpeg_2000, jpeg_frame};

/// The first frame as it is stored.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// Little-endian samples when native, one codestream when compressed; padding and the boxes of a JP2 file are cut
    /// off.
    pub bytes: Cow<'a, [u8]>,
    pub codec: Codec,
    /// Bytes behind the end of the codestream.
    pub padding: usize,
}

const SHORT: DecodeError = DecodeError::Truncated { what: "pixel data is missing" };

impl<'a> Frame<'a> {
    pub(super) fn first(
        data_set: &DataSet<'a>,
        format: &PixelFormat,
        declared: &TransferSyntax<'_>,
    ) -> Result<Self, DecodeError> {
        let tag = tags::PIXEL_DATA;
        if let Some((offsets, fragments)) = data_set.fragments(tag) {
            return Self::encapsulated(&offsets, &fragments, format, declared);
        }
        let bytes = data_set.bytes(tag).unwrap_or_default();
        if bytes.is_empty() {
            return Err(DecodeError::NoPixelData);
        }
        let length = bytes.len() as u64;
        let (frame_length, all) = (format.frame_bytes(), format.frame_bytes() * u64::from(format.frames.max(1)));
        // Values have an even length (PS3.5 7.1.1).
        let is_exact = length == all || length == all + all % 2 || length == frame_length + frame_length % 2;
        let is_native = is_exact || (declared.codec == Some(Codec::Native) && length >= frame_length);
        if is_native {
            return Ok(Self { bytes: native_bytes(data_set, bytes), codec: Codec::Native, padding: 0 });
        }
        if let Some((offsets, fragments)) = data_set.fragments_of(bytes).filter(|(_, fragments)| !fragments.is_empty())
        {
            return Self::encapsulated(&offsets, &fragments, format, declared);
        }
        if let Some(codec) = codestream_codec(bytes) {
            return Self::compressed(Cow::Borrowed(bytes), codec);
        }
        match declared.codec {
            None if length >= frame_length => {
                Ok(Self { bytes: native_bytes(data_set, bytes), codec: Codec::Native, padding: 0 })
            }
            None | Some(Codec::Native) => Err(SHORT),
            _ => Err(declared.contradicted(format!(
                "its pixel data are {length} bytes without a codestream, where an uncompressed image has {all}"
            ))),
        }
    }

    /// The first frame of encapsulated pixel data (PS3.5 A.4).
    fn encapsulated(
        offsets: &[u32],
        fragments: &[&'a [u8]],
        format: &PixelFormat,
        declared: &TransferSyntax<'_>,
    ) -> Result<Self, DecodeError> {
        let bytes: Cow<'a, [u8]> = match fragments {
            [] => return Err(DecodeError::NoPixelData),
            [only] => Cow::Borrowed(only),
            [first, ..] if fragments.len() as u64 == u64::from(format.frames) => Cow::Borrowed(first),
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
                Cow::Owned(frame)
            }
        };
        if bytes.is_empty() {
            return Err(DecodeError::NoPixelData);
        }
        let length = format.frame_bytes();
        match (codestream_codec(&bytes), declared.codec) {
            (Some(codec), _) => Self::compressed(bytes, codec),
            (None, None | Some(Codec::Native)) if bytes.len() as u64 == length + length % 2 => {
                Ok(Self { bytes, codec: Codec::Native, padding: 0 })
            }
            (None, None | Some(Codec::Native | Codec::Other)) => {
                Err(declared.contradicted("its pixel data are fragments in no known compression".into()))
            }
            // The codec says what is wrong with its stream.
            (None, Some(codec)) => Self::compressed(bytes, codec),
        }
    }

    /// Cuts off what surrounds the codestream: the boxes of a JP2 file, a byte for an even length, of any value, or
    /// several.
    fn compressed(bytes: Cow<'a, [u8]>, codec: Codec) -> Result<Self, DecodeError> {
        let place = match codec {
            Codec::Jpeg if bytes.starts_with(&JPEG_START) => 0..jpeg_frame::read(&bytes)?.length,
            Codec::Jpeg2000 => jpeg_2000::read(&bytes)?.codestream,
            _ => 0..bytes.len(),
        };
        let padding = bytes.len() - place.end;
        let bytes = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[place]),
            Cow::Owned(mut bytes) => {
                bytes.truncate(place.end);
                bytes.drain(..place.start);
                Cow::Owned(bytes)
            }
        };
        Ok(Self { bytes, codec, padding })
    }
}

const JPEG_START: [u8; 2] = [0xff, 0xd8];

/// The codec of a codestream that begins like one; `None` for other bytes.
fn codestream_codec(bytes: &[u8]) -> Option<Codec> {
    let number = |at: usize| bytes.get(at..)?.first_chunk().map(|&b| u32::from_le_bytes(b));
    if jpeg_2000::is_at_start(bytes) {
        Some(Codec::Jpeg2000)
    } else if bytes.starts_with(&JPEG_START) && bytes.get(2) == Some(&0xff) {
        Some(if jpeg_frame::is_jpeg_ls(bytes) { Codec::JpegLs } else { Codec::Jpeg })
    } else if (1..=15).contains(&number(0)?) && number(4)? == 64 && bytes.len() > 64 {
        // PS3.5 G.5: the number of segments, then their offsets; the first one follows the header.
        Some(Codec::Rle)
    } else {
        None
    }
}

/// OW is written word by word; two 8-bit samples share a word, the first one in its lower byte.
fn native_bytes<'a>(data_set: &DataSet<'a>, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    match data_set.is_big_endian() {
        true => data_set.words(tags::PIXEL_DATA).unwrap_or_default().into_iter().flat_map(u16::to_le_bytes).collect(),
        false => Cow::Borrowed(bytes),
    }
}

impl TransferSyntax<'_> {
    /// The refusal of a file whose data contradict this declaration and do not say what they are.
    pub(super) fn contradicted(&self, found: String) -> DecodeError {
        match (self.codec, self.uid) {
            // A compression that is not decoded: no contradiction is known.
            (Some(Codec::Other | Codec::JpegLs), Some(uid)) => {
                DecodeError::Unsupported { what: format!("DICOM transfer syntax {uid}") }
            }
            _ => DecodeError::Contradiction { declared: self.describe(), found },
        }
    }
}

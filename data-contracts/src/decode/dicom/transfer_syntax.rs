//! What a transfer syntax UID declares (PS3.5 annex A), and whether it is what the file holds.

use dicom_dictionary_std::uids;

use super::encoding::Encoding;
use crate::decode::error::DecodeError;
use crate::decode::notes::TransferSyntaxNotes;

/// Compression of the pixel data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Native,
    Rle,
    Jpeg,
    JpegLs,
    Jpeg2000,
    /// A registered compression that is not decoded.
    Other,
}

impl Codec {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "uncompressed",
            Self::Rle => "RLE",
            Self::Jpeg => "JPEG",
            Self::JpegLs => "JPEG-LS",
            Self::Jpeg2000 => "JPEG 2000",
            Self::Other => "another compression",
        }
    }
}

/// The transfer syntax that the meta information declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TransferSyntax<'a> {
    /// `None` when the file names none, or something that is no UID.
    pub uid: Option<&'a str>,
    pub encoding: Encoding,
    /// `None` when the file names none.
    pub codec: Option<Codec>,
    pub is_deflated: bool,
}

/// HTJ2K (ITU-T T.814): JPEG 2000 with another block coder. It is not decoded; the codestream says what it is.
const HIGH_THROUGHPUT_JPEG_2000: [&str; 3] =
    ["1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"];
/// Compressions of PS3.5 A.4 that are registered and not decoded, for instance MPEG, HEVC and JPEG XL.
const OTHER_COMPRESSIONS: &str = "1.2.840.10008.1.2.4.";

impl<'a> TransferSyntax<'a> {
    /// # Errors
    /// For a UID that says neither how the elements nor how the pixels are written.
    pub(super) fn declared(uid: Option<&'a str>) -> Result<Self, DecodeError> {
        let with = |encoding, codec| Self { uid, encoding, codec: Some(codec), is_deflated: false };
        // A UID is a registered number; anything else in its place says nothing and is not repeated.
        let is_uid =
            |uid: &&str| !uid.is_empty() && uid.len() <= 64 && uid.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let Some(known) = uid.filter(is_uid) else {
            return Ok(Self { uid: None, encoding: Encoding::IMPLICIT, codec: None, is_deflated: false });
        };
        Ok(match known {
            uids::IMPLICIT_VR_LITTLE_ENDIAN => with(Encoding::IMPLICIT, Codec::Native),
            uids::EXPLICIT_VR_LITTLE_ENDIAN | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => {
                with(Encoding::EXPLICIT, Codec::Native)
            }
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => {
                Self { is_deflated: true, ..with(Encoding::EXPLICIT, Codec::Native) }
            }
            "1.2.840.10008.1.2.2" => with(Encoding::BIG_ENDIAN, Codec::Native),
            uids::RLE_LOSSLESS => with(Encoding::EXPLICIT, Codec::Rle),
            uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT | uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
                with(Encoding::EXPLICIT, Codec::Jpeg)
            }
            uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => with(Encoding::EXPLICIT, Codec::JpegLs),
            uids::JPEG2000_LOSSLESS | uids::JPEG2000 => with(Encoding::EXPLICIT, Codec::Jpeg2000),
            other if HIGH_THROUGHPUT_JPEG_2000.contains(&other) => with(Encoding::EXPLICIT, Codec::Jpeg2000),
            other if other.starts_with(OTHER_COMPRESSIONS) => with(Encoding::EXPLICIT, Codec::Other),
            other => return Err(DecodeError::Unsupported { what: format!("DICOM transfer syntax {other}") }),
        })
    }

    /// For people: the UID with its meaning, or that there is none.
    pub(super) fn describe(&self) -> String {
        match (self.uid, self.codec) {
            (Some(uid), Some(codec)) => format!("transfer syntax {uid} ({}, {})", self.encoding.name(), codec.name()),
            _ => "no transfer syntax".to_owned(),
        }
    }

    /// Compares what is declared with what the file holds.
    pub(super) fn notes(&self, found: &Found) -> TransferSyntaxNotes {
        let deflated = if found.is_deflated { "deflated " } else { "" };
        let used = format!("{deflated}{}, {}", found.encoding.name(), found.codec.name());
        let agrees =
            self.codec == Some(found.codec) && self.encoding == found.encoding && self.is_deflated == found.is_deflated;
        TransferSyntaxNotes { declared: self.uid.map(str::to_owned), used, agrees }
    }
}

/// How a file's elements and pixels are written indeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub encoding: Encoding,
    pub codec: Codec,
    pub is_deflated: bool,
}

//! The container of a DICOM file (PS3.10 section 7): preamble, file meta information, data set.

use dicom_dictionary_std::uids;
use flate2::read::DeflateDecoder;
use std::io::Read;

use super::data_set::{Encoding, read_header};
use crate::decode::error::DecodeError;

/// Transfer syntax and data set of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Part10<'a> {
    /// The transfer syntax UID of `body`.
    pub transfer_syntax: &'a str,
    /// The data set.
    pub body: &'a [u8],
}

const META: Encoding = Encoding { has_vr: true, is_big_endian: false };
const TRANSFER_SYNTAX_UID: u32 = 0x0002_0010;

/// Finds a DICOM file by its magic; `None` when the bytes are something else.
///
/// Also taken: files without preamble that begin with `DICM` or with the meta information itself, and bare
/// data sets in little endian, whose first element lies in group 0008.
pub(in crate::decode) fn part_10(bytes: &[u8]) -> Option<Part10<'_>> {
    if bytes.get(128..132) == Some(b"DICM") {
        Some(after_meta(&bytes[132..]))
    } else if let Some(rest) = bytes.strip_prefix(b"DICM") {
        Some(after_meta(rest))
    } else if bytes.starts_with(&[0x02, 0x00, 0x00, 0x00, b'U', b'L']) {
        Some(after_meta(bytes))
    } else {
        bare_data_set(bytes)
    }
}

/// Meta information is Explicit VR Little Endian and ends where group 0002 ends (PS3.10 7.1). Its group length
/// is not trusted. Without a transfer syntax the default one holds (PS3.5 10.1).
fn after_meta(bytes: &[u8]) -> Part10<'_> {
    let mut transfer_syntax = uids::IMPLICIT_VR_LITTLE_ENDIAN;
    let mut at = 0;
    while let Some(header) = read_header(&bytes[at..], META).filter(|header| header.tag >> 16 == 0x0002) {
        let start = at + header.size;
        let Some(value) = header.length.and_then(|length| bytes.get(start..start.checked_add(length)?)) else { break };
        if header.tag == TRANSFER_SYNTAX_UID {
            transfer_syntax = std::str::from_utf8(value).unwrap_or_default().trim_matches(['\0', ' ']);
        }
        at = start + value.len();
    }
    Part10 { transfer_syntax, body: &bytes[at..] }
}

fn bare_data_set(bytes: &[u8]) -> Option<Part10<'_>> {
    let explicit = read_header(bytes, META)?;
    let is_first = |tag: u32| (0x0008_0000..=0x0008_0070).contains(&tag);
    if !is_first(explicit.tag) {
        return None;
    }
    if explicit.has_known_vr {
        return Some(Part10 { transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN, body: bytes });
    }
    let implicit = read_header(bytes, Encoding { has_vr: false, is_big_endian: false })?;
    let fits = implicit.length.is_some_and(|length| length <= bytes.len() - implicit.size);
    fits.then_some(Part10 { transfer_syntax: uids::IMPLICIT_VR_LITTLE_ENDIAN, body: bytes })
}

/// PS3.5 A.5: the data set as one raw deflate stream. A small file may not blow up memory: the size is bounded
/// by what the largest allowed image could need.
pub(super) fn inflate(body: &[u8], max_pixels: u64) -> Result<Vec<u8>, DecodeError> {
    let bytes_max = max_pixels.saturating_mul(6).saturating_add(16 << 20);
    let mut inflated = Vec::new();
    DeflateDecoder::new(body).take(bytes_max).read_to_end(&mut inflated).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated { what: "the deflated data set" },
        _ => DecodeError::Corrupt { what: "the deflated data set" },
    })?;
    Ok(inflated)
}

//! The container of a DICOM file (PS3.10 section 7): preamble, file meta information, data set.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use super::data_set::{Header, read_header};
use super::encoding::{CERTAIN, Encoding};
use super::transfer_syntax::TransferSyntax;
use crate::decode::error::DecodeError;

/// Transfer syntax and data set of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Part10<'a> {
    /// The transfer syntax UID that the meta information names.
    pub transfer_syntax: Option<&'a str>,
    /// The data set.
    pub body: &'a [u8],
}

const TRANSFER_SYNTAX_UID: u32 = 0x0002_0010;

/// Finds a DICOM file by its magic; `None` when the bytes are something else.
///
/// Also taken: files without preamble, without `DICM`, or without both, and bare data sets, whose first element lies in
/// group 0008.
pub(in crate::decode) fn part_10(bytes: &[u8]) -> Option<Part10<'_>> {
    let begins_meta = |bytes: &[u8]| bytes.starts_with(b"\x02\0\0\0UL") || bytes.starts_with(b"\x02\0\0\0\x04\0\0\0");
    let behind_preamble = bytes.get(128..).unwrap_or_default();
    if let Some(rest) = behind_preamble.strip_prefix(b"DICM").or_else(|| bytes.strip_prefix(b"DICM")) {
        Some(after_meta(rest))
    } else if let Some(meta) = [bytes, behind_preamble].into_iter().find(|bytes| begins_meta(bytes)) {
        Some(after_meta(meta))
    } else {
        bare_data_set(bytes)
    }
}

/// Meta information is Explicit VR Little Endian and ends where group 0002 ends (PS3.10 7.1). Its group length
/// is not trusted. Some writers leave the VRs out here too.
fn after_meta(bytes: &[u8]) -> Part10<'_> {
    let mut transfer_syntax = None;
    let mut at = 0;
    while let Some(header) = meta_element(&bytes[at..]) {
        let start = at + header.size;
        let Some(value) = header.length.and_then(|length| bytes.get(start..start.checked_add(length)?)) else { break };
        if header.tag == TRANSFER_SYNTAX_UID {
            let uid =
                std::str::from_utf8(value).unwrap_or_default().trim_matches(|c: char| c == '\0' || c.is_whitespace());
            transfer_syntax = Some(uid).filter(|uid| !uid.is_empty());
        }
        at = start + value.len();
    }
    Part10 { transfer_syntax, body: &bytes[at..] }
}

fn meta_element(bytes: &[u8]) -> Option<Header> {
    let explicit = read_header(bytes, Encoding::EXPLICIT).filter(|header| header.tag >> 16 == 0x0002)?;
    if explicit.has_known_vr { Some(explicit) } else { read_header(bytes, Encoding::IMPLICIT) }
}

fn bare_data_set(bytes: &[u8]) -> Option<Part10<'_>> {
    let is_first = |tag: u32| (0x0008_0000..=0x0008_0070).contains(&tag);
    let body = Part10 { transfer_syntax: None, body: bytes };
    let explicit = |encoding| read_header(bytes, encoding).is_some_and(|h| is_first(h.tag) && h.has_known_vr);
    if explicit(Encoding::EXPLICIT) || explicit(Encoding::BIG_ENDIAN) {
        return Some(body);
    }
    let implicit = read_header(bytes, Encoding::IMPLICIT).filter(|header| is_first(header.tag))?;
    implicit.length.is_some_and(|length| length <= bytes.len() - implicit.size).then_some(body)
}

/// The data set's bytes, inflated where they are deflated, and whether they were. What is declared counts, unless the
/// first elements show that it is wrong.
pub(super) fn plain_body<'a>(
    body: &'a [u8],
    declared: &TransferSyntax<'_>,
    max_pixels: u64,
) -> Result<(Cow<'a, [u8]>, bool), DecodeError> {
    let elements = |bytes: &[u8]| declared.encoding.found_in(bytes).elements_that_fit(bytes);
    if declared.is_deflated {
        if elements(body) >= CERTAIN {
            return Ok((Cow::Borrowed(body), false));
        }
        return inflate(body, max_pixels).map(|inflated| (inflated.into(), true));
    }
    if elements(body) == 0
        && let Ok(inflated) = inflate(body, max_pixels)
        && elements(&inflated) >= CERTAIN
    {
        return Ok((inflated.into(), true));
    }
    Ok((Cow::Borrowed(body), false))
}

/// PS3.5 A.5: the data set as one raw deflate stream; some writers add the zlib header. A small file may not blow up
/// memory: the size is bounded by what the largest allowed image could need.
fn inflate(body: &[u8], max_pixels: u64) -> Result<Vec<u8>, DecodeError> {
    let bytes_max = max_pixels.saturating_mul(6).saturating_add(16 << 20);
    let mut inflated = Vec::new();
    // RFC 1950: 32K window, deflate, and a check that the first two bytes are a multiple of 31.
    let has_zlib_header =
        body.first_chunk().is_some_and(|&b: &[u8; 2]| b[0] == 0x78 && u16::from_be_bytes(b) % 31 == 0);
    let mut decoder: Box<dyn Read> =
        if has_zlib_header { Box::new(ZlibDecoder::new(body)) } else { Box::new(DeflateDecoder::new(body)) };
    decoder.by_ref().take(bytes_max).read_to_end(&mut inflated).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated { what: "the deflated data set" },
        _ => DecodeError::Corrupt { what: "the deflated data set" },
    })?;
    Ok(inflated)
}

//! The container of a DICOM file (PS3.10 section 7): preamble, file meta information, data set.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, ZlibDecoder};

use super::data_set::{DataSet, Header, read_header};
use super::encoding::{CERTAIN, Encoding};
use super::pixel_format::PixelFormat;
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
        return inflate(body, declared, max_pixels).map(|inflated| (inflated.into(), true));
    }
    if elements(body) == 0
        && let Ok(inflated) = inflate(body, declared, max_pixels)
        && elements(&inflated) >= CERTAIN
    {
        return Ok((inflated.into(), true));
    }
    Ok((Cow::Borrowed(body), false))
}

/// Elements before the pixel data of a deflated data set, bytes.
const HEADER_BYTES_MAX: u64 = 16 << 20;
/// What is inflated to find the size of the image, bytes.
const HEAD_BYTES: u64 = 4 << 20;

/// As [`plain_body`], for the elements before the pixel data: the first bytes, and how many bytes inflating all may take.
pub(super) fn plain_head<'a>(
    body: &'a [u8],
    declared: &TransferSyntax<'_>,
    max_pixels: u64,
) -> Result<(Cow<'a, [u8]>, u64), DecodeError> {
    let elements = |bytes: &[u8]| declared.encoding.found_in(bytes).elements_that_fit(bytes);
    let is_plain = if declared.is_deflated { elements(body) >= CERTAIN } else { elements(body) > 0 };
    if is_plain {
        return Ok((Cow::Borrowed(body), 0));
    }
    let mut head = Vec::new();
    read_more(&mut *deflate_reader(body), HEAD_BYTES, &mut head)?;
    let bytes_max = inflated_bytes_max(&head, declared, max_pixels) + 2 * HEAD_BYTES;
    Ok((Cow::Owned(head), bytes_max))
}

/// The data set of a deflated one. A small file may not blow up memory: the size is bounded by what the header says
/// about the image.
fn inflate(body: &[u8], declared: &TransferSyntax<'_>, max_pixels: u64) -> Result<Vec<u8>, DecodeError> {
    let mut inflated = Vec::new();
    let mut reader = deflate_reader(body);
    read_more(&mut *reader, HEAD_BYTES, &mut inflated)?;
    if (inflated.len() as u64) < HEAD_BYTES {
        return Ok(inflated);
    }
    let bytes_max = inflated_bytes_max(&inflated, declared, max_pixels);
    let rest = bytes_max - HEAD_BYTES + 1;
    inflated.reserve_exact(rest as usize);
    read_more(&mut *reader, rest, &mut inflated)?;
    if inflated.len() as u64 > bytes_max {
        return Err(DecodeError::Corrupt { what: "the deflated data set is larger than its image" });
    }
    Ok(inflated)
}

/// Most bytes of a data set that begins like this: its image's frames, and the elements around them.
fn inflated_bytes_max(head: &[u8], declared: &TransferSyntax<'_>, max_pixels: u64) -> u64 {
    let data_set = DataSet::head(head, declared.encoding.found_in(head));
    let pixel_data = PixelFormat::read(&data_set).map_or(0, |format| {
        let pixels = format.pixels() as u64;
        let frames = u64::from(format.frames).clamp(1, max_pixels.checked_div(pixels).unwrap_or(1).max(1));
        if pixels > max_pixels { 0 } else { format.frame_bytes() * frames }
    });
    pixel_data + HEADER_BYTES_MAX
}

/// PS3.5 A.5: the data set is one raw deflate stream; some writers add the zlib header.
fn deflate_reader<'a>(body: &'a [u8]) -> Box<dyn Read + 'a> {
    // RFC 1950: 32K window, deflate, and a check that the first two bytes are a multiple of 31.
    let has_zlib_header =
        body.first_chunk().is_some_and(|&b: &[u8; 2]| b[0] == 0x78 && u16::from_be_bytes(b) % 31 == 0);
    if has_zlib_header { Box::new(ZlibDecoder::new(body)) } else { Box::new(DeflateDecoder::new(body)) }
}

/// Reads up to `length` bytes more.
fn read_more(reader: &mut dyn Read, length: u64, inflated: &mut Vec<u8>) -> Result<(), DecodeError> {
    reader.take(length).read_to_end(inflated).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => DecodeError::Truncated { what: "the deflated data set" },
        _ => DecodeError::Corrupt { what: "the deflated data set" },
    })?;
    Ok(())
}

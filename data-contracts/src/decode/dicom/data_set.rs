//! Reading the data set of a DICOM file (PS3.5 section 7) without trusting its lengths.
//!
//! Values are slices of the file: nothing is allocated by what a header claims, nothing is read past the end,
//! and nesting is walked in a loop. A foreign file can therefore exhaust neither memory nor stack.

use std::collections::BTreeMap;

use dicom_core::Tag;

use super::encoding::Encoding;
use crate::decode::error::DecodeError;

impl Encoding {
    fn u16(self, b: [u8; 2]) -> u16 {
        if self.is_big_endian { u16::from_be_bytes(b) } else { u16::from_le_bytes(b) }
    }

    fn u32(self, b: [u8; 4]) -> u32 {
        if self.is_big_endian { u32::from_be_bytes(b) } else { u32::from_le_bytes(b) }
    }
}

/// Tag, length and size of an element's header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    /// Group in the upper 16 bits, element in the lower.
    pub tag: u32,
    /// Bytes of the value; `None` for an undefined length.
    pub length: Option<usize>,
    /// Bytes of the header itself.
    pub size: usize,
    /// The encoding writes VRs, and this one is of PS3.5 table 6.2-1.
    pub has_known_vr: bool,
    is_unknown_vr: bool,
}

pub(super) const ITEM: u32 = 0xFFFE_E000;
const ITEM_END: u32 = 0xFFFE_E00D;
const SEQUENCE_END: u32 = 0xFFFE_E0DD;
pub(super) const PIXEL_DATA: u32 = 0x7FE0_0010;
const UNDEFINED_LENGTH: u32 = u32::MAX;
/// Real radiographs nest four deep at most.
const NESTING_MAX: usize = 64;

const SHORT_VRS: &[u8] = b"AEASATCSDADSDTFLFDISLOLTPNSHSLSSSTTMUIULUS";
const LONG_VRS: &[u8] = b"OBODOFOLOVOWSQSVUCUNURUTUV";

const CUT: DecodeError = DecodeError::Truncated { what: "a DICOM element is incomplete" };
const DAMAGED: DecodeError = DecodeError::Corrupt { what: "DICOM elements do not follow each other" };

/// The header at the start of `bytes`; `None` when they end within it.
pub(super) fn read_header(bytes: &[u8], encoding: Encoding) -> Option<Header> {
    let (&[g0, g1, e0, e1, l0, l1, l2, l3], _) = bytes.split_first_chunk::<8>()?;
    let tag = (u32::from(encoding.u16([g0, g1])) << 16) | u32::from(encoding.u16([e0, e1]));
    let long =
        |bytes| Some(encoding.u32(bytes)).filter(|&length| length != UNDEFINED_LENGTH).map(|length| length as usize);
    // Items and delimiters never have a VR (7.5).
    if !encoding.has_vr || tag >> 16 == 0xFFFE {
        return Some(Header {
            tag,
            length: long([l0, l1, l2, l3]),
            size: 8,
            has_known_vr: false,
            is_unknown_vr: false,
        });
    }
    let is_vr_of = |list: &[u8]| list.chunks_exact(2).any(|vr| vr == [l0, l1]);
    if is_vr_of(LONG_VRS) {
        let length = long(*bytes.get(8..12)?.first_chunk()?);
        return Some(Header { tag, length, size: 12, has_known_vr: true, is_unknown_vr: [l0, l1] == *b"UN" });
    }
    let length = Some(usize::from(encoding.u16([l2, l3])));
    Some(Header { tag, length, size: 8, has_known_vr: is_vr_of(SHORT_VRS), is_unknown_vr: false })
}

/// The elements of one nesting level, up to and including the pixel data.
#[derive(Debug)]
pub(super) struct DataSet<'a> {
    values: BTreeMap<u32, Value<'a>>,
    encoding: Encoding,
}

#[derive(Debug, Clone, Copy)]
struct Value<'a> {
    bytes: &'a [u8],
    /// The value was written with undefined length: items up to a delimiter.
    is_delimited: bool,
}

impl<'a> DataSet<'a> {
    /// Reads elements until the bytes end, an item ends, or the pixel data is read.
    pub(super) fn parse(bytes: &'a [u8], encoding: Encoding) -> Result<Self, DecodeError> {
        let mut data_set = Self { values: BTreeMap::new(), encoding };
        data_set.read(bytes)?;
        Ok(data_set)
    }

    /// As [`Self::parse`], for the first bytes of a data set: an element that is incomplete, or damaged, ends it.
    pub(super) fn head(bytes: &'a [u8], encoding: Encoding) -> Self {
        let mut data_set = Self { values: BTreeMap::new(), encoding };
        // What was read before stays.
        let _ = data_set.read(bytes);
        data_set
    }

    fn read(&mut self, bytes: &'a [u8]) -> Result<(), DecodeError> {
        let Self { values, encoding } = self;
        let encoding = *encoding;
        let mut at = 0;
        while at < bytes.len() {
            let mut header = read_header(&bytes[at..], encoding).ok_or(CUT)?;
            if header.tag == ITEM_END {
                break;
            }
            let mut written = encoding;
            if encoding.has_vr && !header.has_known_vr {
                // Some programs add elements without VR to a data set that has them.
                header = implicit_element(&bytes[at..], encoding).ok_or(DAMAGED)?;
                written = Encoding::IMPLICIT;
            }
            let start = at + header.size;
            if header.tag == PIXEL_DATA && header.length.is_none() && !begins_with_item(&bytes[start..], encoding) {
                // Undefined length without items: uncompressed pixels to the end of the file.
                let value = without_sequence_end(&bytes[start..], encoding);
                values.insert(header.tag, Value { bytes: value, is_delimited: false });
                break;
            }
            let end = value_end(bytes, start, &header, written)?;
            values.insert(header.tag, Value { bytes: &bytes[start..end], is_delimited: header.length.is_none() });
            at = end;
            if header.tag == PIXEL_DATA {
                break;
            }
        }
        Ok(())
    }

    fn value(&self, tag: Tag) -> Option<Value<'a>> {
        self.values.get(&((u32::from(tag.0) << 16) | u32::from(tag.1))).copied()
    }

    /// True when the element is there, even empty.
    pub(super) fn has(&self, tag: Tag) -> bool {
        self.value(tag).is_some()
    }

    /// The first value of a text element, without padding; `None` when absent, empty or not ASCII-compatible.
    pub(super) fn text(&self, tag: Tag) -> Option<&'a str> {
        let first = self.value(tag)?.bytes.split(|&b| b == b'\\').next()?;
        let text = std::str::from_utf8(first).ok()?.trim_matches(['\0', ' ']);
        (!text.is_empty()).then_some(text)
    }

    /// The first value of a decimal string (DS); `None` when the element is absent or empty. A comma, which is no
    /// character of a decimal string, is read as the point of a writer in a locale with decimal commas.
    ///
    /// # Errors
    /// For a value that is no finite number, with the attribute's name.
    pub(super) fn decimal(&self, tag: Tag, attribute: &'static str) -> Result<Option<f64>, DecodeError> {
        let Some(value) = self.value(tag) else { return Ok(None) };
        let first = value.bytes.split(|&b| b == b'\\').next().unwrap_or_default();
        let text = String::from_utf8_lossy(first);
        let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
        if text.is_empty() {
            return Ok(None);
        }
        // With a point too, the comma separates thousands, or the point does: which one is unknown.
        let is_decimal_comma = text.matches(',').count() == 1 && !text.contains('.');
        let text = if is_decimal_comma { text.replace(',', ".") } else { text.to_owned() };
        let number = text.parse().ok().filter(|v: &f64| v.is_finite());
        number.map(Some).ok_or(DecodeError::NotANumber { attribute })
    }

    /// The first value of a US or SS element, its 16 bits as they are.
    pub(super) fn u16(&self, tag: Tag) -> Option<u16> {
        self.words(tag)?.first().copied()
    }

    /// All values of a US, SS or OW element.
    pub(super) fn words(&self, tag: Tag) -> Option<Vec<u16>> {
        let (pairs, _) = self.value(tag)?.bytes.as_chunks::<2>();
        Some(pairs.iter().map(|&pair| self.encoding.u16(pair)).collect())
    }

    /// The raw bytes of an element of defined length.
    pub(super) fn bytes(&self, tag: Tag) -> Option<&'a [u8]> {
        self.value(tag).filter(|value| !value.is_delimited).map(|value| value.bytes)
    }

    /// Bytes of 16-bit words in the order of their significance: big-endian files swap them (PS3.5 8.1.1).
    pub(super) fn is_big_endian(&self) -> bool {
        self.encoding.is_big_endian
    }

    /// The first item of a sequence (7.5), `None` when there is none.
    pub(super) fn first_item(&self, tag: Tag) -> Result<Option<DataSet<'a>>, DecodeError> {
        let Some(bytes) = self.value(tag).map(|value| value.bytes) else { return Ok(None) };
        let Some(header) = read_header(bytes, self.encoding).filter(|header| header.tag == ITEM) else {
            return Ok(None);
        };
        let body = &bytes[header.size..];
        let body = match header.length {
            Some(length) => body.get(..length).ok_or(CUT)?,
            None => body,
        };
        // A sequence of VR UN is written without VRs inside (6.2.2 note 2).
        DataSet::parse(body, self.encoding.found_in(body)).map(Some)
    }

    /// Offset table and fragments of encapsulated pixel data (A.4); `None` for native pixel data.
    pub(super) fn fragments(&self, tag: Tag) -> Option<(Vec<u32>, Vec<&'a [u8]>)> {
        let value = self.value(tag).filter(|value| value.is_delimited)?;
        self.fragments_of(value.bytes)
    }

    /// As [`Self::fragments`], for items in a value of defined length.
    pub(super) fn fragments_of(&self, bytes: &'a [u8]) -> Option<(Vec<u32>, Vec<&'a [u8]>)> {
        let mut fragments = Vec::new();
        let mut rest = bytes;
        while let Some(header) = read_header(rest, self.encoding).filter(|header| header.tag == ITEM) {
            let end = header.size.checked_add(header.length?)?;
            fragments.push(rest.get(header.size..end)?);
            rest = &rest[end..];
        }
        if fragments.is_empty() {
            return Some((Vec::new(), fragments));
        }
        let table = fragments.remove(0).as_chunks::<4>().0.iter().map(|&b| self.encoding.u32(b)).collect();
        Some((table, fragments))
    }
}

/// The header of an element without VR in a data set that has VRs: its value ends within `bytes`, where another element
/// begins.
fn implicit_element(bytes: &[u8], encoding: Encoding) -> Option<Header> {
    let header = read_header(bytes, Encoding::IMPLICIT).filter(|_| !encoding.is_big_endian)?;
    let rest = bytes.get(header.size.checked_add(header.length?)?..)?;
    let next = read_header(rest, encoding)?;
    (next.tag > header.tag && (next.has_known_vr || next.tag == ITEM_END)).then_some(header)
}

fn begins_with_item(bytes: &[u8], encoding: Encoding) -> bool {
    read_header(bytes, encoding).is_none_or(|header| matches!(header.tag, ITEM | SEQUENCE_END))
}

/// The bytes before a sequence delimiter at their end, if there is one.
fn without_sequence_end(bytes: &[u8], encoding: Encoding) -> &[u8] {
    let end = bytes.len().saturating_sub(8);
    let is_delimiter = read_header(&bytes[end..], encoding).is_some_and(|h| h.tag == SEQUENCE_END);
    if is_delimiter { &bytes[..end] } else { bytes }
}

/// Where the element at `at` ends; `None` when `bytes` end before.
pub(super) fn element_end(bytes: &[u8], at: usize, header: &Header, encoding: Encoding) -> Option<usize> {
    value_end(bytes, at + header.size, header, encoding).ok()
}

/// Where the value that starts at `start` ends; past its delimiter when its length is undefined.
fn value_end(bytes: &[u8], start: usize, header: &Header, encoding: Encoding) -> Result<usize, DecodeError> {
    match header.length {
        Some(length) => start.checked_add(length).filter(|&end| end <= bytes.len()).ok_or(CUT),
        // An undefined-length UN value is a sequence in Implicit VR Little Endian (6.2.2 note 2).
        None => sequence_end(bytes, start, if header.is_unknown_vr { Encoding::IMPLICIT } else { encoding }),
    }
}

/// Walks a sequence of undefined length from its first item to behind its delimiter.
fn sequence_end(bytes: &[u8], start: usize, encoding: Encoding) -> Result<usize, DecodeError> {
    /// An open sequence or item.
    enum Level {
        Sequence(Encoding),
        Item(Encoding),
    }
    let mut levels = vec![Level::Sequence(encoding)];
    let mut at = start;
    while let Some(level) = levels.last() {
        let rest = bytes.get(at..).ok_or(CUT)?;
        let (Level::Sequence(encoding) | Level::Item(encoding)) = *level;
        let header = read_header(rest, encoding).ok_or(CUT)?;
        at += header.size;
        match (level, header.tag, header.length) {
            (Level::Sequence(_), SEQUENCE_END, _) | (Level::Item(_), ITEM_END, _) => {
                levels.pop();
            }
            (Level::Sequence(_), ITEM, None) => levels.push(Level::Item(encoding)),
            (Level::Sequence(_), tag, _) if tag != ITEM => return Err(DAMAGED),
            (Level::Item(_), _, None) => {
                let inner = if header.is_unknown_vr { Encoding::IMPLICIT } else { encoding };
                levels.push(Level::Sequence(inner));
            }
            (_, _, Some(length)) => at = at.checked_add(length).filter(|&end| end <= bytes.len()).ok_or(CUT)?,
            (Level::Sequence(_), _, None) => return Err(DAMAGED),
        }
        if levels.len() > NESTING_MAX {
            return Err(DecodeError::Corrupt { what: "DICOM sequences nest too deep" });
        }
    }
    Ok(at)
}

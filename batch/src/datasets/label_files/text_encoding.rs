//! Text files of label tables, JSON and XML: a byte order mark is no content, and UTF-16 (as spreadsheets on Windows
//! save it) becomes UTF-8.

use std::borrow::Cow;

/// The bytes of a text file as UTF-8 without a byte order mark. Bytes without a mark are returned as they are; whether
/// they are UTF-8 is for the parser to say.
///
/// # Errors
/// When the file is marked as UTF-16 and is not.
pub fn utf8(bytes: &[u8]) -> Result<Cow<'_, [u8]>, BadText> {
    let units = |pair: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        let text = if rest.is_empty() {
            String::from_utf16(&pairs.iter().map(|p| pair(*p)).collect::<Vec<_>>())
        } else {
            return Err(BadText);
        };
        text.map(|t| Cow::Owned(t.into_bytes())).map_err(|_| BadText)
    };
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => Ok(Cow::Borrowed(rest)),
        [0xff, 0xfe, ..] => units(u16::from_le_bytes),
        [0xfe, 0xff, ..] => units(u16::from_be_bytes),
        _ => Ok(Cow::Borrowed(bytes)),
    }
}

/// A file that is marked as UTF-16 and is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("marked as UTF-16 and not UTF-16; save the file as UTF-8")]
pub struct BadText;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_skipped_and_utf_16_is_converted() {
        assert_eq!(utf8("\u{feff}{}".as_bytes()).unwrap().as_ref(), b"{}");
        assert_eq!(utf8(b"{}").unwrap().as_ref(), b"{}");
        assert_eq!(utf8(b"").unwrap().as_ref(), b"");
        let little: Vec<u8> = "\u{feff}a\u{e9}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "\u{feff}a\u{e9}".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(utf8(&little).unwrap().as_ref(), "a\u{e9}".as_bytes());
        assert_eq!(utf8(&big).unwrap().as_ref(), "a\u{e9}".as_bytes());
        assert_eq!(utf8(&little[..5]), Err(BadText), "half a unit");
        assert_eq!(utf8(&[0xff, 0xfe, 0x00, 0xd8]), Err(BadText), "half a pair");
    }
}

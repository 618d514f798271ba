//! The bytes of a report file as text: UTF-8, UTF-16 (with a byte order mark, or recognised by its zero bytes) and
//! Windows-1252, with any line ends and blanks.

/// The bytes are no text: zero bytes, or bytes that none of the encodings has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

/// Characters of the bytes 0x80 to 0x9F in Windows-1252; `\0` where it has none.
const WINDOWS_1252: [char; 32] = [
    '\u{20ac}', '\0', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2c6}', '\u{2030}',
    '\u{160}', '\u{2039}', '\u{152}', '\0', '\u{17d}', '\0', '\0', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}',
    '\u{2022}', '\u{2013}', '\u{2014}', '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\0', '\u{17e}',
    '\u{178}',
];

/// The text of a file. Bytes that are no UTF-8 are read as Windows-1252, which old reporting systems write.
///
/// # Errors
/// [`NotText`].
pub fn text_of(bytes: &[u8]) -> Result<String, NotText> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes)?,
        _ if zeros_at(bytes, 1) => utf_16(bytes, u16::from_le_bytes)?,
        _ if zeros_at(bytes, 0) => utf_16(bytes, u16::from_be_bytes)?,
        _ => utf_8_or_windows_1252(bytes)?,
    };
    if text.contains('\0') {
        return Err(NotText);
    }
    Ok(plain_lines(&text))
}

/// Whether most pairs of bytes have their zero at this place and none at the other: UTF-16 of a Western language.
fn zeros_at(bytes: &[u8], place: usize) -> bool {
    let zeros = |place: usize| bytes.chunks_exact(2).filter(|pair| pair[place] == 0).count();
    let pairs = bytes.len() / 2;
    bytes.len().is_multiple_of(2) && pairs > 0 && zeros(1 - place) == 0 && zeros(place) * 5 >= pairs * 4
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, NotText> {
    if !bytes.len().is_multiple_of(2) {
        return Err(NotText);
    }
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16(&units).map_err(|_| NotText)
}

fn utf_8_or_windows_1252(bytes: &[u8]) -> Result<String, NotText> {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for &byte in chunk.invalid() {
            text.push(match byte {
                0x80..=0x9f => WINDOWS_1252[usize::from(byte - 0x80)],
                _ => char::from(byte),
            });
        }
    }
    // Bytes without a character became `\0`, which the caller refuses.
    Ok(text)
}

/// The text with `\n` as the only line end, blanks and control characters as ` `, and without marks of no width.
pub(super) fn plain_lines(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    let plain = text.chars().filter_map(|c| match c {
        '\u{feff}' | '\u{200b}' | '\u{2060}' | '\u{ad}' => None,
        '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        '\n' => Some('\n'),
        c if c.is_whitespace() || c.is_control() => Some(' '),
        c => Some(c),
    });
    plain.collect()
}

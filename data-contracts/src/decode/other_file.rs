//! What a file is that is no PNG, JPEG or DICOM file: a page of an error in place of a download, a pointer to a file
//! kept elsewhere, an archive, another image format.

use super::error::DecodeError;

/// Magic numbers at the start of a file: bytes, what the file is, what to do.
const MAGIC: [(&[u8], &str, &str); 22] = [
    (b"version https://git-lfs.github.com/spec/", "a Git LFS pointer", "run `git lfs pull` in its repository"),
    (b"/annex/objects/", "a git-annex pointer", "run `git annex get` in its repository"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"BZh", "a bzip2 archive", "unpack it first"),
    (b"\xfd7zXZ\0", "an xz archive", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first"),
    (b"\0\x05\x16\x07", "a macOS resource file", "remove it; the image has the same name without `._`"),
    (b"\x89PNG\n", "a PNG file whose line ends were changed by a transfer in text mode", DOWNLOAD_BINARY),
    (b"\x89PNG\r\r\n", "a PNG file whose line ends were changed by a transfer in text mode", DOWNLOAD_BINARY),
    (b"GIF8", "a GIF image", CONVERT),
    (b"BM", "a BMP image", CONVERT),
    (b"II*\0", "a TIFF image", CONVERT),
    (b"MM\0*", "a TIFF image", CONVERT),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image outside DICOM", CONVERT),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image outside DICOM", CONVERT),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image", CONVERT),
    (b"%PDF", "a PDF document", "export the image in it as PNG"),
    (b"\x93NUMPY", "a NumPy array", CONVERT),
    (b"PAR1", "a Parquet table", "give the folder of the images"),
    (b"\x89HDF", "an HDF5 file", CONVERT),
];

const CONVERT: &str = "convert it to PNG";
const DOWNLOAD_BINARY: &str = "transfer it again in binary mode";
const DOWNLOAD: &str = "the download failed: check the address and the login, and download it again";

/// Starts of texts, in lower case.
const TEXTS: [(&str, &str); 9] = [
    ("<!doctype html", "an HTML page"),
    ("<html", "an HTML page"),
    ("<head", "an HTML page"),
    ("<svg", "an SVG drawing"),
    ("<?xml", "an XML document"),
    ("<error", "an XML document"),
    ("http/1.", "an HTTP response"),
    ("{", "a JSON document"),
    ("--", "a multipart response"),
];

/// Bytes of a text that are searched for what it is.
const HEAD: usize = 1024;

/// The refusal of a file that is recognised.
pub(super) fn recognised(bytes: &[u8]) -> Option<DecodeError> {
    let refusal = |what, remedy| Some(DecodeError::OtherFile { what, remedy });
    if let Some((_, what, remedy)) = MAGIC.iter().find(|(magic, ..)| bytes.starts_with(magic)) {
        return refusal(what, remedy);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return refusal("a WebP image", CONVERT);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return refusal("a HEIF, AVIF or video file", CONVERT);
    }
    if bytes.iter().all(|&b| b == 0) {
        return refusal("a file of zeros", "the copy was interrupted: copy it again from its source");
    }
    let head = text(&bytes[..bytes.len().min(HEAD)])?;
    // A document may begin with comments.
    let is_page = head.starts_with('<') && (head.contains("<html") || head.contains("<!doctype html"));
    let what = TEXTS.iter().find(|(start, _)| head.starts_with(start)).map(|(_, what)| *what);
    match what {
        _ if is_page => refusal("an HTML page", DOWNLOAD),
        Some(what @ "an SVG drawing") => refusal(what, CONVERT),
        Some(what) => refusal(what, DOWNLOAD),
        None => refusal("a text file", "give the image itself; a short text is often the message of a failed download"),
    }
}

/// The beginning of a text in lower case, without byte order mark and leading space; `None` for bytes that are no text.
fn text(head: &[u8]) -> Option<String> {
    let text = match head {
        [0xff, 0xfe, rest @ ..] => utf_16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf_16(rest, u16::from_be_bytes),
        _ => {
            let bytes = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
            // Some bytes of a character may be cut off at the end.
            let valid = match std::str::from_utf8(bytes) {
                Ok(text) => text,
                Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
                // Latin letters of other encodings.
                Err(_) => return is_text(bytes.iter().map(|&b| char::from(b))),
            };
            return is_text(valid.chars());
        }
    };
    is_text(text.chars())
}

fn utf_16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    char::decode_utf16(bytes.as_chunks::<2>().0.iter().map(|&b| unit(b))).map(|c| c.unwrap_or('\u{fffd}')).collect()
}

fn is_text(chars: impl Iterator<Item = char>) -> Option<String> {
    let text: String = chars.collect();
    let is_printable = text.chars().all(|c| !c.is_control() || c.is_whitespace());
    is_printable.then(|| text.trim_start().to_ascii_lowercase()).filter(|text| !text.is_empty())
}

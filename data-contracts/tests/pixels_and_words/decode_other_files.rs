use d2r_contracts::decode::{FileKind, ImageDecodeOptions, decode};
use image::{GrayImage, Luma};

use crate::raster_file::{jpeg, png};

fn refusal(bytes: &[u8]) -> String {
    let error = decode(bytes, &ImageDecodeOptions::default()).unwrap_err();
    assert_eq!(error.code(), "not_an_image", "{error}");
    error.to_string()
}

#[test]
fn the_content_decides_what_a_file_is() {
    // The decoder is given no name, so a PNG named .jpg and a JPEG named .dcm are what they are.
    let grey = GrayImage::from_fn(40, 33, |x, y| Luma([(x + y) as u8]));
    let kind = |bytes: &[u8]| decode(bytes, &ImageDecodeOptions::default()).unwrap().kind;
    assert_eq!((kind(&png(grey.clone())), kind(&jpeg(grey))), (FileKind::Png, FileKind::Jpeg));
}

#[test]
fn pages_in_place_of_a_download_are_named() {
    let page = "<!DOCTYPE html>\n<html lang=\"en\"><head><title>Login</title></head></html>";
    let utf_16: Vec<u8> = [0xfeff].into_iter().chain(page.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in [
        page.as_bytes(),
        b"<html><body>404</body></html>",
        b"\n\n  <HTML>",
        b"\xef\xbb\xbf<!doctype HTML>",
        b"<!-- page --><!DOCTYPE html><html>",
        b"<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Strict//EN\"><html>",
        b"<html><title>acc\xe8s refus\xe9</title>",
        &utf_16,
    ] {
        let message = refusal(bytes);
        assert!(message.contains("an HTML page") && message.contains("the download failed"), "{message}");
    }
    let xml = refusal(b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>NoSuchKey</Code></Error>");
    assert!(xml.contains("an XML document") && xml.contains("the download failed"), "{xml}");
    assert!(refusal(b"{\"message\": \"Not Found\"}").contains("a JSON document"));
    assert!(refusal(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\n\r\n").contains("an HTTP response"));
    assert!(refusal(b"--boundary\r\nContent-Type: application/dicom\r\n\r\n").contains("a multipart response"));
    assert!(refusal(b"404: Not Found").contains("a text file"));
}

#[test]
fn pointers_to_files_kept_elsewhere_are_named() {
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n";
    let message = refusal(lfs.as_bytes());
    assert!(message.contains("a Git LFS pointer") && message.contains("git lfs pull"), "{message}");
    let annex = refusal(b"/annex/objects/MD5E-s1--abc.dcm\n");
    assert!(annex.contains("a git-annex pointer"), "{annex}");
}

#[test]
fn other_formats_and_archives_are_named() {
    for (bytes, what) in [
        (&b"GIF89a\x01\0\x01\0\0\0\0;"[..], "a GIF image"),
        (b"BM\x36\0\0\0\0\0\0\0", "a BMP image"),
        (b"II*\0\x08\0\0\0", "a TIFF image"),
        (b"MM\0*\0\0\0\x08", "a TIFF image"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP image"),
        (b"\0\0\0\x20ftypheic", "a HEIF, AVIF or video file"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image outside DICOM"),
        (b"\x1f\x8b\x08\0", "a gzip archive"),
        (b"PK\x03\x04\x14\0", "a zip archive"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "a macOS resource file"),
        (b"\x89PNG\n\x1a\n\0\0\0\rIHDR", "text mode"),
        (&[0; 5000], "a file of zeros"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains(what), "{what}: {message}");
    }
    let unknown = refusal(&[0xc3, 0x28, 1, 2, 3, 0xfe, 9]);
    assert!(unknown.contains("not a PNG, JPEG or DICOM file"), "{unknown}");
}

#[test]
fn messages_repeat_nothing_of_the_file() {
    let message = refusal(b"<html><title>Patient DOE JOHN</title></html>");
    assert!(!message.contains("DOE"), "{message}");
}

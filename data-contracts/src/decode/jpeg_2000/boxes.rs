//! The boxes of a JP2 file (ITU-T T.800 annex I), in which some writers wrap the codestream of a DICOM frame.

use std::ops::Range;

use crate::decode::error::DecodeError;

/// Start of codestream, then the SIZ marker.
const CODESTREAM_START: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];
/// The signature box (I.5.1).
const SIGNATURE_BOX: [u8; 12] = *b"\0\0\0\x0cjP  \r\n\x87\n";

/// Length and type of a box, bytes.
const BOX_HEADER: usize = 8;

const CUT: DecodeError = DecodeError::Truncated { what: "a box of the JP2 file is incomplete" };
const DAMAGED: DecodeError = DecodeError::Corrupt { what: "the boxes of the JP2 file do not follow each other" };
const NO_STREAM: DecodeError = DecodeError::Corrupt { what: "the JPEG 2000 pixel data has no codestream" };

/// True when a codestream, plain or wrapped, begins here.
pub(in crate::decode) fn is_at_start(frame: &[u8]) -> bool {
    frame.starts_with(&CODESTREAM_START) || frame.starts_with(&SIGNATURE_BOX)
}

/// Where the codestream of a frame lies: the frame itself, or the content of the first `jp2c` box of a JP2 file. Other
/// boxes are stepped over by their lengths; markers inside them have no meaning.
///
/// # Errors
/// When the frame begins with something else, when boxes do not follow each other, and for a palette.
pub(super) fn codestream(frame: &[u8]) -> Result<Range<usize>, DecodeError> {
    if frame.starts_with(&CODESTREAM_START) {
        return Ok(0..frame.len());
    }
    if !frame.starts_with(&SIGNATURE_BOX) {
        return Err(NO_STREAM);
    }
    let mut at = SIGNATURE_BOX.len();
    // Fewer bytes are padding.
    while frame.len() - at >= BOX_HEADER {
        let (kind, content) = box_at(frame, at)?;
        at = content.end;
        let bytes = frame.get(content.clone()).ok_or(CUT)?;
        match &kind {
            b"jp2c" if bytes.starts_with(&CODESTREAM_START) => return Ok(content),
            b"jp2c" => return Err(NO_STREAM),
            b"jp2h" => refuse_palette(bytes)?,
            _ => {}
        }
    }
    Err(NO_STREAM)
}

/// A palette (I.5.3.4) makes colours of the samples; without it another image would be shown.
fn refuse_palette(header: &[u8]) -> Result<(), DecodeError> {
    let mut at = 0;
    while at < header.len() {
        let (kind, content) = box_at(header, at)?;
        if &kind == b"pclr" {
            return Err(DecodeError::Unsupported { what: "JPEG 2000 with a palette in DICOM".into() });
        }
        at = content.end;
    }
    Ok(())
}

/// Type and content of the box at `at` (I.4).
fn box_at(bytes: &[u8], at: usize) -> Result<([u8; 4], Range<usize>), DecodeError> {
    let rest = bytes.get(at..).ok_or(CUT)?;
    let (&length, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    let (&kind, rest) = rest.split_first_chunk::<4>().ok_or(CUT)?;
    let (header, length) = match u32::from_be_bytes(length) {
        // To the end of the file.
        0 => (BOX_HEADER, bytes.len() - at),
        1 => {
            let length = u64::from_be_bytes(*rest.first_chunk().ok_or(CUT)?);
            (16, usize::try_from(length).map_err(|_| CUT)?)
        }
        length => (BOX_HEADER, length as usize),
    };
    if length < header {
        return Err(DAMAGED);
    }
    let end = at.checked_add(length).filter(|&end| end <= bytes.len()).ok_or(CUT)?;
    Ok((kind, at + header..end))
}

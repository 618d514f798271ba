//! The frame header of a JPEG, and a check that its end marker is there (ITU-T T.81 annex B).
//!
//! Decoders fill missing pixels with grey, so a file cut in half would pass for a whole one; here the markers are
//! walked to the end of the image, and the scans are counted.

use crate::decode::error::{DecodeError, SCANS_MAX};
use crate::space::ImageSize;

/// The frame header (T.81 B.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JpegFrame {
    /// Columns and rows.
    pub size: ImageSize,
    /// Bits per sample.
    pub precision: u8,
    /// Channels.
    pub components: u8,
    /// The low nibble of the SOF marker: 0 baseline, 1 extended, 2 progressive, 3 lossless.
    pub process: u8,
    /// SOS segments.
    pub scans: u32,
    /// Length of the image in bytes, from its start to the end of its EOI marker.
    pub length: usize,
}

impl JpegFrame {
    /// Bytes of the coefficients that a decoder keeps between scans: two for each sample of whole blocks, none where
    /// one scan holds all.
    pub(super) fn coefficient_bytes(&self) -> u64 {
        // A block of the largest sampling factors has 32 rows and columns (B.2.2).
        let side = |length: u32| u64::from(length).next_multiple_of(32);
        let samples = side(self.size.width) * side(self.size.height) * u64::from(self.components);
        if self.process == 2 || self.scans > 1 { 2 * samples } else { 0 }
    }
}

const CUT: DecodeError = DecodeError::Truncated { what: "the JPEG has no end marker" };
const DAMAGED: DecodeError = DecodeError::Corrupt { what: "JPEG markers do not follow each other" };

/// Reads the frame header and walks to the end of the image at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<JpegFrame, DecodeError> {
    if bytes.len() < 2 {
        return Err(CUT);
    }
    let mut frame: Option<JpegFrame> = None;
    let mut scans = 0;
    let mut at = 2;
    loop {
        // A marker is 0xFF, possibly repeated as fill, and a code (B.1.1.2).
        match bytes.get(at) {
            None => return Err(CUT),
            Some(0xff) => {}
            Some(_) => return Err(DAMAGED),
        }
        while bytes.get(at) == Some(&0xff) {
            at += 1;
        }
        let code = *bytes.get(at).ok_or(CUT)?;
        at += 1;
        match code {
            0xd9 => {
                let frame = frame.filter(|_| scans > 0).ok_or(DAMAGED)?;
                return Ok(JpegFrame { scans, length: at, ..frame });
            }
            0x01 | 0xd0..=0xd7 => continue,
            0x00 | 0xd8 => return Err(DAMAGED),
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*bytes.get(at).ok_or(CUT)?, *bytes.get(at + 1).ok_or(CUT)?]));
        if length < 2 {
            return Err(DAMAGED);
        }
        let segment = bytes.get(at + 2..at + length).ok_or(CUT)?;
        at += length;
        match code {
            0xc0..=0xcf if !matches!(code, 0xc4 | 0xc8 | 0xcc) => frame = Some(frame_header(code, segment)?),
            0xda => {
                scans += 1;
                if scans > SCANS_MAX {
                    return Err(DecodeError::TooManyScans);
                }
                at = end_of_scan(bytes, at)?;
            }
            _ => {}
        }
    }
}

fn frame_header(code: u8, segment: &[u8]) -> Result<JpegFrame, DecodeError> {
    let &[precision, h1, h0, w1, w0, components, ..] = segment else { return Err(DAMAGED) };
    let process = code & 0x0f;
    if process > 3 {
        return Err(DecodeError::Unsupported { what: "hierarchical or arithmetic-coded JPEG".into() });
    }
    let size = ImageSize { width: u16::from_be_bytes([w1, w0]).into(), height: u16::from_be_bytes([h1, h0]).into() };
    if size.height == 0 {
        return Err(DecodeError::Unsupported { what: "JPEG without a height in its header".into() });
    }
    Ok(JpegFrame { size, precision, components, process, scans: 0, length: 0 })
}

/// The position of the first marker after the entropy-coded data, in which 0xFF is followed by 0 (B.1.1.5) or
/// by a restart marker.
fn end_of_scan(bytes: &[u8], mut at: usize) -> Result<usize, DecodeError> {
    loop {
        let rest = bytes.get(at..).ok_or(CUT)?;
        at += rest.iter().position(|&b| b == 0xff).ok_or(CUT)?;
        match bytes.get(at + 1) {
            None => return Err(CUT),
            Some(0xff) => at += 1,
            Some(0x00 | 0xd0..=0xd7) => at += 2,
            Some(_) => return Ok(at),
        }
    }
}

/// The segments before the first scan, each with its marker's code.
pub(super) fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let code_at = rest.iter().position(|&b| b != 0xff).filter(|&at| at > 0)?;
        let code = rest[code_at];
        let length = usize::from(u16::from_be_bytes(*rest.get(code_at + 1..)?.first_chunk()?));
        let segment = rest.get(code_at + 3..code_at + 1 + length).filter(|_| code != 0xda)?;
        rest = &rest[code_at + 1 + length..];
        Some((code, segment))
    })
}

/// True for a JPEG-LS codestream (ITU-T T.87), which has a frame header of its own.
pub(super) fn is_jpeg_ls(bytes: &[u8]) -> bool {
    segments(bytes)
        .find(|(code, _)| (0xc0..=0xcf).contains(code) || *code == 0xf7)
        .is_some_and(|(code, _)| code == 0xf7)
}

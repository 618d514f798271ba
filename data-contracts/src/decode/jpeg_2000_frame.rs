//! The main header of a JPEG 2000 codestream and where the codestream ends (ITU-T T.800 annex A).

use crate::decode::error::DecodeError;
use crate::space::ImageSize;

/// The SIZ segment (A.5.1) and the extent of the codestream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Jpeg2000Frame {
    /// Size of the reference grid.
    pub size: ImageSize,
    /// Offset of the image on the grid.
    pub offset: (u32, u32),
    /// For each component its depth in bits and its subsampling.
    pub components: Vec<(u8, [u8; 2])>,
    /// Behind the end marker, from the start of the bytes.
    pub end: usize,
}

const CUT: DecodeError = DecodeError::Truncated { what: "the JPEG 2000 codestream has no end marker" };
const NO_STREAM: DecodeError = DecodeError::Corrupt { what: "the JPEG 2000 pixel data has no codestream" };

/// Start of codestream, then the SIZ marker.
const START: [u8; 4] = [0xff, 0x4f, 0xff, 0x51];
/// The signature box of a JP2 file, in which some writers wrap the codestream.
const JP2_SIGNATURE: [u8; 8] = [0x00, 0x00, 0x00, 0x0c, 0x6a, 0x50, 0x20, 0x20];
const START_OF_TILE_PART: u16 = 0xff90;
const END: u16 = 0xffd9;

/// True when a codestream, plain or wrapped, begins here.
pub(super) fn is_at_start(bytes: &[u8]) -> bool {
    bytes.starts_with(&START) || bytes.starts_with(&JP2_SIGNATURE)
}

/// Reads the main header and finds the end of the codestream.
pub(super) fn read(bytes: &[u8]) -> Result<Jpeg2000Frame, DecodeError> {
    let start = bytes.windows(4).position(|w| w == START).ok_or(NO_STREAM)?;
    let long =
        |at: usize| bytes.get(start + at..).and_then(|b| b.first_chunk()).map(|&b| u32::from_be_bytes(b)).ok_or(CUT);
    let count = bytes.get(start + 40..).and_then(|b| b.first_chunk()).map(|&b| u16::from_be_bytes(b)).ok_or(CUT)?;
    let components = bytes.get(start + 42..start + 42 + 3 * usize::from(count)).ok_or(CUT)?;
    Ok(Jpeg2000Frame {
        size: ImageSize { width: long(8)?, height: long(12)? },
        offset: (long(16)?, long(20)?),
        components: components.as_chunks::<3>().0.iter().map(|&[d, dx, dy]| ((d & 0x7f) + 1, [dx, dy])).collect(),
        end: end_by_tile_parts(bytes, start).or_else(|| end_before_padding(bytes)).ok_or(CUT)?,
    })
}

/// Walks the marker segments and the tile-parts, whose headers give their length (A.4.2).
fn end_by_tile_parts(bytes: &[u8], start: usize) -> Option<usize> {
    let short = |at: usize| bytes.get(at..)?.first_chunk().map(|&b| u16::from_be_bytes(b));
    let mut at = start + 2;
    loop {
        match short(at)? {
            END => return Some(at + 2),
            START_OF_TILE_PART => {
                let length = u32::from_be_bytes(*bytes.get(at + 6..)?.first_chunk()?) as usize;
                // 0: to the end of the codestream.
                at = at.checked_add(length).filter(|_| length >= 14)?;
            }
            marker if marker >= 0xff00 => at += 2 + usize::from(short(at + 2)?),
            _ => return None,
        }
    }
}

/// The end marker with nothing but bytes of 0 or 0xFF behind it.
fn end_before_padding(bytes: &[u8]) -> Option<usize> {
    let padding = bytes.iter().rev().take_while(|&&b| b == 0 || b == 0xff).count();
    let end = bytes.len() - padding;
    bytes[..end].ends_with(&END.to_be_bytes()).then_some(end)
}

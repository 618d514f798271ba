//! RLE Lossless (PS3.5 annex G): a frame is up to 15 segments of packed bytes, one per byte plane.

use crate::decode::error::DecodeError;

const CUT: DecodeError = DecodeError::Truncated { what: "an RLE segment is incomplete" };
const DAMAGED: DecodeError = DecodeError::Corrupt { what: "the RLE header does not fit the image" };

/// The byte planes of one frame, each `pixels` long: samples in order, the most significant byte first (G.2).
pub(super) fn planes(frame: &[u8], pixels: usize, planes: usize) -> Result<Vec<Vec<u8>>, DecodeError> {
    let header = frame.first_chunk::<64>().ok_or(CUT)?;
    let number = |index: usize| header[4 * index..].first_chunk().map_or(0, |&b| u32::from_le_bytes(b)) as usize;
    if number(0) != planes || planes > 15 {
        return Err(DAMAGED);
    }
    (1..=planes)
        .map(|index| {
            let end = if index == planes { frame.len() } else { number(index + 1) };
            unpack(frame.get(number(index)..end).ok_or(CUT)?, pixels)
        })
        .collect()
}

/// PackBits (G.3.2): a count n in 0..=127 copies n + 1 bytes, one in 129..=255 repeats a byte 257 - n times.
fn unpack(mut packed: &[u8], pixels: usize) -> Result<Vec<u8>, DecodeError> {
    // The last run may go beyond the last pixel.
    let mut plane = Vec::with_capacity(pixels.min(packed.len().saturating_mul(128)) + 128);
    while plane.len() < pixels {
        let (&count, rest) = packed.split_first().ok_or(CUT)?;
        packed = match count {
            0..=127 => {
                let (copied, rest) = rest.split_at_checked(usize::from(count) + 1).ok_or(CUT)?;
                plane.extend_from_slice(copied);
                rest
            }
            128 => rest,
            129..=255 => {
                let (&repeated, rest) = rest.split_first().ok_or(CUT)?;
                plane.resize(plane.len() + 257 - usize::from(count), repeated);
                rest
            }
        };
    }
    plane.truncate(pixels);
    Ok(plane)
}

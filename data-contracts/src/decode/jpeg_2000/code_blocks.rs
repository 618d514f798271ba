//! How many precincts and code-blocks a codestream divides its samples into (ITU-T T.800 annex B). A decoder holds a
//! table entry for each, so that a small file with very small code-blocks would take gigabytes.

use super::headers::DAMAGED;
use crate::decode::error::DecodeError;

/// Bytes of a decoder's tables for a precinct, for a code-block, and for a quality layer of a code-block, each with the
/// room that a growing list takes.
const PRECINCT_BYTES: u64 = 384;
const CODE_BLOCK_BYTES: u64 = 384;
const LAYER_BYTES: u64 = 72;
/// Coding passes of a code-block of 32 bits; each may be a segment of its own.
const PASSES_MAX: u64 = 109;
/// Bit set where coding passes may be segments of their own: bypass and termination (Table A.19).
const SEGMENT_FLAGS: u8 = 0b101;

/// Tables that a decoder holds for a component of the largest tile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CodeBlocks {
    precincts: u64,
    blocks: u64,
    has_segments: bool,
}

impl CodeBlocks {
    /// Counts for a tile of a width and height, from the parameters of a COD or COC segment (Table A.20) and whether
    /// they define precincts. The counts are upper limits.
    ///
    /// # Errors
    /// When the parameters have another length than their number of decomposition levels asks for, or are outside the
    /// standard's limits.
    pub(super) fn read(
        parameters: &[u8],
        has_precincts: bool,
        (width, height): (u64, u64),
    ) -> Result<Self, DecodeError> {
        let &[levels, width_code, height_code, style, _transformation, ref precincts @ ..] = parameters else {
            return Err(DAMAGED);
        };
        let expected = if has_precincts { usize::from(levels) + 1 } else { 0 };
        let (block_width, block_height) = (u32::from(width_code) + 2, u32::from(height_code) + 2);
        if levels > 32
            || precincts.len() != expected
            || block_width.max(block_height) > 10
            || block_width + block_height > 12
        {
            return Err(DAMAGED);
        }
        let mut counted = Self { has_segments: style & SEGMENT_FLAGS != 0, ..Self::default() };
        for resolution in 0..=levels {
            let shift = u32::from(levels - resolution);
            let size = [width, height].map(|side| side.div_ceil(1 << shift));
            let code = precincts.get(usize::from(resolution)).copied().unwrap_or(0xff);
            let precinct = [code & 0x0f, code >> 4].map(u32::from);
            // The lowest resolution is one sub-band, each other one three of half its size (B.5, B.7).
            let (bands, halving) = if resolution == 0 { (1, 0) } else { (3, 1) };
            let [Some(across), Some(down)] = precinct.map(|exponent| exponent.checked_sub(halving)) else {
                return Err(DAMAGED);
            };
            let count = |[x, y]: [u32; 2], halving: u32| {
                let parts = |side: u64, exponent: u32| side.div_ceil(1 << (exponent + halving)) + 1;
                parts(size[0], x).saturating_mul(parts(size[1], y)).saturating_mul(bands)
            };
            counted.precincts = counted.precincts.saturating_add(count(precinct, 0));
            counted.blocks =
                counted.blocks.saturating_add(count([across.min(block_width), down.min(block_height)], halving));
        }
        Ok(counted)
    }

    /// The larger of each count.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            precincts: self.precincts.max(other.precincts),
            blocks: self.blocks.max(other.blocks),
            has_segments: self.has_segments || other.has_segments,
        }
    }

    /// Bytes of the tables of a component with a number of quality layers.
    pub(super) fn table_bytes(self, layers: u64) -> u64 {
        let per_block = CODE_BLOCK_BYTES + LAYER_BYTES * layers;
        self.precincts.saturating_mul(PRECINCT_BYTES).saturating_add(self.blocks.saturating_mul(per_block))
    }

    /// Bytes of the list of segments beyond one for each layer, for a codestream of `length` bytes: a segment takes half
    /// a byte of it or more.
    pub(super) fn segment_bytes(self, length: u64) -> u64 {
        if self.has_segments { self.blocks.saturating_mul(PASSES_MAX).min(length * 2) * LAYER_BYTES } else { 0 }
    }
}

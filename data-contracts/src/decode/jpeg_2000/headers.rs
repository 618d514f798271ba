//! The headers of a JPEG 2000 codestream, their limits, and where the codestream ends (ITU-T T.800 annex A).
//!
//! Main header and tile-part headers are walked to the end of the codestream. Lengths of segments have to be those of
//! their contents, so that the decoder cannot read another header than the one that is checked here.

use std::ops::Range;

use super::boxes;
use super::code_blocks::CodeBlocks;
use crate::decode::error::DecodeError;
use crate::space::ImageSize;

/// What the headers of a codestream say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::decode) struct Jpeg2000Frame {
    /// Size of the reference grid.
    pub size: ImageSize,
    /// Offset of the image on the grid.
    pub offset: (u32, u32),
    pub components: Vec<Component>,
    /// The codestream in the frame, from its start to the end of its end marker.
    pub codestream: Range<usize>,
    /// The last tile-part says how long it is.
    pub has_lengths: bool,
    /// Most bytes of the tables that a decoder holds beside the samples.
    pub table_bytes: u64,
}

/// A component of the image (A.5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::decode) struct Component {
    /// Bits of a sample, 1 to 16.
    pub depth: u8,
    pub is_signed: bool,
    /// Horizontal and vertical distance of the samples on the reference grid.
    pub steps: [u8; 2],
}

/// Components of an image: one when grey, three in colour.
const COMPONENTS_MAX: usize = 3;
/// Bits of a sample.
const DEPTH_MAX: u8 = 16;
const TILES_MAX: u64 = 4096;
/// Bytes of a decoder's tables: for each tile and component, for each tile-part.
const TILE_BYTES: u64 = 1024;
const TILE_PART_BYTES: u64 = 256;
/// Most bytes of a decoder's tables for code-blocks: for each pixel, and for a small image.
const TABLE_BYTES_PER_PIXEL: u64 = 4;
const TABLE_BYTES_MIN: u64 = 4 << 20;

const CUT: DecodeError = DecodeError::Truncated { what: "the JPEG 2000 codestream has no end marker" };
pub(super) const DAMAGED: DecodeError =
    DecodeError::Corrupt { what: "the headers of the JPEG 2000 codestream contradict each other" };

/// Marker codes (Table A.2).
mod markers {
    pub const COMPONENT_REGISTRATION: u16 = 0xff63;
    pub const CAPABILITIES: u16 = 0xff50;
    pub const CODING_STYLE: u16 = 0xff52;
    pub const CODING_STYLE_OF_COMPONENT: u16 = 0xff53;
    pub const COMMENT: u16 = 0xff64;
    pub const END: u16 = 0xffd9;
    pub const PACKED_HEADERS: u16 = 0xff60;
    pub const PACKED_HEADERS_OF_TILE_PART: u16 = 0xff61;
    pub const PACKET_LENGTHS: u16 = 0xff58;
    pub const PROGRESSION_CHANGE: u16 = 0xff5f;
    pub const QUANTIZATION: u16 = 0xff5c;
    pub const QUANTIZATION_OF_COMPONENT: u16 = 0xff5d;
    pub const REGION: u16 = 0xff5e;
    pub const SIZE: u16 = 0xff51;
    pub const START_OF_DATA: u16 = 0xff93;
    pub const START_OF_TILE_PART: u16 = 0xff90;
    pub const TILE_PART_LENGTHS: u16 = 0xff55;
}

/// Reads the headers of the codestream of a frame and finds its end.
///
/// # Errors
/// For a codestream that is incomplete or contradicts itself, that uses what is not read (high throughput, changes of
/// the progression order), or that goes beyond a limit: components, tiles, number of code-blocks.
pub(in crate::decode) fn read(frame: &[u8]) -> Result<Jpeg2000Frame, DecodeError> {
    let place = boxes::codestream(frame)?;
    let stream = frame.get(place.clone()).ok_or(CUT)?;
    let mut walk = Walk { stream, at: 2 };
    if walk.marker()? != markers::SIZE {
        return Err(DAMAGED);
    }
    let image = Size::read(walk.segment(markers::SIZE)?)?;
    let mut styles = Styles::new(&image);
    loop {
        match walk.marker()? {
            markers::START_OF_TILE_PART => break,
            marker => styles.read(marker, walk.segment(marker)?)?,
        }
    }
    styles.begin_tile_parts()?;
    let (end, has_lengths, tile_parts) = walk.tile_parts(&mut styles)?;
    let table_bytes = styles.table_bytes(&image, end as u64)? + tile_parts * TILE_PART_BYTES;
    let Size { size, offset, components, .. } = image;
    Ok(Jpeg2000Frame { size, offset, components, codestream: place.start..place.start + end, has_lengths, table_bytes })
}

/// A position in a codestream.
struct Walk<'a> {
    stream: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    fn marker(&mut self) -> Result<u16, DecodeError> {
        let marker = self.stream.get(self.at..).and_then(|rest| rest.first_chunk()).map(|&b| u16::from_be_bytes(b));
        self.at += 2;
        marker.ok_or(CUT)
    }

    /// The parameters of the segment of a marker that was read.
    fn segment(&mut self, marker: u16) -> Result<&'a [u8], DecodeError> {
        // These have no segment (A.1); no radiograph has them.
        if marker < 0xff00 || (0xff30..=0xff3f).contains(&marker) {
            return Err(DAMAGED);
        }
        let length = usize::from(self.marker()?);
        let start = self.at;
        self.at += length.checked_sub(2).ok_or(DAMAGED)?;
        self.stream.get(start..self.at).ok_or(CUT)
    }

    /// From behind the first SOT marker to the end (A.4.2): the end's position, whether the last tile-part says how long
    /// it is, and the number of tile-parts.
    fn tile_parts(&mut self, styles: &mut Styles) -> Result<(usize, bool, u64), DecodeError> {
        for count in 1.. {
            let start = self.at - 2;
            let &[_, _, l3, l2, l1, l0, _, _] = self.segment(markers::START_OF_TILE_PART)? else { return Err(DAMAGED) };
            loop {
                match self.marker()? {
                    markers::START_OF_DATA => break,
                    marker => styles.read(marker, self.segment(marker)?)?,
                }
            }
            let length = u32::from_be_bytes([l3, l2, l1, l0]) as usize;
            if length == 0 {
                return Ok((end_before_padding(self.stream).filter(|&end| end >= self.at).ok_or(CUT)?, false, count));
            }
            self.at = start.checked_add(length).filter(|&end| end >= self.at).ok_or(DAMAGED)?;
            match self.marker()? {
                markers::START_OF_TILE_PART => {}
                markers::END => return Ok((self.at, true, count)),
                _ => return Err(DAMAGED),
            }
        }
        Err(CUT)
    }
}

/// Behind the last end marker, with nothing but bytes of 0 or 0xFF after it.
fn end_before_padding(stream: &[u8]) -> Option<usize> {
    let padding = stream.iter().rev().take_while(|&&b| b == 0 || b == 0xff).count();
    let end = stream.len() - padding;
    stream[..end].ends_with(&markers::END.to_be_bytes()).then_some(end)
}

/// The SIZ segment (A.5.1).
struct Size {
    size: ImageSize,
    offset: (u32, u32),
    components: Vec<Component>,
    tiles: u64,
    /// Width and height of the largest tile.
    tile: (u64, u64),
}

impl Size {
    fn read(segment: &[u8]) -> Result<Self, DecodeError> {
        let (head, components) = segment.split_first_chunk::<36>().ok_or(DAMAGED)?;
        let short = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let long = |at: usize| (u32::from(short(at)) << 16) | u32::from(short(at + 2));
        let (capabilities, count) = (short(0), usize::from(short(34)));
        if capabilities & HIGH_THROUGHPUT != 0 {
            return Err(high_throughput());
        }
        if count == 0 || components.len() != 3 * count {
            return Err(DAMAGED);
        }
        if count > COMPONENTS_MAX {
            return Err(DecodeError::Unsupported { what: format!("JPEG 2000 of {count} components in DICOM") });
        }
        let size = ImageSize { width: long(2), height: long(6) };
        let (tile_width, tile_height) = (long(18), long(22));
        if size.width == 0 || size.height == 0 || tile_width == 0 || tile_height == 0 {
            return Err(DAMAGED);
        }
        let tiles = u64::from(size.width.div_ceil(tile_width)) * u64::from(size.height.div_ceil(tile_height));
        if tiles > TILES_MAX {
            return Err(DecodeError::Unsupported {
                what: format!("JPEG 2000 of {tiles} tiles (more than {TILES_MAX})"),
            });
        }
        let read = |&[depth, dx, dy]: &[u8; 3]| Component {
            depth: (depth & 0x7f) + 1,
            is_signed: depth & 0x80 != 0,
            steps: [dx, dy],
        };
        let components: Vec<Component> = components.as_chunks::<3>().0.iter().map(read).collect();
        if components.iter().any(|component| component.depth > DEPTH_MAX) {
            return Err(DecodeError::Unsupported { what: format!("JPEG 2000 of more than {DEPTH_MAX} bits in DICOM") });
        }
        Ok(Self {
            size,
            offset: (long(10), long(14)),
            components,
            tiles,
            tile: (tile_width.min(size.width).into(), tile_height.min(size.height).into()),
        })
    }
}

/// Bit of Rsiz that is set for high throughput (T.814 A.2).
const HIGH_THROUGHPUT: u16 = 1 << 14;

fn high_throughput() -> DecodeError {
    DecodeError::Unsupported { what: "high-throughput JPEG 2000 (HTJ2K) in DICOM".into() }
}

/// What the marker segments behind SIZ say about code-blocks.
struct Styles {
    tile: (u64, u64),
    blocks: CodeBlocks,
    layers: u64,
    /// Whether components are transformed together, and the first segment that says so.
    transforms_components: Option<bool>,
}

impl Styles {
    fn new(image: &Size) -> Self {
        Self { tile: image.tile, blocks: CodeBlocks::default(), layers: 0, transforms_components: None }
    }

    /// Reads one marker segment of a main or a tile-part header. Its length has to be that of its contents (A.6 to A.9).
    fn read(&mut self, marker: u16, segment: &[u8]) -> Result<(), DecodeError> {
        let has_precincts = |style: u8| style & 1 != 0;
        match marker {
            markers::CODING_STYLE => {
                let &[style, _progression, l1, l0, transform, ref parameters @ ..] = segment else {
                    return Err(DAMAGED);
                };
                self.blocks = self.blocks.max(CodeBlocks::read(parameters, has_precincts(style), self.tile)?);
                self.layers = self.layers.max(u16::from_be_bytes([l1, l0]).into());
                // The decoder transforms all tiles or none.
                if self.transforms_components.replace(transform == 1).is_some_and(|before| before != (transform == 1)) {
                    return Err(DecodeError::Unsupported {
                        what: "JPEG 2000 whose tiles differ in colour transform".into(),
                    });
                }
            }
            // Numbers of components have one byte: there are few.
            markers::CODING_STYLE_OF_COMPONENT => {
                let &[_component, style, ref parameters @ ..] = segment else { return Err(DAMAGED) };
                self.blocks = self.blocks.max(CodeBlocks::read(parameters, has_precincts(style), self.tile)?);
            }
            markers::QUANTIZATION => check_quantization(segment)?,
            markers::QUANTIZATION_OF_COMPONENT => check_quantization(segment.get(1..).ok_or(DAMAGED)?)?,
            markers::REGION if segment.len() == 3 => {}
            markers::TILE_PART_LENGTHS
            | markers::PACKET_LENGTHS
            | markers::PACKED_HEADERS
            | markers::PACKED_HEADERS_OF_TILE_PART
            | markers::COMPONENT_REGISTRATION
            | markers::COMMENT => {}
            markers::CAPABILITIES => return Err(high_throughput()),
            markers::PROGRESSION_CHANGE => {
                return Err(DecodeError::Unsupported { what: "JPEG 2000 whose progression order changes".into() });
            }
            _ => return Err(DAMAGED),
        }
        Ok(())
    }

    /// The main header has to describe the coding.
    fn begin_tile_parts(&self) -> Result<(), DecodeError> {
        if self.transforms_components.is_none() { Err(DAMAGED) } else { Ok(()) }
    }

    /// Most bytes of a decoder's tables, for a codestream of `length` bytes.
    fn table_bytes(&self, image: &Size, length: u64) -> Result<u64, DecodeError> {
        let components = image.components.len() as u64;
        let for_blocks = self.blocks.table_bytes(self.layers).saturating_mul(components);
        if for_blocks > image.size.pixels() * TABLE_BYTES_PER_PIXEL + TABLE_BYTES_MIN {
            return Err(DecodeError::Unsupported { what: "JPEG 2000 of very small code-blocks or precincts".into() });
        }
        let for_segments = self.blocks.segment_bytes(length).saturating_mul(components);
        Ok(for_blocks.saturating_add(for_segments).saturating_add(image.tiles * components * TILE_BYTES))
    }
}

/// The parameters of a QCD or QCC segment (Table A.27): a byte for each sub-band, one word, or a word for each.
fn check_quantization(parameters: &[u8]) -> Result<(), DecodeError> {
    let (&style, steps) = parameters.split_first().ok_or(DAMAGED)?;
    let is_sound = match style & 0x1f {
        0 => true,
        1 => steps.len() == 2,
        2 => steps.len() % 2 == 0,
        _ => false,
    };
    if is_sound { Ok(()) } else { Err(DAMAGED) }
}

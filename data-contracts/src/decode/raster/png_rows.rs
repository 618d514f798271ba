//! The pixels of a PNG file, read row by row without their alpha.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::Samples;
use crate::decode::error::{DecodeError, catch_codec_panic};
use crate::space::ImageSize;

/// Bytes that the decoder may take beside the pixels: two rows and the chunks that it keeps.
const DECODER_BYTES_MAX: usize = 16 << 20;

/// Reads the pixels of a file whose header says that it has this size.
///
/// # Errors
/// When pixels are missing or damaged.
pub(super) fn read(bytes: &[u8], size: ImageSize) -> Result<Samples, DecodeError> {
    catch_codec_panic(|| read_pixels(bytes, size).map_err(codec_error))
}

fn read_pixels(bytes: &[u8], size: ImageSize) -> Result<Samples, DecodingError> {
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: DECODER_BYTES_MAX });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes become colours, fewer than eight bits become eight.
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let (colour, depth) = reader.output_color_type();
    let channels = if matches!(colour, ColorType::Grayscale | ColorType::GrayscaleAlpha) { 1 } else { 3 };
    let bytes_per_sample = if depth == BitDepth::Sixteen { 2 } else { 1 };
    let (stored, kept) = (colour.samples() * bytes_per_sample, channels * bytes_per_sample);
    let mut pixels;
    if reader.info().interlaced {
        pixels = whole_image(&mut reader)?;
        let count = pixels.len() / stored;
        for pixel in 0..count {
            pixels.copy_within(pixel * stored..pixel * stored + kept, pixel * kept);
        }
        pixels.truncate(count * kept);
    } else {
        pixels = Vec::with_capacity(size.pixels() as usize * kept);
        while let Some(row) = reader.next_row()? {
            for pixel in row.data().chunks_exact(stored) {
                pixels.extend_from_slice(&pixel[..kept]);
            }
        }
    }
    Ok(Samples { bytes: pixels, channels, bytes_per_sample })
}

/// An interlaced image comes in passes over all rows.
fn whole_image(reader: &mut Reader<Cursor<&[u8]>>) -> Result<Vec<u8>, DecodingError> {
    let mut pixels = vec![0; reader.output_buffer_size().ok_or(DecodingError::LimitsExceeded)?];
    reader.next_frame(&mut pixels)?;
    Ok(pixels)
}

fn codec_error(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { what: "pixels are missing" }
        }
        DecodingError::LimitsExceeded => DecodeError::Unsupported { what: "a PNG with chunks of this size".into() },
        _ => DecodeError::Corrupt { what: "the pixels cannot be decoded" },
    }
}

/// Most bytes that [`read`] and the conversion to grey levels hold at once, from the header chunk (PNG 11.2.2).
pub(super) fn decoding_bytes(header: PngHeader) -> u64 {
    // Colour with alpha, read as a whole where it is interlaced; otherwise the alpha is left out of each row.
    let (channels, with_alpha) = match header.colour_type {
        0 | 4 => (1, 2),
        _ => (3, 4),
    };
    let read = if header.is_interlaced { with_alpha } else { channels };
    let bytes_per_sample = if header.depth == 16 { 2 } else { 1 };
    header.size.pixels() * (read * bytes_per_sample + 1) + DECODER_BYTES_MAX as u64
}

/// The header chunk (PNG 11.2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PngHeader {
    pub size: ImageSize,
    /// Bits of a sample, or of an index into the palette.
    pub depth: u8,
    pub colour_type: u8,
    pub is_interlaced: bool,
}

impl PngHeader {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: &[u8; 21] = bytes
            .get(8..)
            .and_then(|b| b.first_chunk())
            .ok_or(DecodeError::Truncated { what: "the PNG has no header chunk" })?;
        let &[_, _, _, _, k0, k1, k2, k3, w3, w2, w1, w0, h3, h2, h1, h0, depth, colour_type, _, _, interlace] = header;
        if [k0, k1, k2, k3] != *b"IHDR" {
            return Err(DecodeError::Corrupt { what: "the PNG does not begin with its header chunk" });
        }
        let size =
            ImageSize { width: u32::from_be_bytes([w3, w2, w1, w0]), height: u32::from_be_bytes([h3, h2, h1, h0]) };
        Ok(Self { size, depth, colour_type, is_interlaced: interlace != 0 })
    }
}

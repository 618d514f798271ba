//! The samples of a checked JPEG 2000 codestream.

use hayro_jpeg2000::{ComponentData, DecodeSettings, DecoderContext, Image};

use super::headers::{Component, Jpeg2000Frame};
use crate::decode::error::{DecodeError, catch_codec_panic};

/// The samples of all components, interleaved, row by row; `stored` converts each.
///
/// `codestream` is what [`read`](super::read) found, without boxes around it.
///
/// # Errors
/// When the codestream is damaged.
pub(in crate::decode) fn samples<T>(
    codestream: &[u8],
    frame: &Jpeg2000Frame,
    stored: impl Fn(i32) -> T,
) -> Result<Vec<T>, DecodeError> {
    let damaged = |_| DecodeError::Corrupt { what: "the compressed pixel data cannot be decoded" };
    catch_codec_panic(|| {
        // A last tile-part without a length extends to the end of the codestream; the strict decoder asks for an end
        // marker behind it.
        let settings =
            DecodeSettings { resolve_palette_indices: false, strict: frame.has_lengths, target_resolution: None };
        let image = Image::new(codestream, &settings).map_err(damaged)?;
        let mut context = DecoderContext::default();
        let decoded = image.decode(&mut context).map_err(damaged)?;
        let planes = decoded.components();
        let pixels = frame.size.pixels() as usize;
        if planes.len() != frame.components.len() || planes.iter().any(|plane| plane.samples().len() != pixels) {
            return Err(DecodeError::Corrupt { what: "the compressed image has another size than its header says" });
        }
        let mut interleaved = Vec::with_capacity(pixels * planes.len());
        for pixel in 0..pixels {
            for (plane, component) in planes.iter().zip(&frame.components) {
                interleaved.push(stored(component.value(plane, pixel)));
            }
        }
        Ok(interleaved)
    })
}

impl Component {
    /// The decoder gives signed samples with an offset, as unsigned ones (G.1.2), and does not cut off what lossy
    /// compression adds beyond the range.
    fn value(self, plane: &ComponentData, pixel: usize) -> i32 {
        let lowest = if self.is_signed { -(1 << (self.depth - 1)) } else { 0 };
        let sample = plane.samples().get(pixel).map_or(0, |sample| sample.round_ties_even() as i32);
        sample.clamp(0, (1 << self.depth) - 1) + lowest
    }
}

/// Most bytes that [`samples`] holds at once beside its result: `f32` samples of all components, coefficients of one and
/// both sides of its wavelet transform, and tables.
pub(in crate::decode) fn decoding_bytes(frame: &Jpeg2000Frame) -> u64 {
    let components = frame.components.len() as u64;
    (frame.size.pixels() * (components * 4 + 12)).saturating_add(frame.table_bytes)
}

//! Grey levels of a colour image, and whether it is a radiograph at all.
//!
//! Radiographs come in colour in three ways: grey saved as red, green and blue (the channels are equal, or nearly so
//! after a colour JPEG), a tinted picture or colour map, or grey in one channel. Anything else is a photograph.

use super::error::DecodeError;
use super::notes::Colour;
use super::tint::{ChannelRange, is_tint};
use crate::space::ImageSize;

/// Channels of a grey image that went through colour JPEG differ by less than this.
pub(super) const CHANNEL_SPREAD_MAX: u8 = 40;
/// Coloured marks (an arrow, a caption) may cover this share of an image.
pub(super) const COLOURED_SHARE_MAX: f64 = 0.05;
/// Grey levels that a channel without an image may differ by.
const EMPTY_RANGE_MAX: u8 = 8;

/// A pixel of a colour image as it is stored.
pub(super) trait Rgb {
    /// Red, green and blue, 8 bits.
    fn rgb(&self) -> [u8; 3];
}

/// 8 bits for each channel.
impl Rgb for [u8; 3] {
    fn rgb(&self) -> [u8; 3] {
        *self
    }
}

/// 16 bits for each channel, the most significant byte first.
impl Rgb for [u8; 6] {
    fn rgb(&self) -> [u8; 3] {
        [self[0], self[2], self[4]]
    }
}

/// Where the grey level of a pixel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GreySource {
    pub colour: Colour,
    /// The channel that holds the image, for [`Colour::OneChannel`].
    channel: usize,
}

impl GreySource {
    /// Judges pixels by the upper eight bits of their channels.
    ///
    /// # Errors
    /// [`DecodeError::ColourPhotograph`].
    pub(super) fn of<P: Rgb>(pixels: &[P], size: ImageSize) -> Result<Self, DecodeError> {
        let source = |colour| Ok(Self { colour, channel: 0 });
        let is_grey = |[r, g, b]: [u8; 3]| r == g && g == b;
        if pixels.iter().all(|p| is_grey(p.rgb())) {
            return source(Colour::Grey);
        }
        let spread = |[r, g, b]: [u8; 3]| r.max(g).max(b) - r.min(g).min(b);
        let coloured = pixels.iter().filter(|p| spread(p.rgb()) > CHANNEL_SPREAD_MAX).count();
        if coloured as f64 <= COLOURED_SHARE_MAX * pixels.len() as f64 {
            return source(Colour::NearlyGrey);
        }
        let ranges = [0, 1, 2].map(|channel| ChannelRange::of(pixels, channel));
        let empty = |channel: usize| ranges[channel].width(0.01) <= EMPTY_RANGE_MAX;
        if let Some(channel) = (0..3).find(|&c| !empty(c) && (0..3).all(|other| other == c || empty(other)))
            && ranges[channel].holds_an_image()
        {
            return Ok(Self { colour: Colour::OneChannel, channel });
        }
        if ranges.iter().any(ChannelRange::holds_an_image) && is_tint(pixels, size) {
            return source(Colour::Tinted);
        }
        Err(DecodeError::ColourPhotograph)
    }

    /// The grey level of one pixel.
    pub(super) fn grey<T: Copy + Into<u32>>(self, pixel: &[T; 3]) -> u32 {
        match self.colour {
            Colour::OneChannel => pixel[self.channel].into(),
            _ => luma(pixel.map(Into::into)),
        }
    }
}

/// Grey levels of interleaved red, green, blue, 8 bits. Refuses colour photographs.
pub(super) fn grey_from_rgb(rgb: &[u8], size: ImageSize) -> Result<(Vec<u8>, Colour), DecodeError> {
    let pixels = rgb.as_chunks::<3>().0;
    let source = GreySource::of(pixels, size)?;
    Ok((pixels.iter().map(|p| source.grey(p) as u8).collect(), source.colour))
}

/// The luma of ITU-R BT.601 with integer weights that sum to 1000: equal channels keep their value.
fn luma([red, green, blue]: [u32; 3]) -> u32 {
    (299 * red + 587 * green + 114 * blue + 500) / 1000
}

//! The Image Pixel module (PS3.3 C.7.6.3) as far as decoding needs it.

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use crate::decode::error::DecodeError;

/// Size and sample layout of a frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct PixelFormat {
    pub rows: u16,
    pub columns: u16,
    pub samples_per_pixel: u16,
    pub bits_allocated: u16,
    pub stored: StoredFormat,
    /// Planar Configuration 1: colour planes one after the other.
    pub is_planar: bool,
    pub frames: u32,
}

/// Where the bits of a stored value lie in its sample (C.7.6.3.1, PS3.5 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredFormat {
    pub bits_stored: u16,
    pub high_bit: u16,
    pub is_signed: bool,
}

impl PixelFormat {
    pub(super) fn read(data_set: &DataSet<'_>) -> Result<Self, DecodeError> {
        let number = |tag| data_set.u16(tag);
        let missing = || DecodeError::Corrupt { what: "an attribute that describes the pixels is missing" };
        let bits_allocated = number(tags::BITS_ALLOCATED).ok_or_else(missing)?;
        let bits_stored = number(tags::BITS_STORED).unwrap_or(bits_allocated);
        let high_bit = number(tags::HIGH_BIT).unwrap_or_else(|| bits_stored.saturating_sub(1));
        if bits_allocated != 8 && bits_allocated != 16 {
            return Err(DecodeError::Unsupported {
                what: format!("DICOM with {bits_allocated} bits allocated per sample"),
            });
        }
        if bits_stored == 0 || bits_stored > bits_allocated || high_bit >= bits_allocated || high_bit + 1 < bits_stored
        {
            return Err(DecodeError::Corrupt {
                what: "bits allocated, bits stored and high bit contradict each other",
            });
        }
        Ok(Self {
            rows: number(tags::ROWS).ok_or_else(missing)?,
            columns: number(tags::COLUMNS).ok_or_else(missing)?,
            samples_per_pixel: number(tags::SAMPLES_PER_PIXEL).unwrap_or(1),
            bits_allocated,
            stored: StoredFormat { bits_stored, high_bit, is_signed: number(tags::PIXEL_REPRESENTATION) == Some(1) },
            is_planar: number(tags::PLANAR_CONFIGURATION) == Some(1),
            frames: data_set.text(tags::NUMBER_OF_FRAMES).and_then(|v| v.parse().ok()).unwrap_or(1),
        })
    }

    pub(super) fn pixels(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns)
    }

    /// Bytes of an uncompressed frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        self.pixels() as u64 * u64::from(self.samples_per_pixel) * self.bytes_per_sample() as u64
    }

    pub(super) fn bytes_per_sample(&self) -> usize {
        usize::from(self.bits_allocated / 8)
    }
}

impl StoredFormat {
    /// The stored value of a sample: overlay bits above and below it are cut off, the sign is extended.
    pub(super) fn value(&self, sample: u16) -> i32 {
        let bits = u32::from(self.bits_stored);
        let shifted = u32::from(sample) >> (self.high_bit + 1 - self.bits_stored);
        let value = (shifted & ((1 << bits) - 1)) as i32;
        if self.is_signed && value >> (bits - 1) == 1 { value - (1 << bits) } else { value }
    }

    /// A 16-bit attribute that holds a stored value (Pixel Padding Value), read with the stored values' sign.
    pub(super) fn attribute(&self, word: u16) -> i32 {
        if self.is_signed { i32::from(word as i16) } else { i32::from(word) }
    }
}

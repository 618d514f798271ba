//! LUT Descriptor and LUT Data of modality and VOI LUTs (PS3.3 C.11.1.1 and C.11.2.1.1).

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use crate::decode::error::DecodeError;
use crate::decode::notes::TableNotes;

/// The table of one sequence item.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LookupTable {
    /// First stored pixel value mapped.
    first_mapped: i32,
    entries: Vec<u16>,
    bits_declared: u16,
    largest: u16,
    /// The entry value that is white.
    ///
    /// The third number of the descriptor should say how many bits an entry has. Some writers put the size of its
    /// storage there: 16 where entries have 10 to 15 bits, or 8 where they have more. Then the largest entry is white,
    /// as in public viewers.
    pub white: u16,
}

const SHORT: DecodeError = DecodeError::Corrupt { what: "a lookup table has fewer entries than its descriptor says" };

impl LookupTable {
    /// Reads the table of an item; `None` when it has none.
    ///
    /// `is_signed`: whether inputs can be negative, which decides how the second number of the descriptor is read.
    ///
    /// # Errors
    /// When the table is incomplete: another image would be shown without it.
    pub(super) fn read(item: &DataSet<'_>, is_signed: bool) -> Result<Option<Self>, DecodeError> {
        let (Some(descriptor), Some(words)) = (item.words(tags::LUT_DESCRIPTOR), item.words(tags::LUT_DATA)) else {
            return Ok(None);
        };
        if words.is_empty() {
            return Ok(None);
        }
        let &[count, first, bits_declared, ..] = descriptor.as_slice() else { return Err(SHORT) };
        // C.11.1.1: 0 means 2^16 entries.
        let count = if count == 0 { 1 << 16 } else { usize::from(count) };
        // Eight-bit entries may be packed two to a word, the first one in the lower byte (PS3.5 8.2). Where there are
        // too few words, they are, whatever the descriptor says.
        let mut entries =
            if words.len() < count { words.iter().flat_map(|word| [word & 0xff, word >> 8]).collect() } else { words };
        if entries.len() < count {
            return Err(SHORT);
        }
        entries.truncate(count);
        let first_mapped = if is_signed { i32::from(first as i16) } else { i32::from(first) };
        let largest = entries.iter().copied().max().unwrap_or(0);
        let white = if bits(largest) == bits_declared { ((1u32 << bits_declared) - 1) as u16 } else { largest.max(1) };
        Ok(Some(Self { first_mapped, entries, bits_declared, largest, white }))
    }

    /// The entry for a value; values beyond the ends take the first or the last entry (C.11.1.1).
    pub(super) fn get(&self, value: f64) -> f64 {
        let index = (value.round() - f64::from(self.first_mapped)).clamp(0.0, (self.entries.len() - 1) as f64);
        self.entries[index as usize].into()
    }

    pub(super) fn notes(&self) -> TableNotes {
        TableNotes {
            entries: self.entries.len(),
            bits_declared: self.bits_declared,
            bits_used: bits(self.largest),
            white: self.white,
        }
    }
}

fn bits(value: u16) -> u16 {
    (u16::BITS - value.leading_zeros()) as u16
}

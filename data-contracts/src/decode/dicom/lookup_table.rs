//! LUT Descriptor and LUT Data of modality and VOI LUTs (PS3.3 C.11.1.1 and C.11.2.1.1).

use dicom_dictionary_std::tags;

use super::data_set::DataSet;

/// The table of one sequence item.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LookupTable {
    /// First stored pixel value mapped.
    first_mapped: i32,
    entries: Vec<u16>,
    /// The largest value an entry can take.
    pub entry_max: f64,
}

impl LookupTable {
    /// Reads the table of an item; `None` when it is incomplete.
    ///
    /// `is_signed`: whether inputs can be negative, which decides how the second number of the descriptor is read.
    pub(super) fn read(item: &DataSet<'_>, is_signed: bool) -> Option<Self> {
        let descriptor = item.words(tags::LUT_DESCRIPTOR)?;
        let &[count, first, bits] = descriptor.get(..3)?.first_chunk::<3>()?;
        // C.11.1.1: 0 means 2^16 entries.
        let count = if count == 0 { 1 << 16 } else { usize::from(count) };
        let words = item.words(tags::LUT_DATA)?;
        // Eight-bit entries may be packed two to a word, the first one in the lower byte (PS3.5 8.2).
        let mut entries = if bits == 8 && words.len() < count {
            words.iter().flat_map(|word| [word & 0xff, word >> 8]).collect()
        } else {
            words
        };
        if entries.len() < count || !(8..=16).contains(&bits) {
            return None;
        }
        entries.truncate(count);
        let highest = entries.iter().copied().max()?;
        // Some writers declare 8 bits and store 16.
        let entry_max = f64::from(((1u32 << bits) - 1).max(highest.into()));
        let first_mapped = if is_signed { i32::from(first as i16) } else { i32::from(first) };
        Some(Self { first_mapped, entries, entry_max })
    }

    /// The entry for a value; values beyond the ends take the first or the last entry (C.11.1.1).
    pub(super) fn get(&self, value: f64) -> f64 {
        let index = (value.round() - f64::from(self.first_mapped)).clamp(0.0, (self.entries.len() - 1) as f64);
        self.entries[index as usize].into()
    }
}

//! From stored values to 8-bit grey levels: modality, VOI and presentation (PS3.3 C.11).
//!
//! A stored value has 16 bits at most, so the whole chain is worked out once per possible value, in `f64`, and
//! kept as a table.

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::lookup::Lookup;
use crate::decode::DecodeError;

/// Where the bits of a stored value lie in its sample (C.7.6.3.1, PS3.5 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StoredFormat {
    pub bits_stored: u16,
    pub high_bit: u16,
    pub is_signed: bool,
}

impl StoredFormat {
    /// The value in a sample: overlay bits above and below it are cut away, the sign is extended.
    fn value(&self, sample: u16) -> i32 {
        let bits = u32::from(self.bits_stored);
        let shifted = u32::from(sample) >> (self.high_bit + 1 - self.bits_stored);
        let value = (shifted & ((1 << bits) - 1)) as i32;
        if self.is_signed && value >> (bits - 1) == 1 { value - (1 << bits) } else { value }
    }
}

/// C.11.1: stored values to values with a meaning.
#[derive(Debug)]
enum Modality {
    Linear { slope: f64, intercept: f64 },
    Table(Lookup),
}

impl Modality {
    fn of(data_set: &DataSet<'_>, is_signed: bool) -> Self {
        let table = data_set.first_item(tags::MODALITY_LUT_SEQUENCE);
        if let Some(lookup) = table.and_then(|item| Lookup::from_item(&item, is_signed)) {
            return Self::Table(lookup);
        }
        let slope = data_set.decimal(tags::RESCALE_SLOPE).filter(|slope| *slope != 0.0).unwrap_or(1.0);
        Self::Linear { slope, intercept: data_set.decimal(tags::RESCALE_INTERCEPT).unwrap_or(0.0) }
    }

    fn apply(&self, stored: i32) -> f64 {
        match self {
            Self::Linear { slope, intercept } => f64::from(stored) * slope + intercept,
            Self::Table(lookup) => lookup.get(stored.into()),
        }
    }
}

/// C.11.2: which values are of interest. The first window or table of several is taken.
#[derive(Debug)]
enum Voi {
    Table(Lookup),
    Linear {
        centre: f64,
        width: f64,
    },
    LinearExact {
        centre: f64,
        width: f64,
    },
    Sigmoid {
        centre: f64,
        width: f64,
    },
    /// No usable VOI in the file: the range of the values that occur, padding left out.
    Range {
        low: f64,
        high: f64,
    },
}

impl Voi {
    fn of(data_set: &DataSet<'_>, modality: &Modality, is_signed: bool) -> Option<Self> {
        // The table's input is the modality's output, signed where that can be negative (C.11.2.1.1).
        let takes_signed = match modality {
            Modality::Table(_) => false,
            Modality::Linear { slope, intercept } => is_signed || *intercept < 0.0 || *slope < 0.0,
        };
        let table = data_set.first_item(tags::VOILUT_SEQUENCE);
        if let Some(lookup) = table.and_then(|item| Lookup::from_item(&item, takes_signed)) {
            return Some(Self::Table(lookup));
        }
        let centre = data_set.decimal(tags::WINDOW_CENTER)?;
        let width = data_set.decimal(tags::WINDOW_WIDTH)?;
        match data_set.text(tags::VOILUT_FUNCTION).unwrap_or("LINEAR") {
            // C.11.2.1.3.2 and C.11.2.1.3.1: any positive width.
            "LINEAR_EXACT" => (width > 0.0).then_some(Self::LinearExact { centre, width }),
            "SIGMOID" => (width > 0.0).then_some(Self::Sigmoid { centre, width }),
            // C.11.2.1.2.1: a width below 1 is not allowed.
            _ => (width >= 1.0).then_some(Self::Linear { centre, width }),
        }
    }

    /// The share of full brightness, 0 to 1.
    fn apply(&self, value: f64) -> f64 {
        match *self {
            Self::Table(ref lookup) => lookup.get(value) / lookup.top,
            // C.11.2.1.2.1.
            Self::Linear { centre, width } => {
                let (middle, reach) = (centre - 0.5, width - 1.0);
                if value <= middle - reach / 2.0 {
                    0.0
                } else if value > middle + reach / 2.0 {
                    1.0
                } else {
                    (value - middle) / reach + 0.5
                }
            }
            // C.11.2.1.3.2.
            Self::LinearExact { centre, width } => ((value - centre) / width + 0.5).clamp(0.0, 1.0),
            // C.11.2.1.3.1.
            Self::Sigmoid { centre, width } => 1.0 / (1.0 + (-4.0 * (value - centre) / width).exp()),
            Self::Range { low, high } => {
                if high > low {
                    ((value - low) / (high - low)).clamp(0.0, 1.0)
                } else {
                    0.0
                }
            }
        }
    }
}

/// The whole chain for one file.
#[derive(Debug)]
pub(super) struct Rendering {
    format: StoredFormat,
    modality: Modality,
    voi: Option<Voi>,
    inverts: bool,
    /// Stored values, both inclusive, that fill the area outside the film (C.7.5.1.1.2).
    padding: Option<(i32, i32)>,
}

impl Rendering {
    /// Reads the chain from a data set.
    pub(super) fn new(data_set: &DataSet<'_>, format: StoredFormat, is_monochrome1: bool) -> Result<Self, DecodeError> {
        let modality = Modality::of(data_set, format.is_signed);
        let voi = Voi::of(data_set, &modality, format.is_signed);
        // C.11.6.1.2 and C.8.11.3.1.2: shape INVERSE goes with MONOCHROME1 and says the same thing again, so the
        // two together invert once.
        let is_inverse = data_set.text(tags::PRESENTATION_LUT_SHAPE) == Some("INVERSE");
        let as_stored = |tag| {
            let word = data_set.u16(tag)?;
            Some(if format.is_signed { i32::from(word as i16) } else { i32::from(word) })
        };
        let padding = as_stored(tags::PIXEL_PADDING_VALUE).map(|value| {
            let other = as_stored(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
            (value.min(other), value.max(other))
        });
        Ok(Self { format, modality, voi, inverts: is_monochrome1 || is_inverse, padding })
    }

    /// Grey levels of the samples, bright = dense.
    pub(super) fn apply(&self, samples: &[u16]) -> Vec<u8> {
        let fallback;
        let voi = match &self.voi {
            Some(voi) => voi,
            None => {
                fallback = self.range_of(samples);
                &fallback
            }
        };
        let table: Vec<u8> = (0..=u16::MAX)
            .map(|sample| {
                let share = voi.apply(self.modality.apply(self.format.value(sample)));
                let level = (share * 255.0 + 0.5).floor() as u8;
                if self.inverts { 255 - level } else { level }
            })
            .collect();
        samples.iter().map(|&sample| table[usize::from(sample)]).collect()
    }

    fn range_of(&self, samples: &[u16]) -> Voi {
        let mut occurs = vec![false; 1 << 16];
        for &sample in samples {
            occurs[usize::from(sample)] = true;
        }
        let is_padding = |value: i32| self.padding.is_some_and(|(low, high)| (low..=high).contains(&value));
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for (sample, _) in occurs.iter().enumerate().filter(|(_, occurs)| **occurs) {
            let stored = self.format.value(sample as u16);
            if !is_padding(stored) {
                let value = self.modality.apply(stored);
                (low, high) = (low.min(value), high.max(value));
            }
        }
        Voi::Range { low, high }
    }
}

//! The grayscale transformations of PS3.3 C.11: stored values -> modality LUT -> VOI LUT -> presentation LUT -> 8 bits.
//!
//! A stored value has 16 bits at most, so the whole chain is computed once per possible value, in `f64`, and kept as a
//! table.

use std::ops::RangeInclusive;

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::lookup_table::LookupTable;
use super::pixel_format::StoredFormat;

/// C.11.1: the modality LUT, stored values to manufacturer-independent values.
#[derive(Debug)]
enum ModalityLut {
    Rescale { slope: f64, intercept: f64 },
    Table(LookupTable),
}

impl ModalityLut {
    fn read(data_set: &DataSet<'_>, is_signed: bool) -> Self {
        let item = data_set.first_item(tags::MODALITY_LUT_SEQUENCE);
        if let Some(table) = item.and_then(|item| LookupTable::read(&item, is_signed)) {
            return Self::Table(table);
        }
        let slope = data_set.decimal(tags::RESCALE_SLOPE).filter(|slope| *slope != 0.0).unwrap_or(1.0);
        Self::Rescale { slope, intercept: data_set.decimal(tags::RESCALE_INTERCEPT).unwrap_or(0.0) }
    }

    fn apply(&self, stored_value: i32) -> f64 {
        match self {
            Self::Rescale { slope, intercept } => f64::from(stored_value) * slope + intercept,
            Self::Table(table) => table.get(stored_value.into()),
        }
    }

    /// Whether outputs can be negative, which decides how a VOI LUT's descriptor is read (C.11.2.1.1).
    fn is_output_signed(&self, is_signed: bool) -> bool {
        match self {
            Self::Table(_) => false,
            Self::Rescale { slope, intercept } => is_signed || *intercept < 0.0 || *slope < 0.0,
        }
    }
}

/// C.11.2.1.2: Window Center and Window Width, in outputs of the modality LUT.
#[derive(Debug, Clone, Copy)]
struct WindowLevel {
    center: f64,
    width: f64,
}

/// C.11.2.1.3: VOI LUT Function, (0028,1056).
#[derive(Debug, Clone, Copy)]
enum VoiLutFunction {
    Linear,
    LinearExact,
    Sigmoid,
}

impl VoiLutFunction {
    /// LINEAR is the default, also for unknown names.
    fn parse(name: Option<&str>) -> Self {
        match name {
            Some("LINEAR_EXACT") => Self::LinearExact,
            Some("SIGMOID") => Self::Sigmoid,
            _ => Self::Linear,
        }
    }

    /// LINEAR needs a width of 1 or more (C.11.2.1.2.1), the others a positive one.
    fn allows(self, window: WindowLevel) -> bool {
        match self {
            Self::Linear => window.width >= 1.0,
            Self::LinearExact | Self::Sigmoid => window.width > 0.0,
        }
    }

    /// The output for `x`, with `y_min` = 0 and `y_max` = 1.
    fn apply(self, WindowLevel { center, width }: WindowLevel, x: f64) -> f64 {
        match self {
            // C.11.2.1.2.1.
            Self::Linear => {
                if x <= center - 0.5 - (width - 1.0) / 2.0 {
                    0.0
                } else if x > center - 0.5 + (width - 1.0) / 2.0 {
                    1.0
                } else {
                    (x - (center - 0.5)) / (width - 1.0) + 0.5
                }
            }
            // C.11.2.1.3.2.
            Self::LinearExact => ((x - center) / width + 0.5).clamp(0.0, 1.0),
            // C.11.2.1.3.1.
            Self::Sigmoid => 1.0 / (1.0 + (-4.0 * (x - center) / width).exp()),
        }
    }
}

/// C.11.2: the VOI LUT, outputs of the modality LUT to 0..1. The first window or table of several is taken.
#[derive(Debug)]
enum VoiLut {
    Table(LookupTable),
    Window {
        window: WindowLevel,
        function: VoiLutFunction,
    },
    /// Without a usable VOI LUT in the file: the range of the values that occur, padding left out.
    MinMax {
        min: f64,
        max: f64,
    },
}

impl VoiLut {
    fn read(data_set: &DataSet<'_>, is_input_signed: bool) -> Option<Self> {
        let item = data_set.first_item(tags::VOILUT_SEQUENCE);
        if let Some(table) = item.and_then(|item| LookupTable::read(&item, is_input_signed)) {
            return Some(Self::Table(table));
        }
        let window = WindowLevel {
            center: data_set.decimal(tags::WINDOW_CENTER)?,
            width: data_set.decimal(tags::WINDOW_WIDTH)?,
        };
        let function = VoiLutFunction::parse(data_set.text(tags::VOILUT_FUNCTION));
        function.allows(window).then_some(Self::Window { window, function })
    }

    fn apply(&self, x: f64) -> f64 {
        match *self {
            Self::Table(ref table) => table.get(x) / table.entry_max,
            Self::Window { window, function } => function.apply(window, x),
            Self::MinMax { min, max } => {
                if max > min {
                    ((x - min) / (max - min)).clamp(0.0, 1.0)
                } else {
                    0.0
                }
            }
        }
    }
}

/// C.11.6.1.2: Presentation LUT Shape, (2050,0020).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PresentationLutShape {
    Identity,
    Inverse,
}

impl PresentationLutShape {
    fn parse(name: Option<&str>) -> Self {
        if name == Some("INVERSE") { Self::Inverse } else { Self::Identity }
    }
}

/// All transformations of one file.
#[derive(Debug)]
pub(super) struct GrayscalePipeline {
    stored: StoredFormat,
    modality_lut: ModalityLut,
    voi_lut: Option<VoiLut>,
    is_inverted: bool,
    /// Stored values that fill the area outside the image (Pixel Padding, C.7.5.1.1.2).
    padding: Option<RangeInclusive<i32>>,
}

impl GrayscalePipeline {
    pub(super) fn read(data_set: &DataSet<'_>, stored: StoredFormat, is_monochrome1: bool) -> Self {
        let modality_lut = ModalityLut::read(data_set, stored.is_signed);
        let voi_lut = VoiLut::read(data_set, modality_lut.is_output_signed(stored.is_signed));
        // C.11.6.1.2 and C.8.11.3.1.2: shape INVERSE accompanies MONOCHROME1 and means the same, so the
        // two together invert once.
        let shape = PresentationLutShape::parse(data_set.text(tags::PRESENTATION_LUT_SHAPE));
        let padding_value = |tag| data_set.u16(tag).map(|word| stored.attribute(word));
        let padding = padding_value(tags::PIXEL_PADDING_VALUE).map(|value| {
            let limit = padding_value(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
            value.min(limit)..=value.max(limit)
        });
        let is_inverted = is_monochrome1 || shape == PresentationLutShape::Inverse;
        Self { stored, modality_lut, voi_lut, is_inverted, padding }
    }

    /// Grey levels of the samples, bright = dense.
    pub(super) fn apply(&self, samples: &[u16]) -> Vec<u8> {
        let min_max;
        let voi_lut = match &self.voi_lut {
            Some(voi_lut) => voi_lut,
            None => {
                min_max = self.min_max(samples);
                &min_max
            }
        };
        let table: Vec<u8> = (0..=u16::MAX)
            .map(|sample| {
                let y = voi_lut.apply(self.modality_lut.apply(self.stored.value(sample)));
                let level = (y * 255.0 + 0.5).floor() as u8;
                if self.is_inverted { 255 - level } else { level }
            })
            .collect();
        samples.iter().map(|&sample| table[usize::from(sample)]).collect()
    }

    fn min_max(&self, samples: &[u16]) -> VoiLut {
        let mut occurs = vec![false; 1 << 16];
        for &sample in samples {
            occurs[usize::from(sample)] = true;
        }
        let is_padding = |value: i32| self.padding.as_ref().is_some_and(|padding| padding.contains(&value));
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        for (sample, _) in occurs.iter().enumerate().filter(|(_, occurs)| **occurs) {
            let stored_value = self.stored.value(sample as u16);
            if !is_padding(stored_value) {
                let value = self.modality_lut.apply(stored_value);
                (min, max) = (min.min(value), max.max(value));
            }
        }
        VoiLut::MinMax { min, max }
    }
}

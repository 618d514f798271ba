//! The VOI LUT (PS3.3 C.11.2): outputs of the modality LUT to 0..1. The first window or table of several is taken.

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::lookup_table::LookupTable;
use crate::decode::error::DecodeError;
use crate::decode::notes::VoiNotes;

/// C.11.2.1.2: Window Center and Window Width, in outputs of the modality LUT.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowLevel {
    center: f64,
    width: f64,
}

/// C.11.2.1.3: VOI LUT Function, (0028,1056).
#[derive(Debug, Clone, Copy)]
pub(super) enum VoiLutFunction {
    Linear,
    LinearExact,
    Sigmoid,
}

impl VoiLutFunction {
    /// LINEAR is the default, also for unknown names.
    fn parse(name: Option<&str>) -> Self {
        match name.unwrap_or_default().to_ascii_uppercase().as_str() {
            "LINEAR_EXACT" => Self::LinearExact,
            "SIGMOID" => Self::Sigmoid,
            _ => Self::Linear,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Linear => "LINEAR",
            Self::LinearExact => "LINEAR_EXACT",
            Self::Sigmoid => "SIGMOID",
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

#[derive(Debug)]
pub(super) enum VoiLut {
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
    /// Reads it, `None` when the file has none; adds what has no effect to `ignored`.
    pub(super) fn read(
        data_set: &DataSet<'_>,
        is_input_signed: bool,
        ignored: &mut Vec<&'static str>,
    ) -> Result<Option<Self>, DecodeError> {
        if let Some(item) = data_set.first_item(tags::VOILUT_SEQUENCE)?
            && let Some(table) = LookupTable::read(&item, is_input_signed)?
        {
            return Ok(Some(Self::Table(table)));
        }
        let center = data_set.decimal(tags::WINDOW_CENTER, "WindowCenter (0028,1050)")?;
        let width = data_set.decimal(tags::WINDOW_WIDTH, "WindowWidth (0028,1051)")?;
        let (Some(center), Some(width)) = (center, width) else {
            if center.is_some() || width.is_some() {
                ignored.push("window without a center or without a width");
            }
            return Ok(None);
        };
        let window = WindowLevel { center, width };
        let function = VoiLutFunction::parse(data_set.text(tags::VOILUT_FUNCTION));
        if !function.allows(window) {
            ignored.push("window of a width that is too small");
            return Ok(None);
        }
        Ok(Some(Self::Window { window, function }))
    }

    pub(super) fn apply(&self, x: f64) -> f64 {
        match *self {
            Self::Table(ref table) => (table.get(x) / f64::from(table.white)).min(1.0),
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

    pub(super) fn notes(&self) -> VoiNotes {
        match *self {
            Self::Table(ref table) => VoiNotes::Table(table.notes()),
            Self::Window { window: WindowLevel { center, width }, function } => {
                VoiNotes::Window { center, width, function: function.name() }
            }
            Self::MinMax { min, max } => VoiNotes::Range { min, max },
        }
    }
}

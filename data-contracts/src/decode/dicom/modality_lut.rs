//! The modality LUT (PS3.3 C.11.1): stored values to manufacturer-independent values.

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::lookup_table::LookupTable;
use crate::decode::error::DecodeError;
use crate::decode::notes::ModalityNotes;

#[derive(Debug)]
pub(super) enum ModalityLut {
    Rescale { slope: f64, intercept: f64 },
    Table(LookupTable),
}

impl ModalityLut {
    /// Reads it; adds what has no effect to `ignored`.
    pub(super) fn read(
        data_set: &DataSet<'_>,
        is_signed: bool,
        ignored: &mut Vec<&'static str>,
    ) -> Result<Self, DecodeError> {
        if let Some(item) = data_set.first_item(tags::MODALITY_LUT_SEQUENCE)?
            && let Some(table) = LookupTable::read(&item, is_signed)?
        {
            return Ok(Self::Table(table));
        }
        let slope = data_set.decimal(tags::RESCALE_SLOPE, "RescaleSlope (0028,1053)")?;
        if slope == Some(0.0) {
            ignored.push("rescale slope of 0");
        }
        let intercept = data_set.decimal(tags::RESCALE_INTERCEPT, "RescaleIntercept (0028,1052)")?;
        Ok(Self::Rescale { slope: slope.filter(|s| *s != 0.0).unwrap_or(1.0), intercept: intercept.unwrap_or(0.0) })
    }

    pub(super) fn apply(&self, stored_value: i32) -> f64 {
        match self {
            Self::Rescale { slope, intercept } => f64::from(stored_value) * slope + intercept,
            Self::Table(table) => table.get(stored_value.into()),
        }
    }

    /// Whether outputs can be negative, which decides how a VOI LUT's descriptor is read (C.11.2.1.1).
    pub(super) fn is_output_signed(&self, is_signed: bool) -> bool {
        match self {
            Self::Table(_) => false,
            Self::Rescale { slope, intercept } => is_signed || *intercept < 0.0 || *slope < 0.0,
        }
    }

    pub(super) fn notes(&self) -> ModalityNotes {
        match self {
            Self::Rescale { slope, intercept } => ModalityNotes::Rescale { slope: *slope, intercept: *intercept },
            Self::Table(table) => ModalityNotes::Table(table.notes()),
        }
    }
}

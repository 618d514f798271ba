//! The grayscale transformations of PS3.3 C.11: stored values -> modality LUT -> VOI LUT -> presentation LUT -> 8 bits.
//!
//! A stored value has 16 bits at most, so the whole chain is computed once per possible value, in `f64`, and kept as a
//! table.

use std::ops::RangeInclusive;

use dicom_dictionary_std::tags;

use super::data_set::DataSet;
use super::modality_lut::ModalityLut;
use super::pixel_format::StoredFormat;
use super::voi_lut::VoiLut;
use crate::decode::error::DecodeError;
use crate::decode::notes::GrayscaleNotes;

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
    ignored: Vec<&'static str>,
}

impl GrayscalePipeline {
    /// # Errors
    /// When a table or a number of the file cannot be read: another image would be shown without it.
    pub(super) fn read(
        data_set: &DataSet<'_>,
        stored: StoredFormat,
        is_monochrome1: bool,
    ) -> Result<Self, DecodeError> {
        let mut ignored = Vec::new();
        let modality_lut = ModalityLut::read(data_set, stored.is_signed, &mut ignored)?;
        let voi_lut = VoiLut::read(data_set, modality_lut.is_output_signed(stored.is_signed), &mut ignored)?;
        // C.11.6.1.2 and C.8.11.3.1.2: shape INVERSE accompanies MONOCHROME1 and means the same, so the
        // two together invert once.
        let shape = PresentationLutShape::parse(data_set.text(tags::PRESENTATION_LUT_SHAPE));
        let padding_value = |tag| data_set.u16(tag).map(|word| stored.attribute(word));
        let padding = padding_value(tags::PIXEL_PADDING_VALUE).map(|value| {
            let limit = padding_value(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(value);
            value.min(limit)..=value.max(limit)
        });
        let is_inverted = is_monochrome1 || shape == PresentationLutShape::Inverse;
        Ok(Self { stored, modality_lut, voi_lut, is_inverted, padding, ignored })
    }

    /// Grey levels of the samples, bright = dense, and what was applied.
    pub(super) fn apply(self, samples: &[u16]) -> (Vec<u8>, GrayscaleNotes) {
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
        let levels = samples.iter().map(|&sample| table[usize::from(sample)]).collect();
        let (modality, voi) = (self.modality_lut.notes(), voi_lut.notes());
        (levels, GrayscaleNotes { modality, voi, is_inverted: self.is_inverted, ignored: self.ignored })
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

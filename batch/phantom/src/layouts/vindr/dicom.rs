//! One film as a DICOM file (Digital X-Ray Image Storage, for presentation): 12 to 16 bits, MONOCHROME1 or
//! MONOCHROME2, a VOI window that shows the film as drawn, marked as de-identified or not. UIDs follow from the image id.

use dicom_core::header::Header;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// A film with the choices of its file.
#[derive(Debug, Clone, Copy)]
pub struct DicomFilm<'a> {
    /// Image id; UIDs follow from it.
    pub image_id: &'a str,
    /// Pseudonymous patient id.
    pub subject_id: &'a str,
    /// `PA`, `AP` or `LL`.
    pub view_position: &'a str,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height` samples of [`SAMPLE_BITS`] bits; bright is dense.
    pub samples: &'a [u16],
    /// `F` or `M`.
    pub patient_sex: &'static str,
    /// Years.
    pub patient_age: u32,
    /// How it is stored.
    pub storage: Storage,
}

/// How samples are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Storage {
    /// 12 to 16.
    pub bits: u16,
    /// MONOCHROME1: low values are bright.
    pub inverted: bool,
    /// Implicit VR little endian instead of explicit.
    pub implicit_vr: bool,
    /// (0012,0062) PatientIdentityRemoved is there and YES.
    pub marked_deidentified: bool,
}

/// Bits of a film's samples.
pub const SAMPLE_BITS: u16 = 12;

impl Storage {
    /// The storage of the `index`-th film: photometric interpretations alternate, depths go around, every eighth
    /// file has implicit value representations.
    pub fn of(index: usize) -> Self {
        Self {
            bits: [12, 14, 16, 12, 13][index % 5],
            inverted: index % 2 == 1,
            implicit_vr: index % 8 == 7,
            marked_deidentified: true,
        }
    }
}

/// Where samples lie in the range of their file: deeper files leave room below and above, as detectors do, so that
/// a film read without its window looks flat.
struct Place {
    pedestal: u32,
    shift: u16,
}

impl Place {
    fn of(bits: u16) -> Self {
        match bits - SAMPLE_BITS {
            0 => Self { pedestal: 0, shift: 0 },
            spare => Self { pedestal: 1 << (bits - 3), shift: spare - 1 },
        }
    }

    fn stored(&self, sample: u16) -> u32 {
        self.pedestal + (u32::from(sample) << self.shift)
    }
}

/// The file's bytes.
///
/// # Errors
/// [`Error::Internal`] when the film cannot be encoded.
pub fn encode(film: &DicomFilm) -> Result<Vec<u8>> {
    let Storage { bits, inverted, implicit_vr, marked_deidentified } = film.storage;
    let highest = (1u32 << bits) - 1;
    let place = Place::of(bits);
    let flip = |value: u32| if inverted { highest - value } else { value };
    let stored: Vec<u16> = film.samples.iter().map(|&sample| flip(place.stored(sample)) as u16).collect();
    // The window that runs from the darkest possible sample to the brightest (PS3.3 C.11.2.1.2.1).
    let (low, high) = (place.stored(0), place.stored((1 << SAMPLE_BITS) - 1));
    let centre = f64::from(flip(low) + flip(high) + 1) / 2.0;
    let width = f64::from(high - low + 1);

    let sop_class = uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION;
    let sop_instance = uid("image", film.image_id);
    let text = |tag: Tag, vr: VR, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
    let number = |tag: Tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
    let elements = [
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        text(tags::IMAGE_TYPE, VR::CS, "DERIVED\\PRIMARY"),
        text(tags::SOP_CLASS_UID, VR::UI, sop_class),
        text(tags::SOP_INSTANCE_UID, VR::UI, &sop_instance),
        text(tags::MODALITY, VR::CS, "DX"),
        text(tags::PRESENTATION_INTENT_TYPE, VR::CS, "FOR PRESENTATION"),
        text(tags::MANUFACTURER, VR::LO, "D2R phantom"),
        text(tags::PATIENT_NAME, VR::PN, ""),
        text(tags::PATIENT_ID, VR::LO, film.subject_id),
        text(tags::PATIENT_SEX, VR::CS, film.patient_sex),
        text(tags::PATIENT_AGE, VR::AS, &format!("{:03}Y", film.patient_age)),
        text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES"),
        text(tags::DEIDENTIFICATION_METHOD, VR::LO, "drawn, never a patient"),
        text(tags::BODY_PART_EXAMINED, VR::CS, "CHEST"),
        text(tags::VIEW_POSITION, VR::CS, film.view_position),
        text(tags::STUDY_INSTANCE_UID, VR::UI, &uid("study", film.image_id)),
        text(tags::SERIES_INSTANCE_UID, VR::UI, &uid("series", film.image_id)),
        text(tags::INSTANCE_NUMBER, VR::IS, "1"),
        number(tags::SAMPLES_PER_PIXEL, 1),
        text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, if inverted { "MONOCHROME1" } else { "MONOCHROME2" }),
        number(tags::ROWS, side(film.height)?),
        number(tags::COLUMNS, side(film.width)?),
        number(tags::BITS_ALLOCATED, 16),
        number(tags::BITS_STORED, bits),
        number(tags::HIGH_BIT, bits - 1),
        number(tags::PIXEL_REPRESENTATION, 0),
        text(tags::BURNED_IN_ANNOTATION, VR::CS, "NO"),
        text(tags::WINDOW_CENTER, VR::DS, &format!("{centre}")),
        text(tags::WINDOW_WIDTH, VR::DS, &format!("{width}")),
        text(tags::RESCALE_INTERCEPT, VR::DS, "0"),
        text(tags::RESCALE_SLOPE, VR::DS, "1"),
        text(tags::RESCALE_TYPE, VR::LO, "US"),
        DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(stored.into())),
    ];
    let marks = [tags::PATIENT_IDENTITY_REMOVED, tags::DEIDENTIFICATION_METHOD];
    let written = elements.into_iter().filter(|e| marked_deidentified || !marks.contains(&e.tag()));
    let object = InMemDicomObject::from_element_iter(written);
    let syntax = if implicit_vr { uids::IMPLICIT_VR_LITTLE_ENDIAN } else { uids::EXPLICIT_VR_LITTLE_ENDIAN };
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(syntax)
        .media_storage_sop_class_uid(sop_class)
        .media_storage_sop_instance_uid(sop_instance);
    let mut bytes = Vec::with_capacity(film.samples.len() * 2 + 4096);
    object
        .with_meta(meta)
        .map_err(|e| Error::Internal(format!("{}: DICOM header: {e}", film.image_id)))?
        .write_all(&mut bytes)
        .map_err(|e| Error::Internal(format!("{}: DICOM data set: {e}", film.image_id)))?;
    Ok(bytes)
}

fn side(pixels: u32) -> Result<u16> {
    u16::try_from(pixels).map_err(|_| Error::Settings {
        key: "phantom.size".into(),
        problem: format!("{pixels} pixels do not fit a DICOM file; 65535 is the most"),
    })
}

/// A UID under 2.25 (the arc of UUIDs, ISO/IEC 9834-8), from a digest.
fn uid(kind: &str, image_id: &str) -> String {
    let digest = Sha256::digest(format!("{kind}/{image_id}"));
    let number = digest.iter().take(16).fold(0u128, |n, byte| n << 8 | u128::from(*byte));
    format!("2.25.{number}")
}

#[cfg(test)]
mod tests {
    use dicom_object::from_reader;

    use super::*;

    fn film(samples: &[u16], storage: Storage) -> DicomFilm<'_> {
        DicomFilm {
            image_id: "00ff",
            subject_id: "s1",
            view_position: "PA",
            width: 2,
            height: 2,
            samples,
            patient_sex: "F",
            patient_age: 50,
            storage,
        }
    }

    #[test]
    fn files_read_back_with_their_attributes() {
        let samples = [0u16, 1, 2048, 4095];
        for index in 0..40 {
            let storage = Storage::of(index);
            let bytes = encode(&film(&samples, storage)).unwrap();
            let object = from_reader(&bytes[..]).unwrap();
            let text = |tag| object.element(tag).unwrap().to_str().unwrap().trim().to_owned();
            assert_eq!(text(tags::PATIENT_IDENTITY_REMOVED), "YES");
            assert_eq!(text(tags::VIEW_POSITION), "PA");
            assert_eq!(
                text(tags::PHOTOMETRIC_INTERPRETATION),
                if storage.inverted { "MONOCHROME1" } else { "MONOCHROME2" }
            );
            assert_eq!(object.element(tags::BITS_STORED).unwrap().to_int::<u16>().unwrap(), storage.bits);
            assert_eq!(object.element(tags::HIGH_BIT).unwrap().to_int::<u16>().unwrap(), storage.bits - 1);
            let syntax = object.meta().transfer_syntax().trim_end_matches('\0').to_owned();
            assert_eq!(syntax == uids::IMPLICIT_VR_LITTLE_ENDIAN, storage.implicit_vr);
            let pixels = object.element(tags::PIXEL_DATA).unwrap().to_multi_int::<u16>().unwrap();
            let number = |tag| object.element(tag).unwrap().to_float64().unwrap();
            let (centre, width) = (number(tags::WINDOW_CENTER), number(tags::WINDOW_WIDTH));
            for (&pixel, sample) in pixels.iter().zip(samples) {
                // PS3.3 C.11.2.1.2.1, with an output range of 0 to 1.
                let shown = ((f64::from(pixel) - (centre - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0);
                let shown = if storage.inverted { 1.0 - shown } else { shown };
                assert!((shown - f64::from(sample) / 4095.0).abs() < 1e-6, "{storage:?}: {sample} shows as {shown}");
            }
        }
    }

    #[test]
    fn a_file_without_the_mark_has_neither_of_its_attributes() {
        let storage = Storage { marked_deidentified: false, ..Storage::of(0) };
        let bytes = encode(&film(&[0, 1, 2, 3], storage)).unwrap();
        let object = from_reader(&bytes[..]).unwrap();
        assert!(object.element(tags::PATIENT_IDENTITY_REMOVED).is_err());
        assert!(object.element(tags::DEIDENTIFICATION_METHOD).is_err());
        assert!(object.element(tags::PATIENT_AGE).is_ok());
    }

    #[test]
    fn uids_are_valid_and_differ_by_kind() {
        let all = [uid("image", "a"), uid("study", "a"), uid("image", "b")];
        for one in &all {
            assert!(one.len() <= 64 && one.chars().all(|c| c.is_ascii_digit() || c == '.'), "{one}");
            assert!(!one.contains(".0"), "a component with a leading zero: {one}");
        }
        assert!(all[0] != all[1] && all[0] != all[2]);
    }

    #[test]
    fn a_side_beyond_the_format_is_refused() {
        assert!(side(65_536).is_err() && side(65_535).is_ok());
    }
}

//! Small DICOM files around given pixel data.

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// Columns and rows of the files.
pub const COLUMNS: u16 = 40;
pub const ROWS: u16 = 33;

/// Pixel data of a file.
#[derive(Debug, Clone)]
pub enum PixelData {
    /// Words, uncompressed.
    Native(Vec<u16>),
    /// One compressed frame.
    Frame(Vec<u8>),
}

/// A de-identified image of 40 x 33 pixels with `bits` stored bits.
///
/// # Panics
/// Never: all values are fixed.
pub fn dicom_file(transfer_syntax: &str, bits: u16, pixels: PixelData) -> Vec<u8> {
    let mut object = InMemDicomObject::new_empty();
    for (tag, vr, value) in [
        (tags::SOP_CLASS_UID, VR::UI, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION),
        (tags::SOP_INSTANCE_UID, VR::UI, "1.2.3"),
        (tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES"),
        (tags::VIEW_POSITION, VR::CS, "PA"),
        (tags::WINDOW_CENTER, VR::DS, "2000"),
        (tags::WINDOW_WIDTH, VR::DS, "1500"),
        (tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2"),
    ] {
        object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
    }
    let allocated = if bits > 8 { 16 } else { 8 };
    for (tag, value) in [
        (tags::SAMPLES_PER_PIXEL, 1),
        (tags::ROWS, ROWS),
        (tags::COLUMNS, COLUMNS),
        (tags::BITS_ALLOCATED, allocated),
        (tags::BITS_STORED, bits),
        (tags::HIGH_BIT, bits - 1),
        (tags::PIXEL_REPRESENTATION, 0),
    ] {
        object.put(DataElement::new(tag, VR::US, PrimitiveValue::from(value)));
    }
    match pixels {
        PixelData::Native(words) => {
            object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into())));
        }
        PixelData::Frame(frame) => {
            let sequence = PixelFragmentSequence::new(Vec::<u32>::new(), vec![frame]);
            object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, sequence));
        }
    }
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(transfer_syntax)
        .media_storage_sop_class_uid(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
        .media_storage_sop_instance_uid("1.2.3")
        .build()
        .expect("all fields are given");
    let mut bytes = Vec::new();
    object.with_exact_meta(meta).write_all(&mut bytes).expect("memory takes it");
    bytes
}

/// The compressed frame of a DICOM file.
///
/// # Panics
/// When the file has none.
pub fn frame_of(file: &[u8]) -> Vec<u8> {
    let object = dicom_object::OpenFileOptions::new().from_reader(file).expect("a DICOM file");
    let pixels = object.element(tags::PIXEL_DATA).expect("with pixel data");
    pixels.value().fragments().expect("in fragments").concat()
}

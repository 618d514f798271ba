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

/// A file around a compressed frame, as [`dicom_file`] writes it, from what it writes before the frame.
#[derive(Debug, Clone)]
pub struct FrameHead(Vec<u8>);

/// An item of a sequence, and the end of the sequence.
const ITEM: [u8; 4] = [0xfe, 0xff, 0x00, 0xe0];
const SEQUENCE_END: [u8; 8] = [0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0];

impl FrameHead {
    /// # Panics
    /// Never: an empty frame is eight bytes before the end of the sequence.
    pub fn new(transfer_syntax: &str, bits: u16) -> Self {
        let mut file = dicom_file(transfer_syntax, bits, PixelData::Frame(Vec::new()));
        let tail = [ITEM.as_slice(), &[0; 4], &SEQUENCE_END].concat();
        assert!(file.ends_with(&tail), "an empty frame at the end");
        file.truncate(file.len() - tail.len());
        Self(file)
    }

    /// The file with this frame.
    pub fn with_frame(&self, frame: &[u8]) -> Vec<u8> {
        let padding = &[0][..frame.len() % 2];
        let length = ((frame.len() + padding.len()) as u32).to_le_bytes();
        [self.0.as_slice(), &ITEM, &length, frame, padding, &SEQUENCE_END].concat()
    }
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

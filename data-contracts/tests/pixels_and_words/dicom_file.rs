//! DICOM files made for a test, written by `dicom-object`.

use dicom_core::value::PixelFragmentSequence;
use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};

/// A file under construction: a 40 x 33 MONOCHROME2 ramp of 12 bits, de-identified.
pub struct DicomFile {
    pub object: InMemDicomObject,
    pub transfer_syntax: &'static str,
}

pub const COLUMNS: u16 = 40;
pub const ROWS: u16 = 33;

/// 0 to 4095 over the image.
pub fn ramp() -> Vec<u16> {
    let last = u32::from(COLUMNS) * u32::from(ROWS) - 1;
    (0..=last).map(|i| (i * 4095 / last) as u16).collect()
}

impl DicomFile {
    pub fn new() -> Self {
        let file = Self { object: InMemDicomObject::new_empty(), transfer_syntax: uids::EXPLICIT_VR_LITTLE_ENDIAN };
        file.text(tags::SOP_CLASS_UID, VR::UI, uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
            .text(tags::SOP_INSTANCE_UID, VR::UI, "1.2.3")
            .text(tags::PATIENT_NAME, VR::PN, "Nobody^At^All")
            .text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "YES")
            .text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "MONOCHROME2")
            .us(tags::SAMPLES_PER_PIXEL, 1)
            .us(tags::ROWS, ROWS)
            .us(tags::COLUMNS, COLUMNS)
            .us(tags::PIXEL_REPRESENTATION, 0)
            .bits(16, 12, 11)
            .words(ramp())
    }

    pub fn put(mut self, tag: Tag, vr: VR, value: PrimitiveValue) -> Self {
        self.object.put(DataElement::new(tag, vr, value));
        self
    }

    pub fn text(self, tag: Tag, vr: VR, value: &str) -> Self {
        self.put(tag, vr, PrimitiveValue::from(value))
    }

    pub fn us(self, tag: Tag, value: u16) -> Self {
        self.put(tag, VR::US, PrimitiveValue::from(value))
    }

    pub fn bits(self, allocated: u16, stored: u16, high: u16) -> Self {
        self.us(tags::BITS_ALLOCATED, allocated).us(tags::BITS_STORED, stored).us(tags::HIGH_BIT, high)
    }

    pub fn window(self, center: &str, width: &str) -> Self {
        self.text(tags::WINDOW_CENTER, VR::DS, center).text(tags::WINDOW_WIDTH, VR::DS, width)
    }

    pub fn photometric(self, value: &str) -> Self {
        self.text(tags::PHOTOMETRIC_INTERPRETATION, VR::CS, value)
    }

    pub fn words(self, words: Vec<u16>) -> Self {
        self.put(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(words.into()))
    }

    pub fn bytes(self, bytes: Vec<u8>) -> Self {
        self.put(tags::PIXEL_DATA, VR::OB, PrimitiveValue::U8(bytes.into()))
    }

    pub fn fragments(mut self, transfer_syntax: &'static str, fragments: Vec<Vec<u8>>) -> Self {
        let sequence = PixelFragmentSequence::new(Vec::<u32>::new(), fragments);
        self.object.put(DataElement::new(tags::PIXEL_DATA, VR::OB, sequence));
        self.written_as(transfer_syntax)
    }

    pub fn written_as(mut self, transfer_syntax: &'static str) -> Self {
        self.transfer_syntax = transfer_syntax;
        self
    }

    pub fn without(mut self, tag: Tag) -> Self {
        self.object.remove_element(tag);
        self
    }

    /// The file's bytes, preamble included.
    pub fn build(self) -> Vec<u8> {
        let meta = FileMetaTableBuilder::new()
            .transfer_syntax(self.transfer_syntax)
            .media_storage_sop_class_uid(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
            .media_storage_sop_instance_uid("1.2.3")
            .build()
            .unwrap();
        let mut bytes = Vec::new();
        self.object.with_exact_meta(meta).write_all(&mut bytes).unwrap();
        bytes
    }
}

/// The data set of a file that [`DicomFile::build`] made.
pub fn data_set(file: &[u8]) -> &[u8] {
    let group_length = u32::from_le_bytes(*file[140..].first_chunk().unwrap()) as usize;
    &file[144 + group_length..]
}

/// A file whose meta information declares a transfer syntax, right or wrong, or none.
pub fn declared(transfer_syntax: Option<&str>, data_set: &[u8]) -> Vec<u8> {
    let mut file = [vec![0; 128], b"DICM".to_vec()].concat();
    let mut element = |tag: [u8; 4], vr: &[u8; 2], value: &str| {
        let padding = value.len() % 2;
        file.extend([tag.as_slice(), vr, &((value.len() + padding) as u16).to_le_bytes(), value.as_bytes()].concat());
        file.extend(vec![0; padding]);
    };
    element([2, 0, 3, 0], b"UI", "1.2.3");
    if let Some(uid) = transfer_syntax {
        element([2, 0, 0x10, 0], b"UI", uid);
    }
    element([2, 0, 0x12, 0], b"UI", "1.2.4");
    [file, data_set.to_vec()].concat()
}

/// An RLE frame (PS3.5 annex G) of 16-bit samples: the upper bytes, then the lower ones, copied in runs.
pub fn rle(samples: &[u16]) -> Vec<u8> {
    let pack = |plane: Vec<u8>| -> Vec<u8> {
        plane.chunks(128).flat_map(|run| [&[(run.len() - 1) as u8], run].concat()).collect()
    };
    let planes = [8, 0].map(|shift| pack(samples.iter().map(|v| (v >> shift) as u8).collect()));
    let mut header = vec![2u32, 64, 64 + planes[0].len() as u32];
    header.resize(16, 0);
    [header.into_iter().flat_map(u32::to_le_bytes).collect(), planes.concat()].concat()
}

/// The JPEG or JPEG 2000 codestream of a golden file with one fragment.
pub fn golden_codestream(name: &str) -> Vec<u8> {
    let file = std::fs::read(format!("golden/dicom/{name}.dcm")).unwrap();
    let pixel_data = file.windows(8).position(|w| w == b"\xe0\x7f\x10\0OB\0\0").unwrap();
    // After the element's header an empty offset table, then the fragment's length.
    let item = &file[pixel_data + 12..];
    let table = u32::from_le_bytes(*item[4..].first_chunk().unwrap()) as usize;
    let fragment = &item[8 + table..];
    let length = u32::from_le_bytes(*fragment[4..].first_chunk().unwrap()) as usize;
    let stream = &fragment[8..8 + length];
    // Without padding: to the end marker, which JPEG and JPEG 2000 share.
    let end = stream.windows(2).rposition(|w| w == [0xff, 0xd9]).unwrap() + 2;
    stream[..end].to_vec()
}

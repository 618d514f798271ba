use d2r_contracts::decode::notes::VoiNotes;
use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode};
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, Length, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use crate::dicom_file::{DicomFile, ramp};

fn read(file: DicomFile) -> Result<Decoded, DecodeError> {
    decode(&file.build(), &ImageDecodeOptions::default())
}

fn levels(file: DicomFile) -> Vec<u8> {
    read(file).unwrap().radiograph.pixels
}

/// The ramp stretched from its smallest to its largest value.
fn stretched() -> Vec<u8> {
    ramp().iter().map(|&v| (f64::from(v) / 4095.0 * 255.0 + 0.5).floor() as u8).collect()
}

fn inverted(levels: &[u8]) -> Vec<u8> {
    levels.iter().map(|v| 255 - v).collect()
}

fn table(descriptor: [u16; 3], entries: Vec<u16>) -> InMemDicomObject {
    InMemDicomObject::from_element_iter([
        DataElement::new(tags::LUT_DESCRIPTOR, VR::US, PrimitiveValue::U16(descriptor.as_slice().into())),
        DataElement::new(tags::LUT_DATA, VR::OW, PrimitiveValue::U16(entries.into())),
    ])
}

fn with_table(mut file: DicomFile, tag: dicom_core::Tag, item: InMemDicomObject, length: Length) -> DicomFile {
    file.object.put(DataElement::new(tag, VR::SQ, DataSetSequence::new(vec![item], length)));
    file
}

#[test]
fn a_voi_table_wins_over_a_window_and_clamps_at_its_ends() {
    for syntax in [uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"] {
        let item = table([1000, 2000, 8], (0..1000u32).map(|i| (i * 255 / 999) as u16).collect());
        let file = with_table(DicomFile::new().window("5", "5"), tags::VOILUT_SEQUENCE, item, Length::UNDEFINED);
        let pixels = levels(file.written_as(syntax));
        let expected: Vec<u8> =
            ramp().iter().map(|&v| (u32::from(v.clamp(2000, 2999) - 2000) * 255 / 999) as u8).collect();
        assert_eq!(pixels, expected, "{syntax}");
    }
}

#[test]
fn packed_8_bit_tables_and_empty_ones() {
    let packed = table([4096, 0, 8], (0..2048u16).map(|i| (i / 8) | ((i / 8) << 8)).collect());
    let pixels = levels(with_table(DicomFile::new(), tags::VOILUT_SEQUENCE, packed, Length::UNDEFINED));
    let expected: Vec<u8> = ramp().iter().map(|&v| (v / 16) as u8).collect();
    assert_eq!(pixels, expected);
    let empty = table([4096, 0, 8], vec![]);
    assert_eq!(levels(with_table(DicomFile::new(), tags::VOILUT_SEQUENCE, empty, Length::UNDEFINED)), stretched());
}

#[test]
fn a_modality_table_comes_first() {
    let falling = table([4096, 0, 16], (0..4096).map(|i| (4095 - i) * 16).collect());
    let pixels = levels(with_table(DicomFile::new(), tags::MODALITY_LUT_SEQUENCE, falling, Length::UNDEFINED));
    assert_eq!(pixels, inverted(&stretched()));
}

/// 4096 entries from 0 to `largest`.
fn entries(largest: u16) -> Vec<u16> {
    (0..4096u32).map(|i| (i * u32::from(largest) / 4095) as u16).collect()
}

fn voi(bits: u16, entries: Vec<u16>) -> DicomFile {
    with_table(DicomFile::new(), tags::VOILUT_SEQUENCE, table([4096, 0, bits], entries), Length::UNDEFINED)
}

fn near(levels: &[u8], expected: &[u8]) -> bool {
    levels.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 1)
}

#[test]
fn a_table_that_uses_fewer_bits_than_it_declares_gives_the_full_range() {
    for bits in 10..16 {
        let full = (1u16 << bits) - 1;
        // The largest number of these bits, and one that is smaller.
        for largest in [full, full - full / 5] {
            let decoded = read(voi(16, entries(largest))).unwrap();
            assert!(near(&decoded.radiograph.pixels, &stretched()), "{bits} bits, largest {largest}");
            let negative = levels(voi(16, entries(largest)).photometric("MONOCHROME1"));
            assert!(near(&negative, &inverted(&stretched())), "{bits} bits, largest {largest}, MONOCHROME1");
            let Some(VoiNotes::Table(notes)) = decoded.dicom.and_then(|d| d.grayscale).map(|g| g.voi) else {
                panic!("no table noted")
            };
            assert_eq!((notes.bits_declared, notes.bits_used, notes.white), (16, bits, largest));
        }
    }
}

#[test]
fn a_table_that_uses_the_bits_it_declares_stays_as_it_is() {
    for (bits, largest, white) in
        [(16, 65535u16, 255), (16, 40000, 156), (12, 4095, 255), (12, 3000, 187), (8, 200, 200)]
    {
        let pixels = levels(voi(bits, entries(largest)));
        assert_eq!(pixels.last(), Some(&white), "{bits} bits, largest {largest}");
    }
}

#[test]
fn wrong_declarations_of_the_entries_size_do_not_matter() {
    let expected = stretched();
    // 16-bit entries declared as 8 bits, and sizes that the standard does not know.
    for bits in [8, 0, 1, 32, 12, 255] {
        assert!(near(&levels(voi(bits, entries(65535))), &expected), "declared {bits}, 16 used");
        assert!(near(&levels(voi(bits, entries(4095))), &expected), "declared {bits}, 12 used");
    }
    // Packed bytes declared as 16 bits.
    let packed: Vec<u16> = (0..2048u16).map(|i| (i / 8) | ((i / 8) << 8)).collect();
    assert!(near(&levels(voi(16, packed)), &expected));
}

#[test]
fn a_table_of_zeros_is_black() {
    assert!(levels(voi(16, vec![0; 4096])).iter().all(|&v| v == 0));
}

#[test]
fn an_incomplete_table_is_a_failure() {
    for tag in [tags::VOILUT_SEQUENCE, tags::MODALITY_LUT_SEQUENCE] {
        let short = table([4096, 0, 16], vec![7; 1000]);
        let error = read(with_table(DicomFile::new(), tag, short, Length::UNDEFINED)).unwrap_err();
        assert_eq!(error.code(), "corrupt");
    }
}

#[test]
fn a_modality_table_of_any_size_is_followed_by_the_window() {
    for bits in [8, 12, 16] {
        let falling = table([4096, 0, bits], entries(4095).into_iter().rev().collect());
        let with = |file: DicomFile| with_table(file, tags::MODALITY_LUT_SEQUENCE, falling.clone(), Length::UNDEFINED);
        assert_eq!(levels(with(DicomFile::new())), inverted(&stretched()), "{bits} bits");
        let windowed = levels(with(DicomFile::new().window("2048", "4096")));
        assert!(near(&windowed, &inverted(&stretched())), "{bits} bits with a window");
    }
}

#[test]
fn a_table_in_a_sequence_without_vrs_is_read() {
    // A program that did not know the sequence wrote it as UN, without VRs inside (PS3.5 6.2.2).
    let mut file = DicomFile::new().build();
    let mut sequence = vec![0x28, 0, 0x10, 0x30, b'U', b'N', 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0, 0xe0];
    let data: Vec<u8> = entries(4095).into_iter().rev().flat_map(u16::to_le_bytes).collect();
    let mut item = [0x28, 0, 2, 0x30, 6, 0, 0, 0].to_vec();
    item.extend([4096u16, 0, 12].into_iter().flat_map(u16::to_le_bytes));
    item.extend([0x28, 0, 6, 0x30]);
    item.extend((data.len() as u32).to_le_bytes());
    item.extend(data);
    sequence.extend((item.len() as u32).to_le_bytes());
    sequence.extend(item);
    sequence.extend([0xfe, 0xff, 0xdd, 0xe0, 0, 0, 0, 0]);
    let pixels = file.windows(4).position(|w| w == [0xe0, 0x7f, 0x10, 0]).unwrap();
    file.splice(pixels..pixels, sequence);
    let decoded = decode(&file, &ImageDecodeOptions::default()).unwrap();
    assert_eq!(decoded.radiograph.pixels, inverted(&stretched()));
}

use d2r_contracts::decode::{DecodeError, Decoded, ImageDecodeOptions, decode};
use dicom_core::VR;
use dicom_dictionary_std::{tags, uids};
use image::{GrayImage, Luma, RgbImage};

use crate::dicom_file::{COLUMNS, DicomFile, ROWS, data_set, ramp};
use crate::raster_file::jpeg;

fn read(file: DicomFile) -> Result<Decoded, DecodeError> {
    decode(&file.build(), &ImageDecodeOptions::default())
}

fn levels(file: DicomFile) -> Vec<u8> {
    read(file).unwrap().radiograph.pixels
}

fn code(file: DicomFile) -> &'static str {
    read(file).unwrap_err().code()
}

/// The ramp stretched from its smallest to its largest value.
fn stretched() -> Vec<u8> {
    ramp().iter().map(|&v| (f64::from(v) / 4095.0 * 255.0 + 0.5).floor() as u8).collect()
}

fn inverted(levels: &[u8]) -> Vec<u8> {
    levels.iter().map(|v| 255 - v).collect()
}

#[test]
fn without_a_window_the_range_of_the_values_is_shown() {
    let decoded = read(DicomFile::new()).unwrap();
    assert_eq!((decoded.radiograph.width, decoded.radiograph.height), (COLUMNS.into(), ROWS.into()));
    assert_eq!(decoded.radiograph.pixels, stretched());
}

#[test]
fn all_uncompressed_transfer_syntaxes_give_the_same_image() {
    for syntax in [
        uids::IMPLICIT_VR_LITTLE_ENDIAN,
        uids::EXPLICIT_VR_LITTLE_ENDIAN,
        "1.2.840.10008.1.2.2",
        "1.2.840.10008.1.2.1.99",
    ] {
        assert_eq!(levels(DicomFile::new().written_as(syntax)), stretched(), "{syntax}");
    }
}

#[test]
fn eight_bits_are_read_in_both_byte_orders() {
    let grey: Vec<u8> = stretched();
    let file = || DicomFile::new().bits(8, 8, 7);
    assert_eq!(levels(file().bytes(grey.clone())), grey);
    let words: Vec<u16> = grey.as_chunks::<2>().0.iter().map(|&pair| u16::from_le_bytes(pair)).collect();
    assert_eq!(levels(file().words(words.clone())), grey);
    assert_eq!(levels(file().words(words).written_as("1.2.840.10008.1.2.2")), grey);
}

#[test]
fn monochrome1_is_inverted_exactly_once() {
    let negative = || DicomFile::new().photometric("MONOCHROME1");
    assert_eq!(levels(negative()), inverted(&stretched()));
    let shape = |file: DicomFile, value: &str| file.text(tags::PRESENTATION_LUT_SHAPE, VR::CS, value);
    assert_eq!(levels(shape(negative(), "INVERSE")), inverted(&stretched()));
    assert_eq!(levels(shape(DicomFile::new(), "IDENTITY")), stretched());
    assert_eq!(levels(shape(DicomFile::new(), "INVERSE")), inverted(&stretched()));
}

#[test]
fn windows_follow_the_three_functions_of_the_standard() {
    // PS3.3 C.11.2.1.2.1, center 2048, width 4096, is the standard's own example of the full 12-bit range.
    let full = |v: u16| ((f64::from(v) - 2047.5) / 4095.0 + 0.5) * 255.0;
    let expected: Vec<u8> = ramp().iter().map(|&v| (full(v) + 0.5).floor().clamp(0.0, 255.0) as u8).collect();
    assert_eq!(levels(DicomFile::new().window("2048", "4096")), expected);

    let with =
        |function: &str| levels(DicomFile::new().window("2000", "1000").text(tags::VOILUT_FUNCTION, VR::CS, function));
    let at = |levels: &[u8], stored: u16| levels[ramp().iter().position(|&v| v >= stored).unwrap()];
    let (linear, exact, sigmoid) = (with("LINEAR"), with("LINEAR_EXACT"), with("SIGMOID"));
    assert_eq!((at(&linear, 1490), at(&linear, 2505)), (0, 255));
    assert_eq!((at(&exact, 1490), at(&exact, 2505)), (0, 255));
    assert!(at(&sigmoid, 1490) > 20, "a sigmoid has tails");
    let share = 1.0 / (1.0 + (-4.0 * (f64::from(ramp()[500]) - 2000.0) / 1000.0).exp());
    assert_eq!(sigmoid[500], (share * 255.0 + 0.5).floor() as u8);
}

#[test]
fn a_window_one_wide_is_a_threshold_and_a_narrower_one_is_ignored() {
    let threshold = levels(DicomFile::new().window("2000", "1"));
    // C.11.2.1.2.1: x <= c - 0.5 is black, above it is white.
    let expected: Vec<u8> = ramp().iter().map(|&v| if f64::from(v) <= 1999.5 { 0 } else { 255 }).collect();
    assert_eq!(threshold, expected);
    for width in ["0", "0.5", "-4", ""] {
        assert_eq!(levels(DicomFile::new().window("2000", width)), stretched(), "width {width:?}");
    }
}

#[test]
fn the_first_of_several_windows_is_taken() {
    let first = levels(DicomFile::new().window("1000", "500"));
    assert_eq!(levels(DicomFile::new().window("1000\\3000", "500\\100")), first);
    assert_ne!(levels(DicomFile::new().window("3000", "100")), first);
}

#[test]
fn rescaling_comes_before_the_window() {
    let rescaled = |slope: &str, intercept: &str| {
        DicomFile::new().text(tags::RESCALE_SLOPE, VR::DS, slope).text(tags::RESCALE_INTERCEPT, VR::DS, intercept)
    };
    let shifted = levels(rescaled("2", "-1000").window("3000", "2000"));
    // 2 v - 1000 within 3000 +- 1000 is v within 2000 +- 500.
    let same = levels(DicomFile::new().window("2000.25", "1000.5"));
    assert!(shifted.iter().zip(&same).all(|(a, b)| a.abs_diff(*b) <= 1));
    assert_eq!(levels(rescaled("-1", "4095")), inverted(&stretched()), "a falling slope inverts the image");
    assert_eq!(levels(rescaled("0", "5")), stretched(), "a slope of 0 is ignored");
}

#[test]
fn a_decimal_comma_is_a_decimal_point_in_every_decimal_string() {
    let rescaled = |slope: &str, intercept: &str| {
        DicomFile::new().text(tags::RESCALE_SLOPE, VR::DS, slope).text(tags::RESCALE_INTERCEPT, VR::DS, intercept)
    };
    let window = |center: &str, width: &str| levels(DicomFile::new().window(center, width));
    assert_eq!(window("1500,5", "1200,25"), window("1500.5", "1200.25"));
    assert_eq!(window("1500,5\\2000,0", "1200,25\\3,5"), window("1500.5", "1200.25"));
    assert_eq!(window(" 1,5E3 ", "+1200,"), window("1500", "1200"));
    assert_ne!(window("1500,5", "1200,25"), stretched());
    assert_eq!(
        levels(rescaled("2,5", "-1000,5").window("3000,0", "2000,0")),
        levels(rescaled("2.5", "-1000.5").window("3000", "2000"))
    );
    assert_eq!(levels(rescaled("-1,0", "4095,0")), inverted(&stretched()));
}

#[test]
fn a_number_that_cannot_be_read_is_a_failure_and_not_left_out() {
    let with = |tag, value: &str| read(DicomFile::new().window("2000", "1000").text(tag, VR::DS, value));
    let attributes = [
        (tags::WINDOW_CENTER, "WindowCenter"),
        (tags::WINDOW_WIDTH, "WindowWidth"),
        (tags::RESCALE_SLOPE, "RescaleSlope"),
        (tags::RESCALE_INTERCEPT, "RescaleIntercept"),
    ];
    for (tag, name) in attributes {
        // A comma and a point together, or two commas: thousands or decimals.
        for value in ["wide", "1,500.5", "1.500,5", "1,500,000", "NaN", "inf", "--", "15 00", "0x10"] {
            let error = with(tag, value).unwrap_err();
            assert_eq!(error.code(), "corrupt", "{name} {value}");
            assert!(error.to_string().starts_with(name), "{error}");
            assert!(!error.to_string().contains("copy it again"), "{error}");
        }
        assert!(with(tag, " ").is_ok(), "an empty {name} is an absent one");
    }
}

#[test]
fn what_has_no_effect_is_noted() {
    let ignored = |file: DicomFile| read(file).unwrap().dicom.unwrap().grayscale.unwrap().ignored;
    assert!(ignored(DicomFile::new().window("2000", "1000")).is_empty());
    assert_eq!(ignored(DicomFile::new().window("2000", "0")), ["window of a width that is too small"]);
    let half = DicomFile::new().text(tags::WINDOW_CENTER, VR::DS, "2000");
    assert_eq!(ignored(half), ["window without a center or without a width"]);
    assert_eq!(ignored(DicomFile::new().text(tags::RESCALE_SLOPE, VR::DS, "0")), ["rescale slope of 0"]);
}

#[test]
fn burned_in_annotation_is_read_from_the_header() {
    let flag = |value: &str| {
        let file = DicomFile::new().text(tags::BURNED_IN_ANNOTATION, VR::CS, value);
        read(file).unwrap().burned_in_annotation()
    };
    assert_eq!((flag("YES"), flag("yes "), flag("NO"), flag("?")), (Some(true), Some(true), Some(false), None));
    assert_eq!(read(DicomFile::new()).unwrap().burned_in_annotation(), None);
}

#[test]
fn spare_bits_are_masked_and_the_high_bit_is_used() {
    // Overlay bits above the 12 stored ones.
    let dirty = ramp().iter().enumerate().map(|(i, v)| v | if i % 3 == 0 { 0xf000 } else { 0 }).collect();
    assert_eq!(levels(DicomFile::new().words(dirty)), stretched());
    // 12 bits in the upper part of the word, noise below.
    let high = ramp().iter().map(|v| (v << 4) | 0x9).collect();
    assert_eq!(levels(DicomFile::new().bits(16, 12, 15).words(high)), stretched());
}

#[test]
fn signed_values_are_extended_from_their_own_width() {
    let signed = ramp().iter().map(|&v| v.wrapping_sub(2048) & 0x0fff).collect();
    assert_eq!(levels(DicomFile::new().us(tags::PIXEL_REPRESENTATION, 1).words(signed)), stretched());
}

#[test]
fn padding_does_not_stretch_the_range() {
    let mut words = ramp();
    words.iter_mut().for_each(|v| *v = *v / 4 + 100);
    let mut padded = words.clone();
    padded[..40].fill(4095);
    let plain = levels(DicomFile::new().words(words));
    let ours = levels(DicomFile::new().words(padded).us(tags::PIXEL_PADDING_VALUE, 4095));
    assert!(ours[60..].iter().zip(&plain[60..]).all(|(a, b)| a.abs_diff(*b) <= 8));
}

#[test]
fn encapsulated_baseline_jpeg_in_one_or_more_fragments() {
    let image = GrayImage::from_fn(40, 33, |x, y| Luma([(x * 4 + y * 2) as u8]));
    let stream = jpeg(image.clone());
    let middle = stream.len() / 4 * 2;
    let pieces = vec![stream[..middle].to_vec(), stream[middle..].to_vec()];
    for fragments in [vec![stream.clone()], pieces] {
        let file = DicomFile::new().bits(8, 8, 7).window("127.5", "256").fragments(uids::JPEG_BASELINE8_BIT, fragments);
        let pixels = levels(file);
        assert!(pixels.iter().zip(image.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 6));
    }
    let two_frames = DicomFile::new().bits(8, 8, 7).text(tags::NUMBER_OF_FRAMES, VR::IS, "2");
    let other = jpeg(GrayImage::new(40, 33));
    let pixels = levels(two_frames.window("127.5", "256").fragments(uids::JPEG_BASELINE8_BIT, vec![stream, other]));
    assert!(pixels.iter().zip(image.as_raw()).all(|(a, b)| a.abs_diff(*b) <= 6), "the first frame is taken");
}

#[test]
fn compressed_streams_of_another_shape_are_refused() {
    let stream = jpeg(GrayImage::new(400, 330));
    let file = DicomFile::new().bits(8, 8, 7).fragments(uids::JPEG_BASELINE8_BIT, vec![stream.clone()]);
    assert_eq!(code(file), "corrupt");
    let half = DicomFile::new().bits(8, 8, 7).us(tags::ROWS, 330).us(tags::COLUMNS, 400);
    assert_eq!(code(half.fragments(uids::JPEG_BASELINE8_BIT, vec![stream[..stream.len() / 2].to_vec()])), "truncated");
    let colour = jpeg(RgbImage::new(40, 33));
    assert_eq!(code(DicomFile::new().bits(8, 8, 7).fragments(uids::JPEG_BASELINE8_BIT, vec![colour])), "corrupt");
    assert_eq!(code(DicomFile::new().fragments(uids::RLE_LOSSLESS, vec![vec![0; 64]])), "corrupt");
    assert_eq!(code(DicomFile::new().fragments(uids::RLE_LOSSLESS, vec![vec![0; 10]])), "truncated");
    assert_eq!(code(DicomFile::new().fragments(uids::JPEG2000_LOSSLESS, vec![vec![0; 64]])), "corrupt");
    assert_eq!(code(DicomFile::new().fragments(uids::JPEGLS_LOSSLESS, vec![vec![0; 64]])), "unsupported");
}

#[test]
fn multi_frame_native_pixels_give_the_first_frame() {
    let mut words = ramp();
    words.extend(vec![7; ramp().len()]);
    assert_eq!(levels(DicomFile::new().text(tags::NUMBER_OF_FRAMES, VR::IS, "2").words(words)), stretched());
}

fn colour(photometric: &str, planar: u16, bytes: Vec<u8>) -> DicomFile {
    let file =
        DicomFile::new().photometric(photometric).us(tags::SAMPLES_PER_PIXEL, 3).us(tags::PLANAR_CONFIGURATION, planar);
    file.bits(8, 8, 7).bytes(bytes)
}

#[test]
fn colour_dicom_is_judged_like_colour_rasters() {
    let grey = stretched();
    let interleaved: Vec<u8> = grey.iter().flat_map(|&v| [v; 3]).collect();
    assert_eq!(levels(colour("RGB", 0, interleaved)), grey);
    assert_eq!(levels(colour("RGB", 1, grey.repeat(3))), grey);
    let neutral: Vec<u8> = grey.iter().flat_map(|&v| [v, 128, 128]).collect();
    assert_eq!(levels(colour("YBR_FULL", 0, neutral)), grey);
    assert_eq!(code(colour("YBR_FULL", 0, [90, 60, 220].repeat(grey.len()))), "colour_photograph");
    assert_eq!(code(colour("RGB", 0, [200, 30, 30].repeat(grey.len()))), "colour_photograph");
    assert_eq!(code(colour("RGB", 0, vec![0; 100])), "truncated");
    assert_eq!(code(DicomFile::new().photometric("PALETTE COLOR")), "unsupported");
}

#[test]
fn files_that_are_not_deidentified_need_permission() {
    for file in [
        || DicomFile::new().without(tags::PATIENT_IDENTITY_REMOVED),
        || DicomFile::new().text(tags::PATIENT_IDENTITY_REMOVED, VR::CS, "NO"),
    ] {
        assert_eq!(code(file()), "not_deidentified");
        let permissive = ImageDecodeOptions { allow_phi: true, ..ImageDecodeOptions::default() };
        assert_eq!(decode(&file().build(), &permissive).unwrap().radiograph.pixels, stretched());
    }
    let refusal = read(DicomFile::new().without(tags::PATIENT_IDENTITY_REMOVED)).unwrap_err();
    assert!(!format!("{refusal} {refusal:?}").contains("Nobody"), "a refusal names no patient");
}

#[test]
fn objects_without_pixels_and_with_too_few() {
    assert_eq!(code(DicomFile::new().without(tags::PIXEL_DATA)), "no_pixel_data");
    assert_eq!(code(DicomFile::new().words(vec![])), "no_pixel_data");
    assert_eq!(code(DicomFile::new().words(vec![1; 100])), "truncated");
    assert_eq!(code(DicomFile::new().us(tags::ROWS, 31)), "too_small");
    assert_eq!(code(DicomFile::new().us(tags::ROWS, 60000).us(tags::COLUMNS, 60000)), "too_large");
    assert_eq!(code(DicomFile::new().without(tags::ROWS)), "corrupt");
    assert_eq!(code(DicomFile::new().bits(32, 32, 31)), "unsupported");
    assert_eq!(code(DicomFile::new().bits(16, 12, 10)), "corrupt");
    assert_eq!(code(DicomFile::new().bits(16, 17, 16)), "corrupt");
    assert_eq!(code(DicomFile::new().bits(16, 0, 0)), "corrupt");
}

#[test]
fn the_projection_is_taken_from_view_position() {
    let projection = |value: &str| read(DicomFile::new().text(tags::VIEW_POSITION, VR::CS, value)).unwrap().projection;
    assert_eq!(projection("PA").as_deref(), Some("PA"));
    assert_eq!(projection("AP").as_deref(), Some("AP"));
    for lateral in ["LL", "RL", "LATERAL"] {
        assert_eq!(projection(lateral).as_deref(), Some("LATERAL"));
    }
    assert_eq!(projection("XYZ"), None);
    assert_eq!(read(DicomFile::new()).unwrap().projection, None);
}

#[test]
fn files_without_preamble_or_meta_information_are_read() {
    let whole = DicomFile::new().build();
    let options = ImageDecodeOptions::default();
    assert_eq!(decode(&whole[128..], &options).unwrap().radiograph.pixels, stretched());
    assert_eq!(decode(&whole[132..], &options).unwrap().radiograph.pixels, stretched());
    assert_eq!(decode(data_set(&whole), &options).unwrap().radiograph.pixels, stretched());
    let whole = DicomFile::new().written_as(uids::IMPLICIT_VR_LITTLE_ENDIAN).build();
    assert_eq!(decode(data_set(&whole), &options).unwrap().radiograph.pixels, stretched());
}

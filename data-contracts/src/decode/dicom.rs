//! DICOM files to radiographs: stored values -> modality LUT -> VOI LUT -> 8 bits -> inversion, each at most once.
//!
//! Section numbers are those of DICOM PS3.3 and PS3.5. The first frame of a multi-frame object is taken; grey
//! RGB and YBR_FULL images are accepted like grey colour rasters; palettes are not read. Functional groups of
//! enhanced objects and presentation states are left out.

mod codestream;
mod data_set;
mod grayscale;
mod lookup_table;
mod part_10;
mod pixel_format;
mod rle;

use dicom_dictionary_std::{tags, uids};

use super::error::DecodeError;
use super::options::ImageDecodeOptions;
use super::raster::grey_from_rgb;
use crate::radiograph::Radiograph;
use crate::space::ImageSize;

pub(super) use part_10::{Part10, part_10};

use codestream::Codec;
use data_set::{DataSet, Encoding};
use grayscale::GrayscalePipeline;
use pixel_format::{PixelFormat, StoredFormat};

/// Decodes one DICOM file. Returns the radiograph and its projection (`PA`, `AP`, `LATERAL`), if the file has it.
pub(super) fn decode(
    file: &Part10<'_>,
    options: &ImageDecodeOptions,
) -> Result<(Radiograph, Option<String>), DecodeError> {
    let (encoding, codec) = encoding_and_codec(file.transfer_syntax)?;
    let inflated;
    let body = if file.transfer_syntax == uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN {
        inflated = part_10::inflate(file.body, options.max_pixels)?;
        &inflated
    } else {
        file.body
    };
    let data_set = DataSet::parse(body, encoding)?;
    if !options.allow_phi && !says_deidentified(&data_set) {
        return Err(DecodeError::NotDeidentified);
    }
    if !data_set.has(tags::PIXEL_DATA) {
        return Err(DecodeError::NoPixelData);
    }
    let format = PixelFormat::read(&data_set)?;
    let size = ImageSize { width: format.columns.into(), height: format.rows.into() };
    options.check_size(size)?;
    let photometric = data_set.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default().to_ascii_uppercase();
    let pixels = match (photometric.as_str(), format.samples_per_pixel) {
        ("MONOCHROME1" | "MONOCHROME2", 1) => {
            let samples = codestream::samples(&data_set, &format, codec)?;
            // Codecs give the stored bits at the low end of the sample, whatever the value of High Bit.
            let stored = match codec {
                Codec::Native => format.stored,
                _ => StoredFormat { high_bit: format.stored.bits_stored - 1, ..format.stored },
            };
            GrayscalePipeline::read(&data_set, stored, photometric == "MONOCHROME1").apply(&samples)
        }
        ("RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_ICT" | "YBR_RCT", 3) => {
            grey_from_rgb(&codestream::rgb(&data_set, &format, codec, &photometric)?)?
        }
        _ => return Err(DecodeError::Unsupported { what: "a DICOM image that is neither grey nor RGB".into() }),
    };
    let radiograph = Radiograph::new(size.width, size.height, pixels)
        .ok_or(DecodeError::Corrupt { what: "the pixel data has another size than its header says" })?;
    Ok((radiograph, projection(&data_set)))
}

/// PS3.5 annex A: encoding of the data set and of the pixels.
fn encoding_and_codec(transfer_syntax: &str) -> Result<(Encoding, Codec), DecodeError> {
    let explicit = Encoding { has_vr: true, is_big_endian: false };
    Ok(match transfer_syntax {
        uids::IMPLICIT_VR_LITTLE_ENDIAN => (Encoding { has_vr: false, is_big_endian: false }, Codec::Native),
        uids::EXPLICIT_VR_LITTLE_ENDIAN
        | uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN
        | uids::ENCAPSULATED_UNCOMPRESSED_EXPLICIT_VR_LITTLE_ENDIAN => (explicit, Codec::Native),
        "1.2.840.10008.1.2.2" => (Encoding { has_vr: true, is_big_endian: true }, Codec::Native),
        uids::RLE_LOSSLESS => (explicit, Codec::Rle),
        uids::JPEG_BASELINE8_BIT | uids::JPEG_EXTENDED12_BIT | uids::JPEG_LOSSLESS | uids::JPEG_LOSSLESS_SV1 => {
            (explicit, Codec::Jpeg)
        }
        uids::JPEG2000_LOSSLESS | uids::JPEG2000 => (explicit, Codec::Jpeg2000),
        other => {
            // A UID is a registered number; anything else in its place is not repeated.
            let is_uid = other.len() <= 64 && other.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            let what =
                if is_uid { format!("DICOM transfer syntax {other}") } else { "this DICOM transfer syntax".into() };
            return Err(DecodeError::Unsupported { what });
        }
    })
}

/// C.7.1.1: (0012,0062) Patient Identity Removed.
fn says_deidentified(data_set: &DataSet<'_>) -> bool {
    data_set.text(tags::PATIENT_IDENTITY_REMOVED).is_some_and(|v| v.eq_ignore_ascii_case("YES"))
}

/// C.8.11.5.1 (DX) and C.8.1.2 (CR): (0018,5101) View Position.
fn projection(data_set: &DataSet<'_>) -> Option<String> {
    let position = data_set.text(tags::VIEW_POSITION)?.to_ascii_uppercase();
    match position.as_str() {
        "PA" | "AP" => Some(position),
        "LL" | "RL" | "LATERAL" | "LAT" => Some("LATERAL".to_owned()),
        _ => None,
    }
}

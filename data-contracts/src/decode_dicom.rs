//! DICOM files to radiographs: stored values -> modality LUT -> VOI -> 8 bits -> inversion, each at most once.
//!
//! Section numbers are those of DICOM PS3.3 and PS3.5. The first frame of a multi-frame object is taken; grey
//! RGB and YBR_FULL images are accepted like grey colour rasters; palettes are not read. Functional groups of
//! enhanced objects and presentation states are left out.

mod codestream;
mod data_set;
mod grey;
mod lookup;
mod part_10;
mod rle;

use dicom_dictionary_std::{tags, uids};

use crate::decode::{DecodeError, DecodeOptions, check_size};
use crate::decode_raster::grey_from_rgb;
use crate::radiograph::Radiograph;

pub(crate) use part_10::{Part10, part_10};

use codestream::Codec;
use data_set::{DataSet, Encoding};
use grey::StoredFormat;

/// The Image Pixel module (C.7.6.3) as far as it is needed here.
#[derive(Debug, Clone, Copy)]
struct PixelFormat {
    rows: u16,
    columns: u16,
    samples_per_pixel: u16,
    bits_allocated: u16,
    stored: StoredFormat,
    is_planar: bool,
    frames: u32,
}

impl PixelFormat {
    fn pixels(&self) -> usize {
        usize::from(self.rows) * usize::from(self.columns)
    }

    fn bytes_per_sample(&self) -> usize {
        usize::from(self.bits_allocated / 8)
    }
}

/// Decodes one DICOM file. Returns the radiograph and its view (`PA`, `AP`, `LATERAL`), if the file says it.
pub(crate) fn decode(file: &Part10<'_>, options: &DecodeOptions) -> Result<(Radiograph, Option<String>), DecodeError> {
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
    let format = pixel_format(&data_set)?;
    check_size(format.columns.into(), format.rows.into(), options)?;
    let photometric = data_set.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default().to_ascii_uppercase();
    let pixels = match (photometric.as_str(), format.samples_per_pixel) {
        ("MONOCHROME1" | "MONOCHROME2", 1) => {
            let samples = codestream::samples(&data_set, &format, codec)?;
            // Codecs give the stored bits at the low end of the sample, whatever High Bit says.
            let stored = match codec {
                Codec::Native => format.stored,
                _ => StoredFormat { high_bit: format.stored.bits_stored - 1, ..format.stored },
            };
            grey::Rendering::new(&data_set, stored, photometric == "MONOCHROME1")?.apply(&samples)
        }
        ("RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_ICT" | "YBR_RCT", 3) => {
            grey_from_rgb(&codestream::rgb(&data_set, &format, codec, &photometric)?)?
        }
        _ => return Err(DecodeError::Unsupported { what: "a DICOM image that is neither grey nor RGB".into() }),
    };
    let radiograph = Radiograph::new(format.columns.into(), format.rows.into(), pixels)
        .ok_or(DecodeError::Corrupt { what: "the pixel data has another size than its header says" })?;
    Ok((radiograph, view(&data_set)))
}

/// PS3.5 annex A: how the data set is written, and how the pixels are compressed.
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
fn view(data_set: &DataSet<'_>) -> Option<String> {
    let position = data_set.text(tags::VIEW_POSITION)?.to_ascii_uppercase();
    match position.as_str() {
        "PA" | "AP" => Some(position),
        "LL" | "RL" | "LATERAL" | "LAT" => Some("LATERAL".to_owned()),
        _ => None,
    }
}

fn pixel_format(data_set: &DataSet<'_>) -> Result<PixelFormat, DecodeError> {
    let number = |tag| data_set.u16(tag);
    let missing = || DecodeError::Corrupt { what: "an attribute that describes the pixels is missing" };
    let bits_allocated = number(tags::BITS_ALLOCATED).ok_or_else(missing)?;
    let bits_stored = number(tags::BITS_STORED).unwrap_or(bits_allocated);
    let high_bit = number(tags::HIGH_BIT).unwrap_or_else(|| bits_stored.saturating_sub(1));
    if bits_allocated != 8 && bits_allocated != 16 {
        return Err(DecodeError::Unsupported {
            what: format!("DICOM with {bits_allocated} bits allocated per sample"),
        });
    }
    if bits_stored == 0 || bits_stored > bits_allocated || high_bit >= bits_allocated || high_bit + 1 < bits_stored {
        return Err(DecodeError::Corrupt { what: "bits allocated, bits stored and high bit contradict each other" });
    }
    Ok(PixelFormat {
        rows: number(tags::ROWS).ok_or_else(missing)?,
        columns: number(tags::COLUMNS).ok_or_else(missing)?,
        samples_per_pixel: number(tags::SAMPLES_PER_PIXEL).unwrap_or(1),
        bits_allocated,
        stored: StoredFormat { bits_stored, high_bit, is_signed: number(tags::PIXEL_REPRESENTATION) == Some(1) },
        is_planar: number(tags::PLANAR_CONFIGURATION) == Some(1),
        frames: data_set.text(tags::NUMBER_OF_FRAMES).and_then(|v| v.parse().ok()).unwrap_or(1),
    })
}

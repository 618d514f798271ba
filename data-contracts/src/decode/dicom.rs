//! DICOM files to radiographs: stored values -> modality LUT -> VOI LUT -> 8 bits -> inversion, each at most once.
//!
//! Section numbers are those of DICOM PS3.3 and PS3.5. The first frame of a multi-frame object is taken; grey
//! RGB and YBR_FULL images are accepted like grey colour rasters; palettes are not read. Functional groups of
//! enhanced objects and presentation states are left out.

mod codestream;
mod data_set;
mod encoding;
mod frame;
mod grayscale;
mod lookup_table;
mod modality_lut;
mod part_10;
mod pixel_format;
mod rle;
mod transfer_syntax;
mod voi_lut;

use dicom_dictionary_std::tags;

use super::colour::grey_from_rgb;
use super::error::DecodeError;
use super::notes::{Colour, DicomNotes};
use super::options::ImageDecodeOptions;
use super::{Decoded, FileKind, Orientation};
use crate::radiograph::Radiograph;
use crate::space::ImageSize;

pub(super) use part_10::{Part10, part_10};

use data_set::DataSet;
use frame::Frame;
use grayscale::GrayscalePipeline;
use pixel_format::{PixelFormat, StoredFormat};
use transfer_syntax::{Codec, Found, TransferSyntax};

/// Decodes one DICOM file.
pub(super) fn decode(file: &Part10<'_>, options: &ImageDecodeOptions) -> Result<Decoded, DecodeError> {
    let declared = TransferSyntax::declared(file.transfer_syntax)?;
    let (body, is_deflated) = part_10::plain_body(file.body, &declared, options.max_pixels)?;
    let encoding = declared.encoding.found_in(&body);
    let data_set = DataSet::parse(&body, encoding)?;
    let patient_identity_removed = yes_or_no(&data_set, tags::PATIENT_IDENTITY_REMOVED);
    if !options.allow_phi && patient_identity_removed != Some(true) {
        return Err(DecodeError::NotDeidentified);
    }
    if !data_set.has(tags::PIXEL_DATA) {
        return Err(DecodeError::NoPixelData);
    }
    let format = PixelFormat::read(&data_set)?;
    let size = ImageSize { width: format.columns.into(), height: format.rows.into() };
    options.check_size(size)?;
    let photometric = data_set.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_default().to_ascii_uppercase();
    let frame = Frame::first(&data_set, &format, &declared)?;
    let (pixels, colour, grayscale) = match (photometric.as_str(), format.samples_per_pixel) {
        ("MONOCHROME1" | "MONOCHROME2", 1) => {
            let samples = codestream::samples(&frame, &format)?;
            // Codecs give the stored bits at the low end of the sample, whatever the value of High Bit.
            let stored = match frame.codec {
                Codec::Native => format.stored,
                _ => StoredFormat { high_bit: format.stored.bits_stored - 1, ..format.stored },
            };
            let pipeline = GrayscalePipeline::read(&data_set, stored, photometric == "MONOCHROME1")?;
            let (pixels, notes) = pipeline.apply(&samples);
            (pixels, Colour::Grey, Some(notes))
        }
        ("RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_ICT" | "YBR_RCT", 3) => {
            let (pixels, colour) = grey_from_rgb(&codestream::rgb(&frame, &format, &photometric)?, size)?;
            (pixels, colour, None)
        }
        _ => return Err(DecodeError::Unsupported { what: "a DICOM image that is neither grey nor RGB".into() }),
    };
    let radiograph = Radiograph::new(size.width, size.height, pixels)
        .ok_or(DecodeError::Corrupt { what: "the pixel data has another size than its header says" })?;
    let notes = DicomNotes {
        transfer_syntax: declared.notes(&Found { encoding, codec: frame.codec, is_deflated }),
        photometric_interpretation: photometric,
        bits_stored: format.stored.bits_stored,
        frames: format.frames,
        grayscale,
        padding_bytes: frame.padding,
        burned_in_annotation: yes_or_no(&data_set, tags::BURNED_IN_ANNOTATION),
        patient_identity_removed,
    };
    Ok(Decoded {
        radiograph,
        stored_size: size,
        orientation: Orientation::Upright,
        colour,
        window: None,
        kind: FileKind::Dicom,
        projection: projection(&data_set),
        dicom: Some(notes),
    })
}

/// Most bytes that [`decode`] holds at once for a file, from its headers.
pub(super) fn decoding_bytes(file: &Part10<'_>, options: &ImageDecodeOptions) -> Result<u64, DecodeError> {
    let declared = TransferSyntax::declared(file.transfer_syntax)?;
    let (head, inflated_bytes) = part_10::plain_head(file.body, &declared, options.max_pixels)?;
    let data_set = DataSet::head(&head, declared.encoding.found_in(&head));
    let format = PixelFormat::read(&data_set)?;
    options.check_size(ImageSize { width: format.columns.into(), height: format.rows.into() })?;
    let is_deflated = inflated_bytes > 0;
    let for_pixels = if is_deflated {
        codestream::decoding_bytes_max(&format)
    } else {
        codestream::decoding_bytes(&Frame::first(&data_set, &format, &declared)?, &format)?
    };
    Ok(inflated_bytes + for_pixels)
}

/// The value of an attribute that is YES or NO, for instance (0012,0062) Patient Identity Removed (C.7.1.1) or (0028,0301)
/// Burned In Annotation (C.7.6.1).
fn yes_or_no(data_set: &DataSet<'_>, tag: dicom_core::Tag) -> Option<bool> {
    match data_set.text(tag)?.to_ascii_uppercase().as_str() {
        "YES" => Some(true),
        "NO" => Some(false),
        _ => None,
    }
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

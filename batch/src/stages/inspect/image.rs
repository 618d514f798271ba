//! `d2r inspect image`: one image file as every stage sees it, and what decoding applied.

use std::path::{Path, PathBuf};

use d2r_contracts::decode::notes::{Colour, DicomNotes, GrayscaleNotes, ModalityNotes, TableNotes, VoiNotes};
use d2r_contracts::decode::{Decoded, ImageDecodeOptions, Orientation};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::ImageSize;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use serde::Serialize;

use crate::datasets::source::measure;
use crate::error::{Error, Result};
use crate::lake::atomic_file;

/// What to read and write.
#[derive(Debug, Clone)]
pub struct Args {
    /// A PNG, JPEG or DICOM file.
    pub file: PathBuf,
    /// Receives the decoded image, 8 bits, as PNG.
    pub out: Option<PathBuf>,
}

/// What a file holds and what was applied.
#[derive(Debug, Clone, Serialize)]
pub struct ImageInspection {
    file: PathBuf,
    format: &'static str,
    sha256: String,
    stored_size: ImageSize,
    size: ImageSize,
    /// EXIF value, 1 to 8; 1 is upright.
    orientation: Orientation,
    colour: Colour,
    /// The grey levels of a 16-bit PNG that became 0 and 255.
    window_16_bit: Option<[u16; 2]>,
    projection: Option<String>,
    dicom: Option<DicomNotes>,
    out: Option<PathBuf>,
}

/// Decodes a file and writes its image.
///
/// # Errors
/// [`Error::BadData`] for a file that cannot be used, with the code that the table `failures` would hold;
/// [`Error::InputMissing`] when there is none; [`Error::Usage`] when `out` is the file itself.
pub fn run(args: &Args, options: &ImageDecodeOptions) -> Result<ImageInspection> {
    let Args { file, out } = args;
    std::fs::metadata(file).map_err(|e| Error::io("read", file, e))?;
    if out.as_ref().is_some_and(|out| is_same_file(out, file)) {
        return Err(Error::Usage(format!("{}: --out is the image itself; choose another name", file.display())));
    }
    let measured = measure(file, options)
        .map_err(|reason| Error::bad_data(file.display(), format!("{} ({})", reason.message, reason.code)))?;
    let Decoded { radiograph, stored_size, orientation, colour, window, kind, projection, dicom } = measured.decoded;
    if let Some(out) = out {
        write_png(out, &radiograph)?;
    }
    Ok(ImageInspection {
        file: file.clone(),
        format: kind.name(),
        sha256: measured.sha256,
        stored_size,
        size: radiograph.size(),
        orientation,
        colour,
        window_16_bit: window,
        projection,
        dicom,
        out: out.clone(),
    })
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

fn write_png(path: &Path, radiograph: &Radiograph) -> Result<()> {
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&radiograph.pixels, radiograph.width, radiograph.height, ExtendedColorType::L8)
        .map_err(|e| Error::Internal(format!("PNG: {e}")))?;
    atomic_file::write(path, |w| w.write_all(&png).map_err(|e| Error::io("write", path, e)))?;
    Ok(())
}

impl ImageInspection {
    /// The inspection as a person reads it, one line for each fact.
    pub fn text(&self) -> String {
        let mut lines: Vec<(&str, String)> = vec![("format", self.format.to_owned())];
        lines.push(("stored size", size(self.stored_size)));
        lines.push(("shown size", size(self.size)));
        lines.push(("orientation", orientation(self.orientation)));
        lines.push(("colour", colour(self.colour).to_owned()));
        if let Some([low, high]) = self.window_16_bit {
            lines.push(("grey levels", format!("16 bits: {low} to {high} became 0 to 255")));
        }
        lines.push(("projection", self.projection.clone().unwrap_or_else(|| "not in the header".to_owned())));
        if let Some(dicom) = &self.dicom {
            lines.extend(dicom_lines(dicom));
        }
        if let Some(out) = &self.out {
            lines.push(("written", out.display().to_string()));
        }
        lines.into_iter().map(|(name, value)| format!("{name:<20} {value}\n")).collect()
    }
}

fn size(size: ImageSize) -> String {
    format!("{} x {}", size.width, size.height)
}

fn orientation(orientation: Orientation) -> String {
    let what = match orientation {
        Orientation::Upright => "shown as stored",
        Orientation::Mirrored => "left and right exchanged",
        Orientation::Turned180 => "turned by 180 degrees",
        Orientation::Flipped => "top and bottom exchanged",
        Orientation::Transposed => "rows and columns exchanged",
        Orientation::Turned90 => "turned by 90 degrees clockwise",
        Orientation::Transversed => "turned by 180 degrees, rows and columns exchanged",
        Orientation::Turned270 => "turned by 270 degrees clockwise",
    };
    format!("{} ({what})", orientation.exif())
}

fn colour(colour: Colour) -> &'static str {
    match colour {
        Colour::Grey => "grey",
        Colour::NearlyGrey => "nearly grey: luminance taken",
        Colour::Tinted => "tint removed: luminance taken",
        Colour::OneChannel => "grey in one colour channel, which was taken",
    }
}

fn dicom_lines(dicom: &DicomNotes) -> Vec<(&'static str, String)> {
    let syntax = &dicom.transfer_syntax;
    let declared = syntax.declared.as_deref().unwrap_or("none");
    let agreement = if syntax.agrees { "" } else { " (they differ: read as what the data are)" };
    let mut lines = vec![
        ("transfer syntax", format!("declared {declared}, found {}{agreement}", syntax.used)),
        ("photometric", format!("{}, {} bits stored", dicom.photometric_interpretation, dicom.bits_stored)),
        ("frames", if dicom.frames == 1 { "1".to_owned() } else { format!("{}, the first one taken", dicom.frames) }),
    ];
    if let Some(grayscale) = &dicom.grayscale {
        lines.extend(grayscale_lines(grayscale));
    }
    let padding = match dicom.padding_bytes {
        0 => "none".to_owned(),
        bytes => format!("{bytes} bytes behind the compressed image left out"),
    };
    lines.push(("padding", padding));
    lines.push(("burned-in text", format!("BurnedInAnnotation (0028,0301): {}", flag(dicom.burned_in_annotation))));
    lines.push((
        "de-identified",
        format!("PatientIdentityRemoved (0012,0062): {}", flag(dicom.patient_identity_removed)),
    ));
    lines
}

fn grayscale_lines(grayscale: &GrayscaleNotes) -> Vec<(&'static str, String)> {
    let modality = match grayscale.modality {
        ModalityNotes::Rescale { slope, intercept } => format!("rescale slope {slope}, intercept {intercept}"),
        ModalityNotes::Table(notes) => {
            format!("table of {} entries, the largest has {} bits", notes.entries, notes.bits_used)
        }
    };
    let voi = match grayscale.voi {
        VoiNotes::Table(TableNotes { entries, bits_declared, bits_used, white }) => format!(
            "table of {entries} entries, {bits_declared} bits declared, {bits_used} used; the entry {white} is white"
        ),
        VoiNotes::Window { center, width, function } => format!("window center {center}, width {width}, {function}"),
        VoiNotes::Range { min, max } => format!("none in the header: the values {min} to {max} became 0 to 255"),
    };
    let mut lines = vec![
        ("modality LUT", modality),
        ("VOI LUT", voi),
        ("inverted", if grayscale.is_inverted { "yes" } else { "no" }.to_owned()),
    ];
    lines.extend(grayscale.ignored.iter().map(|what| ("ignored", (*what).to_owned())));
    lines
}

fn flag(value: Option<bool>) -> &'static str {
    match value {
        Some(true) => "YES",
        Some(false) => "NO",
        None => "not in the header",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inspect(folder: &Path, name: &str, bytes: &[u8], out: Option<&str>) -> Result<ImageInspection> {
        let file = folder.join(name);
        std::fs::write(&file, bytes).unwrap();
        let args = Args { file, out: out.map(|name| folder.join(name)) };
        run(&args, &ImageDecodeOptions::default())
    }

    fn png(pixels: &[u8], width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = PngEncoder::new(&mut bytes);
        // An EXIF block that names orientation 6.
        encoder.set_exif_metadata(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec()).unwrap();
        encoder.write_image(pixels, width, height, ExtendedColorType::L8).unwrap();
        bytes
    }

    #[test]
    fn the_shown_image_is_written_and_the_turn_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let pixels: Vec<u8> = (0..48 * 40).map(|i| (i % 251) as u8).collect();
        let found = inspect(folder.path(), "turned.jpg", &png(&pixels, 48, 40), Some("out/shown.png")).unwrap();
        let text = found.text();
        for line in [
            "format               png",
            "stored size          48 x 40",
            "shown size           40 x 48",
            "6 (turned by 90",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let written = image::open(folder.path().join("out/shown.png")).unwrap().into_luma8();
        assert_eq!(written.dimensions(), (40, 48));
        // Stored (x, y) is shown at (height - 1 - y, x).
        assert_eq!(written.get_pixel(39, 5)[0], pixels[5]);
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!((&json["orientation"], &json["colour"], &json["dicom"]), (&6.into(), &"grey".into(), &().into()));
    }

    #[test]
    fn files_that_cannot_be_used_are_bad_data_with_their_code() {
        let folder = tempfile::tempdir().unwrap();
        let error = inspect(folder.path(), "page.dcm", b"<!DOCTYPE html><html>", Some("no.png")).unwrap_err();
        assert_eq!(error.exit(), crate::exit::Exit::BadData);
        let text = error.chain();
        assert!(text.contains("an HTML page") && text.contains("(not_an_image)"), "{text}");
        assert!(!folder.path().join("no.png").exists());
        let absent = Args { file: folder.path().join("absent.dcm"), out: None };
        assert_eq!(run(&absent, &ImageDecodeOptions::default()).unwrap_err().exit(), crate::exit::Exit::InputMissing);
    }

    #[test]
    fn the_image_itself_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = png(&[7; 48 * 40], 48, 40);
        let error = inspect(folder.path(), "image.png", &bytes, Some("image.png")).unwrap_err();
        assert_eq!(error.exit(), crate::exit::Exit::Usage);
        assert_eq!(std::fs::read(folder.path().join("image.png")).unwrap(), bytes);
    }
}

//! A folder for `d2r report --images`: radiographs in every file format, and files that cannot be used.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use d2r_contracts::rows::Row;
use d2r_contracts::tables::FailureRow;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Names of the written files.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// Files that get a report.
    pub good: Vec<String>,
    /// Files that get a row in `failures`, with its code.
    pub bad: BTreeMap<String, String>,
}

/// Writes the folder from a phantom's images.
///
/// # Panics
/// When the phantom lacks a JPEG or a DICOM file of either photometric interpretation.
pub fn write_good_and_bad(folder: &Path, phantom: &Path) -> Names {
    let mut names = Names::default();
    let jpeg = files(&phantom.join("mimic"), "jpg").into_iter().next().expect("the phantom has JPEG files");
    let radiograph = image::open(&jpeg).expect("a JPEG file of the phantom").to_luma8();
    let (width, height) = radiograph.dimensions();

    radiograph.save(folder.join("eight_bit.png")).expect("written");
    let deep =
        ImageBuffer::from_fn(width, height, |x, y| Luma([u16::from(radiograph.get_pixel(x, y)[0]) * 200 + 1000]));
    DynamicImage::ImageLuma16(deep).save(folder.join("sixteen_bit.png")).expect("written");
    DynamicImage::ImageLuma8(radiograph.clone()).to_rgb8().save(folder.join("grey_as_rgb.jpg")).expect("written");
    names.good.extend(["eight_bit.png", "sixteen_bit.png", "grey_as_rgb.jpg"].map(str::to_owned));
    let dicoms = files(&phantom.join("vindr"), "dicom");
    for interpretation in ["MONOCHROME1", "MONOCHROME2"] {
        let source = dicoms.iter().find(|p| holds(p, interpretation));
        let source = source.unwrap_or_else(|| panic!("the phantom has no {interpretation} file"));
        let name = format!("{}.dcm", interpretation.to_lowercase());
        fs::copy(source, folder.join(&name)).expect("copied");
        names.good.push(name);
    }

    let mut bad = |name: &str, code: &str| names.bad.insert(name.to_owned(), code.to_owned());
    let whole = fs::read(&jpeg).expect("read");
    fs::write(folder.join("truncated.jpg"), &whole[..whole.len() / 2]).expect("written");
    bad("truncated.jpg", "truncated");
    fs::write(folder.join("text.png"), "this is text\n").expect("written");
    bad("text.png", "not_an_image");
    fs::write(folder.join("empty.dcm"), "").expect("written");
    bad("empty.dcm", "empty_file");
    RgbImage::from_pixel(1, 1, Rgb([90, 90, 90])).save(folder.join("one_pixel.png")).expect("written");
    bad("one_pixel.png", "too_small");
    let photo = RgbImage::from_fn(256, 256, |x, y| Rgb([x as u8, y as u8, 255 - x as u8]));
    photo.save_with_format(folder.join("photo.jpg"), ImageFormat::Jpeg).expect("written");
    bad("photo.jpg", "colour_photograph");
    let mut object = dicom_object::open_file(&dicoms[0]).expect("a DICOM file of the phantom");
    object.remove_element(dicom_dictionary_std::tags::PIXEL_DATA);
    object.write_to_file(folder.join("no_pixels.dcm")).expect("written");
    bad("no_pixels.dcm", "no_pixel_data");
    names
}

/// The `failures` table of a lake: file name to code.
///
/// # Panics
/// When it cannot be read.
pub fn failures(lake: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for part in files(lake, "parquet").into_iter().filter(|p| p.components().any(|c| c.as_os_str() == "failures")) {
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&part).expect("a part")).expect("Parquet");
        for batch in reader.build().expect("Parquet") {
            for row in FailureRow::from_batch(&batch.expect("a batch")).expect("rows of the contract") {
                let path = PathBuf::from(row.path.unwrap_or_default());
                let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
                found.insert(name, row.code);
            }
        }
    }
    found
}

/// All files under a folder with this extension, sorted.
pub fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|p| p.extension().is_some_and(|e| e == extension))
        .collect();
    found.sort();
    found
}

fn holds(file: &Path, word: &str) -> bool {
    let bytes = fs::read(file).unwrap_or_default();
    bytes.windows(word.len()).any(|w| w == word.as_bytes())
}

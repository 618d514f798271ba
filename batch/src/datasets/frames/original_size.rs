//! Sizes of the originals of resized copies: a table with a row per image. VinBigData's copies come with `train_meta.csv`
//! (`image_id,dim0,dim1`: rows, columns), and boxes stay in the pixels of the originals.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::datasets::file_name::{image_id_of, is_no_data};
use crate::datasets::label_files::label_csv::{Column, LabelCsv};
use crate::datasets::listing::{FrameSize, Labels, Listing, Split, relative};
use crate::error::{Error, Result};

const ID_COLUMNS: [&str; 7] = ["image_id", "id", "file_name", "filename", "image", "image index", "patientid"];
const HEIGHT_COLUMNS: [&str; 4] = ["dim0", "height", "rows", "original_height"];
const WIDTH_COLUMNS: [&str; 4] = ["dim1", "width", "columns", "original_width"];

/// Gives the images of a listing the size of their original: from `given`, or from tables with the columns `dim0` and
/// `dim1` in the root.
///
/// # Errors
/// When a table cannot be read, or `given` has not the columns.
pub fn apply(listing: &mut Listing, root: &Path, given: Option<&Path>) -> Result<()> {
    let mut sizes = BTreeMap::new();
    if let Some(path) = given {
        let csv = LabelCsv::open(path)?;
        let columns = columns(&csv).ok_or_else(|| {
            Error::bad_data(
                path.display(),
                "needs the columns image_id, width and height (or image_id, dim0 and dim1: rows, columns)",
            )
        })?;
        let name = relative(root, path).unwrap_or_else(|| path.display().to_string());
        read(csv, columns, &name, &mut sizes, listing)?;
        listing.label_files.push(path.to_path_buf());
    } else {
        for path in tables(root, &listing.label_files)? {
            let csv = LabelCsv::open(&path)?;
            let Some(columns) = columns(&csv) else { continue };
            read(csv, columns, &relative(root, &path).unwrap_or_default(), &mut sizes, listing)?;
            listing.label_files.push(path);
        }
    }
    if sizes.is_empty() {
        return Ok(());
    }
    let mut without = 0;
    for image in listing.images.iter_mut().filter(|i| i.labels != Labels::Unannotated) {
        let size = sizes.get(&image.image_id).or_else(|| sizes.get(image_id_of(&image.image_id)));
        match size {
            // What the label file itself states is overruled by a table that was asked for.
            Some(size) if given.is_some() || image.frame.is_none() => image.frame = Some(*size),
            Some(_) => {}
            None => without += 1,
        }
    }
    if without > 0 {
        listing.notes.insert("images_without_original_size", without);
    }
    Ok(())
}

/// The csv files of the root, apart from the label files, that have `dim0` and `dim1`.
fn tables(root: &Path, label_files: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
    let mut paths: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| !is_no_data(&e.file_name()))
        .map(|e| e.path())
        .filter(|p| {
            let name = p.to_string_lossy().to_ascii_lowercase();
            p.is_file() && name.trim_end_matches(".gz").ends_with(".csv") && !label_files.contains(p)
        })
        .collect();
    paths.sort();
    // A csv file of another kind, or an empty one, is no table of sizes.
    paths.retain(|p| {
        LabelCsv::open(p).is_ok_and(|csv| csv.optional("dim0").is_some() && csv.optional("dim1").is_some())
    });
    Ok(paths)
}

/// Image, height, width.
fn columns(csv: &LabelCsv) -> Option<[Column; 3]> {
    Some([csv.any_of(&ID_COLUMNS)?, csv.any_of(&HEIGHT_COLUMNS)?, csv.any_of(&WIDTH_COLUMNS)?])
}

fn read(
    csv: LabelCsv,
    [image, height, width]: [Column; 3],
    file: &str,
    sizes: &mut BTreeMap<String, FrameSize>,
    listing: &mut Listing,
) -> Result<()> {
    csv.for_each(|row| {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return listing.fail_row(Split::Train, (file, bad.line), "", bad.code, bad.message),
        };
        let image_id = image_id_of(row.get(image));
        let pixels = |column| row.get(column).parse().ok().filter(|v: &f32| v.is_finite() && *v >= 1.0);
        match pixels(width).zip(pixels(height)) {
            Some((width, height)) if !image_id.is_empty() => {
                sizes.entry(image_id.to_owned()).or_insert(FrameSize { width, height });
            }
            _ => {
                let message = "no image, or a size that is no number of pixels; repair or remove the row";
                listing.fail_row(Split::Train, (file, row.line), image_id, "not_a_size", message);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use d2r_contracts::report_text::CleaningRules;

    use super::*;
    use crate::datasets::listing::ListedImage;
    use crate::datasets::projection::Projection;

    fn listing() -> Listing {
        let image = |id: &str, labels| ListedImage {
            image_id: id.into(),
            study_id: id.into(),
            subject_id: id.into(),
            split: Split::Train,
            projection: Projection::Pa,
            path: format!("{id}.png"),
            frame: None,
            labels,
        };
        let mut listing = Listing::new("test", CleaningRules::MimicCxr);
        listing.images = vec![
            image("a", Labels::Consensus(Vec::new())),
            image("b", Labels::Consensus(Vec::new())),
            image("c", Labels::Unannotated),
        ];
        listing
    }

    fn frames(listing: &Listing) -> Vec<Option<(f32, f32)>> {
        listing.images.iter().map(|i| i.frame.map(|f| (f.width, f.height))).collect()
    }

    #[test]
    fn a_table_in_the_root_is_found_by_its_columns() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("train_meta.csv"), "image_id,dim0,dim1\na.dicom,3000,2500\nx,,\n").unwrap();
        std::fs::write(dir.path().join("other.csv"), "image_id,width,height\nb,1,1\n").unwrap();
        std::fs::write(dir.path().join("empty.csv"), "").unwrap();
        let mut listing = listing();
        apply(&mut listing, dir.path(), None).unwrap();
        assert_eq!(frames(&listing), [Some((2500.0, 3000.0)), None, None], "dim0 is the number of rows");
        assert_eq!(listing.notes["images_without_original_size"], 1);
        assert_eq!(
            listing.failures.iter().map(|f| (f.path.as_str(), f.code)).collect::<Vec<_>>(),
            [("train_meta.csv:3", "not_a_size")]
        );
        assert_eq!(listing.label_files.len(), 1, "a change of the table is noticed");
    }

    #[test]
    fn a_table_that_was_asked_for_needs_its_columns() {
        let dir = tempfile::tempdir().unwrap();
        let table = dir.path().join("sizes.csv");
        std::fs::write(&table, "Image_ID;Width;Height\na;2500;3000\nb;10;20\n").unwrap();
        let mut listing = listing();
        listing.images[0].frame = Some(FrameSize { width: 1.0, height: 1.0 });
        apply(&mut listing, dir.path(), Some(&table)).unwrap();
        assert_eq!(frames(&listing), [Some((2500.0, 3000.0)), Some((10.0, 20.0)), None]);
        std::fs::write(&table, "image_id,w\na,1\n").unwrap();
        assert_eq!(apply(&mut listing, dir.path(), Some(&table)).unwrap_err().exit().code(), 65);
        let gone = dir.path().join("gone.csv");
        assert_eq!(apply(&mut listing, dir.path(), Some(&gone)).unwrap_err().exit().code(), 66);
    }
}

//! NIH ChestX-ray14: labels of all images in `Data_Entry_2017.csv` (or `Data_Entry_2017_v2020.csv`, `sample_labels.csv`),
//! boxes of some in `BBox_List_2017.csv`, images in `images/` or `images_001/images/` and so on, the published split in
//! `train_val_list.txt` and `test_list.txt`.
//!
//! Labels were mined from reports: an image without boxes was not read by an annotator, and is not normal.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_map::{UnknownLabel, chexpert_label_of};
use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};
use d2r_contracts::report_text::CleaningRules;

use crate::datasets::file_name::image_id_of;
use crate::datasets::image_index::ImageIndex;
use crate::datasets::label_files::label_csv::{Column, CsvRow, LabelCsv, find_csv};
use crate::datasets::label_files::record_id::whole_number;
use crate::datasets::label_files::size_limits::{LIST_BYTES_MAX, read_file};
use crate::datasets::label_files::text_encoding::utf8;
use crate::datasets::listing::{
    FrameSize, Labels, ListOptions, ListedBox, ListedFailure, ListedImage, ListedStudy, Listing, Split, relative,
};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// Tables of labels, the published ones first.
const ENTRY_TABLES: [&str; 3] = ["Data_Entry_2017", "Data_Entry_2017_v2020", "sample_labels"];
const BOX_TABLE: &str = "BBox_List_2017";

/// The images are published at this size, and the boxes refer to it. (`OriginalImage[Width,Height]` is that of the
/// exposure.)
pub const FRAME: FrameSize = FrameSize { width: 1024.0, height: 1024.0 };

/// The name of the one annotator, a radiologist.
const ANNOTATOR: &str = "nih";

/// Lists an NIH ChestX-ray14 folder.
///
/// # Errors
/// [`Error::InputMissing`] without a table of labels or without images; [`Error::BadData`] for a table that lacks a
/// column.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let entries = ENTRY_TABLES.iter().find_map(|name| find_csv(root, name)).ok_or_else(|| {
        let hint = "nor is Data_Entry_2017_v2020.csv or sample_labels.csv; give the folder that holds one of them";
        Error::missing(root.join("Data_Entry_2017.csv"), hint)
    })?;
    let mut listing = Listing::new("nih", CleaningRules::MimicCxr);
    listing.labels = options.labels.known(listing.layout)?;
    let files = if options.labels_only { None } else { Some(index(root)?) };
    let splits = published_splits(root, &mut listing)?;
    let boxes = match find_csv(root, BOX_TABLE) {
        Some(path) => read_boxes(&path, root, &mut listing)?,
        None => BTreeMap::new(),
    };
    let reader = EntryReader { root, options, files, splits };
    reader.read(entries, boxes, &mut listing)?;
    Ok(listing.sorted())
}

fn index(root: &Path) -> Result<ImageIndex> {
    let index = ImageIndex::of(root, |name| name.to_ascii_lowercase().starts_with("images"))?;
    if index.is_empty() {
        let hint =
            "nor is any other image in images/ or images_001/ and so on; with the csv files alone, pass --labels-only";
        return Err(Error::missing(root.join("images/*.png"), hint));
    }
    Ok(index)
}

/// Image to its published split; empty without the two lists.
fn published_splits(root: &Path, listing: &mut Listing) -> Result<BTreeMap<String, Split>> {
    let mut splits = BTreeMap::new();
    for (name, split) in [("train_val_list.txt", Split::Train), ("test_list.txt", Split::Test)] {
        let path = root.join(name);
        if !path.is_file() {
            continue;
        }
        let bytes = read_file(&path, LIST_BYTES_MAX)?;
        let text = utf8(&bytes).map_err(|e| Error::bad_data(path.display(), e))?;
        for line in String::from_utf8_lossy(&text).lines() {
            let image_id = image_id_of(line);
            if !image_id.is_empty() {
                splits.insert(image_id.to_owned(), split);
            }
        }
        listing.label_files.push(path);
    }
    Ok(splits)
}

/// The boxes of one image.
#[derive(Debug, Default)]
struct Boxes {
    usable: Vec<ListedBox>,
    unusable: u32,
    place: String,
}

fn read_boxes(path: &Path, root: &Path, listing: &mut Listing) -> Result<BTreeMap<String, Boxes>> {
    let csv = LabelCsv::open(path)?;
    let (image, class) = (csv.column("Image Index")?, csv.column("Finding Label")?);
    // `Bbox [x,y,w,h],,,` spreads over columns; some copies name them.
    let corners = match csv.beginning_with("bbox") {
        Some(x) => [0, 1, 2, 3].map(|n| x.right(n)),
        None => [csv.column("x")?, csv.column("y")?, csv.column("w")?, csv.column("h")?],
    };
    let file = relative(root, path).unwrap_or_default();
    let mut boxes: BTreeMap<String, Boxes> = BTreeMap::new();
    csv.for_each(|row| {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return listing.fail_row(Split::Train, (&file, bad.line), "", bad.code, bad.message),
        };
        let image_id = image_id_of(row.get(image));
        if image_id.is_empty() {
            let message = "no Image Index; repair or remove the row";
            return listing.fail_row(Split::Train, (&file, row.line), "", "missing_image_id", message);
        }
        let of_image = boxes.entry(image_id.to_owned()).or_default();
        of_image.place = format!("{file}:{}", row.line);
        match parse_box(&row, class, corners, of_image.place.clone(), listing) {
            Ok(None) => {}
            Ok(Some(b)) if of_image.usable.iter().any(|o| (o.class_id, o.bbox) == (b.class_id, b.bbox)) => {
                let message = "repeats an earlier row, which is kept";
                listing.fail_row(Split::Train, (&file, row.line), image_id, "duplicate_row", message);
            }
            Ok(Some(b)) => of_image.usable.push(b),
            Err((code, message)) => {
                of_image.unusable += 1;
                listing.fail_row(Split::Train, (&file, row.line), image_id, code, message);
            }
        }
    })?;
    listing.label_files.push(path.to_path_buf());
    Ok(boxes)
}

/// A row's box; `None` for a name that the label set ignores.
fn parse_box(
    row: &CsvRow,
    class: Column,
    corners: [Column; 4],
    place: String,
    listing: &mut Listing,
) -> Result<Option<ListedBox>, (&'static str, String)> {
    let Some(class_id) = listing.class_named(row.get(class), None)? else { return Ok(None) };
    let mut xywh = [0.0f32; 4];
    for ((v, column), side) in xywh.iter_mut().zip(corners).zip(["x", "y", "w", "h"]) {
        let field = row.get(column);
        *v =
            field.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| {
                ("not_a_number", format!("{side} is `{field}`, not a number; repair or remove the row"))
            })?;
    }
    let bbox = BoxXyxy::from_xywh(xywh);
    if !bbox.is_proper() {
        return Err(("inverted_box", format!("{bbox:?} has no area; boxes are x, y, width, height")));
    }
    Ok(Some(ListedBox { class_id, bbox, score: 1.0, place }))
}

struct EntryReader<'a> {
    root: &'a Path,
    options: &'a ListOptions,
    /// `None` when only labels are read.
    files: Option<ImageIndex>,
    splits: BTreeMap<String, Split>,
}

impl EntryReader<'_> {
    fn read(&self, path: PathBuf, mut boxes: BTreeMap<String, Boxes>, listing: &mut Listing) -> Result<()> {
        let csv = LabelCsv::open(&path)?;
        let (image, labels) = (csv.column("Image Index")?, csv.column("Finding Labels")?);
        let (patient, view) = (csv.optional("Patient ID"), csv.optional("View Position"));
        let file = relative(self.root, &path).unwrap_or_default();
        let mut seen = BTreeSet::new();
        csv.for_each(|row| {
            let row = match row {
                Ok(row) => row,
                Err(bad) => return listing.fail_row(Split::Train, (&file, bad.line), "", bad.code, bad.message),
            };
            let image_id = image_id_of(row.get(image));
            if image_id.is_empty() {
                let message = "no Image Index; repair or remove the row";
                return listing.fail_row(Split::Train, (&file, row.line), "", "missing_image_id", message);
            }
            let patient = patient_of(row.get_optional(patient), image_id);
            let Some(split) = self.split(image_id, &patient) else {
                let message = "in neither train_val_list.txt nor test_list.txt; use files of one version";
                return listing.fail_row(Split::Train, (&file, row.line), image_id, "no_split", message);
            };
            if !seen.insert(image_id.to_owned()) {
                let message = "repeats an earlier row, which is kept";
                return listing.fail_row(split, (&file, row.line), image_id, "duplicate_row", message);
            }
            let boxes = boxes.remove(image_id);
            let projection = Projection::parse(row.get_optional(view));
            if self.options.frontal_only && projection == Projection::Lateral {
                return listing.note("views_left_out");
            }
            let findings = chexpert_states(row.get(labels)).unwrap_or_else(|unknown| {
                let message = format!("`{unknown}` is no label of the dataset; the row's labels are left out");
                listing.fail_row(split, (&file, row.line), image_id, "unknown_label", message);
                Vec::new()
            });
            let path = match &self.files {
                None => Some(format!("images/{image_id}.png")),
                Some(files) => files.find(image_id).map(str::to_owned),
            };
            let Some(path) = path else {
                let message = "in the table, but there is no such file; unpack its archive, or read a smaller table";
                return listing.failures.push(ListedFailure {
                    split,
                    path: format!("images/{image_id}.png"),
                    image_id: Some(image_id.to_owned()),
                    code: "missing_file",
                    message: message.into(),
                });
            };
            let labels = match boxes {
                Some(Boxes { usable, .. }) if !usable.is_empty() => {
                    Labels::Annotators([(ANNOTATOR.to_owned(), usable)].into())
                }
                _ => Labels::Unannotated,
            };
            listing.studies.push(ListedStudy { study_id: image_id.to_owned(), split, report: None, labels: findings });
            listing.images.push(ListedImage {
                image_id: image_id.to_owned(),
                study_id: image_id.to_owned(),
                subject_id: patient,
                split,
                projection,
                path,
                frame: Some(FRAME),
                labels,
            });
        })?;
        for (image_id, Boxes { place, usable, unusable }) in boxes {
            listing.failures.push(ListedFailure {
                split: Split::Train,
                path: place,
                image_id: Some(image_id),
                code: "unknown_image",
                message: format!("{} boxes of an image that is not in {file}", usable.len() as u32 + unusable),
            });
        }
        if let Some(files) = &self.files {
            let unlisted = files.iter().filter(|(name, _)| !seen.contains(*name)).count() as u64;
            if unlisted > 0 {
                listing.notes.insert("images_without_a_row", unlisted);
            }
        }
        listing.label_files.push(path);
        Ok(())
    }

    /// The published split; without the two lists one by patient.
    fn split(&self, image_id: &str, patient: &str) -> Option<Split> {
        let ListOptions { seed, val_share, .. } = *self.options;
        let of_train = || Split::of_train_patient(seed, patient, val_share);
        match self.splits.get(image_id) {
            _ if self.splits.is_empty() => Some(of_train()),
            Some(Split::Train) => Some(of_train()),
            other => other.copied(),
        }
    }
}

/// The patient as file names write it, eight digits.
fn patient_of(field: &str, image_id: &str) -> String {
    let number = whole_number(field, 'p').or_else(|| whole_number(image_id.split('_').next()?, 'p'));
    number.map_or_else(|| image_id.to_owned(), |n| format!("{n:0>8}"))
}

/// The 14 CheXpert labels of `Cardiomegaly|Effusion`: what is named is positive, the rest blank. `Err`: a name that is
/// unknown.
fn chexpert_states(names: &str) -> Result<Vec<(&'static str, LabelState)>, String> {
    let mut positive = BTreeSet::new();
    for name in names.split('|').map(str::trim).filter(|n| !n.is_empty()) {
        positive.extend(chexpert_label_of(name).map_err(|UnknownLabel| name.to_owned())?);
    }
    let state = |label| if positive.contains(label) { LabelState::Positive } else { LabelState::Blank };
    Ok(CHEXPERT_LABELS.map(|label| (label, state(label))).to_vec())
}

#[cfg(test)]
mod tests;

//! RSNA Pneumonia Detection Challenge: `stage_2_train_labels.csv` (a row per box), `stage_2_detailed_class_info.csv`, and
//! DICOM files of 1024 x 1024 pixels in `stage_2_train_images/` and, without labels, `stage_2_test_images/`.
//!
//! Only opacities are boxed. An image of class "No Lung Opacity / Not Normal" shows another disease without boxes: it is
//! unread, not normal. Without the table of classes no image is known to be normal.

use std::collections::BTreeMap;
use std::path::Path;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_map::chexpert_label_of;
use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};
use d2r_contracts::report_text::CleaningRules;

use crate::datasets::file_name::image_id_of;
use crate::datasets::image_index::ImageIndex;
use crate::datasets::label_files::label_csv::{Column, CsvRow, LabelCsv, find_csv};
use crate::datasets::listing::{
    FrameSize, Labels, ListOptions, ListedBox, ListedFailure, ListedImage, ListedStudy, Listing, Split, relative,
};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// The size that boxes refer to.
pub const FRAME: FrameSize = FrameSize { width: 1024.0, height: 1024.0 };

/// What a box marks.
const BOXED: &str = "Lung Opacity";
const NORMAL: &str = "Normal";

const TRAIN_IMAGES: &str = "stage_2_train_images";
const TEST_IMAGES: &str = "stage_2_test_images";

/// The rows of one patient, who has one image.
#[derive(Debug, Default)]
struct Annotated {
    boxes: Vec<ListedBox>,
    /// Rows with `Target` 1 that cannot be used, or a `Target` that is neither.
    bad_rows: u32,
    class: Option<String>,
}

/// Lists an RSNA folder.
///
/// # Errors
/// [`Error::InputMissing`] without the labels or the images; [`Error::BadData`] for a table that lacks a column.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let find =
        |name: &str| find_csv(root, &format!("stage_2_{name}")).or_else(|| find_csv(root, &format!("stage_1_{name}")));
    let labels = find("train_labels").ok_or_else(|| {
        Error::missing(root.join("stage_2_train_labels.csv"), "give the folder that holds the competition's csv files")
    })?;
    let mut listing = Listing::new("rsna", CleaningRules::MimicCxr);
    listing.labels = options.labels.known(listing.layout)?;
    let mut patients = read_labels(&labels, root, &mut listing)?;
    listing.label_files.push(labels);
    match find("detailed_class_info") {
        Some(path) => {
            read_classes(&path, root, &mut patients, &mut listing)?;
            listing.label_files.push(path);
        }
        None => {
            tracing::warn!(
                "stage_2_detailed_class_info.csv is missing: images without boxes are not known to be normal and stay unread"
            );
        }
    }
    let files = if options.labels_only { None } else { Some(train_images(root)?) };
    let name_of = relative(root, &listing.label_files[0]).unwrap_or_default();
    for (patient, annotated) in patients {
        add_image(patient, annotated, files.as_ref(), &name_of, options, &mut listing);
    }
    if !options.labels_only && root.join(TEST_IMAGES).is_dir() {
        for (patient, path) in ImageIndex::of(root, |name| name == TEST_IMAGES)?.iter() {
            listing.note("images_without_labels");
            listing.images.push(image(patient, Split::Test, path.to_owned(), Labels::Unannotated));
        }
    }
    Ok(listing.sorted())
}

fn train_images(root: &Path) -> Result<ImageIndex> {
    let is_train = |name: &str| !name.contains("test") && (name.contains("train") || name == "images");
    let index = ImageIndex::of(root, is_train)?;
    if index.is_empty() {
        let hint = "nor is any other image there; with the csv files alone, pass --labels-only";
        return Err(Error::missing(root.join(format!("{TRAIN_IMAGES}/*.dcm")), hint));
    }
    Ok(index)
}

fn read_labels(path: &Path, root: &Path, listing: &mut Listing) -> Result<BTreeMap<String, Annotated>> {
    let csv = LabelCsv::open(path)?;
    let (patient, target) = (csv.column("patientId")?, csv.column("Target")?);
    let corners = [csv.column("x")?, csv.column("y")?, csv.column("width")?, csv.column("height")?];
    let file = relative(root, path).unwrap_or_default();
    let mut patients: BTreeMap<String, Annotated> = BTreeMap::new();
    csv.for_each(|row| {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return listing.fail_row(Split::Train, (&file, bad.line), "", bad.code, bad.message),
        };
        let patient_id = image_id_of(row.get(patient));
        if patient_id.is_empty() {
            let message = "no patientId; repair or remove the row";
            return listing.fail_row(Split::Train, (&file, row.line), "", "missing_image_id", message);
        }
        let annotated = patients.entry(patient_id.to_owned()).or_default();
        match parse_row(&row, target, corners, format!("{file}:{}", row.line), listing) {
            Ok(None) => {}
            Ok(Some(b)) if annotated.boxes.iter().any(|o| o.bbox == b.bbox) => {
                let message = "repeats an earlier row, which is kept";
                listing.fail_row(Split::Train, (&file, row.line), patient_id, "duplicate_row", message);
            }
            Ok(Some(b)) => annotated.boxes.push(b),
            Err((code, message)) => {
                annotated.bad_rows += 1;
                listing.fail_row(Split::Train, (&file, row.line), patient_id, code, message);
            }
        }
    })?;
    Ok(patients)
}

/// A row's box; `None` for an image without one.
fn parse_row(
    row: &CsvRow,
    target: Column,
    corners: [Column; 4],
    place: String,
    listing: &mut Listing,
) -> Result<Option<ListedBox>, (&'static str, String)> {
    match row.get(target).parse::<f32>() {
        Ok(0.0) => return Ok(None),
        Ok(1.0) => {}
        _ => return Err(("unknown_state", format!("Target is `{}`, neither 0 nor 1", row.get(target)))),
    }
    let mut xywh = [0.0f32; 4];
    for ((v, column), name) in xywh.iter_mut().zip(corners).zip(["x", "y", "width", "height"]) {
        let field = row.get(column);
        if field.is_empty() {
            return Err(("missing_coordinates", "Target is 1 without a box; repair or remove the row".to_owned()));
        }
        *v =
            field.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| {
                ("not_a_number", format!("{name} is `{field}`, not a number; repair or remove the row"))
            })?;
    }
    let bbox = BoxXyxy::from_xywh(xywh);
    if !bbox.is_proper() {
        return Err(("inverted_box", format!("{bbox:?} has no area; boxes are x, y, width, height")));
    }
    Ok(listing.class_named(BOXED, None)?.map(|class_id| ListedBox { class_id, bbox, score: 1.0, place }))
}

fn read_classes(
    path: &Path,
    root: &Path,
    patients: &mut BTreeMap<String, Annotated>,
    listing: &mut Listing,
) -> Result<()> {
    let csv = LabelCsv::open(path)?;
    let (patient, class) = (csv.column("patientId")?, csv.column("class")?);
    let file = relative(root, path).unwrap_or_default();
    csv.for_each(|row| {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return listing.fail_row(Split::Train, (&file, bad.line), "", bad.code, bad.message),
        };
        let patient_id = image_id_of(row.get(patient));
        if chexpert_label_of(row.get(class)).is_err() {
            let message = format!("class `{}` is none of the three; repair or remove the row", row.get(class));
            return listing.fail_row(Split::Train, (&file, row.line), patient_id, "unknown_label", message);
        }
        // A patient has a row per box, all with the same class.
        if let Some(annotated) = patients.get_mut(patient_id) {
            annotated.class = Some(row.get(class).to_owned());
        }
    })
}

fn add_image(
    patient: String,
    annotated: Annotated,
    files: Option<&ImageIndex>,
    label_file: &str,
    options: &ListOptions,
    listing: &mut Listing,
) {
    let split = Split::of_train_patient(options.seed, &patient, options.val_share);
    let path = match files {
        None => Some(format!("{TRAIN_IMAGES}/{patient}.dcm")),
        Some(files) => files.find(&patient).map(str::to_owned),
    };
    let Some(path) = path else {
        return listing.failures.push(ListedFailure {
            split,
            path: format!("{TRAIN_IMAGES}/{patient}.dcm"),
            image_id: Some(patient),
            code: "missing_file",
            message: "labelled, but there is no such file (nor .png, .jpg); download it again".into(),
        });
    };
    let Annotated { boxes, bad_rows, class } = annotated;
    let normal = class.as_deref().is_some_and(|c| c.eq_ignore_ascii_case(NORMAL));
    let labels = if !boxes.is_empty() {
        if normal {
            listing.failures.push(ListedFailure {
                split,
                path: boxes.first().map_or_else(|| label_file.to_owned(), |b| b.place.clone()),
                image_id: Some(patient.clone()),
                code: "contradiction",
                message: "boxes of an image whose class is Normal; they are kept".into(),
            });
        }
        Labels::Consensus(boxes)
    } else if normal && bad_rows == 0 {
        Labels::Consensus(Vec::new())
    } else {
        listing.note("images_not_known_to_be_normal");
        Labels::Unannotated
    };
    if let Some(class) = class {
        let positive = chexpert_label_of(&class).ok().flatten();
        let state = |label| if Some(label) == positive { LabelState::Positive } else { LabelState::Blank };
        let labels = CHEXPERT_LABELS.map(|label| (label, state(label))).to_vec();
        listing.studies.push(ListedStudy { study_id: patient.clone(), split, report: None, labels });
    }
    listing.images.push(image(&patient, split, path, labels));
}

fn image(patient: &str, split: Split, path: String, labels: Labels) -> ListedImage {
    ListedImage {
        image_id: patient.to_owned(),
        study_id: patient.to_owned(),
        subject_id: patient.to_owned(),
        split,
        // In the header of the DICOM file.
        projection: Projection::Unknown,
        path,
        frame: Some(FRAME),
        labels,
    }
}

#[cfg(test)]
mod tests;

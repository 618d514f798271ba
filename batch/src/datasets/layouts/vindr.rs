//! VinDr-CXR in its two layouts: PhysioNet's (`annotations/annotations_{train,test}.csv`) and Kaggle's
//! (`train.csv`), with radiographs under `train/` and `test/`. Class names are the key between files.
//! Training images have each annotator's boxes; the PhysioNet test set has boxes of a consensus.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::NO_FINDING;
use d2r_contracts::report_text::CleaningRules;

use crate::datasets::file_name::{image_id_of, without_extension};
use crate::datasets::label_files::label_csv::{BadRow, Column, CsvRow, LabelCsv, find_csv};
use crate::datasets::listing::{
    FrameSize, Labels, ListOptions, ListedBox, ListedFailure, ListedImage, Listing, Split, relative,
};
use crate::datasets::projection::Projection;
use crate::datasets::source::image_files;
use crate::error::{Error, Result};

/// The label files of one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LabelFiles {
    layout: &'static str,
    /// Boxes, with the split that the dataset gives them.
    boxes: Vec<(PathBuf, Split)>,
    /// Labels of whole images: they name the annotators of an image.
    image_labels: Vec<(PathBuf, Split)>,
}

/// The rows of one image.
#[derive(Debug, Default)]
struct Annotated {
    annotators: BTreeMap<String, Vec<ListedBox>>,
    consensus: Vec<ListedBox>,
    /// Rows that name a lesion and cannot be used.
    bad_rows: u32,
    /// The size of the original, where the rows state it (tables that come with resized copies).
    frame: Option<FrameSize>,
}

impl Annotated {
    /// An image whose lesions are all in rows that cannot be used counts as unannotated, never as normal.
    fn labels(self) -> Labels {
        let boxes = self.consensus.len() + self.annotators.values().map(Vec::len).sum::<usize>();
        match self {
            Self { bad_rows: 1.., .. } if boxes == 0 => Labels::Unannotated,
            Self { annotators, .. } if !annotators.is_empty() => Labels::Annotators(annotators),
            Self { consensus, .. } => Labels::Consensus(consensus),
        }
    }
}

type Annotations = BTreeMap<String, Annotated>;

/// Lists a VinDr-CXR folder, or a single label file when only labels are wanted.
///
/// # Errors
/// [`Error::InputMissing`] when the folder has neither layout or no radiographs; [`Error::BadData`] for a label
/// file without a required column.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let files = detect(root, options.labels_only)?;
    let folder = if root.is_file() { root.parent().unwrap_or(root) } else { root };
    let mut listing = Listing::new(files.layout, CleaningRules::MimicCxr);
    listing.labels = options.labels.known(listing.layout)?;
    let mut splits: BTreeMap<Split, Annotations> = BTreeMap::new();
    for (path, split) in &files.boxes {
        let annotations = splits.entry(*split).or_default();
        read_boxes(path, folder, *split, annotations, &mut listing)?;
        listing.label_files.push(path.clone());
    }
    for (path, split) in &files.image_labels {
        let annotations = splits.entry(*split).or_default();
        read_image_labels(path, folder, *split, annotations, &mut listing)?;
        listing.label_files.push(path.clone());
    }
    drop_train_copies_of_test(&mut splits, &mut listing);
    let on_disk = if options.labels_only { None } else { Some(files_on_disk(folder)?) };
    if let Some(disk) = &on_disk
        && disk.is_empty()
    {
        return Err(Error::missing(
            folder.join("train/*.dicom"),
            "nor is any other image under train/ and test/; with the csv files alone, pass --labels-only",
        ));
    }
    list_images(splits, on_disk, options, &mut listing);
    Ok(listing.sorted())
}

fn detect(root: &Path, labels_only: bool) -> Result<LabelFiles> {
    if root.is_file() {
        if !labels_only {
            let problem = "is a file; give the dataset's folder, or pass --labels-only";
            return Err(Error::Usage(format!("{}: {problem}", root.display())));
        }
        let test = root.file_name().is_some_and(|n| n.to_string_lossy().contains("test"));
        let split = if test { Split::Test } else { Split::Train };
        return Ok(LabelFiles { layout: "vindr-csv", boxes: vec![(root.into(), split)], image_labels: Vec::new() });
    }
    for folder in [root.join("annotations"), root.to_path_buf()] {
        let find =
            |stem: &str, split| find_csv(&folder, &format!("{stem}_{}", Split::as_str(split))).map(|p| (p, split));
        let both = |stem: &str| [Split::Train, Split::Test].iter().filter_map(|s| find(stem, *s)).collect::<Vec<_>>();
        let boxes = both("annotations");
        if !boxes.is_empty() {
            return Ok(LabelFiles { layout: "vindr-physionet", boxes, image_labels: both("image_labels") });
        }
    }
    if let Some(csv) = find_csv(root, "train") {
        return Ok(LabelFiles { layout: "vindr-kaggle", boxes: vec![(csv, Split::Train)], image_labels: Vec::new() });
    }
    Err(Error::missing(
        root.join("annotations/annotations_train.csv"),
        "nor is train.csv (Kaggle's layout) in that folder; give the folder that holds one of them",
    ))
}

/// Collects the failures of one label file.
struct LabelFile<'a> {
    name: String,
    split: Split,
    listing: &'a mut Listing,
}

impl LabelFile<'_> {
    fn bad(&mut self, line: u64, image_id: &str, code: &'static str, message: impl Into<String>) {
        self.listing.fail_row(self.split, (&self.name, line), image_id, code, message);
    }

    fn unreadable(&mut self, row: BadRow) {
        self.bad(row.line, "", row.code, row.message);
    }
}

fn read_boxes(path: &Path, root: &Path, split: Split, into: &mut Annotations, listing: &mut Listing) -> Result<()> {
    let csv = LabelCsv::open(path)?;
    let (image, class) = (csv.column("image_id")?, csv.column("class_name")?);
    // Only the consensus of the test set has no annotators.
    let annotator = if split == Split::Test { csv.optional("rad_id") } else { Some(csv.column("rad_id")?) };
    let corners = [csv.column("x_min")?, csv.column("y_min")?, csv.column("x_max")?, csv.column("y_max")?];
    let size = csv.optional("width").zip(csv.optional("height"));
    let mut file = LabelFile { name: relative(root, path).unwrap_or_default(), split, listing };
    let mut seen: BTreeSet<(String, String, i32, [u32; 4])> = BTreeSet::new();
    csv.for_each(|row| {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return file.unreadable(bad),
        };
        let (image_id, annotator_id) = (image_id_of(row.get(image)), row.get_optional(annotator));
        if image_id.is_empty() {
            return file.bad(row.line, "", "missing_image_id", "no image_id; repair or remove the row");
        }
        if annotator.is_some() && annotator_id.is_empty() {
            return file.bad(row.line, image_id, "missing_reader", "no rad_id; repair or remove the row");
        }
        let place = format!("{}:{}", file.name, row.line);
        let parsed = match parse_box(&row, class, corners, place, file.listing) {
            Ok(parsed) => parsed,
            Err((code, message)) => {
                let annotated = into.entry(image_id.to_owned()).or_default();
                annotated.bad_rows += 1;
                if annotator.is_some() {
                    annotated.annotators.entry(annotator_id.to_owned()).or_default();
                }
                return file.bad(row.line, image_id, code, message);
            }
        };
        let (class_id, bits) = match &parsed {
            Some(b) => (b.class_id, b.bbox.to_array().map(f32::to_bits)),
            None => (-1, [0; 4]),
        };
        if !seen.insert((image_id.to_owned(), annotator_id.to_owned(), class_id, bits)) {
            return file.bad(row.line, image_id, "duplicate_row", "repeats an earlier row, which is kept");
        }
        let annotated = into.entry(image_id.to_owned()).or_default();
        if let Some((width, height)) = size {
            let pixels = |column| row.get(column).parse().ok().filter(|v: &f32| v.is_finite() && *v >= 1.0);
            let stated = pixels(width).zip(pixels(height));
            annotated.frame = annotated.frame.or(stated.map(|(width, height)| FrameSize { width, height }));
        }
        let list = match annotator {
            Some(_) => annotated.annotators.entry(annotator_id.to_owned()).or_default(),
            None => &mut annotated.consensus,
        };
        list.extend(parsed);
    })
}

/// A row's box; `None` for "No finding" and for a name that the label set ignores.
fn parse_box(
    row: &CsvRow,
    class: Column,
    corners: [Column; 4],
    place: String,
    listing: &mut Listing,
) -> Result<Option<ListedBox>, (&'static str, String)> {
    let name = row.get(class);
    let fields = corners.map(|c| row.get(c));
    if name.eq_ignore_ascii_case(NO_FINDING) {
        // Kaggle's competitors write the whole-image box 0 0 1 1 here; annotators never drew one.
        return Ok(None);
    }
    let Some(class_id) = listing.class_named(name, None)? else { return Ok(None) };
    if fields.iter().all(|f| f.is_empty()) {
        return Err(("missing_coordinates", format!("class `{name}` without a box; repair or remove the row")));
    }
    let mut xyxy = [0.0f32; 4];
    for ((v, field), name) in xyxy.iter_mut().zip(fields).zip(["x_min", "y_min", "x_max", "y_max"]) {
        *v =
            field.parse().ok().filter(|v: &f32| v.is_finite()).ok_or_else(|| {
                ("not_a_number", format!("{name} is `{field}`, not a number; repair or remove the row"))
            })?;
    }
    let bbox = BoxXyxy::new(xyxy[0], xyxy[1], xyxy[2], xyxy[3]);
    if !bbox.is_proper() {
        return Err(("inverted_box", format!("{bbox:?} has no area; are the corners swapped?")));
    }
    Ok(Some(ListedBox { class_id, bbox, score: 1.0, place }))
}

/// Adds the annotators that gave an image labels only: they drew no box.
fn read_image_labels(
    path: &Path,
    root: &Path,
    split: Split,
    into: &mut Annotations,
    listing: &mut Listing,
) -> Result<()> {
    let csv = LabelCsv::open(path)?;
    let image = csv.column("image_id")?;
    let annotator = csv.optional("rad_id");
    let mut file = LabelFile { name: relative(root, path).unwrap_or_default(), split, listing };
    csv.for_each(|row| match row {
        Err(bad) => file.unreadable(bad),
        Ok(row) if image_id_of(row.get(image)).is_empty() => {
            file.bad(row.line, "", "missing_image_id", "no image_id; repair or remove the row");
        }
        Ok(row) => {
            let annotated = into.entry(image_id_of(row.get(image)).to_owned()).or_default();
            let annotator_id = row.get_optional(annotator);
            if !annotator_id.is_empty() && annotated.consensus.is_empty() {
                annotated.annotators.entry(annotator_id.to_owned()).or_default();
            }
        }
    })
}

/// An image of the test set must not be trained on.
fn drop_train_copies_of_test(splits: &mut BTreeMap<Split, Annotations>, listing: &mut Listing) {
    let test: BTreeSet<String> = splits.get(&Split::Test).into_iter().flat_map(|a| a.keys().cloned()).collect();
    let Some(train) = splits.get_mut(&Split::Train) else { return };
    for image_id in test {
        if train.remove(&image_id).is_some() {
            listing.failures.push(ListedFailure {
                split: Split::Train,
                path: "annotations/annotations_train.csv".into(),
                image_id: Some(image_id),
                code: "in_two_splits",
                message: "listed for training and for test; kept for test only".into(),
            });
        }
    }
}

/// `(split, image id)` to relative path. One id with two files keeps the first by path (`.dicom` before `.png`).
fn files_on_disk(root: &Path) -> Result<BTreeMap<(Split, String), String>> {
    let mut found = BTreeMap::new();
    for split in [Split::Train, Split::Test] {
        let folder = root.join(split.as_str());
        if !folder.is_dir() {
            continue;
        }
        for path in image_files(&folder)?.files {
            let Some(name) = path.file_name().and_then(|s| s.to_str()) else { continue };
            let stem = without_extension(name).to_owned();
            let Some(path) = relative(root, &path) else { continue };
            found.entry((split, stem)).or_insert(path);
        }
    }
    Ok(found)
}

fn list_images(
    splits: BTreeMap<Split, Annotations>,
    mut on_disk: Option<BTreeMap<(Split, String), String>>,
    options: &ListOptions,
    listing: &mut Listing,
) {
    let final_split = |split: Split, image_id: &str| match split {
        Split::Train => Split::of_train_patient(options.seed, image_id, options.val_share),
        other => other,
    };
    let image = |image_id: String, split: Split, path: String, frame, labels: Labels| ListedImage {
        study_id: image_id.clone(),
        subject_id: image_id.clone(),
        image_id,
        split,
        // The whole collection is postero-anterior.
        projection: Projection::Pa,
        path,
        frame,
        labels,
    };
    for (source, annotations) in splits {
        for (image_id, annotated) in annotations {
            let split = final_split(source, &image_id);
            let expected = format!("{}/{image_id}.dicom", source.as_str());
            let path = match &mut on_disk {
                None => Some(expected.clone()),
                Some(disk) => disk.remove(&(source, image_id.clone())),
            };
            let Some(path) = path else {
                listing.failures.push(ListedFailure {
                    split,
                    path: expected,
                    image_id: Some(image_id),
                    code: "missing_file",
                    message: "labelled, but there is no such file (nor .dcm, .png, .jpg); download it again".into(),
                });
                continue;
            };
            let frame = annotated.frame;
            let labels = annotated.labels();
            if labels == Labels::Unannotated {
                listing.note("images_without_a_usable_row");
            }
            listing.images.push(image(image_id, split, path, frame, labels));
        }
    }
    for ((source, image_id), path) in on_disk.into_iter().flatten() {
        let split = final_split(source, &image_id);
        listing.note("images_without_labels");
        listing.images.push(image(image_id, split, path, None, Labels::Unannotated));
    }
    for failure in &mut listing.failures {
        if let Some(image_id) = &failure.image_id {
            failure.split = final_split(failure.split, image_id);
        }
    }
}

#[cfg(test)]
mod tests;

//! MIMIC-CXR-JPG: metadata, official split and CheXpert labels as csv (gz), radiographs as
//! `files/p10/p10000032/s50414267/<dicom_id>.jpg`, reports as `files/p10/p10000032/s50414267.txt`.
//! Versions differ in the files' prefix (`mimic-cxr-2.0.0-`, `mimic-cxr-2.1.0-`); the suffix decides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};
use d2r_contracts::report_text::CleaningRules;

use crate::datasets::file_name::{EXTENSIONS, image_id_of, is_no_data};
use crate::datasets::label_files::label_csv::{BadRow, LabelCsv};
use crate::datasets::label_files::record_id::{spellings, whole_number};
use crate::datasets::listing::{
    Labels, ListOptions, ListedFailure, ListedImage, ListedStudy, Listing, ReportSource, Split, relative,
};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// Folders, relative to the root, in which the tree `p10/p10000032/...` may start.
const TREES: [&str; 3] = ["files", ".", "mimic-cxr-reports/files"];

/// Lists a MIMIC-CXR-JPG folder.
///
/// # Errors
/// [`Error::InputMissing`] without a metadata or split file; [`Error::BadData`] for one that lacks a column.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let metadata = find(root, "metadata")?;
    let split_file = find(root, "split")?;
    let chexpert = find(root, "chexpert").ok();
    let mut listing = Listing::new("mimic-cxr-jpg", CleaningRules::MimicCxr);
    listing.labels = options.labels.known(listing.layout)?;
    let splits = read_splits(&split_file, root, &mut listing)?;
    let labels = match &chexpert {
        Some(path) => read_chexpert(path, root, &mut listing)?,
        None => BTreeMap::new(),
    };
    read_metadata(&metadata, root, &splits, options, &mut listing)?;
    listing.label_files = [Some(metadata), Some(split_file), chexpert].into_iter().flatten().collect();
    list_studies(root, labels, &mut listing);
    Ok(listing.sorted())
}

/// The file `mimic-cxr-<version>-<suffix>.csv` or `.csv.gz`; the newest version by name.
fn find(root: &Path, suffix: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|e| !is_no_data(&e.file_name()))
        .map(|e| e.path())
        .filter(|p| {
            let name = p.file_name().map(|n| n.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
            let stem = name.trim_end_matches(".gz").strip_suffix(".csv");
            stem.is_some_and(|s| s.starts_with("mimic-cxr") && s.ends_with(&format!("-{suffix}")))
        })
        .collect();
    // An unpacked copy is preferred to its archive: it sorts last among files of the same stem.
    found.sort_by_key(|p| {
        (p.to_string_lossy().trim_end_matches(".gz").to_owned(), p.extension().is_none_or(|e| e != "gz"))
    });
    found.pop().ok_or_else(|| {
        Error::missing(
            root.join(format!("mimic-cxr-2.0.0-{suffix}.csv.gz")),
            format!("nor is any mimic-cxr-*-{suffix}.csv there; give the folder that holds the csv files"),
        )
    })
}

fn failure(
    split: Split,
    file: &str,
    line: u64,
    image_id: Option<&str>,
    code: &'static str,
    message: String,
) -> ListedFailure {
    ListedFailure { split, path: format!("{file}:{line}"), image_id: image_id.map(str::to_owned), code, message }
}

fn bad_row(file: &str, row: BadRow) -> ListedFailure {
    failure(Split::Train, file, row.line, None, row.code, row.message)
}

/// Image to its official split.
fn read_splits(path: &Path, root: &Path, listing: &mut Listing) -> Result<BTreeMap<String, Split>> {
    let csv = LabelCsv::open(path)?;
    let (image, split) = (csv.column("dicom_id")?, csv.column("split")?);
    let file = relative(root, path).unwrap_or_default();
    let mut splits = BTreeMap::new();
    csv.for_each(|row| match row {
        Err(bad) => listing.failures.push(bad_row(&file, bad)),
        Ok(row) => match Split::parse(row.get(split)) {
            Some(known) => {
                splits.insert(image_id_of(row.get(image)).to_owned(), known);
            }
            None => {
                let message = format!("split `{}` is none of train, validate, test; repair the row", row.get(split));
                listing.failures.push(failure(
                    Split::Train,
                    &file,
                    row.line,
                    Some(image_id_of(row.get(image))).filter(|id| !id.is_empty()),
                    "unknown_split",
                    message,
                ));
            }
        },
    })?;
    Ok(splits)
}

/// Study to its labels.
type StudyLabels = BTreeMap<String, Vec<(&'static str, LabelState)>>;

/// Study (its number) to its 14 labels: 1 positive, 0 negative, -1 uncertain, empty blank.
fn read_chexpert(path: &Path, root: &Path, listing: &mut Listing) -> Result<StudyLabels> {
    let csv = LabelCsv::open(path)?;
    let study = csv.column("study_id")?;
    let columns = CHEXPERT_LABELS.iter().map(|l| csv.column(l).map(|c| (*l, c))).collect::<Result<Vec<_>>>()?;
    let file = relative(root, path).unwrap_or_default();
    let mut labels = StudyLabels::new();
    csv.for_each(|row| {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return listing.failures.push(bad_row(&file, bad)),
        };
        let mut states = Vec::with_capacity(columns.len());
        for (label, column) in &columns {
            let word = row.get(*column);
            let state = match word.parse::<f32>() {
                _ if word.is_empty() || word.eq_ignore_ascii_case("nan") => LabelState::Blank,
                Ok(1.0) => LabelState::Positive,
                Ok(0.0) => LabelState::Negative,
                Ok(-1.0) => LabelState::Uncertain,
                _ => {
                    let message = format!("{label} is `{word}`, none of 1, 0, -1 and empty; repair the row");
                    return listing.failures.push(failure(
                        Split::Train,
                        &file,
                        row.line,
                        None,
                        "unknown_state",
                        message,
                    ));
                }
            };
            states.push((*label, state));
        }
        let Some(study_id) = whole_number(row.get(study), 's') else {
            let message = format!("study_id is `{}`, not a whole number; repair or remove the row", row.get(study));
            return listing.failures.push(failure(Split::Train, &file, row.line, None, "bad_id", message));
        };
        labels.insert(study_id, states);
    })?;
    Ok(labels)
}

fn read_metadata(
    path: &Path,
    root: &Path,
    splits: &BTreeMap<String, Split>,
    options: &ListOptions,
    listing: &mut Listing,
) -> Result<()> {
    let csv = LabelCsv::open(path)?;
    let (image, subject, study) = (csv.column("dicom_id")?, csv.column("subject_id")?, csv.column("study_id")?);
    let view_position = csv.column("ViewPosition")?;
    let file = relative(root, path).unwrap_or_default();
    let mut seen = BTreeSet::new();
    csv.for_each(|row| {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return listing.failures.push(bad_row(&file, bad)),
        };
        let image_id = image_id_of(row.get(image));
        let mut bad = |code, message: String| {
            let known = (!image_id.is_empty()).then_some(image_id);
            let split = splits.get(image_id).copied().unwrap_or(Split::Train);
            listing.failures.push(failure(split, &file, row.line, known, code, message));
        };
        if image_id.is_empty() {
            return bad("missing_image_id", "no usable dicom_id; repair or remove the row".into());
        }
        let number = |column, letter, name: &str| {
            whole_number(row.get(column), letter)
                .ok_or_else(|| format!("{name} is `{}`, not a whole number; repair or remove the row", row.get(column)))
        };
        let ids = number(subject, 'p', "subject_id").and_then(|p| Ok((p, number(study, 's', "study_id")?)));
        let (subject_id, study_id) = match ids {
            Ok(ids) => ids,
            Err(message) => return bad("bad_id", message),
        };
        let Some(&split) = splits.get(image_id) else {
            return bad("no_split", "not in the split file; use metadata and split files of one version".into());
        };
        if !seen.insert(image_id.to_owned()) {
            return bad("duplicate_row", "repeats an earlier row, which is kept".into());
        }
        let projection = Projection::parse(row.get(view_position));
        if options.frontal_only && !projection.is_frontal() {
            return listing.note("views_left_out");
        }
        let folders = study_folders(&subject_id, &study_id);
        let found = folders.iter().find_map(|f| existing(root, &f.path(), image_id).map(|path| (f, path)));
        let Some((folder, path)) = found else {
            let message =
                "in the metadata, but there is no such file; download it again, or read a smaller metadata file";
            return listing.failures.push(ListedFailure {
                split,
                path: format!("files/{}/{image_id}.jpg", folders[0].path()),
                image_id: Some(image_id.to_owned()),
                code: "missing_file",
                message: message.into(),
            });
        };
        listing.images.push(ListedImage {
            image_id: image_id.to_owned(),
            study_id: folder.study.clone(),
            subject_id: folder.subject.clone(),
            split,
            projection,
            path,
            frame: None,
            labels: Labels::Unannotated,
        });
    })
}

/// A study's folder, `p10/p10000032/s50414267`.
struct StudyFolder {
    subject: String,
    study: String,
}

impl StudyFolder {
    fn path(&self) -> String {
        let Self { subject, study } = self;
        format!("{}/{subject}/{study}", subject.get(..3).unwrap_or(subject))
    }
}

/// The folders that a study may have: tables may have lost the zeros that its ids begin with.
fn study_folders(subject: &str, study: &str) -> Vec<StudyFolder> {
    let of = |subject: &String| {
        let subject = format!("p{subject}");
        spellings(study)
            .into_iter()
            .map(move |study| StudyFolder { subject: subject.clone(), study: format!("s{study}") })
    };
    spellings(subject).iter().flat_map(of).collect()
}

/// The image's file: JPEG as published, or another known kind.
fn existing(root: &Path, folder: &str, image_id: &str) -> Option<String> {
    let published_first = [".jpg"].into_iter().map(str::to_owned).chain(EXTENSIONS.iter().map(|e| format!(".{e}")));
    // A DICOM file may have no extension.
    published_first
        .chain([String::new()])
        .flat_map(|ext| TREES.iter().map(move |tree| below(tree, &format!("{folder}/{image_id}{ext}"))))
        .find(|path| root.join(path).is_file())
}

fn below(tree: &str, path: &str) -> String {
    if tree == "." { path.to_owned() } else { format!("{tree}/{path}") }
}

/// The studies that have an image left, with the split of their images.
fn list_studies(root: &Path, mut labels: StudyLabels, listing: &mut Listing) {
    let studies: BTreeMap<(String, String), Split> =
        listing.images.iter().map(|i| ((i.study_id.clone(), i.subject_id.clone()), i.split)).collect();
    let has_labels = !labels.is_empty();
    for ((study_id, subject_id), split) in studies {
        let file = format!("{}/{subject_id}/{study_id}.txt", subject_id.get(..3).unwrap_or(&subject_id));
        let report = TREES.iter().map(|tree| below(tree, &file)).find(|path| root.join(path).is_file());
        if report.is_none() {
            listing.failures.push(ListedFailure {
                split,
                path: format!("files/{file}"),
                image_id: None,
                code: "missing_report",
                message: "the study has no report file; unpack mimic-cxr-reports.zip into the folder".into(),
            });
        }
        let labels = whole_number(&study_id, 's').and_then(|n| labels.remove(&n)).unwrap_or_default();
        if has_labels && labels.is_empty() {
            listing.note("studies_without_labels");
        }
        listing.studies.push(ListedStudy { study_id, split, report: report.map(ReportSource::File), labels });
    }
}

#[cfg(test)]
mod tests;

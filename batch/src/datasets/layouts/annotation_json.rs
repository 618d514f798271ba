//! `annotation.json` of R2Gen and D2R-Net: `{"train": [...], "val": [...], "test": [...]}`, an entry per study with
//! 1..n image paths, its report, and (D2R-Net) boxes `[x, y, w, h]` padded with -1 in a `width` x `height` frame.
//! Unknown fields are ignored; what is wrong with an entry concerns that entry.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::report_text::CleaningRules;
use serde::Deserialize;
use serde_json::Value;

use crate::datasets::file_name::{below_root, image_id_of};
use crate::datasets::label_files::json_file::{Entry, Fields, Section, four_numbers, number, read_json};
use crate::datasets::label_files::record_id::whole_number;
use crate::datasets::listing::{
    FrameSize, Labels, ListOptions, ListedBox, ListedFailure, ListedImage, ListedStudy, Listing, ReportSource, Split,
    relative,
};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// Folders, relative to the root, in which image paths may start.
const IMAGE_FOLDERS: [&str; 3] = ["images", "files", ""];

/// The class of a box without one.
const UNNAMED: &str = "Other lesion";

#[derive(Deserialize)]
struct Document {
    #[serde(default, alias = "training")]
    train: Section<Study>,
    #[serde(default, alias = "validate", alias = "valid", alias = "validation")]
    val: Section<Study>,
    #[serde(default, alias = "testing")]
    test: Section<Study>,
}

/// An entry: a study, or one image of it.
struct Study {
    id: String,
    image_paths: Vec<String>,
    report: Option<String>,
    study_id: Option<String>,
    subject_id: Option<String>,
    boxes: Result<Option<DetectedBoxes>, String>,
    frame: Option<FrameSize>,
    score_threshold: Option<f32>,
    model_sha256: Option<String>,
}

/// The lists of an entry's boxes, as written.
struct DetectedBoxes {
    boxes: Vec<Value>,
    scores: Vec<Value>,
    labels: Vec<Value>,
}

impl Entry for Study {
    fn parse(fields: &Fields) -> Result<Self, String> {
        let report = match fields.get("report") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err("`report` is no text".into()),
        };
        let positive = |field: &str| fields.get(field).and_then(number).filter(|v| *v >= 1.0).map(|v| v as f32);
        Ok(Self {
            id: fields.needed_id("id")?,
            image_paths: image_paths(fields)?,
            report,
            study_id: fields.id("study_id")?.map(|id| with_letter(id, 's')),
            subject_id: fields.id("subject_id")?.map(|id| with_letter(id, 'p')),
            boxes: boxes(fields),
            frame: positive("width").zip(positive("height")).map(|(width, height)| FrameSize { width, height }),
            score_threshold: fields.number("score_threshold")?.map(|v| v as f32),
            model_sha256: fields.get("model_sha256").and_then(Value::as_str).map(str::to_owned),
        })
    }
}

/// One path, or a list of them.
fn image_paths(fields: &Fields) -> Result<Vec<String>, String> {
    let needed = || "`image_path` is absent or no path; text or a list of texts is needed".to_owned();
    match fields.get("image_path") {
        Some(Value::String(path)) => Ok(vec![path.clone()]),
        Some(Value::Array(paths)) if !paths.is_empty() => {
            paths.iter().map(|p| p.as_str().map(str::to_owned).ok_or_else(needed)).collect()
        }
        _ => Err(needed()),
    }
}

fn boxes(fields: &Fields) -> Result<Option<DetectedBoxes>, String> {
    let list = |field: &str| match fields.get(field) {
        None => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list.clone())),
        Some(_) => Err(format!("`{field}` is no list; its boxes are left out")),
    };
    let (scores, labels) = (list("scores")?.unwrap_or_default(), list("labels")?.unwrap_or_default());
    Ok(list("boxes")?.map(|boxes| DetectedBoxes { boxes, scores, labels }))
}

/// Numbers are MIMIC's, written without the letter that its folders have (`s50414267`, `p10000032`).
fn with_letter(id: String, letter: char) -> String {
    match whole_number(&id, letter) {
        Some(number) if !id.starts_with(letter) => format!("{letter}{number}"),
        Some(_) => id.trim_end_matches('0').strip_suffix('.').map_or(id.clone(), str::to_owned),
        None => id,
    }
}

/// Lists a folder with an `annotation.json` (or that file itself). `layout` is the dataset's kind, `cleaning` the
/// rules for its reports.
///
/// # Errors
/// [`Error::InputMissing`] without the file, [`Error::BadData`] when it is not JSON or has none of the splits.
pub fn list(root: &Path, layout: &'static str, cleaning: CleaningRules, options: &ListOptions) -> Result<Listing> {
    let (root, path) = locate(root)?;
    let Document { train, val, test } = read_json(&path, "an annotation file")?;
    if [&train, &val, &test].iter().all(|section| matches!(section, Section::Absent | Section::Null)) {
        return Err(Error::bad_data(path.display(), "has none of the keys `train`, `val` and `test`"));
    }
    let mut parser = EntryParser {
        file: relative(&root, &path).unwrap_or_default(),
        root,
        labels_only: options.labels_only,
        seen: BTreeSet::new(),
        listing: Listing::new(layout, cleaning),
    };
    parser.listing.labels = options.labels.known(layout)?;
    for (split, entries) in [(Split::Train, train), (Split::Val, val), (Split::Test, test)] {
        let entries = entries.into_list().map_err(|kind| {
            Error::bad_data(path.display(), format!("`{}` is {kind}; a list of entries is needed", split.as_str()))
        })?;
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let place = format!("{}#{}[{index}]", parser.file, split.as_str());
            match entry {
                Ok(entry) => parser.add(entry, split, &place),
                Err(bad) => {
                    let message = format!("{}; repair or remove the entry", bad.problem);
                    parser.fail(split, &place, None, "bad_entry", message);
                }
            }
        }
    }
    parser.listing.label_files.push(path);
    Ok(parser.listing.sorted())
}

/// The dataset's root and its annotation file.
fn locate(root: &Path) -> Result<(PathBuf, PathBuf)> {
    if root.is_file() {
        return Ok((root.parent().unwrap_or(root).to_path_buf(), root.to_path_buf()));
    }
    ["annotation.json", "annotations.json"]
        .iter()
        .map(|name| root.join(name))
        .find(|p| p.is_file())
        .map(|p| (root.to_path_buf(), p))
        .ok_or_else(|| Error::missing(root.join("annotation.json"), "give the folder that holds it"))
}

struct EntryParser {
    root: PathBuf,
    file: String,
    labels_only: bool,
    /// Image ids and `study/text` pairs that were taken.
    seen: BTreeSet<String>,
    listing: Listing,
}

impl EntryParser {
    fn fail(
        &mut self,
        split: Split,
        place: &str,
        image_id: Option<&str>,
        code: &'static str,
        message: impl Into<String>,
    ) {
        self.listing.failures.push(ListedFailure {
            split,
            path: place.to_owned(),
            image_id: image_id.map(str::to_owned),
            code,
            message: message.into(),
        });
    }

    fn add(&mut self, entry: Study, split: Split, place: &str) {
        let Study { id, image_paths: paths, report, study_id, subject_id, boxes, frame, .. } = entry;
        let (score_threshold, model_sha256) = (entry.score_threshold, entry.model_sha256);
        // An entry with a study beside its id is MIMIC's: its files are named by image ids.
        let by_file_name = study_id.is_some();
        let study_id = study_id.unwrap_or_else(|| id.clone());
        let subject_id = subject_id.unwrap_or_else(|| study_id.clone());
        let single = paths.len() == 1;
        self.listing.note(if single { "studies_with_one_image" } else { "studies_with_several_images" });
        let mut boxes = match boxes {
            Ok(boxes) => boxes.map(|b| self.boxes(b, (split, place, &id))),
            Err(problem) => {
                self.fail(split, &format!("{place}.boxes"), Some(&id), "bad_box", problem);
                None
            }
        };
        for (k, path) in paths.iter().enumerate() {
            let stem = Some(image_id_of(path)).filter(|stem| by_file_name && !stem.is_empty());
            let image_id = match stem {
                _ if single => id.clone(),
                Some(stem) => stem.to_owned(),
                None => format!("{id}_{k}"),
            };
            if !self.seen.insert(image_id.clone()) {
                self.fail(
                    split,
                    place,
                    Some(&image_id),
                    "duplicate_id",
                    "repeats an earlier entry's id; the earlier one is kept",
                );
                continue;
            }
            let Some(path) = self.find(path) else {
                let message = "no such file below the folder (nor below images/ or files/); download it again";
                self.fail(split, &format!("{place}[{k}]"), Some(&image_id), "missing_file", message);
                continue;
            };
            // Boxes belong to the first image.
            let labels = match boxes.take() {
                Some(boxes) if k == 0 => {
                    let model_sha256 = model_sha256.clone();
                    Labels::Detector { boxes, threshold: score_threshold, model_sha256 }
                }
                _ => Labels::Unannotated,
            };
            self.listing.images.push(ListedImage {
                image_id,
                study_id: study_id.clone(),
                subject_id: subject_id.clone(),
                split,
                projection: Projection::Unknown,
                path,
                frame,
                labels,
            });
        }
        self.add_report(study_id, split, report, place);
    }

    /// A study's report; the entries of a study's other images repeat it.
    fn add_report(&mut self, study_id: String, split: Split, report: Option<String>, place: &str) {
        let Some(text) = report.filter(|r| !r.trim().is_empty()) else {
            return self.fail(split, place, None, "missing_report", "the entry has no report; its images are kept");
        };
        if self.seen.insert(format!("report of {study_id}")) {
            let report = Some(ReportSource::Text(text));
            self.listing.studies.push(ListedStudy { study_id, split, report, labels: Vec::new() });
        } else {
            self.listing.note("repeated_reports");
        }
    }

    /// The boxes that are not padding.
    fn boxes(
        &mut self,
        DetectedBoxes { boxes, scores, labels }: DetectedBoxes,
        (split, place, id): (Split, &str, &str),
    ) -> Vec<ListedBox> {
        let mut kept = Vec::new();
        for (k, value) in boxes.iter().enumerate() {
            let place = format!("{place}.boxes[{k}]");
            match self.listed(value, labels.get(k), scores.get(k), &place) {
                Ok(listed) => kept.extend(listed),
                Err((code, message)) => self.fail(split, &place, Some(id), code, message),
            }
        }
        kept
    }

    /// One box; `None` for padding and for a name that the label set ignores.
    fn listed(
        &mut self,
        value: &Value,
        label: Option<&Value>,
        score: Option<&Value>,
        place: &str,
    ) -> Result<Option<ListedBox>, (&'static str, String)> {
        let xywh =
            four_numbers(value).ok_or_else(|| ("bad_box", "not four numbers; repair or remove the box".to_owned()))?;
        if xywh.iter().all(|v| *v == -1.0) {
            return Ok(None);
        }
        let bbox = BoxXyxy::from_xywh(xywh);
        if !bbox.is_proper() {
            return Err(("inverted_box", format!("{bbox:?} has no area; boxes are x, y, width, height")));
        }
        let class_id = match label {
            None | Some(Value::Null) => {
                // The published files have no class: the least specific one.
                self.listing.note("boxes_without_class");
                self.listing.class_named(UNNAMED, None)?
            }
            Some(Value::String(name)) if number(&Value::String(name.clone())).is_none() => {
                self.listing.class_named(name, None)?
            }
            Some(other) => {
                let id = number(other).filter(|id| id.fract() == 0.0).map(|id| id as i64);
                let unknown = || ("unknown_class", format!("label is no class of label set {}", self.listing.labels));
                Some(id.and_then(|id| self.listing.labels.of_file_id(id)).ok_or_else(unknown)?)
            }
        };
        let Some(class_id) = class_id else { return Ok(None) };
        let score = score.and_then(number).map_or(1.0, |s| s as f32);
        Ok(Some(ListedBox { class_id, bbox, score, place: place.to_owned() }))
    }

    /// The image's path relative to the root.
    fn find(&self, path: &str) -> Option<String> {
        // The file is in the root, so that a path with `..` leaves it.
        below_root("", path)?;
        let mut candidates = IMAGE_FOLDERS.iter().filter_map(|folder| below_root(folder, path));
        if self.labels_only {
            return candidates.next();
        }
        candidates.find(|p| self.root.join(p).is_file())
    }
}

#[cfg(test)]
mod tests;

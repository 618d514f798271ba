//! `annotation.json` of R2Gen and D2R-Net: `{"train": [...], "val": [...], "test": [...]}`, an entry per study with
//! 1..n image paths, its report, and (D2R-Net) boxes `[x, y, w, h]` padded with -1 in a `width` x `height` frame.
//! Unknown fields are ignored; what is wrong with an entry concerns that entry.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::lesion_class_id;
use d2r_contracts::report_text::CleaningRules;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::datasets::listing::{
    FrameSize, Labels, ListedBox, ListedFailure, ListedImage, ListedStudy, Listing, ReportSource, Split, relative,
    stays_below_root,
};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// Folders, relative to the root, in which image paths may start.
const IMAGE_FOLDERS: [&str; 3] = ["images", "files", "."];

#[derive(Deserialize)]
struct Document {
    train: Option<Vec<Lenient>>,
    #[serde(alias = "validate", alias = "valid")]
    val: Option<Vec<Lenient>>,
    test: Option<Vec<Lenient>>,
}

/// An entry, or something of another shape.
#[derive(Deserialize)]
#[serde(untagged)]
enum Lenient {
    Entry(Box<Entry>),
    Other(IgnoredAny),
}

/// Text or a number; MIMIC's ids come as both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(i64),
}

impl Id {
    /// Numbers are MIMIC's, written without the letter that its folders have (`s50414267`, `p10000032`).
    fn into_text(self, letter: &str) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(n) => format!("{letter}{n}"),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A class, by name or by number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Class {
    Id(i32),
    Name(String),
}

#[derive(Deserialize)]
struct Entry {
    id: Id,
    image_path: OneOrMany,
    report: Option<String>,
    study_id: Option<Id>,
    subject_id: Option<Id>,
    boxes: Option<Vec<Vec<f32>>>,
    scores: Option<Vec<f32>>,
    labels: Option<Vec<Class>>,
    height: Option<f32>,
    width: Option<f32>,
    score_threshold: Option<f32>,
    model_sha256: Option<String>,
}

/// Lists a folder with an `annotation.json` (or that file itself). `layout` is the dataset's kind, `cleaning` the
/// rules for its reports.
///
/// # Errors
/// [`Error::InputMissing`] without the file, [`Error::BadData`] when it is not JSON or has none of the splits.
pub fn list(root: &Path, layout: &'static str, cleaning: CleaningRules) -> Result<Listing> {
    let (root, path) = locate(root)?;
    let file = File::open(&path).map_err(|e| Error::io("read", &path, e))?;
    let document: Document = serde_json::from_reader(BufReader::new(file)).map_err(|e| match e.io_error_kind() {
        Some(_) => Error::io("read", &path, e.into()),
        None => Error::bad_data(path.display(), format!("not an annotation file: {e}")),
    })?;
    let Document { train, val, test } = document;
    if train.is_none() && val.is_none() && test.is_none() {
        return Err(Error::bad_data(path.display(), "has none of the keys `train`, `val` and `test`"));
    }
    let mut parser = EntryParser {
        file: relative(&root, &path).unwrap_or_default(),
        root,
        seen: BTreeSet::new(),
        listing: Listing::new(layout, cleaning),
    };
    for (split, entries) in [(Split::Train, train), (Split::Val, val), (Split::Test, test)] {
        for (index, entry) in entries.into_iter().flatten().enumerate() {
            let place = format!("{}#{}[{index}]", parser.file, split.as_str());
            match entry {
                Lenient::Entry(entry) => parser.add(*entry, split, &place),
                Lenient::Other(_) => parser.fail(
                    split,
                    &place,
                    None,
                    "bad_entry",
                    "needs `id`, `image_path` and fields of the documented types",
                ),
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

    fn add(&mut self, entry: Entry, split: Split, place: &str) {
        let Entry {
            id,
            image_path,
            report,
            study_id,
            subject_id,
            boxes,
            scores,
            labels,
            height,
            width,
            score_threshold,
            model_sha256,
        } = entry;
        let id = id.into_text("");
        // An entry with a study beside its id is MIMIC's: its files are named by image ids.
        let by_file_name = study_id.is_some();
        let study_id = study_id.map_or_else(|| id.clone(), |s| s.into_text("s"));
        let subject_id = subject_id.map_or_else(|| study_id.clone(), |s| s.into_text("p"));
        let paths = match image_path {
            OneOrMany::One(path) => vec![path],
            OneOrMany::Many(paths) => paths,
        };
        if id.is_empty() || paths.is_empty() {
            return self.fail(split, place, None, "bad_entry", "no id, or no image path; repair or remove the entry");
        }
        let single = paths.len() == 1;
        self.listing.note(if single { "studies_with_one_image" } else { "studies_with_several_images" });
        let mut boxes = boxes.map(|b| self.boxes(b, scores, labels, (split, place, &id)));
        for (k, path) in paths.iter().enumerate() {
            let stem = Path::new(path).file_stem().and_then(|s| s.to_str()).filter(|_| by_file_name);
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
                frame: width.zip(height).map(|(width, height)| FrameSize { width, height }),
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
        boxes: Vec<Vec<f32>>,
        scores: Option<Vec<f32>>,
        labels: Option<Vec<Class>>,
        (split, place, id): (Split, &str, &str),
    ) -> Vec<ListedBox> {
        let mut kept = Vec::new();
        for (k, xywh) in boxes.iter().enumerate() {
            let Ok(xywh) = <[f32; 4]>::try_from(xywh.as_slice()) else {
                self.fail(
                    split,
                    &format!("{place}.boxes[{k}]"),
                    Some(id),
                    "bad_box",
                    "not four numbers; repair or remove the box",
                );
                continue;
            };
            if xywh.iter().all(|v| *v == -1.0) {
                continue;
            }
            let bbox = BoxXyxy::from_xywh(xywh);
            if !bbox.is_proper() {
                self.fail(
                    split,
                    &format!("{place}.boxes[{k}]"),
                    Some(id),
                    "inverted_box",
                    format!("{bbox:?} has no area; boxes are x, y, width, height"),
                );
                continue;
            }
            let class_id = match labels.as_ref().and_then(|l| l.get(k)) {
                Some(Class::Id(id)) if (0..22).contains(id) => *id,
                Some(Class::Name(name)) if lesion_class_id(name).is_some() => lesion_class_id(name).unwrap_or_default(),
                Some(_) => {
                    self.fail(
                        split,
                        &format!("{place}.boxes[{k}]"),
                        Some(id),
                        "unknown_class",
                        "label is not one of the 22 VinDr-CXR labels",
                    );
                    continue;
                }
                None => {
                    // The published files have no class: the least specific one.
                    self.listing.note("boxes_without_class");
                    lesion_class_id("Other lesion").unwrap_or_default()
                }
            };
            let score = scores.as_ref().and_then(|s| s.get(k)).copied().unwrap_or(1.0);
            kept.push(ListedBox { class_id, bbox, score });
        }
        kept
    }

    /// The image's path relative to the root.
    fn find(&self, path: &str) -> Option<String> {
        if !stays_below_root(path) {
            return None;
        }
        let path = path.trim_start_matches("./");
        IMAGE_FOLDERS
            .iter()
            .map(|folder| if *folder == "." { path.to_owned() } else { format!("{folder}/{path}") })
            .find(|p| self.root.join(p).is_file())
    }
}

#[cfg(test)]
mod tests;

//! ChestX-Det (and ChestX-Det10): `ChestX_Det_train.json` and `ChestX_Det_test.json` (or `train.json`, `test.json`), lists
//! of `{file_name, syms: [name], boxes: [[x1, y1, x2, y2]], polygons}`, with images of 1024 x 1024 pixels in
//! `train_data/` and `test_data/`. Three radiologists agreed on the boxes; an image without any was read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::report_text::CleaningRules;
use serde_json::Value;

use crate::datasets::file_name::{image_id_of, is_no_data};
use crate::datasets::image_index::ImageIndex;
use crate::datasets::label_files::json_file::{Entry, Fields, Section, four_numbers, read_json};
use crate::datasets::listing::{
    FrameSize, Labels, ListOptions, ListedBox, ListedFailure, ListedImage, Listing, Split, relative,
};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// The size that boxes refer to.
pub const FRAME: FrameSize = FrameSize { width: 1024.0, height: 1024.0 };

/// Folders, relative to the root, in which the two JSON files may be.
const JSON_FOLDERS: [&str; 2] = [".", "annotations"];

/// An image of a file.
struct Annotated {
    file_name: String,
    names: Vec<Value>,
    boxes: Vec<Value>,
}

impl Entry for Annotated {
    fn parse(fields: &Fields) -> Result<Self, String> {
        let list = |field: &str| match fields.get(field) {
            Some(Value::Array(list)) => Ok(list.clone()),
            _ => Err(format!("`{field}` is absent or no list; a list is needed")),
        };
        let (names, boxes) = (list("syms")?, list("boxes")?);
        if names.len() != boxes.len() {
            return Err(format!("{} names in `syms` and {} boxes; one name a box is needed", names.len(), boxes.len()));
        }
        Ok(Self { file_name: fields.needed_text("file_name")?, names, boxes })
    }
}

/// Lists a ChestX-Det folder.
///
/// # Errors
/// [`Error::InputMissing`] without a JSON file or without images; [`Error::BadData`] for a JSON file of another kind.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let mut listing = Listing::new("chestx-det", CleaningRules::MimicCxr);
    listing.labels = options.labels.known(listing.layout)?;
    let mut seen = BTreeSet::new();
    // An image of the test set must not be trained on.
    for split in [Split::Test, Split::Train] {
        let Some(path) = find(root, split) else { continue };
        let section: Section<Annotated> = read_json(&path, "a ChestX-Det file")?;
        let Section::List(entries) = section else {
            return Err(Error::bad_data(path.display(), "not a ChestX-Det file: a list of images is needed"));
        };
        let file = SplitFile {
            name: relative(root, &path).unwrap_or_default(),
            split,
            images: if options.labels_only { None } else { Some(images(root, split)?) },
            options,
        };
        for (k, entry) in entries.into_iter().enumerate() {
            let place = format!("{}#[{k}]", file.name);
            match entry {
                Ok(entry) => file.add(entry, &place, &mut seen, &mut listing),
                Err(bad) => {
                    listing.failures.push(failure(split, place, None, "bad_entry", bad.problem + "; repair the entry"));
                }
            }
        }
        listing.label_files.push(path);
    }
    if listing.label_files.is_empty() {
        let hint = "nor is train.json or test.json; give the folder that holds one of them";
        return Err(Error::missing(root.join("ChestX_Det_train.json"), hint));
    }
    Ok(listing.sorted())
}

/// The JSON file of a split: its name ends in the split's (`ChestX_Det_train.json`, `chestx-det_train.json`, `train.json`).
fn find(root: &Path, split: Split) -> Option<PathBuf> {
    let ending = format!("{}.json", split.as_str());
    for folder in JSON_FOLDERS {
        let entries = std::fs::read_dir(root.join(folder)).ok()?;
        let named = |name: &str| {
            let name = name.to_ascii_lowercase();
            name == ending || (name.starts_with("chestx") && name.ends_with(&ending))
        };
        let mut found: Vec<_> = entries
            .flatten()
            .map(|e| e.file_name())
            .filter(|name| !is_no_data(name) && named(&name.to_string_lossy()))
            .collect();
        found.sort();
        if let Some(name) = found.first() {
            return Some(if folder == "." { root.join(name) } else { root.join(folder).join(name) });
        }
    }
    None
}

/// The images of a split: its folder, or any other image folder.
fn images(root: &Path, split: Split) -> Result<ImageIndex> {
    let own = ImageIndex::of(root, |name| name.to_ascii_lowercase().starts_with(split.as_str()))?;
    if own.is_empty() {
        let hint = "nor is any other image there; with the JSON files alone, pass --labels-only";
        return Err(Error::missing(root.join(format!("{}_data/*.png", split.as_str())), hint));
    }
    Ok(own)
}

fn failure(
    split: Split,
    path: String,
    image_id: Option<&str>,
    code: &'static str,
    message: impl Into<String>,
) -> ListedFailure {
    ListedFailure { split, path, image_id: image_id.map(str::to_owned), code, message: message.into() }
}

/// One of the two JSON files.
struct SplitFile<'a> {
    name: String,
    split: Split,
    /// `None` when only labels are read.
    images: Option<ImageIndex>,
    options: &'a ListOptions,
}

impl SplitFile<'_> {
    fn add(&self, entry: Annotated, place: &str, seen: &mut BTreeSet<String>, listing: &mut Listing) {
        let image_id = image_id_of(&entry.file_name).to_owned();
        let split = match self.split {
            Split::Train => Split::of_train_patient(self.options.seed, &image_id, self.options.val_share),
            other => other,
        };
        if !seen.insert(image_id.clone()) {
            let message = "the image is listed already, for this split or the other; the first entry is kept";
            return listing.failures.push(failure(split, place.to_owned(), Some(&image_id), "duplicate_id", message));
        }
        let mut unusable = false;
        let mut boxes = Vec::with_capacity(entry.boxes.len());
        for (k, (name, corners)) in entry.names.iter().zip(&entry.boxes).enumerate() {
            let place = format!("{place}.boxes[{k}]");
            match listed(name, corners, &place, listing) {
                Ok(b) => boxes.extend(b),
                Err((code, message)) => {
                    unusable = true;
                    listing.failures.push(failure(split, place, Some(&image_id), code, message));
                }
            }
        }
        let path = match &self.images {
            None => Some(format!("{}_data/{image_id}.png", self.split.as_str())),
            Some(images) => images.find(&image_id).map(str::to_owned),
        };
        let Some(path) = path else {
            let message = format!("no such file in {}_data/; download it again", self.split.as_str());
            return listing.failures.push(failure(split, place.to_owned(), Some(&image_id), "missing_file", message));
        };
        // An image of which no box can be used is unannotated, never normal.
        let unread = boxes.is_empty() && unusable;
        listing.images.push(ListedImage {
            study_id: image_id.clone(),
            subject_id: image_id.clone(),
            image_id,
            split,
            projection: Projection::Unknown,
            path,
            frame: Some(FRAME),
            labels: if unread { Labels::Unannotated } else { Labels::Consensus(boxes) },
        });
    }
}

/// A box; `None` for a name that the label set ignores.
fn listed(
    name: &Value,
    corners: &Value,
    place: &str,
    listing: &mut Listing,
) -> Result<Option<ListedBox>, (&'static str, String)> {
    let name = name
        .as_str()
        .ok_or_else(|| ("unknown_class", "its name in `syms` is no text; repair or remove the box".to_owned()))?;
    let Some(class_id) = listing.class_named(name, None)? else { return Ok(None) };
    let [x_min, y_min, x_max, y_max] =
        four_numbers(corners).ok_or_else(|| ("bad_box", "not four numbers; repair or remove the box".to_owned()))?;
    let bbox = BoxXyxy::new(x_min, y_min, x_max, y_max);
    if !bbox.is_proper() {
        return Err(("inverted_box", format!("{bbox:?} has no area; boxes are x1, y1, x2, y2")));
    }
    Ok(Some(ListedBox { class_id, bbox, score: 1.0, place: place.to_owned() }))
}

#[cfg(test)]
mod tests;

//! A folder of COCO detection files as a dataset. The split follows from the file's or folder's name
//! (`instances_train2017.json`, `val/_annotations.coco.json`); a file that names none is training data, from which a
//! validation share is taken. TBX11K (`annotations/json/all_train.json`, `imgs/`) is one of them.

mod categories;
mod document;
pub mod image_ids;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use d2r_contracts::report_text::CleaningRules;

use crate::datasets::file_name::{below_root, is_no_data, without_extension};
use crate::datasets::label_files::json_file::{BadEntry, read_json};
use crate::datasets::listing::{Labels, ListOptions, ListedBox, ListedFailure, ListedImage, Listing, Split, relative};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};
use document::{Annotation, Category, Document, Image, Region};

/// Folders, relative to the root, in which COCO files are looked for.
const JSON_FOLDERS: [&str; 7] = [".", "annotations", "annotations/json", "train", "val", "valid", "test"];

/// Categories of TBX11K, whose annotators boxed areas of tuberculosis only.
const TBX11K_CATEGORIES: [&str; 3] = ["ActiveTuberculosis", "ObsoletePulmonaryTuberculosis", "PulmonaryTuberculosis"];

/// Lists a folder with COCO files in it, in `annotations/`, or in one folder per split; or one such file.
///
/// # Errors
/// [`Error::InputMissing`] when there is none, [`Error::BadData`] when one cannot be read.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let folder = if root.is_file() { root.parent().unwrap_or(root) } else { root };
    let files = if root.is_file() { vec![root.to_path_buf()] } else { json_files(root)? };
    let mut listing = Listing::new("coco", CleaningRules::MimicCxr);
    listing.box_names.listed = true;
    let mut seen = BTreeMap::new();
    let only = files.len() == 1;
    let mut others = Vec::new();
    listing.labels = categories::label_set(&options.labels, &files, root)?;
    for path in files {
        let name = relative(folder, &path).unwrap_or_default();
        let document: Document = read_json(&path, "a COCO detection file")?;
        let parent = relative(folder, path.parent().unwrap_or(folder)).unwrap_or_default();
        let file = CocoFile { root: folder, folder: parent, split: split_of(&name), name, options };
        match file.add(document, &mut seen, &mut listing) {
            Ok(()) => listing.label_files.push(path),
            Err(problem) if only => return Err(Error::bad_data(path.display(), problem)),
            Err(problem) => others.push((path, file.name, problem)),
        }
    }
    if listing.label_files.is_empty()
        && let Some((path, _, problem)) = others.first()
    {
        return Err(Error::bad_data(path.display(), problem));
    }
    listing.failures.extend(others.into_iter().map(|(_, path, problem)| ListedFailure {
        split: Split::Train,
        path,
        image_id: None,
        code: "not_coco",
        message: format!("left out: {problem}"),
    }));
    Ok(listing.sorted())
}

/// Files that name a split come first: what they list keeps it, whatever a joint file (`trainval`) says.
fn json_files(root: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
    let mut files = Vec::new();
    for folder in JSON_FOLDERS {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        let names = entries.flatten().map(|e| e.file_name()).filter(|name| !is_no_data(name));
        let json = names.filter(|name| Path::new(name).extension().is_some_and(|e| e.eq_ignore_ascii_case("json")));
        // `root/./x` and `root/x` are the same file; keep the short spelling.
        files.extend(json.map(|name| if folder == "." { root.join(name) } else { root.join(folder).join(name) }));
    }
    files.sort_by_cached_key(|path| (split_of(&relative(root, path).unwrap_or_default()).is_none(), path.clone()));
    if files.is_empty() {
        let hint = "nor is any .json there or in annotations/; give the folder that holds the COCO files";
        return Err(Error::missing(root.join("annotations/instances_train.json"), hint));
    }
    Ok(files)
}

/// The split that a file's relative path names: a word of the name, or the folder.
fn split_of(name: &str) -> Option<Split> {
    name.rsplit('/').find_map(|part| {
        part.split(|c: char| !c.is_ascii_alphabetic()).filter(|w| !w.is_empty()).find_map(Split::parse)
    })
}

/// What an earlier file says about an image.
struct Earlier {
    file: String,
    split: Option<Split>,
    boxes: Option<Vec<(i32, [u32; 4])>>,
}

/// One COCO file of a dataset.
struct CocoFile<'a> {
    root: &'a Path,
    /// The folder the file is in, relative to the root.
    folder: String,
    name: String,
    split: Option<Split>,
    options: &'a ListOptions,
}

/// An image with the annotations of all its entries.
struct Annotated {
    image: Image,
    place: String,
    annotations: Vec<(usize, Annotation)>,
    /// Some of its annotations cannot be joined with the others.
    unread: bool,
}

impl CocoFile<'_> {
    /// Adds the file's images. `Err`: why it is no COCO file.
    fn add(
        &self,
        document: Document,
        seen: &mut BTreeMap<String, Earlier>,
        listing: &mut Listing,
    ) -> Result<(), String> {
        let Document { images, categories, annotations } = document;
        let wrong =
            |field: &str, kind: &str| format!("not a COCO detection file: `{field}` is {kind}; a list is needed");
        let images = images.into_list().map_err(|kind| wrong("images", kind))?;
        let images = images.ok_or_else(|| wrong("images", "absent or null"))?;
        let categories = categories.into_list().map_err(|kind| wrong("categories", kind))?.unwrap_or_default();
        let annotations = annotations.into_list().map_err(|kind| wrong("annotations", kind))?;

        let categories: Vec<Category> = self.usable(categories, "categories", listing).map(|(_, c)| c).collect();
        let tbx11k = categories.iter().any(|c| TBX11K_CATEGORIES.contains(&c.name.as_str()));
        let names: BTreeMap<String, String> = categories.into_iter().map(|c| (c.id, c.name)).collect();
        // The labels of TBX11K's test images are withheld: its file lists them with no annotation at all.
        let withheld = tbx11k && self.split == Some(Split::Test) && annotations.as_ref().is_some_and(Vec::is_empty);
        let labelled = annotations.is_some() && !withheld;

        let mut by_image: BTreeMap<String, Vec<(usize, Annotation)>> = BTreeMap::new();
        for (k, annotation) in self.usable(annotations.unwrap_or_default(), "annotations", listing) {
            by_image.entry(annotation.image_id.clone()).or_default().push((k, annotation));
        }
        for (image_id, annotated) in self.join(images, &mut by_image, listing) {
            // Images of other diseases (`sick/`) and of other collections (`extra/`) have no boxes there.
            let unknown =
                tbx11k && annotated.annotations.is_empty() && !annotated.image.file_name.starts_with("health");
            if labelled && unknown {
                listing.note("images_not_known_to_be_normal");
            }
            self.add_image(image_id, annotated, labelled && !unknown, &names, seen, listing);
        }
        for (k, annotation) in by_image.into_values().flatten() {
            let message = format!("image {} is not in the file; repair or remove the annotation", annotation.image_id);
            self.fail(listing, None, &format!("annotations[{k}]"), "unknown_image", message);
        }
        Ok(())
    }

    /// The elements of a list that can be read, with their places; the others become failures.
    fn usable<T>(
        &self,
        list: Vec<Result<T, BadEntry>>,
        field: &str,
        listing: &mut Listing,
    ) -> impl Iterator<Item = (usize, T)> {
        let mut usable = Vec::with_capacity(list.len());
        for (k, entry) in list.into_iter().enumerate() {
            match entry {
                Ok(entry) => usable.push((k, entry)),
                Err(BadEntry { id, problem }) => {
                    let id = id.map(|id| format!(" (id {id})")).unwrap_or_default();
                    let message = format!("{field}[{k}]{id}: {problem}; repair or remove the entry");
                    self.fail(listing, None, &format!("{field}[{k}]"), "bad_entry", message);
                }
            }
        }
        usable.into_iter()
    }

    /// Images with their annotations, by the image id of the lake. Entries of one file are one image.
    fn join(
        &self,
        images: Vec<Result<Image, BadEntry>>,
        by_image: &mut BTreeMap<String, Vec<(usize, Annotation)>>,
        listing: &mut Listing,
    ) -> BTreeMap<String, Annotated> {
        let images: Vec<(usize, Image)> = self.usable(images, "images", listing).collect();
        let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (_, image) in &images {
            names.entry(&image.id).or_default().insert(&image.file_name);
        }
        // One id for several files: it is not known to which of them an annotation belongs.
        let ambiguous: BTreeSet<String> =
            names.into_iter().filter(|(_, n)| n.len() > 1).map(|(id, _)| id.to_owned()).collect();
        // Files that differ by their extension only have their paths as ids. `images/a.png` and `a.png` are one file.
        let path = |image: &Image| {
            let path = image.file_name.replace('\\', "/");
            let path = path.trim_start_matches("./");
            path.strip_prefix("images/").unwrap_or(path).to_owned()
        };
        let mut paths: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (_, image) in &images {
            let path = path(image);
            paths.entry(without_extension(&path).to_owned()).or_default().insert(path);
        }
        let mut joined: BTreeMap<String, Annotated> = BTreeMap::new();
        for (_, image) in images {
            let image_id = image.image_id.clone().unwrap_or_else(|| {
                let path = path(&image);
                let stem = without_extension(&path).to_owned();
                if paths.get(&stem).is_some_and(|p| p.len() > 1) { path } else { stem }
            });
            let place = format!("images[id={}]", image.id);
            if ambiguous.contains(&image.id) {
                let message = format!("id {} belongs to several images; give each its own", image.id);
                self.fail(listing, Some(&image_id), &place, "ambiguous_id", message);
                by_image.remove(&image.id);
                continue;
            }
            let annotations = by_image.remove(&image.id).unwrap_or_default();
            match joined.entry(image_id) {
                Entry::Vacant(entry) => {
                    entry.insert(Annotated { image, place, annotations, unread: false });
                }
                Entry::Occupied(mut entry) => {
                    let message = "the file lists the image twice; the entries are taken as one";
                    self.fail(listing, Some(entry.key()), &place, "duplicate_id", message);
                    let first = entry.get_mut();
                    // Boxes of another frame cannot be joined, and without them the image is not known to be normal.
                    if first.image.size == image.size {
                        first.annotations.extend(annotations);
                    } else if !annotations.is_empty() {
                        first.unread = true;
                    }
                }
            }
        }
        joined
    }

    fn fail(
        &self,
        listing: &mut Listing,
        image_id: Option<&str>,
        place: &str,
        code: &'static str,
        message: impl Into<String>,
    ) {
        listing.failures.push(ListedFailure {
            split: self.split.unwrap_or(Split::Train),
            path: self.place(place),
            image_id: image_id.map(str::to_owned),
            code,
            message: message.into(),
        });
    }

    fn place(&self, place: &str) -> String {
        format!("{}#{place}", self.name)
    }

    fn add_image(
        &self,
        image_id: String,
        Annotated { image, place, annotations, unread }: Annotated,
        labelled: bool,
        names: &BTreeMap<String, String>,
        seen: &mut BTreeMap<String, Earlier>,
        listing: &mut Listing,
    ) {
        let mut boxes: Vec<ListedBox> = Vec::new();
        let mut unusable = Vec::new();
        for (k, annotation) in annotations {
            let place = format!("annotations[{k}]");
            match annotation.region.and_then(|region| self.listed(region, names, &place, listing)) {
                Ok(None) => {}
                Ok(Some(b)) if boxes.iter().any(|o| (o.class_id, o.bbox) == (b.class_id, b.bbox)) => {
                    listing.note("repeated_boxes");
                }
                Ok(Some(b)) => boxes.push(b),
                Err((code, message)) => unusable.push((place, code, message)),
            }
        }
        // An image of which no annotation can be used is unannotated, never normal.
        let unread = unread || !labelled || (boxes.is_empty() && !unusable.is_empty());
        if self.is_repeated(&image_id, (!unread).then_some(&boxes), &place, seen, listing) {
            return;
        }
        for (place, code, message) in unusable {
            self.fail(listing, Some(&image_id), &place, code, message);
        }
        let Some(path) = self.find(&image.file_name) else {
            let message = "no such file below the dataset's folder; file_name is relative to it, with / or \\";
            return self.fail(listing, Some(&image_id), &place, "missing_file", message);
        };
        let study_id = image.study_id.unwrap_or_else(|| image_id.clone());
        let subject_id = image.subject_id.unwrap_or_else(|| study_id.clone());
        let split = self
            .split
            .unwrap_or_else(|| Split::of_train_patient(self.options.seed, &subject_id, self.options.val_share));
        listing.images.push(ListedImage {
            image_id,
            study_id,
            subject_id,
            split,
            projection: image.view.as_deref().map_or(Projection::Unknown, Projection::parse),
            path,
            frame: image.size,
            labels: if unread { Labels::Unannotated } else { Labels::Consensus(boxes) },
        });
    }

    /// Whether an earlier file lists the image. The same again is counted; what differs is a failure.
    fn is_repeated(
        &self,
        image_id: &str,
        boxes: Option<&Vec<ListedBox>>,
        place: &str,
        seen: &mut BTreeMap<String, Earlier>,
        listing: &mut Listing,
    ) -> bool {
        let boxes = boxes.map(|boxes| {
            let mut all: Vec<_> = boxes.iter().map(|b| (b.class_id, b.bbox.to_array().map(f32::to_bits))).collect();
            all.sort_unstable();
            all
        });
        let Some(earlier) = seen.get(image_id) else {
            let earlier = Earlier { file: self.name.clone(), split: self.split, boxes };
            seen.insert(image_id.to_owned(), earlier);
            return false;
        };
        let (code, what) = if self.split.is_some() && self.split != earlier.split {
            ("in_two_splits", "for another split")
        } else if earlier.boxes != boxes {
            ("duplicate_id", "with other annotations")
        } else {
            listing.note("repeated_images");
            return true;
        };
        let message = format!("image is listed in {} already {what}, which is kept", earlier.file);
        self.fail(listing, Some(image_id), place, code, message);
        true
    }

    /// A box; `None` for a category that the label set ignores.
    fn listed(
        &self,
        region: Region,
        names: &BTreeMap<String, String>,
        place: &str,
        listing: &mut Listing,
    ) -> Result<Option<ListedBox>, (&'static str, String)> {
        let id = &region.category_id;
        let unknown = || ("unknown_class", format!("category {id} is not in the file"));
        let Some(class_id) = listing.class_named(names.get(id).ok_or_else(unknown)?, id.parse().ok())? else {
            return Ok(None);
        };
        if region.from_polygons {
            listing.note("boxes_from_polygons");
        }
        Ok(Some(ListedBox { class_id, bbox: region.bbox, score: region.score, place: self.place(place) }))
    }

    fn find(&self, file_name: &str) -> Option<String> {
        let split = self.split.map_or("train", Split::as_str);
        let folders = [
            "",
            self.folder.as_str(),
            "images",
            "imgs",
            split,
            &format!("images/{split}"),
            &format!("{split}2017"),
            &format!("images/{split}2017"),
        ]
        .map(str::to_owned);
        // A path with `..` is relative to the file that names it.
        let plain = below_root("", file_name).is_some();
        folders
            .iter()
            .filter(|folder| plain || **folder == self.folder)
            .filter_map(|folder| below_root(folder, file_name))
            .find(|path| self.root.join(path).is_file())
    }
}

#[cfg(test)]
mod tests;

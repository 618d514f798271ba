//! A folder of COCO detection files as a dataset. The split follows from the file's or folder's name
//! (`instances_train2017.json`, `val/_annotations.coco.json`); a file that names none is training data, from which a
//! validation share is taken.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::lesion_class_id;
use d2r_contracts::report_text::CleaningRules;

use crate::datasets::coco_document::{Annotation, Coco, CocoImage};
use crate::datasets::listing::{
    FrameSize, Labels, ListOptions, ListedBox, ListedFailure, ListedImage, Listing, Split, relative, stays_below_root,
};
use crate::datasets::projection::Projection;
use crate::error::{Error, Result};

/// Lists a folder with COCO files in it, in `annotations/`, or in one folder per split; or one such file.
///
/// # Errors
/// [`Error::InputMissing`] when there is none, [`Error::BadData`] when one is not a COCO document.
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    let folder = if root.is_file() { root.parent().unwrap_or(root) } else { root };
    let files = if root.is_file() { vec![root.to_path_buf()] } else { json_files(root)? };
    let mut listing = Listing::new("coco", CleaningRules::MimicCxr);
    let mut seen = BTreeMap::new();
    for path in files {
        let bytes = std::fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        let coco: Coco = serde_json::from_slice(&bytes).map_err(|e| {
            Error::bad_data(path.display(), format!("not a COCO detection file ({e}); move other JSON files away"))
        })?;
        let name = relative(folder, &path).unwrap_or_default();
        Document { root: folder, folder: path.parent().unwrap_or(folder), split: split_of(&name), name, options }.add(
            coco,
            &mut seen,
            &mut listing,
        );
        listing.label_files.push(path);
    }
    Ok(listing.sorted())
}

fn json_files(root: &Path) -> Result<Vec<PathBuf>> {
    std::fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
    let mut files = Vec::new();
    for folder in [".", "annotations", "train", "val", "valid", "test"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        let json = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "json"));
        // `root/./x` and `root/x` are the same file; keep the short spelling.
        files.extend(json.map(|p| if folder == "." { root.join(p.file_name().unwrap_or_default()) } else { p }));
    }
    files.sort();
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

/// One COCO file of a dataset.
struct Document<'a> {
    root: &'a Path,
    /// The folder the file is in.
    folder: &'a Path,
    name: String,
    split: Option<Split>,
    options: &'a ListOptions,
}

impl Document<'_> {
    fn add(&self, coco: Coco, seen: &mut BTreeMap<String, String>, listing: &mut Listing) {
        let labelled = coco.annotations.is_some();
        let classes: BTreeMap<i64, Result<i32, String>> =
            coco.categories.into_iter().map(|c| (c.id, lesion_class_id(&c.name).ok_or(c.name))).collect();
        let mut by_image: BTreeMap<i64, Vec<(usize, Annotation)>> = BTreeMap::new();
        for (k, annotation) in coco.annotations.into_iter().flatten().enumerate() {
            by_image.entry(annotation.image_id).or_default().push((k, annotation));
        }
        for image in coco.images {
            let annotations = by_image.remove(&image.id).unwrap_or_default();
            self.add_image(image, annotations, labelled, &classes, seen, listing);
        }
        let orphans = by_image.into_values().flatten();
        for (k, annotation) in orphans {
            let message = format!("image {} is not in the file; repair or remove the annotation", annotation.image_id);
            self.fail(listing, None, format!("annotations[{k}]"), "unknown_image", message);
        }
    }

    fn fail(
        &self,
        listing: &mut Listing,
        image_id: Option<&str>,
        place: String,
        code: &'static str,
        message: impl Into<String>,
    ) {
        listing.failures.push(ListedFailure {
            split: self.split.unwrap_or(Split::Train),
            path: format!("{}#{place}", self.name),
            image_id: image_id.map(str::to_owned),
            code,
            message: message.into(),
        });
    }

    fn add_image(
        &self,
        image: CocoImage,
        annotations: Vec<(usize, Annotation)>,
        labelled: bool,
        classes: &BTreeMap<i64, Result<i32, String>>,
        seen: &mut BTreeMap<String, String>,
        listing: &mut Listing,
    ) {
        let stem = Path::new(&image.file_name).with_extension("").to_string_lossy().into_owned();
        let image_id = image.image_id.unwrap_or(stem);
        let place = format!("images[id={}]", image.id);
        if let Some(first) = seen.insert(image_id.clone(), self.name.clone()) {
            let message = format!("image is listed in {first} already, which is kept");
            return self.fail(listing, Some(&image_id), place, "duplicate_id", message);
        }
        let Some(path) = self.find(&image.file_name) else {
            let message = "no such file below the dataset's folder; check file_name";
            return self.fail(listing, Some(&image_id), place, "missing_file", message);
        };
        let n = annotations.len();
        let mut boxes = Vec::new();
        for (k, annotation) in annotations {
            match parse(&annotation, classes) {
                Ok(b) => boxes.push(b),
                Err((code, message)) => self.fail(listing, Some(&image_id), format!("annotations[{k}]"), code, message),
            }
        }
        let unusable = boxes.is_empty() && n > 0;
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
            frame: (image.width > 0 && image.height > 0)
                .then_some(FrameSize { width: image.width as f32, height: image.height as f32 }),
            // An image of which no annotation can be used is unannotated, never normal.
            labels: if labelled && !unusable { Labels::Consensus(boxes) } else { Labels::Unannotated },
        });
    }

    fn find(&self, file_name: &str) -> Option<String> {
        if !stays_below_root(file_name) {
            return None;
        }
        let split = self.split.map_or("train", Split::as_str);
        [self.root.to_path_buf(), self.folder.to_path_buf(), self.root.join("images"), self.root.join(split)]
            .iter()
            .map(|folder| folder.join(file_name))
            .find(|path| path.is_file())
            .and_then(|path| relative(self.root, &path))
    }
}

fn parse(
    annotation: &Annotation,
    classes: &BTreeMap<i64, Result<i32, String>>,
) -> Result<ListedBox, (&'static str, String)> {
    let class_id = match classes.get(&annotation.category_id) {
        Some(Ok(class_id)) => *class_id,
        Some(Err(name)) => {
            return Err((
                "unknown_class",
                format!("category `{name}` is not one of the 22 VinDr-CXR labels; rename or remove it"),
            ));
        }
        None => return Err(("unknown_class", format!("category {} is not in the file", annotation.category_id))),
    };
    if annotation.iscrowd != 0 {
        return Err(("crowd", "a crowd region is not a lesion; remove it or give its lesions one box each".into()));
    }
    let bbox = BoxXyxy::from_xywh(annotation.bbox);
    if !bbox.is_proper() {
        return Err(("inverted_box", format!("{bbox:?} has no area; COCO boxes are x, y, width, height")));
    }
    Ok(ListedBox { class_id, bbox, score: annotation.score.unwrap_or(1.0) })
}

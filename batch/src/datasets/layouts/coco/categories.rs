//! The categories that COCO files list, as a label set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use d2r_contracts::label_set::LabelSet;
use serde::Deserialize;

use super::document::Category;
use crate::datasets::label_files::json_file::{Section, read_json};
use crate::datasets::label_sets::LabelChoice;
use crate::error::{Error, Result};

/// The categories of a COCO file alone.
#[derive(Deserialize)]
struct Categories {
    #[serde(default)]
    categories: Section<Category>,
}

/// The label set of a dataset of several files, which list the same categories.
///
/// # Errors
/// [`Error::BadData`] when the dataset's own categories are wanted and there is none, an id is no integer or stands for
/// different names, or two ids have one name.
pub fn label_set(choice: &LabelChoice, files: &[PathBuf], root: &Path) -> Result<LabelSet> {
    if *choice != LabelChoice::OfDataset {
        return choice.known("coco");
    }
    let mut names: BTreeMap<i64, String> = BTreeMap::new();
    for path in files {
        let Categories { categories } = read_json(path, "a COCO detection file")?;
        let Section::List(categories) = categories else { continue };
        for Category { id, name } in categories.into_iter().flatten() {
            let wrong = |problem: String| Error::bad_data(path.display(), problem);
            let number: i64 = id.parse().map_err(|_| wrong(format!("category id {id} is no integer")))?;
            let other = names.entry(number).or_insert_with(|| name.clone());
            if *other != name {
                return Err(wrong(format!("category {id} is `{name}`, and `{other}` in an earlier file or entry")));
            }
        }
    }
    let name = root.file_stem().map_or_else(|| "coco".into(), |stem| stem.to_string_lossy());
    let set = LabelSet::of_categories(&name, names);
    set.check().map_err(|e| Error::bad_data(root.display(), format!("its categories are no label set: {e}")))?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use crate::datasets::label_sets::{LabelChoice, parse};
    use crate::datasets::layouts::coco::list;
    use crate::datasets::listing::{Labels, ListOptions, Listing};
    use crate::error::Result;

    /// A file of a split with one image per box; the categories of the boxes by id.
    fn read(labels: LabelChoice, splits: &[(&str, Value, &[i64])]) -> Result<Listing> {
        let folder = tempfile::tempdir().unwrap();
        for (split, categories, boxes) in splits {
            let at = folder.path().join(split);
            fs::create_dir_all(&at).unwrap();
            let name = |k: usize| format!("{split}{k}.png");
            let image = |k: usize| json!({"id": k, "file_name": name(k), "width": 120, "height": 96});
            let images: Vec<Value> = (0..boxes.len()).map(image).collect();
            let box_ = |(k, id): (usize, &i64)| json!({"image_id": k, "category_id": id, "bbox": [30, 24, 30, 24]});
            let annotations: Vec<Value> = boxes.iter().enumerate().map(box_).collect();
            (0..boxes.len()).for_each(|k| fs::write(at.join(name(k)), b"x").unwrap());
            let document = json!({"images": images, "categories": categories, "annotations": annotations});
            fs::write(at.join("boxes.json"), document.to_string()).unwrap();
        }
        let options = ListOptions { seed: 1, val_share: 0.0, frontal_only: true, labels_only: false, labels };
        list(folder.path(), &options)
    }

    fn classes(listing: &Listing) -> Vec<Option<Vec<i32>>> {
        let of = |labels: &Labels| match labels {
            Labels::Consensus(boxes) => Some(boxes.iter().map(|b| b.class_id).collect()),
            _ => None,
        };
        listing.images.iter().map(|i| of(&i.labels)).collect()
    }

    fn widgets() -> Value {
        json!([{"id": 12, "name": "Widget"}, {"id": 7, "name": "Mass"}, {"id": 20, "name": "Normal"}])
    }

    #[test]
    fn the_datasets_own_set_has_its_ids_in_order() {
        let splits = [("train", widgets(), &[7i64, 12, 12][..]), ("val", json!([{"id": 12, "name": "Widget"}]), &[12])];
        let listing = read(LabelChoice::OfDataset, &splits).unwrap();
        assert_eq!(listing.labels.names(), ["Mass", "Widget", "Normal"]);
        assert_eq!((0..3).map(|id| listing.labels.source_id(id)).collect::<Vec<_>>(), [7, 12, 20]);
        assert_eq!(classes(&listing), [Some(vec![0]), Some(vec![1]), Some(vec![1]), Some(vec![1])]);
        listing.box_names.check(&listing.labels, "d", "here").unwrap();
    }

    #[test]
    fn files_that_disagree_about_a_category_are_refused() {
        let refused = |categories: Value| {
            let splits = [("train", widgets(), &[7i64][..]), ("val", categories, &[])];
            read(LabelChoice::OfDataset, &splits).unwrap_err().to_string()
        };
        let error = refused(json!([{"id": 12, "name": "Gadget"}]));
        assert!(error.contains("val/boxes.json") && error.contains("12 is `Gadget`, and `Widget`"), "{error}");
        assert!(refused(json!([{"id": "x", "name": "Gadget"}])).contains("category id x is no integer"));
        assert!(refused(json!([{"id": 13, "name": "widget"}])).contains("are one name"));
        assert!(read(LabelChoice::OfDataset, &[("train", json!([]), &[])]).is_err(), "no category");
    }

    #[test]
    fn ignored_boxes_are_as_if_they_were_not_there_and_unmapped_ones_leave_the_image_unread() {
        let set = "name = \"s\"\nclasses = [{ name = \"Mass\" }]\nignore = [\"Normal\"]\nunmapped = [\"Widget\"]";
        let set = || LabelChoice::Set(parse(set, "here").unwrap());
        let listing = read(set(), &[("train", widgets(), &[7, 12, 20])]).unwrap();
        assert_eq!(classes(&listing), [Some(vec![0]), None, Some(vec![])]);
        let codes: Vec<_> = listing.failures.iter().map(|f| (f.path.as_str(), f.code)).collect();
        assert_eq!(codes, [("train/boxes.json#annotations[1]", "unknown_class")]);
        assert_eq!(listing.notes["boxes_ignored"], 1);
        listing.box_names.check(&listing.labels, "d", "here").unwrap();
        // Read as VinDr-CXR classes, one of three boxes is unknown: where categories are listed that is enough.
        let listing = read(LabelChoice::Vindr, &[("train", widgets(), &[7, 12, 20])]).unwrap();
        let error = listing.box_names.check(&listing.labels, "d", "here").unwrap_err().to_string();
        assert!(error.contains("1 of 3 boxes") && error.contains("`Widget` (1)"), "{error}");
        assert!(error.contains("{ name = \"Widget\", source_id = 12 }"), "{error}");
    }
}

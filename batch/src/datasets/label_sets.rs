//! Label sets by name or file: those that ship with the command, and a user's own.

use std::collections::BTreeMap;
use std::path::Path;

use d2r_contracts::label_set::LabelSet;

use crate::error::{Error, Result};

/// The sets that ship with the command, by name, the default first.
pub const SHIPPED: [(&str, &str); 5] = [
    ("vindr", include_str!("../../label_sets/vindr.toml")),
    ("coco", include_str!("../../label_sets/coco.toml")),
    ("nih", include_str!("../../label_sets/nih.toml")),
    ("rsna", include_str!("../../label_sets/rsna.toml")),
    ("chestx_det", include_str!("../../label_sets/chestx_det.toml")),
];

/// The value of `--labels` that takes a dataset's own categories.
pub const OF_DATASET: &str = "dataset";

/// Longest name of a category in a message, characters.
const NAME_CAP: usize = 80;

/// The label set in which a dataset's boxes are read.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum LabelChoice {
    /// The 22 classes of VinDr-CXR.
    #[default]
    Vindr,
    /// A set that is known before the dataset is read.
    Set(LabelSet),
    /// The categories that the dataset lists.
    OfDataset,
}

impl LabelChoice {
    /// The set of a value of `--labels`: a shipped name, `dataset`, or a TOML file.
    ///
    /// # Errors
    /// [`Error::Usage`] for a name that does not ship and is no file; those of [`parse`].
    pub fn parse(value: &str) -> Result<Self> {
        if value == OF_DATASET {
            return Ok(Self::OfDataset);
        }
        if let Some((name, text)) = SHIPPED.iter().find(|(name, _)| *name == value) {
            return Ok(Self::Set(parse(text, name)?));
        }
        let path = Path::new(value);
        if !path.is_file() {
            let shipped = SHIPPED.map(|(name, _)| name).join(", ");
            let problem = format!("--labels {value}: no such file, and no label set of that name; there are {shipped}");
            return Err(Error::Usage(format!("{problem}, and `{OF_DATASET}` for the dataset's own categories")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        Ok(Self::Set(parse(&text, path.display())?))
    }

    /// The set, for a layout whose files list no categories.
    ///
    /// # Errors
    /// [`Error::Usage`] when the dataset's own categories are wanted.
    pub fn known(&self, layout: &str) -> Result<LabelSet> {
        match self {
            Self::Vindr => Ok(LabelSet::vindr()),
            Self::Set(set) => Ok(set.clone()),
            Self::OfDataset => {
                let shipped = SHIPPED.map(|(name, _)| name).join(", ");
                let problem = format!("--labels {OF_DATASET}: layout {layout} lists no categories");
                Err(Error::Usage(format!("{problem}; name a label set ({shipped}) or a file")))
            }
        }
    }
}

/// The label set of a TOML text; `place` is named in errors.
///
/// # Errors
/// [`Error::Config`] for a text that is no label set, or one that [`LabelSet::check`] refuses.
pub fn parse(text: &str, place: impl std::fmt::Display) -> Result<LabelSet> {
    let wrong = |problem: String| Error::Config { place: place.to_string(), problem };
    let set: LabelSet = toml::from_str(text).map_err(|e| wrong(format!("no label set: {}", e.message())))?;
    set.check().map_err(|e| wrong(e.to_string()))?;
    Ok(set)
}

/// How often a dataset's boxes have a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NameCount {
    pub boxes: u64,
    /// Whether the label set knows the name.
    pub known: bool,
    /// The category id, where the dataset has one.
    pub source_id: Option<i64>,
}

/// The names that a dataset's boxes have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BoxNames {
    names: BTreeMap<String, NameCount>,
    /// Whether the files list their categories: then a name is never a mistake in a row.
    pub listed: bool,
}

impl BoxNames {
    /// Adds boxes of a name.
    pub fn add(&mut self, name: &str, boxes: u64, known: bool, source_id: Option<i64>) {
        let count = self.names.entry(name.chars().take(NAME_CAP).collect()).or_default();
        count.boxes += boxes;
        count.known = known;
        count.source_id = count.source_id.or(source_id);
    }

    /// The names of boxes that the set does not know, and their number of boxes, the most frequent first.
    pub fn unknown(&self) -> Vec<(&str, u64)> {
        let unknown = self.names.iter().filter(|(_, c)| !c.known && c.boxes > 0);
        let mut unknown: Vec<_> = unknown.map(|(name, c)| (name.as_str(), c.boxes)).collect();
        unknown.sort_by_key(|(name, boxes)| (std::cmp::Reverse(*boxes), *name));
        unknown
    }

    /// Refuses a dataset with categories that the label set does not know: every one that its files list; where names
    /// are in rows alone, when most boxes have such a name, since few may be mistakes, which are rows of `failures`.
    ///
    /// # Errors
    /// [`Error::BadData`] with the names, their numbers of boxes, and a label set to copy.
    pub fn check(&self, labels: &LabelSet, dataset: &str, place: impl std::fmt::Display) -> Result<()> {
        let unknown = self.unknown();
        let boxes: u64 = unknown.iter().map(|(_, boxes)| boxes).sum();
        let all: u64 = self.names.values().map(|c| c.boxes).sum();
        if unknown.is_empty() || (!self.listed && boxes * 2 <= all) {
            return Ok(());
        }
        let names = |(name, boxes): &(&str, u64)| format!("`{name}` ({boxes})");
        let mut list = unknown.iter().take(20).map(names).collect::<Vec<_>>().join(", ");
        if unknown.len() > 20 {
            list.push_str(&format!(" and {} more", unknown.len() - 20));
        }
        let own = if self.listed {
            format!("pass --labels {OF_DATASET} to take its own categories, or ")
        } else {
            String::new()
        };
        let problem = format!(
            "{boxes} of {all} boxes have categories that label set {labels} does not know: {list}; {own}write a label \
             set, move what is no lesion to `ignore`, and pass it by --labels FILE, for instance:\n{}",
            self.label_set_text(dataset)
        );
        Err(Error::bad_data(place, problem))
    }

    /// A label set file with all names of the dataset as classes.
    fn label_set_text(&self, dataset: &str) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let mut names: Vec<_> = self.names.iter().filter(|(_, c)| c.boxes > 0).collect();
        names.sort_by_key(|(name, count)| (count.source_id, *name));
        let with_ids = names.iter().all(|(_, c)| c.source_id.is_some());
        let class = |(name, count): &(&String, &NameCount)| match count.source_id.filter(|_| with_ids) {
            Some(id) => format!("  {{ name = {}, source_id = {id} }},\n", quoted(name)),
            None => format!("  {{ name = {} }},\n", quoted(name)),
        };
        let classes: String = names.iter().map(class).collect();
        format!("name = {}\nclasses = [\n{classes}]\nignore = []", quoted(dataset))
    }
}

#[cfg(test)]
mod tests {
    use d2r_contracts::label_map::{LABEL_MAP, lesion_class_of};
    use d2r_contracts::label_set::NameMeaning;

    use super::*;

    fn shipped(name: &str) -> LabelSet {
        match LabelChoice::parse(name).unwrap() {
            LabelChoice::Set(set) => set,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn shipped_sets_have_their_sizes_and_follow_the_label_map() {
        assert_eq!(shipped("vindr"), LabelSet::vindr());
        for (name, classes) in [("vindr", 22), ("coco", 80), ("nih", 8), ("rsna", 1), ("chestx_det", 13)] {
            let set = shipped(name);
            assert_eq!((set.name.as_str(), set.classes.len()), (name, classes));
            for (id, class) in (0..).zip(&set.classes).filter(|_| name != "coco") {
                assert_eq!(set.vindr_id(id), lesion_class_of(&class.name), "{name} {}", class.name);
                let mapped = LABEL_MAP.iter().find(|m| m.name == class.name && name != "vindr");
                assert!(mapped.is_none_or(|m| m.label == set.label_of(id)), "{name} {}", class.name);
            }
        }
        let coco = shipped("coco");
        assert_eq!((coco.source_id(0), coco.source_id(79), coco.class_name(79)), (1, 90, Some("toothbrush")));
        assert!(!coco.has_correspondences());
        assert_eq!(shipped("nih").meaning("Infiltration"), NameMeaning::Class(3));
        assert_eq!(shipped("rsna").meaning("normal"), NameMeaning::Ignored);
    }

    #[test]
    fn a_file_is_a_set_and_what_is_neither_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "name = \"mine\"\nclasses = [{ name = \"Widget\", source_id = 4 }]\n").unwrap();
        let LabelChoice::Set(set) = LabelChoice::parse(file.to_str().unwrap()).unwrap() else { panic!() };
        assert_eq!((set.name.as_str(), set.source_id(0)), ("mine", 4));
        std::fs::write(&file, "name = \"mine\"\nclasses = [{ name = \"Widget\", colour = 4 }]\n").unwrap();
        let error = LabelChoice::parse(file.to_str().unwrap()).unwrap_err();
        assert!(error.to_string().contains("mine.toml") && error.to_string().contains("colour"), "{error}");
        assert_eq!(error.exit().code(), 78);
        let error = LabelChoice::parse("martian").unwrap_err();
        assert!(error.to_string().contains("vindr, coco, nih, rsna, chestx_det"), "{error}");
        assert!(LabelChoice::OfDataset.known("nih").unwrap_err().to_string().contains("lists no categories"));
    }

    #[test]
    fn unknown_categories_are_listed_with_a_set_that_can_be_copied() {
        let mut names = BoxNames { listed: true, ..BoxNames::default() };
        names.add("Widget", 3, false, Some(9));
        names.add("Mass", 40, true, Some(7));
        names.add("Gad\"get", 5, false, Some(2));
        names.add("never drawn", 0, false, Some(1));
        let error = names.check(&LabelSet::vindr(), "mine", "here").unwrap_err();
        assert_eq!(error.exit().code(), 65);
        let error = error.to_string();
        assert!(error.contains("8 of 48 boxes") && error.contains("`Gad\"get` (5), `Widget` (3);"), "{error}");
        let text = &error[error.find("name = ").unwrap()..];
        let set = parse(text, "the message").unwrap();
        let classes: Vec<_> = set.classes.iter().map(|c| (c.name.as_str(), c.source_id)).collect();
        assert_eq!(classes, [("Gad\"get", Some(2)), ("Mass", Some(7)), ("Widget", Some(9))]);
    }

    #[test]
    fn few_unknown_names_in_rows_are_mistakes() {
        let check = |unknown| {
            let mut names = BoxNames::default();
            names.add("Mass", 4, true, None);
            names.add("Widget", unknown, false, None);
            names.check(&LabelSet::vindr(), "mine", "here")
        };
        assert!(check(0).is_ok() && check(4).is_ok());
        assert!(check(5).unwrap_err().to_string().contains("`Widget` (5)"));
    }
}

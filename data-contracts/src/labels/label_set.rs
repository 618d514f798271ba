//! Label sets: the classes that the boxes of a dataset have, with the names and category ids of the dataset's own
//! files.
//!
//! Class ids of the lake are positions in a set. `vindr`, the 22 local labels of VinDr-CXR, is the set of everything
//! that names no other one.

use serde::{Deserialize, Serialize};

use crate::label_map::{LABEL_MAP, MappedLabel, chexpert_label_of, lesion_class_of, normal_form};
use crate::labels::{CHEXPERT_LABELS, LESION_CLASSES, label_of_lesion, lesion_class_id, lesion_class_name};

/// One class of a label set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelClass {
    /// As files that are written name it.
    pub name: String,
    /// The category id in the dataset's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_id: Option<i64>,
    /// Other names of the class in files that are read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The VinDr-CXR class that it corresponds to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vindr: Option<String>,
    /// The CheXpert label that it corresponds to; that of `vindr` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chexpert: Option<String>,
}

/// The classes of a dataset's boxes; the index of a class is its id in the lake.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSet {
    /// For messages, for instance `vindr`.
    pub name: String,
    pub classes: Vec<LabelClass>,
    /// Names of categories that are no lesions: their boxes are left out as if they were not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Names of lesions without a class: each of their boxes is a row of `failures`, and an image with no other boxes
    /// is not known to be normal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmapped: Vec<String>,
}

/// What a name of a dataset stands for in a label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameMeaning {
    /// A class, by its id.
    Class(i32),
    /// Listed under [`LabelSet::ignore`].
    Ignored,
    /// Listed under [`LabelSet::unmapped`].
    Unmapped,
    /// Not in the set.
    Unknown,
}

/// A label set that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("label set `{set}`: {problem}")]
pub struct LabelSetError {
    /// The set's name.
    pub set: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl LabelSet {
    /// The 22 local labels of VinDr-CXR. Names of other datasets stand for them as [`LABEL_MAP`] says.
    pub fn vindr() -> Self {
        // VinDr-CXR's own names come first.
        let own = LESION_CLASSES.map(normal_form);
        let others: Vec<&MappedLabel> = LABEL_MAP.iter().filter(|m| !own.contains(&normal_form(m.name))).collect();
        let named = |matches: &dyn Fn(&MappedLabel) -> bool| -> Vec<String> {
            others.iter().filter(|m| matches(m)).map(|m| m.name.to_owned()).collect()
        };
        let class = |name: &str| LabelClass {
            name: name.to_owned(),
            also: named(&|m| m.lesion == Some(name)),
            vindr: Some(name.to_owned()),
            ..LabelClass::default()
        };
        let normal = |m: &MappedLabel| m.label == Some("No Finding");
        Self {
            name: "vindr".into(),
            classes: LESION_CLASSES.map(class).to_vec(),
            ignore: named(&|m| m.lesion.is_none() && normal(m)),
            unmapped: named(&|m| m.lesion.is_none() && !normal(m)),
        }
    }

    /// The set of a dataset that lists its categories: `(id, name)` in the order of the ids. A name that is known
    /// stands for the same VinDr-CXR class and CheXpert label as elsewhere.
    pub fn of_categories(name: &str, categories: impl IntoIterator<Item = (i64, String)>) -> Self {
        let class = |(id, name): (i64, String)| LabelClass {
            source_id: Some(id),
            vindr: lesion_class_of(&name).and_then(lesion_class_name).map(str::to_owned),
            chexpert: chexpert_label_of(&name).ok().flatten().map(str::to_owned),
            also: Vec::new(),
            name,
        };
        let classes = categories.into_iter().map(class).collect();
        Self { name: name.to_owned(), classes, ignore: Vec::new(), unmapped: Vec::new() }
    }

    /// The set of a model of an earlier version, of which only the classes' names are known: the first VinDr-CXR
    /// classes are these.
    pub fn of_names(names: &[String]) -> Self {
        if names == LESION_CLASSES {
            return Self::vindr();
        }
        let class = |name: &String| LabelClass { name: name.clone(), ..LabelClass::default() };
        let classes = names.iter().map(class).collect();
        Self { name: "unnamed".into(), classes, ignore: Vec::new(), unmapped: Vec::new() }
    }

    /// Refuses a set in which a name or an id is not unique, or that refers to what does not exist.
    ///
    /// # Errors
    /// [`LabelSetError`] naming the set and the first problem.
    pub fn check(&self) -> Result<(), LabelSetError> {
        let wrong = |problem: String| Err(LabelSetError { set: self.name.clone(), problem });
        if self.name.trim().is_empty() || self.classes.is_empty() {
            return wrong("a label set has a name and at least one class".into());
        }
        let mut names: Vec<(String, &str)> = Vec::new();
        let of_classes = self.classes.iter().flat_map(|c| std::iter::once(&c.name).chain(&c.also));
        for name in of_classes.chain(&self.ignore).chain(&self.unmapped) {
            let form = normal_form(name);
            if form.is_empty() {
                return wrong(format!("`{name}` is no name"));
            }
            if let Some((_, other)) = names.iter().find(|(f, _)| *f == form) {
                return wrong(format!("`{other}` and `{name}` are one name: case, blanks, `_` and `-` do not count"));
            }
            names.push((form, name));
        }
        let ids: Vec<i64> = self.classes.iter().filter_map(|c| c.source_id).collect();
        if !ids.is_empty() && ids.len() != self.classes.len() {
            return wrong("either all classes have a `source_id` or none".into());
        }
        if let Some(id) = ids.iter().enumerate().find_map(|(k, id)| ids[..k].contains(id).then_some(id)) {
            return wrong(format!("two classes have the `source_id` {id}"));
        }
        for class in &self.classes {
            if let Some(vindr) = class.vindr.as_deref().filter(|v| lesion_class_id(v).is_none()) {
                return wrong(format!("class `{}`: `{vindr}` is none of the 22 VinDr-CXR labels", class.name));
            }
            if let Some(label) = class.chexpert.as_deref().filter(|l| !CHEXPERT_LABELS.contains(l)) {
                return wrong(format!("class `{}`: `{label}` is none of the 14 CheXpert labels", class.name));
            }
        }
        Ok(())
    }

    /// Whether the set is that of VinDr-CXR.
    pub fn is_vindr(&self) -> bool {
        let is = |(class, name): (&LabelClass, &str)| class.name == name && class.source_id.is_none();
        self.classes.len() == LESION_CLASSES.len() && self.classes.iter().zip(LESION_CLASSES).all(is)
    }

    /// Whether class ids of both sets mean the same: the classes have the same names and category ids in the same
    /// order.
    pub fn same_classes(&self, other: &Self) -> bool {
        let same = |(a, b): (&LabelClass, &LabelClass)| a.name == b.name && a.source_id == b.source_id;
        self.classes.len() == other.classes.len() && self.classes.iter().zip(&other.classes).all(same)
    }

    /// What a name stands for. Case, blanks, `_` and `-` do not count.
    pub fn meaning(&self, name: &str) -> NameMeaning {
        if let Some(id) = self.classes.iter().position(|c| c.name.eq_ignore_ascii_case(name.trim())) {
            return NameMeaning::Class(id as i32);
        }
        let form = normal_form(name);
        let is = |other: &String| normal_form(other) == form;
        match self.classes.iter().position(|c| is(&c.name) || c.also.iter().any(is)) {
            Some(id) => NameMeaning::Class(id as i32),
            None if self.ignore.iter().any(is) => NameMeaning::Ignored,
            None if self.unmapped.iter().any(is) => NameMeaning::Unmapped,
            None => NameMeaning::Unknown,
        }
    }

    /// The class of an id.
    pub fn class(&self, id: i32) -> Option<&LabelClass> {
        self.classes.get(usize::try_from(id).ok()?)
    }

    /// The name of a class id.
    pub fn class_name(&self, id: i32) -> Option<&str> {
        Some(&self.class(id)?.name)
    }

    /// The category id of a class in files that are written: the dataset's own, else the class id plus 1 (0 is the
    /// background in some programs).
    pub fn source_id(&self, id: i32) -> i64 {
        self.class(id).and_then(|c| c.source_id).unwrap_or(i64::from(id) + 1)
    }

    /// The id of a class in files that list no categories: the dataset's own, else the class id.
    pub fn file_id(&self, id: i32) -> i64 {
        self.class(id).and_then(|c| c.source_id).unwrap_or(i64::from(id))
    }

    /// The class of a [`LabelSet::file_id`].
    pub fn of_file_id(&self, file_id: i64) -> Option<i32> {
        (0..self.classes.len() as i32).find(|id| self.file_id(*id) == file_id)
    }

    /// The VinDr-CXR class that a class corresponds to.
    pub fn vindr_id(&self, id: i32) -> Option<i32> {
        lesion_class_id(self.class(id)?.vindr.as_deref()?)
    }

    /// The classes that correspond to a VinDr-CXR class.
    pub fn ids_of_vindr(&self, vindr: i32) -> impl Iterator<Item = i32> {
        (0..self.classes.len() as i32).filter(move |id| self.vindr_id(*id) == Some(vindr))
    }

    /// The CheXpert label that a class corresponds to.
    pub fn label_of(&self, id: i32) -> Option<&'static str> {
        match &self.class(id)?.chexpert {
            Some(label) => CHEXPERT_LABELS.into_iter().find(|l| l == label),
            None => label_of_lesion(self.vindr_id(id)?),
        }
    }

    /// Whether any class corresponds to a CheXpert label or a VinDr-CXR class: without one no sentence of a report
    /// names a box.
    pub fn has_correspondences(&self) -> bool {
        (0..self.classes.len() as i32).any(|id| self.label_of(id).is_some() || self.vindr_id(id).is_some())
    }

    /// Names of all classes, in the order of their ids.
    pub fn names(&self) -> Vec<String> {
        self.classes.iter().map(|c| c.name.clone()).collect()
    }
}

impl std::fmt::Display for LabelSet {
    /// `name (n classes: first, second, third, ...)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n = self.classes.len();
        let first: Vec<&str> = self.classes.iter().take(3).map(|c| c.name.as_str()).collect();
        let more = if n > 3 { ", ..." } else { "" };
        let noun = if n == 1 { "class" } else { "classes" };
        write!(f, "`{}` ({n} {noun}: {}{more})", self.name, first.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::NO_FINDING;

    fn two() -> LabelSet {
        LabelSet::of_categories("two", [(7, "Mass".to_owned()), (12, "Widget".to_owned())])
    }

    #[test]
    fn the_default_set_is_the_label_map() {
        let set = LabelSet::vindr();
        set.check().unwrap();
        for (id, name) in (0..).zip(LESION_CLASSES) {
            assert_eq!(set.meaning(name), NameMeaning::Class(id));
            assert_eq!((set.class_name(id), set.vindr_id(id)), (Some(name), Some(id)));
            assert_eq!((set.label_of(id), set.source_id(id)), (label_of_lesion(id), i64::from(id) + 1));
        }
        for m in LABEL_MAP {
            let meaning = match lesion_class_of(m.name) {
                Some(id) => NameMeaning::Class(id),
                None if ["Normal", "No Finding"].contains(&m.name) => NameMeaning::Ignored,
                None => NameMeaning::Unmapped,
            };
            assert_eq!(set.meaning(m.name), meaning, "{}", m.name);
        }
        assert_eq!(set.meaning(NO_FINDING), NameMeaning::Ignored);
        assert_eq!(set.meaning("Martian"), NameMeaning::Unknown);
        assert!(set.is_vindr() && !two().is_vindr());
    }

    #[test]
    fn a_datasets_own_set_keeps_its_ids_and_knows_known_names() {
        let set = two();
        set.check().unwrap();
        assert_eq!(set.meaning(" widget"), NameMeaning::Class(1));
        assert_eq!((set.source_id(0), set.source_id(1)), (7, 12));
        assert_eq!((set.file_id(1), set.of_file_id(12), set.of_file_id(1)), (12, Some(1), None));
        assert_eq!((LabelSet::vindr().file_id(1), LabelSet::vindr().of_file_id(22)), (1, None));
        assert_eq!((set.vindr_id(0), set.label_of(0)), (lesion_class_id("Nodule/Mass"), Some("Lung Lesion")));
        assert_eq!((set.vindr_id(1), set.label_of(1)), (None, None));
        assert_eq!(set.ids_of_vindr(lesion_class_id("Nodule/Mass").unwrap()).collect::<Vec<_>>(), [0]);
        assert_eq!((set.class_name(2), set.class_name(-1)), (None, None));
        assert_eq!(set.to_string(), "`two` (2 classes: Mass, Widget)");
    }

    #[test]
    fn sets_with_other_names_or_ids_are_not_the_same() {
        let mut other = two();
        assert!(two().same_classes(&other));
        other.classes[1].source_id = Some(13);
        assert!(!two().same_classes(&other));
        let mut other = two();
        other.classes.swap(0, 1);
        assert!(!two().same_classes(&other));
        other.classes.pop();
        assert!(!two().same_classes(&other));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let problem = |change: fn(&mut LabelSet)| {
            let mut set = two();
            change(&mut set);
            set.check().unwrap_err().to_string()
        };
        for (change, words) in [
            ((|s| s.classes.clear()) as fn(&mut LabelSet), "at least one class"),
            (|s| s.classes[1].name = "mass".into(), "`Mass` and `mass` are one name"),
            (|s| s.ignore.push("WIDGET".into()), "`Widget` and `WIDGET` are one name"),
            (|s| s.classes[0].also.push(" ".into()), "` ` is no name"),
            (|s| s.classes[1].source_id = None, "either all classes"),
            (|s| s.classes[1].source_id = Some(7), "`source_id` 7"),
            (|s| s.classes[1].vindr = Some("Wodget".into()), "`Wodget` is none of the 22"),
            (|s| s.classes[1].chexpert = Some("Wodget".into()), "`Wodget` is none of the 14"),
        ] {
            let problem = problem(change);
            assert!(problem.contains("label set `two`") && problem.contains(words), "{problem}");
        }
    }

    #[test]
    fn names_alone_are_the_set_of_vindr_or_an_unnamed_one() {
        assert_eq!(LabelSet::of_names(&LESION_CLASSES.map(str::to_owned)), LabelSet::vindr());
        let few = LabelSet::of_names(&["a".to_owned()]);
        assert_eq!((few.name.as_str(), few.class_name(0), few.has_correspondences()), ("unnamed", Some("a"), false));
        assert!(two().has_correspondences());
    }
}

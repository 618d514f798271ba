//! The content of a dataset's label files, before any pixel is read: images, studies, unusable rows.
//! Every dataset parser returns a [`Listing`]; paths in it are relative to the dataset's root, with `/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_set::{LabelSet, NameMeaning};
use d2r_contracts::labels::LabelState;
use d2r_contracts::report_text::CleaningRules;
use d2r_contracts::space::Original;
use sha2::{Digest, Sha256};

use crate::datasets::label_sets::{BoxNames, LabelChoice};
use crate::datasets::projection::Projection;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    Train,
    /// Validation: thresholds and checkpoints are chosen on it.
    Val,
    Test,
}

impl Split {
    /// All three, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The name of the split's partition.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// The split that a dataset's own word names (`validate`, `valid`, `validation` and `val` are one).
    pub fn parse(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Some(Self::Train),
            "val" | "valid" | "validate" | "validation" => Some(Self::Val),
            "test" | "testing" => Some(Self::Test),
            _ => None,
        }
    }

    /// The split of a patient of the training set, where the dataset names no validation split: a share
    /// `val_share` of all patients, decided by a digest of seed and patient, so that further patients change no other's split.
    pub fn of_train_patient(seed: u64, patient: &str, val_share: f64) -> Self {
        let digest = Sha256::new().chain_update(format!("validation split {seed} ")).chain_update(patient).finalize();
        let head = digest.iter().take(8).fold(0u64, |n, &b| (n << 8) | u64::from(b));
        // 53 bits are what an f64 holds exactly.
        let share = (head >> 11) as f64 / (1u64 << 53) as f64;
        if share < val_share { Self::Val } else { Self::Train }
    }
}

/// A box in a label file.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedBox {
    /// Class of the listing's label set.
    pub class_id: i32,
    /// Corners, in the pixels of the image file or of [`ListedImage::frame`].
    pub bbox: BoxXyxy<Original>,
    /// 1 where the file has no score.
    pub score: f32,
    /// File and row, relative to the dataset's root, for the `failures` table.
    pub place: String,
}

/// Width and height of the frame that a label file's boxes refer to, pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameSize {
    pub width: f32,
    pub height: f32,
}

/// The annotation of one image.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// No annotator is on record.
    Unannotated,
    /// Boxes (or none) of independent annotators, by annotator; fused at ingest.
    Annotators(BTreeMap<String, Vec<ListedBox>>),
    /// Boxes that the publishers agreed on; taken as they are.
    Consensus(Vec<ListedBox>),
    /// Boxes of a detector.
    Detector {
        boxes: Vec<ListedBox>,
        /// The score threshold of their selection, where the file states it.
        threshold: Option<f32>,
        /// SHA-256 of the detector's weights, where the file states it.
        model_sha256: Option<String>,
    },
}

impl Labels {
    /// All boxes, each with its annotator (`consensus` and `detector` where there is none).
    pub fn boxes(&self) -> Vec<(&str, &ListedBox)> {
        match self {
            Self::Unannotated => Vec::new(),
            Self::Annotators(annotators) => {
                annotators.iter().flat_map(|(who, boxes)| boxes.iter().map(|b| (who.as_str(), b))).collect()
            }
            Self::Consensus(boxes) => boxes.iter().map(|b| ("consensus", b)).collect(),
            Self::Detector { boxes, .. } => boxes.iter().map(|b| ("detector", b)).collect(),
        }
    }
}

/// A radiograph that a dataset lists.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedImage {
    /// Unique in the dataset.
    pub image_id: String,
    pub study_id: String,
    /// The dataset's pseudonymous patient id.
    pub subject_id: String,
    pub split: Split,
    /// As the dataset states it.
    pub projection: Projection,
    /// Relative to the dataset's root.
    pub path: String,
    /// The frame that the boxes refer to; `None`: the image itself.
    pub frame: Option<FrameSize>,
    pub labels: Labels,
}

/// Where a study's report is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportSource {
    /// A text file with section headings, relative to the dataset's root.
    File(String),
    /// One section's text, from a label file.
    Text(String),
    /// Both sections, from a file that holds them apart.
    Sections {
        /// The file, relative to the dataset's root.
        path: String,
        findings: String,
        impression: String,
    },
}

/// A study with its report and labels.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedStudy {
    pub study_id: String,
    pub split: Split,
    pub report: Option<ReportSource>,
    /// CheXpert labels of the reference report.
    pub labels: Vec<(&'static str, LabelState)>,
}

/// A row or file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFailure {
    /// The partition it is reported in.
    pub split: Split,
    /// File, with `:line` for a row of a table; relative to the dataset's root.
    pub path: String,
    /// The image, where known.
    pub image_id: Option<String>,
    /// Code for the `failures` table.
    pub code: &'static str,
    /// What is wrong and what to do; never report text.
    pub message: String,
}

/// All images, studies and failures of a dataset.
#[derive(Debug, Clone)]
pub struct Listing {
    /// For instance `vindr-physionet`.
    pub layout: &'static str,
    /// Sorted by study, then image.
    pub images: Vec<ListedImage>,
    pub studies: Vec<ListedStudy>,
    /// How this dataset's reports are cleaned.
    pub cleaning: CleaningRules,
    /// Rows and files that cannot be used.
    pub failures: Vec<ListedFailure>,
    /// Counts for the log, for instance of lateral radiographs left out.
    pub notes: BTreeMap<&'static str, u64>,
    /// Label files that were parsed.
    pub label_files: Vec<PathBuf>,
    /// The classes of the boxes.
    pub labels: LabelSet,
    /// The names that boxes have in the label files.
    pub box_names: BoxNames,
}

impl Listing {
    pub fn new(layout: &'static str, cleaning: CleaningRules) -> Self {
        Self {
            layout,
            images: Vec::new(),
            studies: Vec::new(),
            cleaning,
            failures: Vec::new(),
            notes: BTreeMap::new(),
            label_files: Vec::new(),
            labels: LabelSet::vindr(),
            box_names: BoxNames::default(),
        }
    }

    /// The class of a box by its name, which is counted; `Ok(None)` for a name that the label set ignores. `Err`: code
    /// and message for the table `failures`. `source_id`: the dataset's id of the category.
    pub fn class_named(&mut self, name: &str, source_id: Option<i64>) -> Result<Option<i32>, (&'static str, String)> {
        let meaning = self.labels.meaning(name);
        self.box_names.add(name, 1, meaning != NameMeaning::Unknown, source_id);
        match meaning {
            NameMeaning::Class(id) => Ok(Some(id)),
            NameMeaning::Ignored => {
                self.note("boxes_ignored");
                Ok(None)
            }
            NameMeaning::Unmapped => {
                Err(("unknown_class", format!("`{name}` has no class in label set {}", self.labels)))
            }
            NameMeaning::Unknown => {
                let message =
                    format!("`{name}` is not in label set {}; repair the name or add it to the set", self.labels);
                Err(("unknown_class", message))
            }
        }
    }

    /// Adds one to a count of [`Listing::notes`].
    pub fn note(&mut self, what: &'static str) {
        *self.notes.entry(what).or_default() += 1;
    }

    /// Adds a row of a label file that cannot be used; `file` is relative to the dataset's root.
    pub fn fail_row(
        &mut self,
        split: Split,
        (file, line): (&str, u64),
        image_id: &str,
        code: &'static str,
        message: impl Into<String>,
    ) {
        let image_id = (!image_id.is_empty()).then(|| image_id.to_owned());
        let (path, message) = (format!("{file}:{line}"), message.into());
        self.failures.push(ListedFailure { split, path, image_id, code, message });
    }

    /// Sorted, so that the order of files and rows on disk does not matter.
    pub fn sorted(mut self) -> Self {
        self.images.sort_by(|a, b| (&a.study_id, &a.image_id).cmp(&(&b.study_id, &b.image_id)));
        self.studies.sort_by(|a, b| a.study_id.cmp(&b.study_id));
        self.failures.sort_by(|a, b| (&a.path, a.code, &a.image_id).cmp(&(&b.path, b.code, &b.image_id)));
        self
    }
}

/// Options of the dataset parsers.
#[derive(Debug, Clone, PartialEq)]
pub struct ListOptions {
    /// Seed of the validation split.
    pub seed: u64,
    /// Share of the training patients that becomes the validation split, where the dataset names none.
    pub val_share: f64,
    /// Keep only PA and AP, where the dataset states the projection.
    pub frontal_only: bool,
    /// Read label files only; do not look for images.
    pub labels_only: bool,
    /// The label set of the boxes.
    pub labels: LabelChoice,
}

/// A path below `root` as it is stored: relative, with `/`. `None` when it is not below.
pub fn relative(root: &Path, path: &Path) -> Option<String> {
    let inside = path.strip_prefix(root).ok()?;
    let parts: Option<Vec<&str>> = inside.components().map(|c| c.as_os_str().to_str()).collect();
    parts.map(|p| p.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validation_split_is_stable_and_of_its_size() {
        let split = |seed, share| -> Vec<Split> {
            (0..4000).map(|i| Split::of_train_patient(seed, &format!("p{i}"), share)).collect()
        };
        let a = split(7, 0.1);
        assert_eq!(a, split(7, 0.1));
        assert_ne!(a, split(8, 0.1));
        let n = a.iter().filter(|s| **s == Split::Val).count();
        assert!((300..500).contains(&n), "{n}");
        // A larger share only adds patients; none at 0, all at 1.
        assert!(a.iter().zip(split(7, 0.2)).all(|(small, large)| *small != Split::Val || large == Split::Val));
        assert!(split(7, 0.0).iter().all(|s| *s == Split::Train));
        assert!(split(7, 1.0).iter().all(|s| *s == Split::Val));
    }

    #[test]
    fn words_of_datasets() {
        assert_eq!(Split::parse("validate"), Some(Split::Val));
        assert_eq!(Split::parse("holdout"), None);
    }

    #[test]
    fn paths_are_stored_relative_to_the_root() {
        assert_eq!(relative(Path::new("/d"), Path::new("/d/a/b.png")).as_deref(), Some("a/b.png"));
        assert_eq!(relative(Path::new("/d"), Path::new("/e/b.png")), None);
    }
}

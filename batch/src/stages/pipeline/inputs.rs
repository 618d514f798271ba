//! What a pipeline reads: phantoms that it draws, or folders in the layouts of real datasets.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::datasets::label_sets::LabelChoice;
use crate::error::{Error, Result};
use crate::stages::ingest::Kind;

/// A dataset's folder in a named layout; on the command line `LAYOUT=DIR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatasetFolder {
    pub kind: Kind,
    pub root: PathBuf,
}

impl FromStr for DatasetFolder {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, root) = text.split_once('=').ok_or("it is LAYOUT=DIR, for instance vindr=vindr-cxr-1.0.0")?;
        let known = || Kind::NAMES.map(|(name, _)| name).join(", ");
        let kind = Kind::NAMES.iter().find(|(n, _)| *n == name);
        let (_, kind) = kind.ok_or_else(|| format!("there is no layout `{name}`; there are {}", known()))?;
        Ok(Self { kind: *kind, root: root.into() })
    }
}

/// The datasets of a pipeline.
#[derive(Debug, Clone, Default)]
pub enum Inputs {
    /// Drawn by the pipeline, in the layouts of VinDr-CXR, MIMIC-CXR-JPG and IU X-Ray.
    #[default]
    Phantoms,
    /// Folders that are there.
    Folders {
        /// With annotators' boxes.
        labelled: DatasetFolder,
        /// With reports.
        reports: DatasetFolder,
        /// The label set of the boxes.
        labels: LabelChoice,
    },
}

/// A dataset that is read into the lake.
#[derive(Debug, Clone)]
pub struct Ingested {
    pub folder: DatasetFolder,
    /// Its name in the lake.
    pub dataset: &'static str,
    /// The label set of its boxes.
    pub labels: LabelChoice,
}

impl Inputs {
    /// All datasets: the one with annotators' boxes, the one with reports, and others. `phantoms`: the folder of the
    /// drawn ones.
    ///
    /// # Errors
    /// [`Error::Usage`] when both folders have the same layout, so that they would have the same name.
    pub fn datasets(&self, phantoms: &Path) -> Result<Vec<Ingested>> {
        let ingested = |folder: &DatasetFolder, labels: LabelChoice| Ingested {
            dataset: folder.kind.dataset(),
            folder: folder.clone(),
            labels,
        };
        match self {
            Self::Phantoms => {
                let drawn = [(Kind::Vindr, "vindr"), (Kind::Mimic, "mimic"), (Kind::IuXray, "iu_xray")];
                let folder = |(kind, name): (Kind, &str)| DatasetFolder { kind, root: phantoms.join(name) };
                Ok(drawn.map(folder).iter().map(|folder| ingested(folder, LabelChoice::Vindr)).collect())
            }
            Self::Folders { labelled, reports, .. } if labelled.kind == reports.kind => {
                let name = labelled.kind.dataset();
                Err(Error::Usage(format!("--labelled and --reports would both be the dataset `{name}` of the lake")))
            }
            Self::Folders { labelled, reports, labels } => {
                // Reports have no categories; boxes beside them have the classes of a set that both are read in.
                let of_reports = if *labels == LabelChoice::OfDataset { LabelChoice::Vindr } else { labels.clone() };
                Ok(vec![ingested(labelled, labels.clone()), ingested(reports, of_reports)])
            }
        }
    }

    pub fn are_phantoms(&self) -> bool {
        matches!(self, Self::Phantoms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_a_layout_that_is_known() {
        let folder: DatasetFolder = "iu-xray=a=b".parse().unwrap();
        assert_eq!(folder, DatasetFolder { kind: Kind::IuXray, root: "a=b".into() });
        assert!("vindr".parse::<DatasetFolder>().unwrap_err().contains("LAYOUT=DIR"));
        assert!("vin=x".parse::<DatasetFolder>().unwrap_err().contains("vindr, mimic"));
    }

    #[test]
    fn two_datasets_of_one_layout_are_refused() {
        let folder = |name: &str| DatasetFolder { kind: Kind::Vindr, root: name.into() };
        let inputs = Inputs::Folders { labelled: folder("a"), reports: folder("b"), labels: LabelChoice::Vindr };
        assert!(matches!(inputs.datasets(Path::new("p")), Err(Error::Usage(_))));
        let names = |inputs: Inputs| -> Vec<&str> {
            inputs.datasets(Path::new("p")).unwrap().iter().map(|d| d.dataset).collect()
        };
        assert_eq!(names(Inputs::Phantoms), ["vindr", "mimic", "iu_xray"]);
    }
}

//! `LAKE/datasets.json`: where each dataset's files are, so that later stages find the radiographs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::fresh;
use crate::lake::parquet_file::write_bytes;
use crate::lake::partition::check_name;
use crate::lake::store::Lake;

/// Where a dataset's files are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetRoot {
    /// The folder that image paths are relative to; absolute.
    pub root: PathBuf,
    /// The folder's layout, for instance `vindr`.
    pub layout: String,
}

impl Lake {
    /// Registers where a dataset's files are, replacing an earlier entry.
    ///
    /// # Errors
    /// When the registry cannot be read or written.
    pub fn register_dataset(&self, name: &str, root: &Path, layout: &str) -> Result<()> {
        check_name("dataset", name)?;
        let root = std::path::absolute(root).map_err(|e| Error::io("resolve", root, e))?;
        let _writing = self.writers_lock()?;
        let _committing = self.commit_lock()?;
        let mut datasets = self.datasets()?;
        datasets.insert(name.to_owned(), DatasetRoot { root, layout: layout.to_owned() });
        let json = serde_json::to_string_pretty(&datasets)
            .map_err(|e| Error::Internal(format!("write datasets.json: {e}")))?
            + "\n";
        let path = self.registry();
        atomic_file::write_by_way_of(&self.temporary_folder(), &path, write_bytes(json.as_bytes(), &path))?;
        Ok(())
    }

    /// All registered datasets.
    ///
    /// # Errors
    /// [`Error::BadData`] when the registry is damaged.
    pub fn datasets(&self) -> Result<BTreeMap<String, DatasetRoot>> {
        let path = self.registry();
        // An entry of another machine that is not seen would be lost with the next one.
        match fresh::look(&path, |p| std::fs::read(p)) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|e| Error::bad_data(path.display(), format!("{e}; remove it and ingest again"))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(Error::io("read", &path, e)),
        }
    }

    /// The folder that a dataset's image paths are relative to.
    ///
    /// # Errors
    /// [`Error::NoRows`] for a dataset that was never ingested.
    pub fn dataset_root(&self, name: &str) -> Result<PathBuf> {
        match self.datasets()?.remove(name) {
            Some(dataset) => Ok(dataset.root),
            None => Err(self.no_rows("images", name, "datasets.json does not name the dataset; run `d2r ingest`")),
        }
    }

    fn registry(&self) -> PathBuf {
        self.root().join("datasets.json")
    }
}

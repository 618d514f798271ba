//! `card.json`: everything that a model needs beside its weights to be used elsewhere.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::training::run_dir::RunDir;

/// Research-use notice, part of every card and every page.
pub const NOTICE: &str = "Research software, not a medical device. Not for diagnosis.";

/// Where the weights come from that a run starts with and does not draw at random.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightsOrigin {
    /// `torchvision`, `imagenet`, `detectron2` or `r2gen`: a file with the names of that project; `run`: a run of D2R.
    pub source: String,
    /// The name of that run; none for a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// Digest of the file, or of that run's weights.
    pub sha256: String,
    /// What that run started with, in its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Self>>,
}

impl WeightsOrigin {
    /// A file with the tensor names of another project. `sha256`: of the file.
    pub fn file(project: &str, sha256: String) -> Self {
        Self { source: project.into(), run_id: None, sha256, origin: None }
    }
}

/// A card: fields of all models, and `model` with those of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard<T> {
    /// `detector`, `reporter` or `preview`.
    pub kind: String,
    /// The run that trained it.
    pub run_id: String,
    /// Version of the code that trained it.
    pub code_version: String,
    /// Digest of `best/model.safetensors`.
    pub model_sha256: String,
    /// Research-use notice.
    pub notice: String,
    /// What the run started with; none where all initial weights are random.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<WeightsOrigin>,
    /// What this kind needs beside its weights.
    pub model: T,
}

impl<T: Serialize + DeserializeOwned> ModelCard<T> {
    /// A card for weights that have been written.
    pub fn new(kind: &str, run_id: &str, model_sha256: String, model: T) -> Self {
        Self {
            kind: kind.into(),
            run_id: run_id.into(),
            code_version: env!("CARGO_PKG_VERSION").into(),
            model_sha256,
            notice: NOTICE.into(),
            origin: None,
            model,
        }
    }

    /// The same with what the run started with.
    pub fn with_origin(self, origin: Option<WeightsOrigin>) -> Self {
        Self { origin, ..self }
    }

    /// The origin of a run that starts with this run's weights.
    pub fn as_origin(&self) -> WeightsOrigin {
        let origin = self.origin.clone().map(Box::new);
        let (run_id, sha256) = (Some(self.run_id.clone()), self.model_sha256.clone());
        WeightsOrigin { source: "run".into(), run_id, sha256, origin }
    }

    /// Writes `card.json`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, run: &RunDir) -> Result<()> {
        run.write_json("card.json", self)
    }

    /// Reads the card of a model's folder and checks its kind and the weights' digest.
    ///
    /// # Errors
    /// [`Error::InputMissing`] when there is no card, [`Error::BadData`] when it is of another kind, of a version whose
    /// fields differ, or when the digest of the weights differs.
    pub fn read(dir: &Path, kind: &str) -> Result<Self> {
        let path = dir.join("card.json");
        if !path.is_file() {
            return Err(Error::missing(path, format!("expected the folder of a finished {kind} run")));
        }
        let run = RunDir::at(dir, "");
        let head: ModelCard<serde_json::Value> = run.read_json("card.json")?;
        if head.kind != kind {
            return Err(Error::bad_data(path.display(), format!("this is a {}, expected a {kind}", head.kind)));
        }
        let card: Self = run.read_json("card.json").map_err(|error| head.unreadable(&path, error))?;
        if sha256_file(&run.best())? != card.model_sha256 {
            return Err(Error::bad_data(run.best().display(), "its digest differs from the one in card.json"));
        }
        Ok(card)
    }
}

impl ModelCard<serde_json::Value> {
    /// Names the version that wrote a card where another version explains why its fields do not fit.
    fn unreadable(&self, path: &Path, error: Error) -> Error {
        let (theirs, ours) = (&self.code_version, env!("CARGO_PKG_VERSION"));
        if theirs == ours {
            return error;
        }
        let problem =
            format!("d2r {theirs} wrote this model, d2r {ours} cannot read it; train or import the model again");
        Error::bad_data(path.display(), problem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Fields {
        size: u32,
    }

    fn message(code_version: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let card = serde_json::json!({
            "kind": "detector", "run_id": "r", "code_version": code_version, "model_sha256": "", "notice": NOTICE,
            "model": { "side": 64 },
        });
        std::fs::write(folder.path().join("card.json"), card.to_string()).unwrap();
        ModelCard::<Fields>::read(folder.path(), "detector").unwrap_err().to_string()
    }

    #[test]
    fn a_card_of_another_version_is_named_as_that() {
        let other = message("0.0.1");
        assert!(other.contains("d2r 0.0.1 wrote this model") && other.contains("train or import"), "{other}");
        let own = message(env!("CARGO_PKG_VERSION"));
        assert!(own.contains("side") && !own.contains("wrote this model"), "{own}");
    }
}

//! Resumable checkpoints: `checkpoints/step-000123/{<model>,optimizer}.safetensors`, `state.json` and, last,
//! `MANIFEST.json` with every file's size and digest. A checkpoint becomes visible by one rename; the newest one
//! whose digests are right is resumed, a damaged one is skipped with a warning.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use d2r_contracts::tables::TrainLogRow;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::training::named_tensors::{NamedTensors, read_tensors, write_tensors};
use crate::training::optimizer::Optimizer;
use crate::training::run_dir::RunDir;

/// Checkpoints kept on disk.
const KEEP: usize = 2;

/// The progress of a training run, without its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Optimizer steps done.
    pub step: i64,
    /// Best validation score so far.
    pub best_score: Option<f64>,
    /// The step it was reached at.
    pub best_step: i64,
    /// Validations since then.
    pub since_best: i64,
    /// The log so far, so that the tables of a resumed run are complete.
    pub log: Vec<TrainLogRow>,
    /// Sums since the last logged step, by name.
    pub pending: BTreeMap<String, f64>,
    /// Further state of one kind of training.
    pub extra: serde_json::Value,
}

/// Tensors of a checkpoint's models, by file stem.
pub type Models = BTreeMap<String, NamedTensors>;

/// A checkpoint read back.
#[derive(Debug)]
pub struct Loaded {
    pub models: Models,
    pub optimizer: NamedTensors,
    /// Progress at the checkpoint.
    pub state: TrainState,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, (u64, String)>,
}

/// Saves a checkpoint and removes all but the newest two.
///
/// # Errors
/// Those of writing.
pub fn save(run: &RunDir, models: &Models, optimizer: &Optimizer, state: &TrainState) -> Result<()> {
    let root = run.path().join("checkpoints");
    let name = format!("step-{:06}", state.step);
    let (temp, target) = (root.join(format!("{name}.tmp")), root.join(&name));
    remove_dir(&temp)?;
    fs::create_dir_all(&temp).map_err(|e| Error::io("create", &temp, e))?;
    let mut files = Vec::new();
    for (stem, tensors) in models {
        let path = temp.join(format!("{stem}.safetensors"));
        write_tensors(&path, tensors)?;
        files.push(path);
    }
    let path = temp.join("optimizer.safetensors");
    write_tensors(&path, &optimizer.state())?;
    files.push(path);
    let path = temp.join("state.json");
    write_json(&path, state)?;
    files.push(path);
    let mut manifest = Manifest { files: BTreeMap::new() };
    for path in &files {
        manifest.files.insert(file_name(path), size_and_digest(path)?);
    }
    write_json(&temp.join("MANIFEST.json"), &manifest)?;
    remove_dir(&target)?;
    fs::rename(&temp, &target).map_err(|e| Error::io("rename", &temp, e))?;
    fs::File::open(&root).and_then(|d| d.sync_all()).map_err(|e| Error::io("write", &root, e))?;
    for (_, old) in steps(&root)?.into_iter().rev().skip(KEEP) {
        remove_dir(&old)?;
    }
    Ok(())
}

/// The newest checkpoint whose digests are right; `None` when there is none.
///
/// # Errors
/// When the folder cannot be listed; a damaged checkpoint is a warning, not an error.
pub fn load_latest(run: &RunDir) -> Result<Option<Loaded>> {
    let root = run.path().join("checkpoints");
    for (_, dir) in steps(&root)?.into_iter().rev() {
        match read(&dir) {
            Ok(loaded) => return Ok(Some(loaded)),
            Err(e) => tracing::warn!(checkpoint = %dir.display(), "skipped: {}", e.chain()),
        }
    }
    Ok(None)
}

fn read(dir: &Path) -> Result<Loaded> {
    let manifest: Manifest = read_json(&dir.join("MANIFEST.json"))?;
    let mut models = Models::new();
    for (name, expected) in &manifest.files {
        let path = dir.join(name);
        if size_and_digest(&path)? != *expected {
            return Err(Error::bad_data(path.display(), "differs from its manifest"));
        }
        if let Some(stem) = name.strip_suffix(".safetensors").filter(|s| *s != "optimizer") {
            models.insert(stem.to_owned(), read_tensors(&path)?);
        }
    }
    let optimizer = read_tensors(&dir.join("optimizer.safetensors"))?;
    Ok(Loaded { models, optimizer, state: read_json(&dir.join("state.json"))? })
}

/// Finished checkpoints, oldest first.
fn steps(root: &Path) -> Result<Vec<(u64, PathBuf)>> {
    if !root.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(|e| Error::io("list", root, e))? {
        let path = entry.map_err(|e| Error::io("list", root, e))?.path();
        if let Some(step) = file_name(&path).strip_prefix("step-").and_then(|s| s.parse::<u64>().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

fn size_and_digest(path: &Path) -> Result<(u64, String)> {
    let bytes = fs::metadata(path).map_err(|e| Error::io("read", path, e))?.len();
    Ok((bytes, sha256_file(path)?))
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

fn remove_dir(path: &Path) -> Result<()> {
    if path.exists() { fs::remove_dir_all(path).map_err(|e| Error::io("remove", path, e)) } else { Ok(()) }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|e| Error::Internal(e.to_string()))?;
    fs::write(path, text).map_err(|e| Error::io("write", path, e))?;
    fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io("write", path, e))
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::bad_data(path.display(), e))
}

#[cfg(test)]
mod tests {
    use tch::{Device, nn};

    use super::*;
    use crate::training::named_tensors::named_tensors;
    use crate::training::optimizer::{ParamGroup, Rule};

    fn store() -> nn::VarStore {
        let vs = nn::VarStore::new(Device::Cpu);
        let _ = nn::linear(vs.root() / "fc", 3, 2, nn::LinearConfig::default());
        vs
    }

    fn optimizer(vs: &nn::VarStore) -> Optimizer {
        let params = named_tensors(vs);
        Optimizer::new(
            Rule::Sgd { momentum: 0.9 },
            vec![ParamGroup { name: "all".into(), params, lr: 0.1, weight_decay: 0.0 }],
        )
        .unwrap()
    }

    #[test]
    fn the_newest_undamaged_checkpoint_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path().join("r"), "r");
        let vs = store();
        let opt = optimizer(&vs);
        assert!(load_latest(&run).unwrap().is_none());
        for step in [1, 2, 3] {
            let state = TrainState { step, ..TrainState::default() };
            save(&run, &[("model".to_owned(), named_tensors(&vs))].into(), &opt, &state).unwrap();
        }
        assert_eq!(load_latest(&run).unwrap().unwrap().state.step, 3);
        assert!(!run.path().join("checkpoints/step-000001").exists(), "only two are kept");
        let damaged = run.path().join("checkpoints/step-000003/model.safetensors");
        let bytes = fs::read(&damaged).unwrap();
        fs::write(&damaged, &bytes[..bytes.len() - 1]).unwrap();
        let loaded = load_latest(&run).unwrap().unwrap();
        assert_eq!(loaded.state.step, 2, "the damaged one is skipped");
        assert_eq!(loaded.models["model"].len(), 2);
    }
}

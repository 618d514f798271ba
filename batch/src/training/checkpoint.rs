//! Resumable checkpoints: `checkpoints/step-000123/{<model>,optimizer}.safetensors`, `state.json` and, last,
//! `MANIFEST.json` with every file's size and digest. A checkpoint becomes visible by one rename; the newest one
//! that verifies is resumed, a torn one is skipped with a warning.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use d2r_contracts::tables::TrainLogRow;
use serde::{Deserialize, Serialize};
use tch::{Tensor, nn};

use crate::detector::semi::guard::Guard;
use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::training::optimizer::Optimizer;
use crate::training::run_dir::RunDir;

/// Names and tensors in a fixed order.
pub type NamedTensors = Vec<(String, Tensor)>;

/// Checkpoints kept on disk.
const KEEP: usize = 2;

/// Where a training run stands, beside its tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Optimizer steps done.
    pub step: i64,
    /// Epochs done.
    pub epoch: i64,
    /// Best validation score so far.
    pub best_score: Option<f64>,
    /// The step it was reached at.
    pub best_step: i64,
    /// Epochs, or evaluations, without a better one.
    pub since_best: i64,
    /// The log so far, so that the tables of a resumed run are whole.
    pub log: Vec<TrainLogRow>,
    /// Sums since the last logged step, by name.
    pub pending: BTreeMap<String, f64>,
    /// Semi-supervised training: what the guard rails remember.
    #[serde(default)]
    pub guard: Guard,
    /// Semi-supervised training: steps in a row without a finite gradient.
    #[serde(default)]
    pub skipped_in_row: i64,
}

/// A checkpoint read back.
#[derive(Debug)]
pub struct Loaded {
    /// Models by file stem, for instance `model` and `ema`.
    pub models: BTreeMap<String, NamedTensors>,
    /// The optimizer's state.
    pub optimizer: NamedTensors,
    /// Where training stood.
    pub state: TrainState,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, (u64, String)>,
}

/// The variables of a store, trainable or not, sorted by name.
pub fn named_tensors(vs: &nn::VarStore) -> NamedTensors {
    let mut tensors: NamedTensors = vs.variables().into_iter().collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

/// A copy that training does not touch.
pub fn copied(tensors: &[(String, Tensor)]) -> NamedTensors {
    let _no_grad = tch::no_grad_guard();
    tensors.iter().map(|(n, t)| (n.clone(), t.detach().copy())).collect()
}

/// Writes tensors as safetensors; the caller makes the write atomic.
///
/// # Errors
/// [`Error::Torch`] when libtorch or the file system refuses.
pub fn write_tensors(path: &Path, tensors: &[(String, Tensor)]) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let plain: Vec<(&str, Tensor)> =
        tensors.iter().map(|(n, t)| (n.as_str(), t.detach().to_device(tch::Device::Cpu).contiguous())).collect();
    Tensor::write_safetensors(&plain, path).map_err(|source| write_error(path, source))?;
    fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| Error::io("write", path, e))
}

fn write_error(path: &Path, source: tch::TchError) -> Error {
    match source {
        tch::TchError::Io(e) => Error::io("write", path, e),
        other => Error::Torch { context: format!("write {}", path.display()), source: other },
    }
}

/// Reads tensors from safetensors.
///
/// # Errors
/// [`Error::InputMissing`] or [`Error::BadData`] with the file's name.
pub fn read_tensors(path: &Path) -> Result<NamedTensors> {
    if !path.is_file() {
        return Err(Error::InputMissing { path: path.into(), hint: "expected weights in safetensors form".into() });
    }
    Tensor::read_safetensors(path)
        .map_err(|e| Error::bad_data(path.display(), format!("not a safetensors file: {}", first_line(&e))))
}

fn first_line(e: &tch::TchError) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Copies `tensors` into the store's variables: same names both ways, same shapes, same kinds.
///
/// `tch`'s own loader ignores surplus tensors and adopts the file's precision; this one refuses both.
///
/// # Errors
/// [`Error::BadData`] that lists missing, surplus and misshapen names.
pub fn assign_strict(vs: &mut nn::VarStore, tensors: &[(String, Tensor)], place: &str) -> Result<()> {
    let _no_grad = tch::no_grad_guard();
    let mut wanted: BTreeMap<String, Tensor> = vs.variables().into_iter().collect();
    let mut problems = Vec::new();
    for (name, tensor) in tensors {
        match wanted.remove(name) {
            None => problems.push(format!("surplus `{name}`")),
            Some(v) if v.size() != tensor.size() => {
                problems.push(format!("`{name}` is {:?}, the model wants {:?}", tensor.size(), v.size()));
            }
            Some(v) if v.kind() != tensor.kind() => {
                problems.push(format!("`{name}` is {:?}, the model wants {:?}", tensor.kind(), v.kind()));
            }
            Some(mut v) => v.copy_(tensor),
        }
    }
    problems.extend(wanted.keys().map(|name| format!("missing `{name}`")));
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    problems.truncate(8);
    Err(Error::bad_data(place, format!("{count} tensors do not fit the model: {}", problems.join(", "))))
}

/// Reads weights into a store, strictly.
///
/// # Errors
/// Those of [`read_tensors`] and [`assign_strict`].
pub fn load_strict(vs: &mut nn::VarStore, path: &Path) -> Result<()> {
    assign_strict(vs, &read_tensors(path)?, &path.display().to_string())
}

/// Saves a checkpoint and removes all but the newest two.
///
/// # Errors
/// Those of writing.
pub fn save(
    run: &RunDir,
    models: &[(&str, &[(String, Tensor)])],
    optimizer: &Optimizer,
    state: &TrainState,
) -> Result<()> {
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

/// The newest checkpoint that verifies; `None` when there is none.
///
/// # Errors
/// When the folder cannot be listed; a torn checkpoint is no error but a warning.
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
    let mut models = BTreeMap::new();
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
    use super::*;
    use crate::training::optimizer::{ParamGroup, Rule};
    use tch::Device;

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
    fn the_newest_whole_checkpoint_is_resumed() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::at(dir.path().join("r"), "r");
        let vs = store();
        let opt = optimizer(&vs);
        assert!(load_latest(&run).unwrap().is_none());
        for step in [1, 2, 3] {
            let state = TrainState { step, ..TrainState::default() };
            save(&run, &[("model", &named_tensors(&vs))], &opt, &state).unwrap();
        }
        assert_eq!(load_latest(&run).unwrap().unwrap().state.step, 3);
        assert!(!run.path().join("checkpoints/step-000001").exists(), "only two are kept");
        let torn = run.path().join("checkpoints/step-000003/model.safetensors");
        let bytes = fs::read(&torn).unwrap();
        fs::write(&torn, &bytes[..bytes.len() - 1]).unwrap();
        let loaded = load_latest(&run).unwrap().unwrap();
        assert_eq!(loaded.state.step, 2, "the torn one is skipped");
        assert_eq!(loaded.models["model"].len(), 2);
    }

    #[test]
    fn strict_loading_names_what_does_not_fit() {
        let mut vs = store();
        let mut tensors = copied(&named_tensors(&vs));
        assign_strict(&mut vs, &tensors, "x").unwrap();
        tensors.push(("extra".into(), Tensor::from_slice(&[1.0f32])));
        tensors[0].1 = Tensor::from_slice(&[1.0f32, 2.0, 3.0]);
        let message = assign_strict(&mut vs, &tensors, "x").unwrap_err().to_string();
        assert!(message.contains("surplus `extra`") && message.contains("`fc.bias` is [3]"), "{message}");
        let kinds = vec![("fc.bias".to_owned(), Tensor::from_slice(&[1.0f64, 2.0]))];
        let message = assign_strict(&mut vs, &kinds, "x").unwrap_err().to_string();
        assert!(message.contains("Double") && message.contains("missing `fc.weight`"), "{message}");
    }
}

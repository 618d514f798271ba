//! One folder per training run: `config.toml`, `manifest.json`, `metrics.jsonl`, TensorBoard events,
//! `checkpoints/`, `best/model.safetensors`, `card.json`. Its name follows from the work, so that the same
//! command finds the same run again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::lake::digest::sha256_file;
use crate::training::named_tensors::{NamedTensors, write_tensors};

/// A training run's folder.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    id: String,
}

/// The circumstances of the run. No code reads them, except `result`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Manifest {
    run_id: String,
    argv: Vec<String>,
    code_version: String,
    libtorch: String,
    cuda_devices: i64,
    device: String,
    host: String,
    seed: u64,
    work_key: String,
    started_unix_s: u64,
    ended_unix_s: Option<u64>,
    result: Option<StageResult>,
}

impl RunDir {
    /// The run whose folder is `path`.
    pub fn at(path: impl Into<PathBuf>, id: &str) -> Self {
        Self { path: path.into(), id: id.to_owned() }
    }

    /// The run that does this work, created if need be: `<runs>/<verb>-<start of the work key>`; and the lock that keeps
    /// other processes out of it until it is dropped, or the process ends. What an earlier attempt left is touched only
    /// under the lock.
    ///
    /// # Errors
    /// [`Error::Temporary`] while another process trains in the same folder; when the folder or its files cannot be written.
    pub fn open(runs: &Path, verb: &str, work_key: &str, ctx: &Context) -> Result<(Self, fs::File)> {
        let id = Self::name(verb, work_key);
        let run = Self { path: runs.join(&id), id };
        fs::create_dir_all(&run.path).map_err(|e| Error::io("create", &run.path, e))?;
        let lock = run.lock()?;
        if !ctx.resume {
            run.forget()?;
        }
        run.clear_temporary()?;
        atomic_file::write(&run.path.join("config.toml"), |w| {
            w.write_all(ctx.config_toml.as_bytes()).map_err(|e| Error::io("write", "config.toml", e))
        })?;
        let manifest = Manifest {
            run_id: run.id.clone(),
            argv: std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect(),
            code_version: env!("CARGO_PKG_VERSION").into(),
            libtorch: LIBTORCH.into(),
            cuda_devices: tch::Cuda::device_count(),
            device: format!("{:?}", ctx.device),
            host: fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
            seed: ctx.config.run.seed,
            work_key: work_key.to_owned(),
            started_unix_s: now(),
            ended_unix_s: None,
            result: None,
        };
        if run.result()?.is_none() {
            run.write_json("manifest.json", &manifest)?;
        }
        Ok((run, lock))
    }

    /// The name of the run that does this work: `<verb>-<first 12 digits of the work key>`.
    pub fn name(verb: &str, work_key: &str) -> String {
        format!("{verb}-{}", &work_key[..work_key.len().min(12)])
    }

    fn lock(&self) -> Result<fs::File> {
        let path = self.path.join("run.lock");
        let file = fs::File::create(&path).map_err(|e| Error::io("create", &path, e))?;
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::Temporary(format!("{}: another process works on this run", self.path.display())))
            }
            // Some network file systems have no locks; there the user must run one process at a time.
            _ => Ok(file),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The run's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The result of the finished run; `None` before.
    ///
    /// # Errors
    /// [`Error::BadData`] when the manifest cannot be parsed.
    pub fn result(&self) -> Result<Option<StageResult>> {
        let path = self.path.join("manifest.json");
        if !path.is_file() {
            return Ok(None);
        }
        Ok(self.read_json::<Manifest>("manifest.json")?.result)
    }

    /// Marks the run as finished.
    ///
    /// # Errors
    /// When the manifest cannot be written.
    pub fn finish(&self, result: &StageResult) -> Result<()> {
        let mut manifest: Manifest = self.read_json("manifest.json")?;
        manifest.ended_unix_s = Some(now());
        manifest.result = Some(result.clone());
        self.write_json("manifest.json", &manifest)
    }

    /// Writes the best weights; returns their digest.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_best(&self, tensors: &NamedTensors) -> Result<String> {
        self.write_best_of("model", tensors)
    }

    /// Writes the best weights of one model, `best/<name>.safetensors`; returns their digest.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write_best_of(&self, name: &str, tensors: &NamedTensors) -> Result<String> {
        let dir = self.path.join("best");
        fs::create_dir_all(&dir).map_err(|e| Error::io("create", &dir, e))?;
        let (temp, target) = (dir.join(format!("{name}.safetensors.tmp")), dir.join(format!("{name}.safetensors")));
        write_tensors(&temp, tensors)?;
        fs::rename(&temp, &target).map_err(|e| Error::io("rename", &temp, e))?;
        atomic_file::sync_folder(&dir)?;
        sha256_file(&target)
    }

    /// Where the best weights are.
    pub fn best(&self) -> PathBuf {
        self.path.join("best").join("model.safetensors")
    }

    /// Writes a JSON file of the run atomically.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        let path = self.path.join(name);
        let text = serde_json::to_vec_pretty(value).map_err(|e| Error::Internal(e.to_string()))?;
        atomic_file::write(&path, |w| w.write_all(&text).map_err(|e| Error::io("write", &path, e)))?;
        Ok(())
    }

    /// Reads a JSON file of the run.
    ///
    /// # Errors
    /// [`Error::InputMissing`] or [`Error::BadData`] with its path.
    pub fn read_json<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path.join(name);
        let text = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
        serde_json::from_slice(&text).map_err(|e| Error::bad_data(path.display(), e))
    }

    /// Removes what killed processes left half-written.
    fn clear_temporary(&self) -> Result<()> {
        for folder in [self.path.clone(), self.path.join("best"), self.path.join("checkpoints")] {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for path in entries.filter_map(|entry| entry.ok().map(|e| e.path())) {
                let removed = match path.extension().is_some_and(|e| e == "tmp") {
                    true if path.is_dir() => fs::remove_dir_all(&path),
                    true => fs::remove_file(&path),
                    false => Ok(()),
                };
                removed.map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Ok(())
    }

    /// Removes what an earlier attempt left (`--resume never`).
    fn forget(&self) -> Result<()> {
        for name in ["checkpoints", "best"] {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        for name in ["manifest.json", "metrics.jsonl", "card.json"] {
            let path = self.path.join(name);
            if path.exists() {
                fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
            }
        }
        Ok(())
    }
}

/// The libtorch that this build is linked against.
pub const LIBTORCH: &str = "2.11";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::context;

    #[test]
    fn never_resuming_leaves_a_run_alone_that_another_process_works_on() {
        let runs = tempfile::tempdir().unwrap();
        let ctx = context(&[]);
        let (run, lock) = RunDir::open(runs.path(), "detector", "0123456789ab", &ctx).unwrap();
        let saved = run.path().join("checkpoints/step-000001");
        fs::create_dir_all(&saved).unwrap();
        let torn = run.path().join("checkpoints/step-000002.tmp");
        fs::create_dir_all(&torn).unwrap();
        let never = Context { resume: false, ..context(&[]) };
        let error = RunDir::open(runs.path(), "detector", "0123456789ab", &never).unwrap_err();
        assert_eq!(error.exit().code(), 75);
        assert!(saved.is_dir() && torn.is_dir());
        drop(lock);
        // What a killed save left goes at the next start.
        let (_, lock) = RunDir::open(runs.path(), "detector", "0123456789ab", &ctx).unwrap();
        assert!(saved.is_dir() && !torn.exists());
        drop(lock);
        RunDir::open(runs.path(), "detector", "0123456789ab", &never).unwrap();
        assert!(!saved.exists());
    }
}

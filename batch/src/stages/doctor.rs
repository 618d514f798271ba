//! `d2r doctor`: what is installed, which device is used, and remedies for what is missing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::RunConfig;
use crate::lake::atomic_file;
use crate::stages::work_key::SOURCE_SHA256;

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// Works, with a limitation.
    Warn,
    /// Does not work.
    Fail,
}

impl Level {
    /// The word in the output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}

/// A check and its result.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What is checked, for instance `libtorch`.
    pub subject: String,
    pub level: Level,
    pub found: String,
    pub remedy: Option<String>,
}

fn check(subject: &str, level: Level, found: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { subject: subject.into(), level, found: found.into(), remedy: remedy.map(Into::into) }
}

/// All checks. `lake` is the folder that work would be written to.
pub fn checks(config: &RunConfig, lake: &Path) -> Vec<Check> {
    vec![version(), libtorch(), device(config), memory(), disk(lake), writing(lake), file_limit(), contracts()]
}

fn version() -> Check {
    check("d2r", Level::Ok, format!("{}; research software, not a medical device", env!("CARGO_PKG_VERSION")), None)
}

/// The libtorch that this process has loaded, after the kernel's list of mapped files.
fn loaded_libtorch() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|l| l.contains("libtorch_cpu.so"))?;
    Some(PathBuf::from(&line[line.find('/')?..]))
}

/// The version of the loaded libtorch as its wheel states it, else the version that this program was built for; where
/// it lies.
fn libtorch_version() -> (String, Option<PathBuf>) {
    let linked = crate::training::run_dir::LIBTORCH;
    let path = loaded_libtorch();
    // The wheel keeps its version beside `lib/`.
    let version = path.as_deref().and_then(Path::parent).and_then(Path::parent).map(|torch| torch.join("version.py"));
    let text = version.and_then(|p| std::fs::read_to_string(p).ok()).unwrap_or_default();
    let version = text.lines().find_map(|l| l.strip_prefix("__version__ = ")).unwrap_or(linked);
    (version.trim_matches(['\'', '"']).to_owned(), path)
}

/// What this program was built from and runs on, one `name value` per line.
pub fn program_text() -> String {
    let (version, path) = libtorch_version();
    let path = path.map_or_else(|| "not found in this process".into(), |p| p.display().to_string());
    let cuda = match tch::Cuda::device_count() {
        0 => "no device".to_owned(),
        n if tch::Cuda::cudnn_is_available() => format!("{n} devices, with cuDNN"),
        n => format!("{n} devices, without cuDNN"),
    };
    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    format!(
        "d2r {}\nsources sha256 {SOURCE_SHA256}\nprofile {profile}\nlibtorch {version} (built for {}) at {path}\n\
         cuda {cuda}\ncontracts {} tables\nResearch software, not a medical device.\n",
        env!("CARGO_PKG_VERSION"),
        crate::training::run_dir::LIBTORCH,
        d2r_contracts::contract::contracts().len(),
    )
}

fn libtorch() -> Check {
    let sum = f64::try_from(tch::Tensor::from_slice(&[1.0f64, 2.0]).sum(tch::Kind::Double)).unwrap_or(0.0);
    let linked = crate::training::run_dir::LIBTORCH;
    let (version, Some(path)) = libtorch_version() else {
        return check(
            "libtorch",
            Level::Warn,
            format!("built for {linked}; its file was not found in this process"),
            None,
        );
    };
    if sum != 3.0 {
        return check(
            "libtorch",
            Level::Fail,
            format!("{version} adds 1 and 2 to {sum}"),
            Some("run `make setup` again"),
        );
    }
    if !version.starts_with(linked) {
        let remedy = format!("run `make setup`, or put torch {linked}'s lib folder into LD_LIBRARY_PATH");
        return check("libtorch", Level::Fail, format!("{version} is loaded, built for {linked}"), Some(&remedy));
    }
    check("libtorch", Level::Ok, format!("{version} at {}", path.display()), None)
}

fn device(config: &RunConfig) -> Check {
    let count = tch::Cuda::device_count();
    let wanted = config.run.device.as_str();
    let cpu = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match (wanted, count) {
        ("cpu", _) => check("device", Level::Ok, format!("cpu, {cpu} cores (as configured)"), None),
        (_, 0) if wanted.starts_with("cuda") => check(
            "device",
            Level::Fail,
            format!("{wanted} is configured, no CUDA device is visible"),
            Some("use --device cpu, or check `nvidia-smi` and CUDA_VISIBLE_DEVICES"),
        ),
        (_, 0) => {
            let gpu = Path::new("/dev/nvidia0").exists();
            let remedy =
                gpu.then_some("a GPU is there but libtorch does not see it: check the driver with `nvidia-smi`");
            check(
                "device",
                if gpu { Level::Warn } else { Level::Ok },
                format!("cpu, {cpu} cores; no CUDA device"),
                remedy,
            )
        }
        (_, n) => {
            let cudnn = if tch::Cuda::cudnn_is_available() { "with cuDNN" } else { "without cuDNN" };
            let name = if wanted == "auto" { "cuda:0" } else { wanted };
            check("device", Level::Ok, format!("{name} of {n} CUDA devices, {cudnn}; {cpu} cores"), None)
        }
    }
}

fn memory() -> Check {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key: &str| {
        text.lines().find_map(|l| l.strip_prefix(key)?.trim().split(' ').next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    let (free, total) = (kib("MemAvailable:") / 1048576.0, kib("MemTotal:") / 1048576.0);
    let level = if free >= 6.0 { Level::Ok } else { Level::Warn };
    let remedy = (level == Level::Warn).then_some("the demo wants 6 GB: close other programs");
    check("memory", level, format!("{free:.1} of {total:.1} GiB available"), remedy)
}

/// The nearest folder that exists.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.is_dir()).map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

fn disk(lake: &Path) -> Check {
    let folder = existing(lake);
    match rustix::fs::statvfs(&folder) {
        Ok(s) => {
            let gib = (s.f_bavail * s.f_frsize) as f64 / 1073741824.0;
            let level = if gib >= 5.0 { Level::Ok } else { Level::Warn };
            let remedy = (level == Level::Warn).then_some("the demo wants 5 GiB: free some, or choose another --lake");
            check("disk", level, format!("{gib:.1} GiB free at {}", folder.display()), remedy)
        }
        Err(e) => check("disk", Level::Warn, format!("cannot ask {}: {e}", folder.display()), None),
    }
}

fn writing(lake: &Path) -> Check {
    let folder = existing(lake);
    let probe = folder.join(format!(".d2r-doctor-{}", std::process::id()));
    let tried =
        atomic_file::write(&probe, |w| w.write_all(b"probe").map_err(|e| crate::error::Error::io("write", &probe, e)));
    let removed = std::fs::remove_file(&probe);
    match (tried, removed) {
        (Ok(_), Ok(())) => check("writing", Level::Ok, format!("atomic rename works in {}", folder.display()), None),
        (Err(e), _) => check("writing", Level::Fail, e.chain(), Some("choose a --lake folder that you may write to")),
        (_, Err(e)) => check("writing", Level::Warn, format!("cannot remove {}: {e}", probe.display()), None),
    }
}

fn file_limit() -> Check {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    let level = if limit >= 1024 { Level::Ok } else { Level::Warn };
    let remedy = (level == Level::Warn).then_some("raise it with `ulimit -n 4096`");
    check("open files", level, format!("up to {limit}"), remedy)
}

fn contracts() -> Check {
    let tables = d2r_contracts::contract::contracts();
    check("contracts", Level::Ok, format!("{} tables", tables.len()), None)
}

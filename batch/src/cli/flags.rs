//! Flags that every verb shares.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;

use crate::config::resolve::environment;
use crate::config::{Layers, Resolved, resolve};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::lake::Shard;
use crate::progress::Progress;
use crate::stop::StopFlag;

/// Flags that every verb shares.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// The lake: Parquet tables and their manifests.
    #[arg(long, global = true, value_name = "DIR", default_value = "lake", env = "D2R_LAKE")]
    pub lake: PathBuf,
    /// Where training runs are kept.
    #[arg(long, global = true, value_name = "DIR", default_value = "runs", env = "D2R_RUNS")]
    pub runs: PathBuf,
    /// A built-in configuration: default, tiny, demo.
    #[arg(long, global = true, value_name = "NAME")]
    pub preset: Option<String>,
    /// A TOML file laid over the preset.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One value laid over everything, for instance detector.train.lr=0.01; may be repeated.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// auto, cpu or cuda:N.
    #[arg(long, global = true, value_name = "DEVICE")]
    pub device: Option<String>,
    /// f32 or bf16 (bf16 on CUDA only).
    #[arg(long, global = true, value_name = "KIND")]
    pub precision: Option<String>,
    /// Seed of every random stream.
    #[arg(long, global = true, value_name = "N")]
    pub seed: Option<u64>,
    /// The part of the work to do, for instance 0/4.
    #[arg(long, global = true, value_name = "I/N", default_value = "0/1")]
    pub shard: Shard,
    /// Continue an interrupted training run: auto or never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "never"])]
    pub resume: String,
    /// Write what was done (row counts, files with digests, wall time) to this file, and as the last line of stdout.
    #[arg(long, global = true, value_name = "FILE")]
    pub manifest_out: Option<PathBuf>,
    /// Results as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// No progress, no notes; errors only.
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

impl Common {
    /// Logs go to stderr: readable on a terminal, JSON lines with `--json`.
    pub fn init_logging(&self) {
        let level = if self.quiet { "error" } else { "warn,d2r_batch=info" };
        let filter = tracing_subscriber::EnvFilter::try_from_env("D2R_LOG").unwrap_or_else(|_| level.into());
        let builder = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_target(false)
            .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
        // A second subscriber in one process is a test's doing; the first one stays.
        let _ = if self.json { builder.json().try_init() } else { builder.without_time().try_init() };
    }

    /// The configuration with these flags as its last layer.
    ///
    /// # Errors
    /// Those of [`resolve`].
    pub fn resolve(&self) -> Result<Resolved> {
        let mut set = self.set.clone();
        if let Some(seed) = self.seed {
            set.push(format!("run.seed={seed}"));
        }
        if let Some(device) = &self.device {
            set.push(format!("run.device=\"{device}\""));
        }
        if let Some(precision) = &self.precision {
            set.push(format!("run.precision=\"{precision}\""));
        }
        resolve(&Layers { preset: self.preset.clone(), file: self.config.clone(), environment: environment(), set })
    }

    /// What stages are given.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong configuration or device.
    pub fn context(&self) -> Result<Context> {
        let resolved = self.resolve()?;
        let run = &resolved.config.run;
        let device = device(&run.device)?;
        match run.precision.as_str() {
            "f32" => {}
            "bf16" if device.is_cuda() => {}
            "bf16" => {
                return Err(Error::Config {
                    place: "run.precision".into(),
                    problem: "bf16 needs a CUDA device; use f32, or --device cuda:0".into(),
                });
            }
            other => {
                return Err(Error::Config {
                    place: "run.precision".into(),
                    problem: format!("`{other}` is neither f32 nor bf16"),
                });
            }
        }
        let threads = match run.threads {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            n => n,
        };
        tch::set_num_threads(threads as i32);
        Ok(Context {
            config_toml: resolved.to_toml(),
            config: resolved.config,
            device,
            progress: if self.quiet { Progress::Quiet } else { Progress::Shown },
            stop: StopFlag::listen()?,
            resume: self.resume == "auto",
        })
    }
}

/// The device of `auto`, `cpu` or `cuda:N`.
fn device(name: &str) -> Result<tch::Device> {
    let cuda = tch::Cuda::device_count();
    match name {
        "cpu" => Ok(tch::Device::Cpu),
        "auto" => Ok(if cuda > 0 { tch::Device::Cuda(0) } else { tch::Device::Cpu }),
        _ => match name.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()) {
            Some(n) if (n as i64) < cuda => Ok(tch::Device::Cuda(n)),
            Some(_) => Err(Error::Config {
                place: "run.device".into(),
                problem: format!("`{name}` is not there ({cuda} CUDA devices found); `d2r doctor` says why"),
            }),
            None => Err(Error::Config {
                place: "run.device".into(),
                problem: format!("`{name}` is neither auto, cpu nor cuda:N"),
            }),
        },
    }
}

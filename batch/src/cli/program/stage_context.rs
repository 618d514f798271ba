//! What a stage is given, from the flags: configuration, device, threads, the other processes of a training.

use d2r_collectives::Place;

use crate::cli::flags::{ConfigFlags, DeviceFlags, OutputFlags};
use crate::config::Resolved;
use crate::context::{Context, Ranks};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::stop::StopFlag;

impl ConfigFlags {
    /// What a stage that runs a model is given.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong configuration or device.
    pub fn context_on(&self, flags: &DeviceFlags, output: OutputFlags) -> Result<Context> {
        self.context_of(flags, &[], output, None)
    }

    /// The same with further `key=value` pairs, those of a verb's own flags, for one of several processes, which it meets.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong configuration or device; [`Error::Temporary`] when the other processes are not
    /// there.
    pub fn context_of(
        &self,
        flags: &DeviceFlags,
        pairs: &[String],
        output: OutputFlags,
        place: Option<&Place>,
    ) -> Result<Context> {
        let resolved = self.resolve_with(Some(flags), pairs)?;
        let run = &resolved.config.run;
        let device = device(&run.device, place.map_or(0, |place| place.local_rank))?;
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
        let mut ctx = context(resolved, device, output)?;
        if let Some(place) = place {
            ctx.ranks = Ranks::meet(place)?;
            ctx.use_threads();
            if !ctx.ranks.is_first() {
                ctx.progress = Progress::Quiet;
            }
        }
        Ok(ctx)
    }
}

/// What a stage that runs no model is given.
///
/// # Errors
/// When signals cannot be listened to.
pub fn context_without_device(resolved: Resolved, output: OutputFlags) -> Result<Context> {
    context(resolved, tch::Device::Cpu, output)
}

fn context(resolved: Resolved, device: tch::Device, output: OutputFlags) -> Result<Context> {
    let stop = StopFlag::listen()?;
    stop.end_in_time()?;
    let ctx = Context {
        config_toml: resolved.to_toml(),
        origin: resolved.origin,
        config: resolved.config,
        device,
        progress: if output.quiet { Progress::Quiet } else { Progress::Shown },
        stop,
        ranks: Ranks::alone(),
        resume: true,
        recompute: false,
    };
    ctx.use_threads();
    Ok(ctx)
}

/// CUDA devices of this machine that libtorch finds.
pub fn cuda_devices() -> usize {
    usize::try_from(tch::Cuda::device_count()).unwrap_or_default()
}

/// The device of `auto`, `cpu` or `cuda:N`; `auto` gives each of the processes on a machine, by its number there, the
/// next CUDA device.
fn device(name: &str, local_rank: usize) -> Result<tch::Device> {
    let cuda = cuda_devices();
    match name {
        "cpu" => Ok(tch::Device::Cpu),
        "auto" => Ok(if cuda > 0 { tch::Device::Cuda(local_rank % cuda) } else { tch::Device::Cpu }),
        _ => match name.strip_prefix("cuda:").and_then(|n| n.parse::<usize>().ok()) {
            Some(n) if n < cuda => Ok(tch::Device::Cuda(n)),
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

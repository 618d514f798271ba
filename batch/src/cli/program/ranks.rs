//! The processes of one training: which of them this one is, and how `--devices` starts all of them on one machine.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use d2r_collectives::Place;
use rustix::process::{Pid, Signal};

use super::stage_context::cuda_devices;
use crate::cli::flags::OutputFlags;
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::progress::Progress;
use crate::stop::StopFlag;

/// The process that started this rank; the rank ends with it.
const STARTER: &str = "D2R_STARTED_BY";
/// Pause between two checks of the processes.
const LOOK: Duration = Duration::from_millis(50);
/// From the end of the first process that failed to TERM for the others, which notice a lost rank by themselves.
const NOTICE: Duration = Duration::from_secs(30);
/// From TERM to KILL: more than `D2R_GRACE_S` gives by default.
const GRACE: Duration = Duration::from_secs(10);

/// As many processes as the machine has devices for.
const AUTO: &str = "auto";

/// The processes that one training is divided among.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Device")]
pub struct DevicesFlag {
    /// Train with one process per device on this machine, for instance cuda:0,cuda:1 or cpu,cpu; run.accumulate must be
    /// a multiple of their number. auto: as many of its CUDA devices, or of its cores, as divide run.accumulate.
    /// torchrun and srun start processes on several machines (docs/clusters.md).
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "device")]
    devices: Vec<String>,
}

impl DevicesFlag {
    /// Starts the processes that it asks for and then does not return; else this process goes on, which is the only one
    /// or was started as one of several. `config`: reads the configuration, for `auto`.
    ///
    /// # Errors
    /// Those of [`start`] and of `config`.
    pub fn start(&self, output: OutputFlags, config: impl FnOnce() -> Result<RunConfig>) -> Result<()> {
        let devices = match self.devices.as_slice() {
            [word] if word == AUTO => {
                let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
                let shards = config()?.detector.train.accumulate;
                let devices = automatic(shards, cuda_devices(), cores);
                if !output.quiet {
                    let taken = if devices.is_empty() { "one process".to_owned() } else { devices.join(", ") };
                    Progress::Shown.line(&format!("--devices auto: {taken}; run.accumulate is {shards}"));
                }
                devices
            }
            devices => devices.to_vec(),
        };
        if !devices.is_empty() {
            start(&devices, output)?;
        }
        end_with_starter();
        Ok(())
    }
}

/// The devices of `--devices auto`; none where a single process does the work.
fn automatic(shards: usize, cuda: usize, cores: usize) -> Vec<String> {
    let most = if cuda > 0 { cuda } else { cores };
    let processes = (1..=shards.min(most)).rev().find(|n| shards.is_multiple_of(*n)).unwrap_or(1);
    let device = |i| if cuda > 0 { format!("cuda:{i}") } else { "cpu".to_owned() };
    if processes > 1 { (0..processes).map(device).collect() } else { Vec::new() }
}

/// The place of this process; `None` where it is the only one.
///
/// # Errors
/// [`Error::Config`] for variables of torchrun or Slurm that do not fit together.
pub fn place() -> Result<Option<Place>> {
    let value = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let place = Place::detect(value);
    place.map_err(|e| Error::Config { place: e.variable.into(), problem: e.problem })
}

/// Lets this process end with the one that started it.
fn end_with_starter() {
    let Some(starter) = std::env::var(STARTER).ok().and_then(|id| id.parse::<i32>().ok()) else { return };
    // Where it cannot be set, ranks that are left alone end by the lost one.
    let _failed = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
    if rustix::process::getppid().map(Pid::as_raw_nonzero).is_none_or(|parent| parent.get() != starter) {
        // It ended before the signal was set.
        std::process::exit(i32::from(Exit::Terminated.code()));
    }
}

/// Starts one process per device on this machine, waits for them, and ends as the first one that failed.
///
/// # Errors
/// [`Error::Usage`] inside of torchrun or srun; [`Error::Temporary`] when a process cannot be started.
fn start(devices: &[String], output: OutputFlags) -> Result<()> {
    if place()?.is_some() {
        return Err(Error::Usage("--devices: this process is one of several already; leave it out".into()));
    }
    let stop = StopFlag::listen()?;
    let port = free_port().map_err(|e| Error::Temporary(format!("find a free port on this machine: {e}")))?;
    let mut ranks = Ranks(Vec::new());
    for (rank, device) in devices.iter().enumerate() {
        ranks.0.push(Rank::start(rank, devices.len(), device, port, output)?);
    }
    let code = ranks.wait(&stop)?;
    std::process::exit(i32::from(code));
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// This command line on one device instead of `--devices`.
fn arguments(given: impl Iterator<Item = OsString>, device: &str) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut given = given.peekable();
    while let Some(argument) = given.next() {
        match argument.to_string_lossy() {
            text if text == "--devices" => drop(given.next()),
            text if text.starts_with("--devices=") => {}
            _ => kept.push(argument),
        }
    }
    kept.push(format!("--device={device}").into());
    kept
}

fn command(rank: usize, size: usize, device: &str, port: u16) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments(std::env::args_os().skip(1), device)).stdin(Stdio::null());
    for name in ["RANK", "LOCAL_RANK"] {
        command.env(name, rank.to_string());
    }
    for name in ["WORLD_SIZE", "LOCAL_WORLD_SIZE"] {
        command.env(name, size.to_string());
    }
    command.env("MASTER_ADDR", Ipv4Addr::LOCALHOST.to_string()).env("MASTER_PORT", port.to_string());
    command.env(STARTER, std::process::id().to_string());
    own_group(&mut command);
    Ok(command)
}

/// Keeps the terminal's Ctrl-C from the process: it gets it from here, once.
#[cfg(unix)]
fn own_group(command: &mut Command) {
    std::os::unix::process::CommandExt::process_group(command, 0);
}

#[cfg(not(unix))]
fn own_group(_: &mut Command) {}

/// Passes lines on to stderr, each after `mark`. Results are those of rank 0, so that stdout holds nothing else.
fn forward(from: impl Read + Send + 'static, mark: String) -> std::io::Result<JoinHandle<()>> {
    let pass = move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            // A closed stderr is no reason to stop working.
            let _ = writeln!(std::io::stderr(), "{mark}{}", String::from_utf8_lossy(&line));
        }
    };
    thread::Builder::new().name("output of a rank".into()).spawn(pass)
}

struct Rank {
    process: Child,
    ended: Option<ExitStatus>,
    /// Threads that end with its output.
    output: Vec<JoinHandle<()>>,
}

impl Rank {
    /// Rank 0 writes to the terminal itself.
    fn start(rank: usize, size: usize, device: &str, port: u16, output: OutputFlags) -> Result<Self> {
        let started = || {
            let mut command = command(rank, size, device, port)?;
            if rank == 0 {
                return Ok(Self { process: command.spawn()?, ended: None, output: Vec::new() });
            }
            let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
            let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
            let mut one = Self { process, ended: None, output: Vec::new() };
            let mark = if output.json { String::new() } else { format!("[{rank}] ") };
            if let Some(stdout) = stdout {
                one.output.push(forward(stdout, mark.clone())?);
            }
            if let Some(stderr) = stderr {
                one.output.push(forward(stderr, mark)?);
            }
            Ok(one)
        };
        started().map_err(|e: std::io::Error| Error::Temporary(format!("start process {rank} of {size}: {e}")))
    }
}

/// The started processes; those that still run are killed when it is dropped.
struct Ranks(Vec<Rank>);

impl Ranks {
    /// Waits until all have ended; passes signals on; after a failure ends those that do not end by themselves.
    fn wait(&mut self, stop: &StopFlag) -> Result<u8> {
        let (mut failed, mut asked): (Option<Instant>, Option<Instant>) = (None, None);
        let mut codes = Vec::new();
        while self.0.iter().any(|rank| rank.ended.is_none()) {
            for (number, rank) in self.0.iter_mut().enumerate().filter(|(_, rank)| rank.ended.is_none()) {
                let ended = rank.process.try_wait();
                rank.ended = ended.map_err(|e| Error::Temporary(format!("wait for process {number}: {e}")))?;
                if let Some(status) = rank.ended.filter(|status| !status.success()) {
                    failed.get_or_insert_with(Instant::now);
                    codes.push(code(number, status));
                }
            }
            let signal = stop.signal().map(|s| if s == 2 { Signal::INT } else { Signal::TERM });
            let late = failed.filter(|since| since.elapsed() > NOTICE).map(|_| Signal::TERM);
            if let Some(signal) = signal.or(late).filter(|_| asked.is_none()) {
                asked = Some(Instant::now());
                self.send(signal);
            }
            // After Ctrl-C a person decides, by a second one.
            let kills = stop.signal() != Some(2) || failed.is_some();
            if kills && asked.is_some_and(|since| since.elapsed() > GRACE.max(grace_of_ranks())) {
                self.send(Signal::KILL);
            }
            thread::sleep(LOOK);
        }
        for thread in self.0.iter_mut().flat_map(|rank| rank.output.drain(..)) {
            // It only passed lines on.
            let _ = thread.join();
        }
        Ok(first_failure(&codes))
    }

    fn send(&self, signal: Signal) {
        for rank in self.0.iter().filter(|rank| rank.ended.is_none()) {
            if let Some(id) = i32::try_from(rank.process.id()).ok().and_then(Pid::from_raw) {
                // It may have ended since.
                let _ = rustix::process::kill_process(id, signal);
            }
        }
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        self.send(Signal::KILL);
    }
}

/// The time that `D2R_GRACE_S` gives the ranks, and a second more. A value that is no number is an error of theirs.
fn grace_of_ranks() -> Duration {
    let seconds = std::env::var("D2R_GRACE_S").ok().and_then(|v| v.parse::<f32>().ok()).unwrap_or_default();
    Duration::try_from_secs_f32(seconds + 1.0).unwrap_or_default()
}

/// The exit code of a rank that failed; one that a signal ended may succeed later.
fn code(number: usize, status: ExitStatus) -> u8 {
    if let Some(code) = status.code() {
        return u8::try_from(code).unwrap_or(Exit::Bug.code());
    }
    let _ = writeln!(std::io::stderr(), "error: process {number} of this training was ended from outside: {status}");
    Exit::Temporary.code()
}

/// 0, or the first code: a cause where there is one, since 75 and, after a failure, 143 may follow from another rank's end.
fn first_failure(codes: &[u8]) -> u8 {
    let follows = [Exit::Temporary, Exit::Terminated].map(Exit::code);
    codes.iter().copied().find(|code| !follows.contains(code)).or(codes.first().copied()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rank_gets_its_own_device() {
        let given = ["train-detector", "--devices", "cpu,cpu", "--lake", "l", "--devices=cpu"].map(OsString::from);
        let expected = ["train-detector", "--lake", "l", "--device=cuda:1"].map(OsString::from);
        assert_eq!(arguments(given.into_iter(), "cuda:1"), expected);
    }

    #[test]
    fn automatic_devices_divide_the_shards() {
        assert_eq!(automatic(2, 0, 2), ["cpu", "cpu"]);
        assert_eq!(automatic(4, 0, 3), ["cpu", "cpu"], "three do not divide four");
        assert_eq!(automatic(4, 2, 16), ["cuda:0", "cuda:1"]);
        assert_eq!(automatic(3, 8, 16), ["cuda:0", "cuda:1", "cuda:2"]);
        assert!(automatic(1, 8, 16).is_empty() && automatic(2, 1, 16).is_empty() && automatic(2, 0, 1).is_empty());
    }

    #[test]
    fn the_cause_counts_more_than_the_ranks_that_it_took_along() {
        assert_eq!(first_failure(&[]), 0);
        assert_eq!(first_failure(&[75, 75]), 75);
        assert_eq!(first_failure(&[75, 65, 143]), 65);
        assert_eq!(first_failure(&[75, 143]), 75, "the starter ended the second one");
        assert_eq!(first_failure(&[143, 75]), 143, "a signal came first");
    }
}

//! `d2r submit`: an array job in which each task does one part of a verb's work.

use std::path::PathBuf;

use clap::{Command, CommandFactory, Subcommand};

use crate::cli::flags::OutputFlags;
use crate::cli::output;
use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::stages::submit::limits::{Memory, TimeLimit};
use crate::stages::submit::{ArrayJob, kubernetes, slurm};

/// For which scheduler.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r submit slurm --shards 8 --devices-per-task 1 --time 24:00:00 --out job.sbatch -- annotate --detector RUN
  d2r submit kubernetes --image d2r --volume-claim d2r --mount /work --out job.yaml -- annotate --detector RUN
docs/clusters.md says more.")]
pub struct Args {
    #[command(subcommand)]
    scheduler: Scheduler,
}

#[derive(Debug, Subcommand)]
enum Scheduler {
    /// A batch script for Slurm: an array, to be submitted with sbatch.
    Slurm(SlurmArgs),
    /// A manifest for Kubernetes 1.29 or newer: an Indexed Job, to be created with kubectl.
    Kubernetes(KubernetesArgs),
}

/// What both schedulers are asked for.
#[derive(Debug, clap::Args)]
struct TaskArgs {
    /// Parts of the work, one task each.
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shards: u32,
    /// GPUs of a task: 0 or 1. With 1 the command runs with --device cuda:0, unless it names a device.
    #[arg(long, value_name = "N", default_value = "0", value_parser = clap::value_parser!(u32).range(0..=1))]
    devices_per_task: u32,
    /// Processor cores of a task.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus: u32,
    /// Main memory of a task, with M, G or T (binary units).
    #[arg(long, value_name = "SIZE", default_value = "16G")]
    memory: Memory,
    /// Longest time of a task, HH:MM:SS or D-HH:MM:SS; the scheduler's when absent.
    #[arg(long, value_name = "TIME")]
    time: Option<TimeLimit>,
    /// The job's name; d2r-VERB when absent.
    #[arg(long, value_name = "NAME", value_parser = label)]
    name: Option<String>,
    /// Write to this file instead of stdout.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The verb and its arguments, after `--`; `--shard auto` is added.
    #[arg(last = true, required = true, value_name = "VERB")]
    command: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct SlurmArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// Slurm's partition; its default when absent.
    #[arg(long, value_name = "NAME", value_parser = partition)]
    partition: Option<String>,
}

#[derive(Debug, clap::Args)]
struct KubernetesArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// A container image that holds d2r and /bin/sh.
    #[arg(long, value_name = "IMAGE", value_parser = image)]
    image: String,
    /// The volume claim with lake, runs and images, writable from every node.
    #[arg(long, value_name = "NAME", value_parser = claim)]
    volume_claim: String,
    /// Where the volume is mounted; relative paths of the command begin there.
    #[arg(long, value_name = "PATH", value_parser = mount)]
    mount: String,
    /// User and group that own the files, not root.
    #[arg(long, value_name = "ID", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=2_147_483_647))]
    user: u32,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    match &args.scheduler {
        Scheduler::Slurm(a) => {
            let text = slurm::script(&job(&a.task)?, a.partition.as_deref())?;
            let json = serde_json::json!({ "script": text }).to_string();
            write(output, &a.task, &text, &json, "sbatch")
        }
        Scheduler::Kubernetes(a) => {
            let pods = kubernetes::Pods {
                image: a.image.clone(),
                claim: a.volume_claim.clone(),
                mount: a.mount.clone(),
                user: a.user,
            };
            let manifest = kubernetes::manifest(&job(&a.task)?, &pods);
            write(output, &a.task, &kubernetes::yaml(&manifest)?, &manifest.to_string(), "kubectl create -f")
        }
    }
}

/// To stdout, or to the file, with the command that submits it.
fn write(output: OutputFlags, task: &TaskArgs, text: &str, json: &str, submit: &str) -> Result<()> {
    let Some(path) = &task.out else { return output::lines(if output.json { json } else { text }) };
    atomic_file::write(path, |w| w.write_all(text.as_bytes()).map_err(|e| Error::io("write", path, e)))?;
    if output.json {
        output::lines(&serde_json::json!({ "file": path, "submit_with": submit }).to_string())
    } else if output.quiet {
        Ok(())
    } else {
        output::lines(&format!("made {}\nnext: {submit} {}", path.display(), path.display()))
    }
}

fn job(task: &TaskArgs) -> Result<ArrayJob> {
    let gpu = task.devices_per_task > 0;
    let (verb, arguments) = command(&task.command, gpu)?;
    Ok(ArrayJob {
        name: task.name.clone().unwrap_or_else(|| format!("d2r-{verb}")),
        shards: task.shards,
        gpu,
        cpus: task.cpus,
        memory: task.memory,
        time: task.time,
        verb,
        arguments,
    })
}

/// The verb, and the whole command of a task: with `--shard auto`, and on a GPU with its device.
///
/// # Errors
/// [`Error::Usage`] unless the verb can be divided and the whole command can be parsed.
fn command(words: &[String], gpu: bool) -> Result<(String, Vec<String>)> {
    let mut root = crate::cli::Cli::command();
    root.build();
    let takes = |verb: &Command, flag: &str| verb.get_arguments().any(|a| a.get_long() == Some(flag));
    let divided: Vec<&Command> = root.get_subcommands().filter(|verb| takes(verb, "shard")).collect();
    let word = words.iter().find(|w| !w.starts_with('-')).map_or("", String::as_str);
    let Some(verb) = divided.iter().find(|verb| verb.get_name() == word) else {
        let names: Vec<&str> = divided.iter().map(|verb| verb.get_name()).collect();
        return Err(Error::Usage(format!(
            "`{word}` cannot be divided among tasks; after `--` give one of {} with its arguments",
            names.join(", ")
        )));
    };
    let has = |flag: &str| words.iter().any(|w| w == flag || w.starts_with(&format!("{flag}=")));
    for (flag, why) in [
        ("--shard", "every task finds its own part"),
        ("--manifest-out", "all tasks would write the same file; the lake holds a manifest of each part"),
    ] {
        if has(flag) {
            return Err(Error::Usage(format!("leave {flag} out of the command: {why}")));
        }
    }
    let mut arguments = [words, &["--shard".to_owned(), "auto".to_owned()]].concat();
    if gpu && !takes(verb, "device") {
        return Err(Error::Usage(format!("`{word}` runs no model: leave --devices-per-task out")));
    }
    if gpu && !has("--device") {
        // Where the GPU is not there, `auto` would compute on the CPU.
        arguments.extend(["--device".to_owned(), "cuda:0".to_owned()]);
    }
    let words = std::iter::once("d2r").chain(arguments.iter().map(String::as_str));
    match crate::cli::Cli::command().try_get_matches_from(words) {
        Ok(_) => Ok((word.to_owned(), arguments)),
        Err(e) => Err(Error::Usage(format!("the command of a task: {}", first_paragraph(&e.to_string())))),
    }
}

/// The message of the parser without usage and hints, in one line.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).take_while(|l| !l.is_empty()).collect();
    let joined = lines.join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

/// A label of DNS, short enough for the number of an index and a pod.
fn label(text: &str) -> Result<String, String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase()) && text.bytes().last().is_some_and(inner);
    if ends && text.len() <= 50 && text.bytes().all(|b| inner(b) || b == b'-') {
        return Ok(text.to_owned());
    }
    Err("use up to 50 lower-case letters, digits and `-`, beginning with a letter".to_owned())
}

fn partition(text: &str) -> Result<String, String> {
    word_of(text, "_-.,", "letters, digits, `_`, `-`, `.`; several with a comma between them")
}

fn image(text: &str) -> Result<String, String> {
    word_of(text, "_-./:@", "letters, digits and `_-./:@`, for instance registry.example/d2r:0.2.0")
}

fn claim(text: &str) -> Result<String, String> {
    word_of(text, "-.", "letters, digits, `-` and `.`")
}

fn mount(text: &str) -> Result<String, String> {
    if text.starts_with('/') && text.len() > 1 && text != "/tmp" && !text.contains(':') && !text.contains("..") {
        return Ok(text.to_owned());
    }
    Err("use an absolute path, not / or /tmp, without `:` and `..`".to_owned())
}

fn word_of(text: &str, others: &str, allowed: &str) -> Result<String, String> {
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c)) {
        return Ok(text.to_owned());
    }
    Err(format!("use {allowed}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn task(words: &[&str], gpu: bool) -> Result<Vec<String>> {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        command(&words, gpu).map(|(_, arguments)| arguments)
    }

    fn usage(words: &[&str], gpu: bool) -> String {
        match task(words, gpu) {
            Err(Error::Usage(text)) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn a_task_finds_its_part_and_its_device() {
        let words = ["annotate", "--detector", "a run"];
        assert_eq!(task(&words, false).unwrap(), ["annotate", "--detector", "a run", "--shard", "auto"]);
        assert_eq!(task(&words, true).unwrap()[5..], ["--device", "cuda:0"]);
        let named = ["annotate", "--detector", "run", "--device=cpu"];
        assert_eq!(task(&named, true).unwrap().last().unwrap(), "auto");
        assert!(task(&["--quiet", "ingest", "vindr", "--root", "x"], false).is_ok());
    }

    #[test]
    fn what_cannot_be_divided_or_parsed_is_a_usage_error() {
        for verb in ["evaluate", "train-detector", "submit", "--quiet", "no-verb"] {
            let text = usage(&[verb], false);
            assert!(text.contains("ingest, prepare, annotate, report"), "{text}");
        }
        let report = ["report", "--dataset", "mimic", "--reporter", "run"];
        let more = |extra: &[&'static str]| usage(&[&report[..], extra].concat(), false);
        assert!(more(&["--shard", "0/2"]).contains("leave --shard out"));
        assert!(more(&["--manifest-out=x"]).contains("leave --manifest-out out"));
        assert!(more(&["--reportr", "x"]).contains("unexpected argument '--reportr'"));
        assert!(usage(&["annotate"], false).contains("--detector <RUN>"));
        assert!(usage(&["ingest", "vindr", "--root", "x"], true).contains("runs no model"));
    }

    #[test]
    fn values_that_a_script_cannot_hold_are_refused() {
        let parse = |extra: &[&str]| {
            let words = [&["d2r", "submit", "slurm"], extra, &["--", "annotate", "--detector", "run"]].concat();
            crate::cli::Cli::try_parse_from(words).is_ok()
        };
        assert!(parse(&["--partition", "gpu,long", "--memory", "8G", "--time", "2-00:00:00", "--name", "a-1"]));
        for wrong in [
            ["--partition", "gpu\n#SBATCH --uid=0"],
            ["--partition", ""],
            ["--memory", "16"],
            ["--time", "60"],
            ["--shards", "0"],
            ["--devices-per-task", "2"],
            ["--name", "A b"],
            ["--image", "d2r"],
        ] {
            assert!(!parse(&wrong), "{wrong:?}");
        }
    }
}

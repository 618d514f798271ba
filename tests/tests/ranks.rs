//! One training on several processes: the weights have the same bits for any number of them, also when a process is
//! lost or a signal comes and another number goes on; what does not fit is an error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use d2r_acceptance::{d2r, outcome, run};
use tempfile::TempDir;

/// Four virtual shards; one thread per process, since a sum over threads depends on their number.
const COMMON: [&str; 10] = [
    "--preset",
    "tiny",
    "--lake",
    "lake",
    "--set",
    "run.accumulate=4",
    "--set",
    "run.threads=1",
    "--set",
    "run.log_every=3",
];
const DETECTOR: [&str; 9] = [
    "train-detector",
    "--set",
    "detector.train.batch_size=8",
    "--set",
    "detector.train.eval_every=10",
    "--set",
    "detector.train.save_every=5",
    "--set",
    "detector.train.augment=full",
];

/// A lake with phantoms in both layouts, and boxes of a detector in the second one.
fn lake() -> &'static Path {
    static LAKE: OnceLock<TempDir> = OnceLock::new();
    let made = || {
        let folder = tempfile::tempdir().unwrap();
        let quick = ["--preset", "tiny", "--lake", "lake", "--runs", "runs"];
        let work = |args: &[&str]| {
            let (code, _, err) = outcome(&run(folder.path(), &[args, &quick].concat()));
            assert_eq!(code, 0, "{args:?}: {err}");
        };
        let (code, _, err) = outcome(&run(folder.path(), &["phantom", "--out", "phantom", "--preset", "tiny"]));
        assert_eq!(code, 0, "{err}");
        work(&["ingest", "vindr", "--root", "phantom/vindr"]);
        work(&["ingest", "mimic", "--root", "phantom/mimic"]);
        work(&["train-detector"]);
        let detector = only_folder(&folder.path().join("runs"));
        work(&["annotate", "--dataset", "mimic", "--detector", detector.to_str().unwrap()]);
        folder
    };
    LAKE.get_or_init(made).path()
}

fn only_folder(runs: &Path) -> PathBuf {
    let mut folders = std::fs::read_dir(runs).unwrap().map(|entry| entry.unwrap().path());
    let first = folders.next().unwrap();
    assert!(folders.next().is_none(), "one run in {}", runs.display());
    first
}

/// `d2r` with a list of devices for its processes.
fn ranks(count: usize, args: &[&str], runs: &str) -> Command {
    let mut command = d2r(lake());
    // A busy machine may take longer than three seconds for a step.
    command.env("D2R_GRACE_S", "600").args(args).args(COMMON).args([
        "--devices",
        &vec!["cpu"; count].join(","),
        "--runs",
        runs,
    ]);
    command
}

fn succeed(output: Output) -> String {
    let (code, out, err) = outcome(&output);
    assert_eq!(code, 0, "{out}{err}");
    out
}

/// Bytes of the run's tensors: the best weights and the last checkpoint with the optimizer's state; and the log without
/// its measured times.
fn result(runs: &str) -> BTreeMap<String, Vec<u8>> {
    let run = only_folder(&lake().join(runs));
    let mut files: Vec<PathBuf> = vec![run.join("best/model.safetensors")];
    let newest = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path()).max().unwrap();
    let tensors = std::fs::read_dir(newest).unwrap().map(|entry| entry.unwrap().path());
    files.extend(tensors.filter(|path| path.extension().is_some_and(|e| e == "safetensors")));
    let name = |path: &Path| path.strip_prefix(&run).unwrap().display().to_string();
    let mut result: BTreeMap<String, Vec<u8>> =
        files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect();
    assert!(result.len() >= 3, "{:?}", result.keys());
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let rows: Vec<String> = log
        .lines()
        .map(|line| {
            let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
            row.as_object_mut()
                .unwrap()
                .retain(|key, _| !["images_per_s", "waiting_share", "run_id"].contains(&key.as_str()));
            row.to_string()
        })
        .collect();
    result.insert("metrics".into(), rows.join("\n").into_bytes());
    result
}

fn assert_same(one: &str, other: &str) {
    let (one_files, other_files) = (result(one), result(other));
    assert_eq!(one_files.keys().collect::<Vec<_>>(), other_files.keys().collect::<Vec<_>>());
    for (name, bytes) in one_files {
        assert!(bytes == other_files[&name], "{name} of {one} and {other}");
    }
}

/// 1, 2 and 4 processes give the same files.
fn compare(name: &str, args: &[&str]) {
    let runs = |count: usize| format!("{name}-{count}");
    for count in [1, 2, 4] {
        let out = succeed(ranks(count, &[args, &["--json"]].concat(), &runs(count)).output().unwrap());
        assert_eq!(out.lines().count(), 1, "rank 0 alone prints a result: {out}");
    }
    assert_same(&runs(1), &runs(2));
    assert_same(&runs(1), &runs(4));
}

#[test]
fn any_number_of_processes_trains_the_same_fcos() {
    compare("fcos", &[&DETECTOR[..], &["--set", "detector.train.steps=20"]].concat());
}

#[test]
fn any_number_of_processes_trains_the_same_faster_rcnn() {
    // With images of different sizes: every virtual shard is padded for itself.
    let multi_scale = ["--set", "detector.model.input=short_edge", "--set", "detector.train.augment=multi_scale"];
    let architecture = ["--set", "detector.model.architecture=faster_rcnn", "--set", "detector.train.steps=20"];
    compare("rcnn", &[&DETECTOR[..], &multi_scale, &architecture].concat());
}

#[test]
fn any_number_of_processes_trains_the_same_student_and_teacher() {
    let semi = [
        "--unlabelled",
        "mimic",
        "--set",
        "detector.train.steps=20",
        "--set",
        "semi.burn_in_steps=10",
        "--set",
        "semi.unlabelled_batch_size=4",
        "--set",
        "semi.threshold=0.02",
        "--set",
        "semi.guard_rails=off",
    ];
    compare("semi", &[&DETECTOR[..], &semi].concat());
}

/// The last batch of an epoch holds fewer studies than there are shards.
const REPORTER: [&str; 9] = [
    "train-reporter",
    "--set",
    "report.train.batch_size=8",
    "--set",
    "report.train.epochs=5",
    "--set",
    "report.model.trunk=scratch",
    "--set",
    "report.align.lab_weight=0.5",
];

#[test]
fn any_number_of_processes_trains_the_same_report_model() {
    compare("reporter", &REPORTER);
}

/// 200 steps of each detector, some minutes.
#[test]
#[ignore = "slow: make test-ranks"]
fn any_number_of_processes_trains_the_same_detectors_for_long() {
    let steps = ["--set", "detector.train.steps=200"];
    compare("long-fcos", &[&DETECTOR[..], &steps].concat());
    let architecture = ["--set", "detector.model.architecture=faster_rcnn"];
    compare("long-rcnn", &[&DETECTOR[..], &steps, &architecture].concat());
    compare("long-reporter", &[&REPORTER[..], &["--set", "report.train.epochs=40"]].concat());
}

/// The processes that `starter` started, by rank.
fn children(starter: &Child) -> Vec<String> {
    let id = starter.id();
    let mut found: Vec<(usize, String)> = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        if status.lines().any(|line| line == format!("PPid:\t{id}")) {
            let variables = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let text = String::from_utf8_lossy(&variables).into_owned();
            let rank = text.split('\0').find_map(|v| v.strip_prefix("RANK=")?.parse().ok());
            found.extend(rank.map(|rank| (rank, name)));
        }
    }
    found.sort();
    found.into_iter().map(|(_, id)| id).collect()
}

/// Files and folders under `path` of each run.
fn of_runs(runs: &Path, path: &str) -> Vec<PathBuf> {
    let folders = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    folders(runs).flat_map(|run| folders(&run.join(path)).collect::<Vec<_>>()).collect()
}

/// Whether a run in this folder has a checkpoint.
fn is_saved(runs: &Path) -> bool {
    of_runs(runs, "checkpoints").iter().any(|path| path.extension().is_none())
}

/// Whether a run in this folder has logged a step.
fn is_logged(runs: &Path) -> bool {
    let log = |path: &PathBuf| path.ends_with("metrics.jsonl") && std::fs::metadata(path).is_ok_and(|m| m.len() > 0);
    of_runs(runs, "").iter().any(log)
}

/// Starts a training on two processes, sends `signal` to rank 1 once it has `begun`, and returns the exit code.
fn disturbed(signal: &str, args: &[&str], runs: &str, begun: impl Fn(&Path) -> bool) -> (i32, String) {
    let started = ranks(2, args, runs).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = lake().join(runs);
    for _ in 0..300_000 {
        if begun(&runs) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let children = children(&started);
    assert_eq!(children.len(), 2, "both ranks train");
    assert!(Command::new("kill").args([signal, &children[1]]).status().unwrap().success());
    let (code, _, err) = outcome(&started.wait_with_output().unwrap());
    (code, err)
}

fn long_enough() -> Vec<&'static str> {
    [&DETECTOR[..], &["--set", "detector.train.steps=60"]].concat()
}

#[test]
fn a_lost_process_ends_all_with_75_and_another_number_goes_on() {
    let args = long_enough();
    let (code, err) = disturbed("-KILL", &args, "killed", is_saved);
    assert_eq!(code, 75, "{err}");
    assert!(err.contains("process 1 of this training was ended from outside"), "{err}");
    assert!(err.contains("another process of this training was lost"), "{err}");
    assert!(!err.contains("frame #"), "no backtrace of libtorch: {err}");
    succeed(ranks(4, &args, "killed").output().unwrap());
    succeed(ranks(1, &args, "whole").output().unwrap());
    assert_same("whole", "killed");
}

#[test]
fn a_signal_to_one_process_ends_all_after_a_checkpoint() {
    // Without the signal there is no checkpoint before the end.
    let args = [&long_enough()[..], &["--set", "detector.train.save_every=1000"]].concat();
    let (code, err) = disturbed("-TERM", &args, "stopped", is_logged);
    assert_eq!(code, 143, "{err}");
    assert!(is_saved(&lake().join("stopped")), "{err}");
    assert!(!err.contains("in the middle of a step"), "{err}");
    succeed(ranks(1, &args, "stopped").output().unwrap());
    succeed(ranks(2, &args, "not-stopped").output().unwrap());
    assert_same("not-stopped", "stopped");
}

#[test]
fn what_does_not_fit_is_an_error_of_the_configuration() {
    let train = |devices: &str, more: &[&str]| {
        let mut command = d2r(lake());
        command.args(["train-detector", "--preset", "tiny", "--lake", "lake", "--runs", "wrong", "--devices", devices]);
        outcome(&command.args(more).output().unwrap())
    };
    for (devices, more, wanted) in [
        ("cpu,cpu", &[][..], "1 virtual shards cannot be divided among 2 processes"),
        ("cpu,cpu,cpu", &["--set", "run.accumulate=2"], "2 virtual shards cannot be divided among 3 processes"),
        ("cpu", &["--set", "run.accumulate=3"], "3 is no power of two"),
        ("cpu", &["--set", "run.accumulate=4"], "4 virtual shards do not divide detector.train.batch_size = 2"),
    ] {
        let (code, _, err) = train(devices, more);
        assert_eq!(code, 78, "{devices} {more:?}: {err}");
        assert!(err.contains(wanted), "{err}");
    }
    let (code, _, err) = train("cpu,cpu", &["--device", "cpu"]);
    assert_eq!(code, 2, "{err}");
    let mut lonely = d2r(lake());
    lonely.args(["train-detector", "--preset", "tiny", "--lake", "lake"]).envs([("RANK", "1"), ("WORLD_SIZE", "2")]);
    let (code, _, err) = outcome(&lonely.output().unwrap());
    assert_eq!(code, 78, "{err}");
    assert!(err.contains("MASTER_ADDR"), "{err}");
}

//! A pipeline whose trainings are shared by two processes makes the models and tables of a pipeline of one process.

use std::path::{Path, PathBuf};
use std::process::Output;

use d2r_acceptance::{d2r, outcome};

/// One thread per process: a sum over threads depends on their number.
const SETTINGS: [&str; 10] = [
    "pipeline",
    "--preset",
    "tiny",
    "--json",
    "--set",
    "run.accumulate=2",
    "--set",
    "run.threads=1",
    "--set",
    "report.train.batch_size=4",
];

fn pipeline(folder: &Path, out: &str, more: &[&str]) -> Output {
    d2r(folder).args(SETTINGS).args(["--out", out]).args(more).output().unwrap()
}

/// All files below a folder whose name begins so, relative to it.
fn files(root: &Path, begin: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap().to_string_lossy().starts_with(begin) {
                found.push(path.strip_prefix(root).unwrap().to_path_buf());
            }
        }
    }
    found.sort();
    found
}

fn assert_same_files(one: &Path, other: &Path, begin: &str) {
    let names = files(one, begin);
    assert!(!names.is_empty(), "{begin} in {}", one.display());
    assert_eq!(names, files(other, begin));
    for name in names {
        assert!(
            std::fs::read(one.join(&name)).unwrap() == std::fs::read(other.join(&name)).unwrap(),
            "{}",
            name.display()
        );
    }
}

#[test]
fn two_processes_share_the_trainings_of_a_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    for (out, devices) in [("alone", "--device=cpu"), ("shared", "--devices=cpu,cpu")] {
        let (code, result, err) = outcome(&pipeline(folder.path(), out, &[devices]));
        assert_eq!(code, 0, "{err}");
        assert_eq!(result.lines().count(), 1, "one process prints a result: {result}");
    }
    let (alone, shared) = (folder.path().join("alone"), folder.path().join("shared"));
    assert_same_files(&alone.join("runs"), &shared.join("runs"), "model.safetensors");
    for (table, begin) in [("lesions", "part-annotate"), ("generated_reports", "part-"), ("sentence_boxes", "part-")] {
        assert_same_files(&alone.join("lake/v1").join(table), &shared.join("lake/v1").join(table), begin);
    }
    // All is done: the same command with any number of processes skips every stage.
    let (code, result, err) = outcome(&pipeline(folder.path(), "shared", &["--device=cpu"]));
    assert_eq!(code, 0, "{err}");
    let result: serde_json::Value = serde_json::from_str(&result).unwrap();
    assert_eq!(result["cached"], true, "{result}");
    let (code, _, err) = outcome(&pipeline(folder.path(), "shared", &["--devices=cpu,cpu"]));
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_stage_that_fails_ends_all_processes_with_its_code() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let real = ["--labelled", "vindr=empty", "--reports", "mimic=empty", "--devices=cpu,cpu"];
    let (code, _, err) = outcome(&pipeline(folder.path(), "out", &real));
    assert_eq!(code, 66, "{err}");
}

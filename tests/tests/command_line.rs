//! The command line as a process: help, exit codes, streams.

use std::process::Stdio;
use std::time::Duration;

use d2r_acceptance::{d2r, outcome, root, run};

#[test]
fn help_leads_with_examples_and_lists_every_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = outcome(&run(folder.path(), &["--help"]));
    assert_eq!(code, 0);
    for word in
        ["Examples:", "d2r pipeline --preset demo", "not a medical device", "99 nothing to do", "143 interrupted"]
    {
        assert!(out.contains(word), "`{word}` is not in:\n{out}");
    }
    let verbs = [
        "phantom",
        "ingest",
        "audit",
        "train-detector",
        "annotate",
        "train-reporter",
        "report",
        "evaluate",
        "validate",
        "inspect",
        "export",
        "submit",
        "pipeline",
        "doctor",
        "config",
        "completions",
    ];
    for verb in verbs {
        let (code, out, err) = outcome(&run(folder.path(), &[verb, "--help"]));
        assert_eq!((code, err.as_str()), (0, ""), "{verb}");
        assert!(out.contains("Usage: d2r"), "{verb}:\n{out}");
    }
}

#[test]
fn the_reference_in_docs_is_the_parsers() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = outcome(&run(folder.path(), &["cli-reference"]));
    assert_eq!(code, 0, "{err}");
    let kept = std::fs::read_to_string(root().join("docs/cli.md")).unwrap_or_default();
    assert!(kept == out, "docs/cli.md is not what the parser says; run `d2r cli-reference > docs/cli.md`");
}

#[test]
fn flags_of_a_stage_may_stand_before_its_layout() {
    let folder = tempfile::tempdir().unwrap();
    let common = ["--lake", "L", "--runs", "R", "--preset", "tiny", "--set", "run.seed=1"];
    let args = [&["ingest"], &common[..], &["vindr", "--root", "nowhere", "--shard", "0/2", "--manifest-out", "m"]];
    let (code, _, err) = outcome(&run(folder.path(), &args.concat()));
    assert!(code == 66 && err.contains("nowhere"), "{code}: {err}");
}

#[test]
fn wrong_arguments_exit_2_and_speak_on_stderr() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [&[&str]; 12] = [
        &["traim"],
        &["report"],
        &["annotate", "--detector", "run", "--shard", "3/2"],
        &["train-detector", "--resume", "maybe"],
        // No scheduler is there; a verb that cannot be divided; a second command that is wrong.
        &["report", "--images", "i", "--reporter", "r", "--out", "o", "--device", "cpu", "--shard", "auto"],
        &["submit", "slurm", "--", "evaluate", "reports"],
        &["submit", "slurm", "--", "annotate"],
        // Flags of other verbs.
        &["doctor", "--shard", "0/4"],
        &["audit", "--device", "cpu"],
        &["pipeline", "--lake", "lake"],
        &["completions", "bash", "--seed", "1"],
        &["inspect", "lake", "--runs", "runs"],
    ];
    for args in cases {
        let (code, out, err) = outcome(&run(folder.path(), args));
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains("error:"), "{args:?}: {err}");
    }
}

#[test]
fn a_wrong_configuration_exits_78_and_names_the_layer() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.toml"), "[detector.train]\nlearning_rate = 0.1\n").unwrap();
    let cases: [(&[&str], &str); 5] = [
        (&["config", "show", "--preset", "dmeo"], "no such preset"),
        (&["config", "show", "--set", "detector.train.setps=3"], "did you mean `detector.train.steps`?"),
        (&["config", "show", "--set", "run.seed=abc"], "expected an integer"),
        (&["config", "show", "--config", "mine.toml"], "mine.toml: unknown key `detector.train.learning_rate`"),
        (&["train-detector", "--device", "cuda:99"], "cuda:99"),
    ];
    for (args, message) in cases {
        let (code, _, err) = outcome(&run(folder.path(), args));
        assert_eq!(code, 78, "{args:?}: {err}");
        assert!(err.contains(message), "{args:?}: {err}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_environment_that_is_not_utf8_is_no_panic() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let output = d2r(folder.path()).args(["config", "show"]).env("X", std::ffi::OsStr::from_bytes(b"\xff")).output();
    let (code, _, err) = outcome(&output.unwrap());
    assert_eq!(code, 0, "{err}");
}

#[test]
fn the_environment_is_a_layer_and_show_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let output = d2r_acceptance::d2r(folder.path())
        .env("D2R_DETECTOR__TRAIN__LR", "0.5")
        .args(["config", "show", "--preset", "tiny", "--origin"])
        .output()
        .unwrap();
    let (code, out, _) = outcome(&output);
    assert_eq!(code, 0);
    let line = out.lines().find(|l| l.starts_with("detector.train.lr ")).unwrap();
    assert!(line.contains("0.5") && line.contains("environment D2R_DETECTOR__TRAIN__LR"), "{line}");
    assert!(out.lines().any(|l| l.starts_with("detector.model.network ") && l.contains("preset tiny")), "{out}");
}

#[test]
fn a_missing_input_exits_66_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [&[&str]; 4] = [
        &["ingest", "vindr", "--root", "nowhere"],
        &["ingest", "mimic", "--root", "nowhere"],
        &["report", "--images", "nowhere", "--reporter", "nothing", "--out", "out"],
        &["validate", "--lake", "no-lake"],
    ];
    for args in cases {
        let (code, _, err) = outcome(&run(folder.path(), args));
        assert_eq!(code, 66, "{args:?}: {err}");
        assert!(err.contains("not found"), "{args:?}: {err}");
    }
    assert!(!folder.path().join("out").exists(), "nothing is left behind");
}

#[test]
fn errors_are_json_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) = outcome(&run(folder.path(), &["validate", "--lake", "no-lake", "--json"]));
    let json: serde_json::Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
    assert_eq!((code, json["exit"].as_i64()), (66, Some(66)));
}

#[test]
fn doctor_reports_a_working_installation() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = outcome(&run(folder.path(), &["doctor", "--device", "cpu"]));
    assert_eq!(code, 0, "{err}");
    for subject in ["libtorch", "device", "memory", "disk", "writing", "contracts"] {
        assert!(out.contains(subject), "{out}");
    }
    let (_, json, _) = outcome(&run(folder.path(), &["doctor", "--json"]));
    assert!(serde_json::from_str::<serde_json::Value>(&json).unwrap().as_array().unwrap().len() >= 6);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = d2r_acceptance::d2r(folder.path())
        .args(["completions", "bash"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Verbs that compute set how long OpenMP's threads wait and that MKL's products are reproducible, unless the environment says so.
#[cfg(target_os = "linux")]
#[test]
fn a_process_that_computes_starts_itself_again_under_the_same_id() {
    let environment = |policy: Option<&str>| {
        let folder = tempfile::tempdir().unwrap();
        let mut command = d2r(folder.path());
        command
            .args(["pipeline", "--preset", "tiny", "--out", "demo", "--quiet"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_remove("GOMP_SPINCOUNT")
            .env_remove("MKL_CBWR");
        match policy {
            Some(policy) => command.env("OMP_WAIT_POLICY", policy),
            None => command.env_remove("OMP_WAIT_POLICY"),
        };
        let mut child = command.spawn().unwrap();
        // The phantom's folder is made by the process that works.
        let begun = || folder.path().join("demo/phantom").exists() || folder.path().join("demo").exists();
        (0..200).take_while(|_| !begun()).for_each(|_| std::thread::sleep(Duration::from_millis(50)));
        let text = std::fs::read(format!("/proc/{}/environ", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        String::from_utf8_lossy(&text).into_owned()
    };
    let (ours, passive) = (environment(None), environment(Some("passive")));
    assert!(ours.contains("GOMP_SPINCOUNT=2000") && ours.contains("MKL_CBWR=AUTO"));
    assert!(!passive.contains("GOMP_SPINCOUNT") && passive.contains("MKL_CBWR=AUTO"));
}

/// Whatever a process does, it ends soon after SIGTERM: here in the middle of fusing the boxes of 100 images with 10,000 each.
#[cfg(target_os = "linux")]
#[test]
fn sigterm_ends_a_process_in_the_middle_of_a_long_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "image_id,rad_id,class_name,x_min,y_min,x_max,y_max\n".to_owned();
    for row in 0..1_000_000 {
        let (image, row) = (row / 10_000, row % 10_000);
        let (x, y) = (row % 2000, row / 100);
        csv.push_str(&format!("{image},R{},Nodule/Mass,{x},{y},{},{}\n", row % 17 + 1, x + 20, y + 20));
    }
    std::fs::write(folder.path().join("boxes.csv"), csv).unwrap();
    let mut command = d2r(folder.path());
    command.args(["ingest", "vindr", "--root", "boxes.csv", "--labels-only", "--lake", "lake"]);
    let mut child = command.env("D2R_GRACE_S", "0.5").stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    // The handlers are there long before all boxes are fused.
    std::thread::sleep(Duration::from_secs(4));
    let kill = std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(kill.success() && child.try_wait().unwrap().is_none());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(err.contains("ended 0.5 s after SIGTERM, in the middle of a step"), "{err}");
}

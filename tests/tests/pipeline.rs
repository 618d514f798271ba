//! The whole pipeline on a tiny preset, as a process: its files, a second run, reports for a folder of images, and
//! kills.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use d2r_acceptance::{d2r, outcome, run};
use d2r_contracts::report_text::readable;
use serde_json::Value;
use tempfile::TempDir;

const PIPELINE: [&str; 6] = ["pipeline", "--preset", "tiny", "--out", "demo", "--quiet"];

/// One undisturbed run, shared by the tests of this file.
fn undisturbed() -> &'static Path {
    static DONE: OnceLock<TempDir> = OnceLock::new();
    DONE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (code, _, err) = outcome(&run(folder.path(), &PIPELINE));
        assert_eq!(code, 0, "{err}");
        folder
    })
    .path()
}

/// Content digests by table and partition.
fn digests(folder: &Path) -> BTreeMap<String, String> {
    let (code, out, err) = outcome(&run(folder, &["inspect", "lake", "--lake", "demo/lake", "--json"]));
    assert_eq!(code, 0, "{err}");
    let rows: Vec<Value> = serde_json::from_str(&out).expect("inspect prints JSON");
    let word = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|r| (["table", "dataset", "split"].map(|k| word(r, k)).join("/"), word(r, "content_sha256")))
        .collect()
}

/// The report model that the tiny pipeline trained.
fn reporter(folder: &Path) -> PathBuf {
    runs_of(folder, "reporter-")
}

/// The run of the tiny pipeline whose name begins so.
fn runs_of(folder: &Path, begins: &str) -> PathBuf {
    let runs = std::fs::read_dir(folder.join("demo/runs")).expect("runs were written");
    runs.filter_map(Result::ok)
        .map(|e| e.path())
        .find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(begins)))
        .expect("such a run")
}

#[test]
fn it_leaves_a_summary_a_page_and_a_valid_lake() {
    let folder = undisturbed();
    let text = std::fs::read_to_string(folder.join("demo/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    for pointer in [
        "/wall_s/train-detector",
        "/peak_rss_mb",
        "/detector/ap50",
        "/reports/bleu4",
        "/reports/bleu4_constant",
        "/reports/label_f1_micro",
        "/reports/distinct_share",
        "/links/recall",
        "/lake/rows/images",
        "/lake/rows/generated_reports",
    ] {
        assert!(summary.pointer(pointer).is_some_and(Value::is_number), "{pointer} is not in {text}");
    }
    let page = std::fs::read_to_string(folder.join("demo/report.html")).unwrap();
    assert!(page.contains("not a medical device"));
    assert!(!page.contains("http://") || page.contains("http://www.w3.org"), "the page loads nothing from a server");
    let (code, _, err) = outcome(&run(folder, &["validate", "--lake", "demo/lake"]));
    assert_eq!(code, 0, "{err}");
}

/// Both published systems with all their parts, on folders in the layouts of the real datasets.
#[test]
fn folders_train_teacher_and_student_and_all_parts_of_the_report_model() {
    let phantom = undisturbed().join("demo/phantom");
    let folder = tempfile::tempdir().unwrap();
    let (labelled, reports) =
        (format!("vindr={}", phantom.join("vindr").display()), format!("mimic={}", phantom.join("mimic").display()));
    let mut args = vec!["pipeline", "--preset", "tiny", "--out", "out", "--labelled", &labelled, "--reports", &reports];
    for pair in [
        "detector.model.profile=utv2",
        "semi.burn_in_steps=4",
        "semi.guard_rails=off",
        "report.model.trunk=detector",
        "report.model.cpca=true",
        "report.model.lera=corrected",
        "report.align.lab_weight=0.2",
        "report.align.gab_weight=0.2",
    ] {
        args.extend(["--set", pair]);
    }
    let (code, out, err) = outcome(&run(folder.path(), &args));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("unbiased_teacher_v2") && out.contains("cpca, lera, regions, lab, gab"), "{out}");
    assert!(err.contains("stage 1 of ") && err.contains("ingest-vindr") && !err.contains("ingest-iu_xray"), "{err}");
    let text = std::fs::read_to_string(folder.path().join("out/summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["parts"]["detector_training"], "unbiased_teacher_v2");
    assert!(summary["wall_s"]["annotate-vindr"].is_number() && summary["detector"]["ap50"].is_number(), "{text}");
    assert!(summary["reports"]["bleu4"].is_number() && summary.get("links").is_none(), "{text}");
    // Only one of the two folders is no dataset to train on.
    let (code, _, err) = outcome(&run(folder.path(), &["pipeline", "--labelled", &labelled]));
    assert_eq!(code, 2, "{err}");
}

#[test]
fn a_second_run_finds_everything_done() {
    let folder = undisturbed();
    let before = digests(folder);
    let (code, out, err) = outcome(&run(folder, &["pipeline", "--preset", "tiny", "--out", "demo", "--json"]));
    assert_eq!(code, 0, "{err}");
    let result: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert_eq!(result["cached"], Value::Bool(true), "{out}");
    assert_eq!(before, digests(folder));
}

#[test]
fn a_manifest_repeats_the_last_line() {
    let folder = undisturbed();
    let args = ["validate", "--lake", "demo/lake", "--manifest-out", "m.json"];
    let (code, out, _) = outcome(&run(folder, &args));
    assert_eq!(code, 0);
    let manifest = std::fs::read_to_string(folder.join("m.json")).unwrap();
    assert_eq!(out.lines().last().unwrap(), manifest.trim());
    assert!(serde_json::from_str::<Value>(&manifest).unwrap()["rows"]["images"].as_u64().unwrap() > 0);
}

#[test]
fn good_images_get_reports_and_bad_files_get_rows() {
    let folder = undisturbed();
    let images = tempfile::tempdir().unwrap();
    let names = d2r_acceptance::images::write_good_and_bad(images.path(), &folder.join("demo/phantom"));
    let out = tempfile::tempdir().unwrap();
    let args = [
        "report",
        "--images",
        images.path().to_str().unwrap(),
        "--reporter",
        reporter(folder).to_str().unwrap(),
        "--out",
        out.path().to_str().unwrap(),
        "--json",
    ]
    .map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (code, stdout, err) = outcome(&run(folder, &args));
    assert_eq!(code, 0, "{err}");
    let result: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
    assert_eq!(result["rows"]["generated_reports"].as_u64(), Some(names.good.len() as u64), "{stdout}");
    assert_eq!(result["rows"]["failures"].as_u64(), Some(names.bad.len() as u64), "{stdout}");
    let failures = d2r_acceptance::images::failures(out.path());
    for (name, code) in &names.bad {
        assert_eq!(failures.get(name), Some(code), "{failures:?}");
    }
}

/// Texts follow the tables of all shards, and a file that was replaced by one of the same name and size is another image.
#[test]
fn reports_of_a_folder_follow_its_contents() {
    let folder = tempfile::tempdir().unwrap();
    let reporter = reporter(undisturbed()).display().to_string();
    let mut images: Vec<PathBuf> = walkdir::WalkDir::new(undisturbed().join("demo/phantom/mimic"))
        .into_iter()
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|p| p.extension().is_some_and(|e| e == "jpg"))
        .collect();
    images.sort();
    let mut bytes: Vec<Vec<u8>> = images[..3].iter().map(|p| std::fs::read(p).unwrap()).collect();
    // Bytes behind the end of a JPEG image are not part of it.
    let longest = bytes.iter().map(Vec::len).max().unwrap();
    bytes.iter_mut().for_each(|b| b.resize(longest, 0));
    std::fs::create_dir_all(folder.path().join("images/a")).unwrap();
    std::fs::write(folder.path().join("images/a/b.jpg"), &bytes[0]).unwrap();
    std::fs::write(folder.path().join("images/a_b.jpg"), &bytes[1]).unwrap();
    let report = |shard: &str| -> Value {
        let args =
            ["report", "--preset", "tiny", "--images", "images", "--out", "out", "--reporter", &reporter, "--json"];
        let (code, out, err) = outcome(&run(folder.path(), &[&args[..], &["--shard", shard]].concat()));
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(out.lines().last().unwrap()).unwrap()
    };
    let texts = || {
        let entries = std::fs::read_dir(folder.path().join("out/reports")).into_iter().flatten();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let lines = || std::fs::read_to_string(folder.path().join("out/reports.jsonl")).unwrap().lines().count();
    report("0/2");
    assert!(texts().is_empty(), "one of two shards: {:?}", texts());
    report("1/2");
    assert_eq!((texts().len(), lines()), (2, 2));
    std::fs::remove_file(folder.path().join("out/reports/a_b.txt")).unwrap();
    assert_eq!(report("1/2")["cached"], true);
    assert_eq!(texts().len(), 2, "a removed text comes back");
    std::fs::write(folder.path().join("images/a_b.jpg"), &bytes[2]).unwrap();
    assert_eq!(report("0/1")["cached"], false);
    assert_eq!(report("0/1")["cached"], true);
    std::fs::write(folder.path().join("images/a_b.jpg"), &bytes[1]).unwrap();
    assert_eq!(report("0/1")["cached"], false, "another image under the same name and size");
    std::fs::remove_file(folder.path().join("images/a_b.jpg")).unwrap();
    report("0/1");
    assert_eq!((texts().len(), lines()), (1, 1));
}

/// Shards leave the very files of one process, and none of their rows before the last of them is finished.
#[test]
fn shards_are_put_together_to_the_files_of_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let detector = runs_of(undisturbed(), "detector-").display().to_string();
    for lake in ["whole", "shards"] {
        let images = undisturbed().join("demo/phantom/mimic").display().to_string();
        let args = ["ingest", "mimic", "--root", &images, "--lake", lake, "--quiet"];
        assert_eq!(outcome(&run(folder.path(), &args)).0, 0);
    }
    let annotate = |lake: &str, shard: &str| {
        let args = ["annotate", "--dataset", "mimic", "--detector", &detector, "--preset", "tiny", "--lake", lake];
        let more =
            ["--shard", shard, "--set", "annotate.batch_size=3", "--set", "annotate.score_floor=0.01", "--quiet"];
        let (code, _, err) = outcome(&run(folder.path(), &[&args[..], &more[..]].concat()));
        assert_eq!(code, 0, "{err}");
    };
    let file = |lake: &str| folder.path().join(lake).join("v1/lesions/dataset=mimic/split=train/part-annotate.parquet");
    annotate("whole", "0/1");
    for shard in ["2/3", "0/3", "1/3"] {
        assert!(!file("shards").exists(), "before {shard}");
        annotate("shards", shard);
    }
    assert!(std::fs::read(file("whole")).unwrap() == std::fs::read(file("shards")).unwrap());
    let mode = |path: &Path| std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap()) & 0o777;
    assert_eq!((mode(&file("whole")), mode(&folder.path().join("whole/v1"))), (0o600, 0o700));
}

#[test]
fn a_preview_model_becomes_a_bundle_that_the_viewer_reads() {
    use d2r_contracts::preview_bundle::{CARD, ENCODER, SAMPLES, STEP};
    use d2r_viewer::sample_bundle::read_samples;
    use d2r_viewer::session::PreviewSession;
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&undisturbed().join("demo"), &folder.path().join("demo"));
    let reporter = reporter(folder.path()).display().to_string();
    let done = |words: &[&str]| -> Value {
        let common = ["--preset", "tiny", "--lake", "demo/lake", "--runs", "demo/runs", "--json", "--quiet"];
        let (code, out, err) = outcome(&run(folder.path(), &[words, &common[..]].concat()));
        assert_eq!(code, 0, "{err}");
        serde_json::from_str(&out).expect("the result is JSON")
    };
    let first = done(&["distill", "--reporter", &reporter, "--unreported", "vindr"]);
    assert_eq!(done(&["distill", "--reporter", &reporter, "--unreported", "vindr"])["cached"], true);
    assert!(
        first["figures"]["steps"].as_f64() > done(&["distill", "--reporter", &reporter])["figures"]["steps"].as_f64()
    );
    let weights = first["files"][0]["path"].as_str().expect("the weights come first");
    let preview_model = Path::new(weights).ancestors().nth(2).unwrap().display().to_string();
    let exported = done(&["export", "preview", "--preview-model", &preview_model, "--out", "preview"]);
    assert_eq!(exported["rows"]["samples"], 3);

    let bundle = |name: &str| std::fs::read(folder.path().join("preview").join(name)).unwrap();
    let (card, encoder, step) = (bundle(CARD), bundle(ENCODER), bundle(STEP));
    let session = PreviewSession::new(&card, &encoder, &step).unwrap();
    let samples = read_samples(&bundle(SAMPLES)).unwrap();
    assert_eq!(samples.len(), 3);
    for sample in &samples {
        let mut reported = Vec::new();
        let analysis = session
            .analyze(&sample.image, &mut |word| {
                reported.push(word.to_owned());
                true
            })
            .unwrap();
        assert!(
            !sample.reference.is_empty()
                && analysis.image.width > 0
                && analysis.notice.contains("not a medical device")
        );
        let words: Vec<&str> = analysis.report.split(' ').filter(|w| !w.is_empty()).collect();
        assert_eq!(words.len(), analysis.log_probs.len());
        assert!(reported.len() <= words.len() && words[..reported.len()] == reported[..]);
    }
    std::fs::create_dir(folder.path().join("images")).unwrap();
    for (i, sample) in samples.iter().enumerate() {
        std::fs::write(folder.path().join(format!("images/s{i}.jpg")), &sample.image).unwrap();
    }
    std::fs::write(folder.path().join("images/torn.png"), b"not an image").unwrap();
    let result = done(&["report", "--images", "images", "--preview-model", "preview", "--out", "out"]);
    assert_eq!((&result["rows"]["generated_reports"], &result["rows"]["failures"]), (&Value::from(3), &Value::from(1)));
    for (i, sample) in samples.iter().enumerate() {
        let text = std::fs::read_to_string(folder.path().join(format!("out/reports/s{i}.txt"))).unwrap();
        let analysis = session.analyze(&sample.image, &mut |_| true).unwrap();
        assert_eq!(text.split("\n\n").next(), Some(readable(&analysis.report).as_str()));
    }
    // In a lake the preview model writes its own boxes, so there must be none of a detector.
    let in_lake = ["report", "--dataset", "mimic", "--preview-model", "preview"];
    let (code, _, err) =
        outcome(&run(folder.path(), &[&in_lake[..], &["--preset", "tiny", "--lake", "demo/lake"]].concat()));
    assert!(code == 65 && err.contains("a detector's boxes"), "{code} {err}");
    for part in ["v1", "manifests"] {
        std::fs::remove_dir_all(folder.path().join("demo/lake").join(part).join("lesions/dataset=mimic/split=test"))
            .unwrap();
    }
    let rows = &done(&in_lake)["rows"];
    assert!(rows["generated_reports"].as_u64() > Some(0) && rows["lesions"].is_number(), "{rows}");
    assert_eq!(done(&in_lake)["cached"], true);

    let refusal =
        |card: &[u8], encoder: &[u8]| PreviewSession::new(card, encoder, &step).unwrap_err().code().to_owned();
    let mut torn = encoder.clone();
    torn[1000] ^= 1;
    assert_eq!(refusal(&card, &torn), "digest");
    assert_eq!(refusal(&card, &encoder[..encoder.len() / 2]), "digest");
    assert_eq!(refusal(b"{}", &encoder), "bundle");
    let error = session.analyze(b"no image", &mut |_| true).unwrap_err();
    assert!(!error.code().is_empty() && !error.to_string().is_empty());
    assert!(read_samples(&bundle(SAMPLES)[..100]).is_err() && read_samples(b"").is_err());
}

#[test]
fn killed_at_any_moment_it_ends_with_the_same_lake() {
    let expected = digests(undisturbed());
    let folder = tempfile::tempdir().unwrap();
    // Moments spread over the run; each kill leaves less to do for the next.
    for (attempt, millis) in [300u64, 900, 1500, 2500, 1200, 4000].into_iter().enumerate() {
        let mut child = d2r(folder.path()).args(PIPELINE).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis + 37 * attempt as u64));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let (code, _, err) = outcome(&run(folder.path(), &PIPELINE));
    assert_eq!(code, 0, "{err}");
    let differing: Vec<_> = expected.iter().filter(|(k, v)| digests(folder.path()).get(*k) != Some(v)).collect();
    assert!(differing.is_empty(), "these differ from the undisturbed run: {differing:?}");
    assert_eq!(expected.len(), digests(folder.path()).len());
    let (code, _, err) = outcome(&run(folder.path(), &["validate", "--lake", "demo/lake"]));
    assert_eq!(code, 0, "{err}");
}

#[test]
fn terminated_while_training_it_saves_and_resumes_to_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    copy_tree(&undisturbed().join("demo/lake"), &folder.path().join("demo/lake"));
    let images = undisturbed().join("demo/phantom");
    std::os::unix::fs::symlink(&images, folder.path().join("demo/phantom")).unwrap();
    let args =
        ["train-detector", "--preset", "tiny", "--lake", "demo/lake", "--set", "detector.train.steps=120", "--quiet"];
    let train = |runs: &str| {
        let mut command = d2r(folder.path());
        command.args(args).args(["--runs", runs]).stderr(Stdio::null());
        command
    };
    assert!(train("whole").status().unwrap().success());
    let mut signals = 0;
    for _ in 0..200 {
        let mut child = train("parts").spawn().unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let pid = child.id().to_string();
        std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        let status = child.wait().unwrap();
        match status.code() {
            Some(143) => signals += 1,
            Some(0) => break,
            // On a busy machine the signal may come before the program hears signals.
            None if std::os::unix::process::ExitStatusExt::signal(&status) == Some(15) => {}
            other => panic!("ended with {other:?}"),
        }
    }
    assert!(signals > 0, "the run was too short to be interrupted");
    assert!(train("parts").status().unwrap().success());
    let weights = |runs: &str| {
        let run = std::fs::read_dir(folder.path().join(runs)).unwrap().next().unwrap().unwrap().path();
        std::fs::read(run.join("best/model.safetensors")).unwrap()
    };
    assert!(weights("whole") == weights("parts"), "weights differ after {signals} interruptions");
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().filter_map(Result::ok) {
        let target = to.join(entry.path().strip_prefix(from).expect("walked from there"));
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(target).expect("a folder in a temporary folder");
        } else {
            std::fs::copy(entry.path(), target).expect("a copy in a temporary folder");
        }
    }
}

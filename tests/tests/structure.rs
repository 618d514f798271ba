//! The tree's own rules: who may import whom, where tensors may appear, how long a file may be, what the
//! project must not mention.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use d2r_acceptance::root;
use walkdir::WalkDir;

/// Longest source file, lines.
const FILE_CAP: usize = 400;

/// Modules of the batch crate that everybody may use.
const SHARED: [&str; 5] = ["error", "exit", "progress", "stop", "config"];

/// Who may import whom in the batch crate. `module::part` narrows an arrow to one part.
fn arrows() -> BTreeMap<&'static str, Vec<&'static str>> {
    BTreeMap::from([
        ("cli", vec!["stages", "lake", "weights"]),
        (
            "stages",
            vec!["train", "eval", "lake", "data", "align", "report", "semi", "detect", "student", "weights", "stages"],
        ),
        (
            "train",
            vec!["detect", "semi", "align", "report", "student", "data", "lake", "eval", "nn", "stages::context"],
        ),
        ("semi", vec!["detect"]),
        ("weights", vec!["detect", "align", "report", "nn", "train"]),
        ("align", vec!["nn"]),
        ("data", vec!["lake", "stages::context"]),
        ("student", vec!["nn"]),
        ("report", vec!["nn", "detect::resnet", "detect::roi_align"]),
        ("detect", vec!["nn"]),
        ("nn", vec![]),
        ("eval", vec!["lake"]),
        ("lake", vec!["stages::context"]),
        ("config", vec![]),
    ])
}

/// Modules that never touch a tensor.
const TORCH_FREE: [&str; 5] = ["cli", "config", "eval", "lake", "data"];

/// The tensor border: the files of torch-free modules that may.
const BORDER: [&str; 6] = [
    "data/collate.rs",
    "data/collate_report.rs",
    "data/collate_text.rs",
    "cli/flags.rs",
    "stages/context.rs",
    "stages/doctor.rs",
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = WalkDir::new(folder)
        .into_iter()
        .filter_entry(|e| e.file_name() != "target" && e.file_name() != "node_modules")
        .filter_map(Result::ok)
        .map(walkdir::DirEntry::into_path)
        .filter(|p| p.extension().is_some_and(|e| e == "rs"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no sources under {}", folder.display());
    files
}

fn name_in(folder: &Path, file: &Path) -> String {
    file.strip_prefix(folder).expect("listed under the folder").to_string_lossy().replace('\\', "/")
}

/// A file that holds nothing but unit tests (`#[path = "vindr_tests.rs"] mod tests;`).
fn is_test_file(file: &Path) -> bool {
    file.file_name().is_some_and(|n| n.to_string_lossy().ends_with("tests.rs"))
}

/// The part of a source file that ships: everything before its unit tests.
fn shipped(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or_default()
}

/// The `crate::a::b` paths that a source file names, without comments; `crate::{a, b::c}` is opened.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = BTreeSet::new();
    for piece in code.split("crate::").skip(1) {
        if let Some(list) = piece.strip_prefix('{') {
            let (mut depth, mut item) = (0usize, String::new());
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => {
                        found.insert(std::mem::take(&mut item).trim().to_owned());
                        continue;
                    }
                    _ => {}
                }
                item.push(c);
            }
            found.insert(item.trim().to_owned());
        } else {
            found.insert(piece.chars().take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':').collect());
        }
    }
    found.remove("");
    found
}

#[test]
fn imports_follow_the_arrows() {
    let source = root().join("batch/src");
    let arrows = arrows();
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let name = name_in(&source, &file);
        let Some((module, _)) = name.split_once('/') else { continue };
        let allowed = arrows.get(module).unwrap_or_else(|| panic!("{name}: module `{module}` has no arrows yet"));
        let text = std::fs::read_to_string(&file).expect("a listed file can be read");
        for path in crate_paths(shipped(&text)) {
            let target = path.split("::").next().unwrap_or_default();
            let fine = target == module
                || SHARED.contains(&target)
                || allowed.iter().any(|a| path == *a || path.starts_with(&format!("{a}::")) || *a == target)
                || ["table_row", "Error", "Result"].contains(&target);
            if !fine {
                wrong.push(format!("{name}: crate::{path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the arrows:\n{}", wrong.join("\n"));
}

/// Whether a path that begins with `word` stands in the text, not as the end of a longer name.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(i, _)| !text[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn tensors_stay_behind_their_border() {
    let source = root().join("batch/src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let name = name_in(&source, &file);
        let module = name.split('/').next().unwrap_or_default();
        if !TORCH_FREE.contains(&module) || BORDER.contains(&name.as_str()) {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a listed file can be read");
        if shipped(&text).lines().any(|l| !l.trim_start().starts_with("//") && names(l, "tch::")) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "tensors outside their border: {wrong:?}");
}

#[test]
fn only_evaluation_reads_the_truth() {
    let source = root().join("batch/src");
    let rows = ["TruthLesionRow", "TruthLinkRow", "TruthFindingRow"];
    for file in rust_files(&source) {
        let name = name_in(&source, &file);
        let may = name == "eval/truth.rs"
            || name.starts_with("data/phantom/")
            || name == "stages/phantom.rs"
            || name.starts_with("stages/phantom/")
            || name.starts_with("lake/");
        let text = std::fs::read_to_string(&file).expect("a listed file can be read");
        let reads = rows.iter().any(|r| shipped(&text).contains(&format!("read::<{r}>")));
        assert!(!reads || may, "{name} reads the phantoms' truth");
    }
}

#[test]
fn the_contracts_crate_is_pure() {
    let source = root().join("data-contracts/src");
    let forbidden = ["std::fs", "std::net", "std::thread", "std::process", "std::time", "std::env::", "tch::", "rayon"];
    for file in rust_files(&source) {
        let text = std::fs::read_to_string(&file).expect("a listed file can be read");
        for word in forbidden {
            assert!(!names(shipped(&text), word), "{} names {word}", file.display());
        }
    }
}

#[test]
fn files_stay_short_and_are_named_after_a_thing() {
    let mut wrong = Vec::new();
    for folder in ["batch", "data-contracts", "wasm-viewer", "tests"] {
        for file in rust_files(&root().join(folder)) {
            let lines = std::fs::read_to_string(&file).expect("a listed file can be read").lines().count();
            let stem = file.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            if lines > FILE_CAP {
                wrong.push(format!("{}: {lines} lines, {FILE_CAP} at most", file.display()));
            }
            if ["utils", "util", "common", "misc", "helpers", "imp", "base"].contains(&stem.as_str()) {
                wrong.push(format!("{}: named after no thing", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_panic_stands_where_users_files_are_read() {
    let source = root().join("batch/src");
    let mut wrong = Vec::new();
    for folder in ["data", "lake", "cli"] {
        for file in rust_files(&source.join(folder)).into_iter().filter(|f| !is_test_file(f)) {
            let text = std::fs::read_to_string(&file).expect("a listed file can be read");
            for (i, line) in shipped(&text).lines().enumerate() {
                if !line.trim_start().starts_with("//") && (line.contains(".unwrap()") || line.contains("panic!(")) {
                    wrong.push(format!("{}:{}", name_in(&source, &file), i + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "unwrap or panic in:\n{}", wrong.join("\n"));
}

#[test]
fn arrow2_is_confined() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let pin = r#"arrow2 = { version = "=0.18.0", default-features = false, features = ["io_ipc"] }"#;
    assert!(manifest.contains(pin), "arrow2 with other features: its unsound `Rows` stands behind `compute_sort`");
    for folder in ["batch", "data-contracts", "wasm-viewer", "tests"] {
        for file in rust_files(&root().join(folder).join("src")) {
            let may = file.ends_with("wasm-viewer/src/sample_bundle.rs");
            let text = std::fs::read_to_string(&file).expect("a listed file can be read");
            assert!(may || !names(&text, "arrow2::"), "{} names arrow2", file.display());
        }
    }
}

#[test]
fn crate_paths_are_found_in_every_form() {
    let text = "use crate::a::b;\nuse crate::{c, d::{e, f}};\n// crate::g\nlet x = crate::h::i();";
    let expected: BTreeSet<String> = ["a::b", "c", "d::{e, f}", "h::i"].map(str::to_owned).into();
    assert_eq!(crate_paths(text), expected);
}

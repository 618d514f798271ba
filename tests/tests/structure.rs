//! The rules of the source tree: which module may import which, where tensors may appear, how long a file may be, what the
//! project must not mention.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use d2r_acceptance::root;
use walkdir::WalkDir;

/// Longest source file, lines.
const FILE_CAP: usize = 400;

/// Most source files in one folder, not counting tests.
const FOLDER_CAP: usize = 18;

/// Files at the root of the batch crate, and its configuration: every module may use them.
const SHARED: [&str; 6] = ["error", "exit", "progress", "stop", "config", "context"];

/// Allowed imports in the batch crate, from the top layer to the bottom one. An arrow leads to a later line only, so that
/// nothing imports upward; an arrow that no import uses is an error.
const ARROWS: [(&str, &[&str]); 12] = [
    ("cli", &["stages", "lake", "weights"]),
    ("stages", &["weights", "preview_model", "reporter", "detector", "audit", "training", "eval", "datasets", "lake"]),
    ("weights", &["reporter", "detector", "training", "lake", "nn"]),
    ("preview_model", &["reporter", "training", "datasets", "nn"]),
    ("reporter", &["detector", "training", "eval", "datasets", "lake", "nn"]),
    ("detector", &["training", "eval", "datasets", "nn"]),
    ("audit", &["eval", "datasets", "lake"]),
    ("training", &["lake", "nn"]),
    ("eval", &["lake"]),
    ("datasets", &[]),
    ("lake", &[]),
    ("nn", &[]),
];

/// Inside a model: networks and decoding do not import batches or training.
const INNER: [(&str, &[&str]); 6] = [
    ("detector/fcos/", &["detector::batches", "detector::train", "detector::semi"]),
    ("detector/rcnn/", &["detector::batches", "detector::train", "detector::semi"]),
    ("reporter/model/", &["reporter::batches", "reporter::train", "reporter::align"]),
    ("reporter/decode/", &["reporter::batches", "reporter::train", "reporter::align"]),
    ("reporter/align/", &["reporter::batches", "reporter::train", "reporter::decode"]),
    ("preview_model/model/", &["preview_model::distill", "preview_model::onnx"]),
];

/// What the report model's networks and decoding take from the detector: its backbone, nothing else.
const BACKBONE: &str = "detector::resnet";

/// Folders whose files never touch a tensor, and the exceptions: the files where plain data become tensors.
const TENSOR_FREE: [&str; 8] =
    ["audit/", "cli/", "config/", "eval/", "lake/", "datasets/", "detector/batches/", "reporter/batches/"];
const BORDER: [&str; 4] = [
    "detector/batches/collate.rs",
    "reporter/batches/collate.rs",
    "reporter/batches/collate_text.rs",
    "cli/program/stage_context.rs",
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

/// A file that holds nothing but unit tests or what they share (`x/tests.rs`, `x/tests/y.rs`, `fixtures.rs`).
fn is_test_file(file: &Path) -> bool {
    let name = file.to_string_lossy().replace('\\', "/");
    name.ends_with("tests.rs") || name.ends_with("fixtures.rs") || name.contains("/src/") && name.contains("/tests/")
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

/// The modules that each module of the batch crate imports, with an example of each import.
fn imports() -> BTreeMap<(String, String), String> {
    let source = root().join("batch/src");
    let mut found = BTreeMap::new();
    for file in rust_files(&source).into_iter().filter(|f| !is_test_file(f)) {
        let name = name_in(&source, &file);
        let Some((module, _)) = name.split_once('/') else { continue };
        let text = std::fs::read_to_string(&file).expect("a listed file can be read");
        for path in crate_paths(shipped(&text)) {
            let target = path.split("::").next().unwrap_or_default().to_owned();
            if target != module && !SHARED.contains(&target.as_str()) && !["Error", "Result"].contains(&target.as_str())
            {
                found.insert((module.to_owned(), target), format!("{name}: crate::{path}"));
            }
        }
    }
    found
}

#[test]
fn imports_follow_the_arrows() {
    let imports = imports();
    let layers: Vec<&str> = ARROWS.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for ((module, target), example) in imports.iter().filter(|((m, _), _)| !SHARED.contains(&m.as_str())) {
        let allowed = ARROWS.iter().find(|(m, _)| m == module).map(|(_, to)| *to);
        if !allowed.unwrap_or_else(|| panic!("module `{module}` has no arrows yet")).contains(&target.as_str()) {
            wrong.push(example.clone());
        }
    }
    for (place, (module, targets)) in ARROWS.iter().enumerate() {
        for target in *targets {
            if !layers[place + 1..].contains(target) {
                wrong.push(format!("the arrow {module} -> {target} leads upward"));
            }
            if !imports.contains_key(&((*module).to_owned(), (*target).to_owned())) {
                wrong.push(format!("the arrow {module} -> {target} is used by no import"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the arrows:\n{}", wrong.join("\n"));
}

#[test]
fn networks_do_not_import_batches_or_training() {
    let source = root().join("batch/src");
    let mut wrong = Vec::new();
    for file in rust_files(&source).into_iter().filter(|f| !is_test_file(f)) {
        let name = name_in(&source, &file);
        let text = std::fs::read_to_string(&file).expect("a listed file can be read");
        let under = |path: &str, module: &str| path == module || path.starts_with(&format!("{module}::"));
        let forbidden: Vec<&str> =
            INNER.iter().filter(|(folder, _)| name.starts_with(folder)).flat_map(|(_, f)| f.iter().copied()).collect();
        let of_reporter = name.starts_with("reporter/") && !forbidden.is_empty();
        for path in crate_paths(shipped(&text)) {
            let takes_more = of_reporter && under(&path, "detector") && !under(&path, BACKBONE);
            if takes_more || forbidden.iter().any(|f| under(&path, f)) {
                wrong.push(format!("{name}: crate::{path}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The arrows as ARCHITECTURE.md shows them.
fn arrows_as_text() -> String {
    let line = |(module, targets): &(&str, &[&str])| {
        format!("{module:<14} -> {}", if targets.is_empty() { "nothing".to_owned() } else { targets.join(", ") })
    };
    format!("```text\n{}\n```", ARROWS.iter().map(line).collect::<Vec<_>>().join("\n"))
}

#[test]
fn the_architecture_page_shows_these_arrows() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("the page is there");
    let text = arrows_as_text();
    assert!(page.contains(&text), "ARCHITECTURE.md, section Arrows, must hold this block:\n{text}");
}

/// Whether a path that begins with `word` is in the text, not as the end of a longer name.
fn names(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(i, _)| !text[..i].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[test]
fn tensors_stay_behind_their_border() {
    let source = root().join("batch/src");
    let mut wrong = Vec::new();
    for file in rust_files(&source).into_iter().filter(|f| !is_test_file(f)) {
        let name = name_in(&source, &file);
        if !TENSOR_FREE.iter().any(|folder| name.starts_with(folder)) || BORDER.contains(&name.as_str()) {
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
fn the_phantom_needs_neither_tensors_nor_the_lake() {
    let manifest = std::fs::read_to_string(root().join("batch/phantom/Cargo.toml")).expect("the crate has a manifest");
    for name in ["tch", "torch-sys", "parquet", "polars", "d2r-batch"] {
        assert!(!manifest.lines().any(|l| l.starts_with(&format!("{name}."))), "batch/phantom depends on {name}");
    }
}

#[test]
fn unsafe_code_stands_in_one_file() {
    let unsafe_block = ["un", "safe {"].concat();
    let mut found = Vec::new();
    for folder in ["batch", "data-contracts", "wasm-viewer", "tests"] {
        for file in rust_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).expect("a listed file can be read");
            if text.contains(&unsafe_block) {
                found.push(name_in(&root(), &file));
            }
        }
    }
    assert_eq!(found, ["batch/collectives/src/ffi.rs"]);
    for package in ["batch", "batch/phantom", "data-contracts", "wasm-viewer", "tests"] {
        let manifest =
            std::fs::read_to_string(root().join(package).join("Cargo.toml")).expect("a package has a manifest");
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{package} takes the workspace's lints, which forbid it"
        );
    }
}

#[test]
fn folders_stay_small() {
    let mut files: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let folders = [
        "batch/src",
        "batch/collectives/src",
        "batch/phantom/src",
        "data-contracts/src",
        "wasm-viewer/src",
        "tests/tests",
    ];
    for folder in folders {
        for file in rust_files(&root().join(folder)).into_iter().filter(|f| !is_test_file(f)) {
            let is_list = file.file_name().is_some_and(|n| n == "mod.rs");
            *files.entry(file.parent().expect("a file has a folder").to_owned()).or_default() += usize::from(!is_list);
        }
    }
    let full: Vec<String> = files
        .iter()
        .filter(|(_, n)| **n > FOLDER_CAP)
        .map(|(folder, n)| format!("{}: {n} files, {FOLDER_CAP} at most", folder.display()))
        .collect();
    assert!(full.is_empty(), "{}", full.join("\n"));
}

#[test]
fn only_evaluation_reads_the_truth() {
    let source = root().join("batch/src");
    let rows = ["TruthLesionRow", "TruthLinkRow", "TruthFindingRow", "TruthMentionRow", "TruthStatementRow"];
    for file in rust_files(&source) {
        let name = name_in(&source, &file);
        let may = name == "eval/truth.rs"
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
    for folder in ["datasets", "lake", "cli"] {
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

//! Messages, help texts and documents name only flags and configuration keys that exist: every `--flag` is looked up in
//! the parser of the built command, every `section.key` in the configuration that it prints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use d2r_acceptance::{outcome, root, run};
use walkdir::WalkDir;

/// Flags of other programs, with the program.
const OTHERS: [(&str, &str); 38] = [
    ("--verbose", "d2r itself, beside --version only"),
    ("--locked", "cargo"),
    ("--mimic", "tests/bench/pretrain_trunk.py"),
    ("--trunk", "tests/bench/quality_semi.py"),
    ("--cells", "tests/bench/pseudo_labels.py"),
    ("--all-features", "cargo"),
    ("--tests", "cargo"),
    ("--lib", "cargo"),
    ("--all", "cargo"),
    ("--example", "cargo"),
    ("--arms", "tests/bench/quality_report.py"),
    ("--folder", "tests/bench/quality_report.py"),
    ("--known", "tests/bench/quality_semi.py"),
    ("--seeds", "tests/bench/quality_semi.py"),
    ("--pdeathsig", "setpriv"),
    ("--array", "sbatch"),
    ("--dependency", "sbatch"),
    ("--gres", "sbatch"),
    ("--job-name", "sbatch"),
    ("--mem", "sbatch"),
    ("--nodes", "sbatch"),
    ("--open-mode", "sbatch"),
    ("--requeue", "sbatch"),
    ("--signal", "sbatch"),
    ("--ntasks", "sbatch and srun"),
    ("--cpus-per-task", "sbatch and srun"),
    ("--gpus-per-task", "srun"),
    ("--no-python", "torchrun"),
    ("--rm", "podman and docker"),
    ("--read-only", "podman and docker"),
    ("--tmpfs", "podman and docker"),
    ("--d2r", "our benches"),
    ("--sizes", "scale.py"),
    ("--without", "scale.py"),
    ("--nproc-per-node", "torchrun"),
    ("--no-as-needed", "the linker"),
    ("--c", "a CSS variable of the HTML report"),
    ("--u", "a CSS variable of the HTML report"),
];

/// Endings of file names: `report.html` is no key.
const FILE_ENDINGS: [&str; 10] =
    ["html", "json", "jsonl", "lock", "md", "parquet", "safetensors", "sbatch", "toml", "yaml"];

/// Names of figures that begin like a section.
const FIGURES: [&str; 1] = ["detector.ap50"];

const RUST: [&str; 6] =
    ["batch/src", "batch/collectives", "batch/phantom", "batch/examples", "data-contracts/src", "wasm-viewer/src"];
const DOCUMENTS: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "docs", "dags/README.md"];
const PYTHON: [&str; 4] = ["dags", "tests/bench", "tests/python", "tests/airflow"];

/// The flags of every verb (`annotate`, `ingest vindr`) and all configuration keys with their sections.
struct Command {
    flags: BTreeMap<String, BTreeSet<String>>,
    keys: BTreeSet<String>,
}

fn command() -> &'static Command {
    static COMMAND: OnceLock<Command> = OnceLock::new();
    COMMAND.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (code, reference, err) = outcome(&run(folder.path(), &["cli-reference"]));
        assert_eq!(code, 0, "{err}");
        let (code, shown, err) = outcome(&run(folder.path(), &["config", "show", "--origin"]));
        assert_eq!(code, 0, "{err}");
        let mut keys = BTreeSet::new();
        for key in shown.lines().filter_map(|l| l.split_whitespace().next()) {
            let dots = key.match_indices('.').map(|(at, _)| &key[..at]);
            keys.extend(dots.chain([key]).map(str::to_owned));
        }
        Command { flags: flags_by_verb(&reference), keys }
    })
}

/// Reads the reference: a heading per verb, a row per flag, a line `Shared:` for flags that verbs below take too.
fn flags_by_verb(reference: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut verbs: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut shared: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut verb = None;
    for line in reference.lines() {
        if let Some(title) = line.strip_prefix("##") {
            verb = title.trim_start_matches('#').trim().strip_prefix("d2r ").map(str::to_owned);
        }
        let row = line.starts_with("| `-");
        match &verb {
            Some(verb) if row => verbs.entry(verb.clone()).or_default().extend(flags_in(line.split(" | ").next())),
            Some(verb) if line.starts_with("Shared: ") => {
                shared.entry(verb.clone()).or_default().extend(flags_in(Some(line)));
            }
            Some(verb) => drop(verbs.entry(verb.clone()).or_default()),
            None if line.starts_with("A verb takes") => {
                shared.entry(String::new()).or_default().extend(flags_in(Some(line)));
            }
            None => {}
        }
    }
    for (verb, flags) in &mut verbs {
        let above =
            shared.iter().filter(|(name, _)| name.is_empty() || *name == verb || verb.starts_with(&format!("{name} ")));
        flags.extend(above.flat_map(|(_, f)| f.clone()));
        flags.extend(["--help".to_owned(), "--version".to_owned()]);
    }
    verbs
}

fn flags_in(text: Option<&str>) -> Vec<String> {
    tokens(text.unwrap_or_default(), |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        .into_iter()
        .filter(|t| t.strip_prefix("--").is_some_and(|name| name.starts_with(|c: char| c.is_ascii_lowercase())))
        .collect()
}

/// Words of a text that are made of `part` and not cut from a longer word.
fn tokens(text: &str, part: impl Fn(char) -> bool) -> Vec<String> {
    let longer = |c: char| c.is_ascii_alphanumeric() || "_$/-.".contains(c);
    text.split(|c: char| !longer(c))
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_end_matches(['.', '-', '/']))
        .filter(|word| word.chars().all(&part))
        .map(str::to_owned)
        .collect()
}

/// `section.key` words whose section exists.
fn keys_in(text: &str) -> Vec<String> {
    tokens(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.')
        .into_iter()
        .filter(|word| word.split_once('.').is_some_and(|(section, _)| command().keys.contains(section)))
        .filter(|word| !FILE_ENDINGS.contains(&word.rsplit('.').next().unwrap_or_default()))
        .filter(|word| !FIGURES.contains(&word.as_str()))
        .collect()
}

/// The string literals and comments of Rust source, each with its first line's number; unit tests are left out.
fn literals_and_comments(source: &str) -> Vec<(usize, String)> {
    let text: Vec<char> = source.split("#[cfg(test)]").next().unwrap_or_default().chars().collect();
    let (mut found, mut line, mut at) = (Vec::new(), 1, 0);
    let starts = |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| text.get(at + i) == Some(&c));
    while at < text.len() {
        let first = line;
        let mut piece = String::new();
        if starts(at, "//") {
            while at < text.len() && text[at] != '\n' {
                piece.push(text[at]);
                at += 1;
            }
        } else if text[at] == '"' {
            at += 1;
            while at < text.len() && text[at] != '"' {
                line += usize::from(text[at] == '\n');
                if text[at] != '\\' {
                    piece.push(text[at]);
                } else {
                    at += 1;
                    match text.get(at) {
                        Some('n') => piece.push('\n'),
                        // The line continues after the next line's indentation.
                        Some('\n') => {
                            line += 1;
                            while text.get(at + 1).is_some_and(|c| *c == ' ') {
                                at += 1;
                            }
                        }
                        Some(other) => piece.push(*other),
                        None => {}
                    }
                }
                at += 1;
            }
            at += 1;
        } else {
            // A quote as a character.
            at += if starts(at, "'\"'") || starts(at, "'\\'") { 3 } else { 1 };
            line += usize::from(text.get(at - 1) == Some(&'\n'));
            continue;
        }
        found.push((first, piece));
    }
    found
}

/// Flags that do not exist, and flags of a `d2r VERB ...` that the verb does not take.
fn unknown_flags(text: &str) -> Vec<String> {
    let known = &command().flags;
    let all: BTreeSet<&String> = known.values().flatten().collect();
    let mut wrong: Vec<String> = flags_in(Some(text))
        .into_iter()
        .filter(|flag| !all.contains(flag) && !OTHERS.iter().any(|(other, _)| other == flag))
        .collect();
    let lines = text.replace("\\\n", " ");
    for (at, _) in lines.match_indices("d2r ") {
        let end = lines[at..].find(['\n', '`', ';', '|', '#', '"']).map_or(lines.len(), |n| at + n);
        // `d2r submit` is given a second command after `--`.
        for part in lines[at + "d2r ".len()..end].split(" -- ") {
            let words: Vec<&str> = part.split_whitespace().collect();
            let verb =
                (1..=2).rev().filter_map(|n| words.get(..n)).map(|w| w.join(" ")).find(|v| known.contains_key(v));
            if let Some(verb) = verb {
                let flags = flags_in(Some(part));
                wrong.extend(flags.iter().filter(|f| !known[&verb].contains(*f)).map(|f| format!("{f} of d2r {verb}")));
            }
        }
    }
    wrong
}

fn unknown_keys(text: &str) -> Vec<String> {
    keys_in(text).into_iter().filter(|key| !command().keys.contains(key)).collect()
}

fn files(places: &[&str], ending: &str) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for place in places {
        let entries = WalkDir::new(root().join(place)).into_iter().filter_map(Result::ok);
        let files = entries.map(walkdir::DirEntry::into_path).filter(|p| p.extension().is_some_and(|e| e == ending));
        found.extend(files.map(|p| (relative(&p), p)));
    }
    found.retain(|(name, _)| {
        !["node_modules", "/target/", "tests.rs", "/tests/"].iter().any(|n| name.contains(n)) || ending == "py"
    });
    found.sort();
    assert!(!found.is_empty(), "no .{ending} files in {places:?}");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every text that people read, with its place.
fn texts() -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for (name, path) in files(&RUST, "rs") {
        let pieces = literals_and_comments(&read(&path));
        texts.extend(pieces.into_iter().map(|(line, text)| (format!("{name}:{line}"), text)));
    }
    for (name, path) in files(&DOCUMENTS, "md") {
        texts.push((name, read(&path)));
    }
    for (name, path) in files(&["batch/presets"], "toml") {
        let comments = read(&path).lines().filter_map(|l| Some(l.split_once('#')?.1.to_owned())).collect::<Vec<_>>();
        texts.push((name, comments.join("\n")));
    }
    texts
}

#[test]
fn every_flag_and_key_that_a_text_names_exists() {
    let mut wrong = Vec::new();
    for (place, text) in texts() {
        wrong.extend(unknown_flags(&text).into_iter().map(|flag| format!("{place}: no flag {flag}")));
        wrong.extend(unknown_keys(&text).into_iter().map(|key| format!("{place}: no key {key}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn overrides_in_python_name_keys_that_exist() {
    let mut wrong = Vec::new();
    for (name, path) in files(&PYTHON, "py") {
        for piece in read(&path).split(['"', '\'', '`']) {
            let key = piece.split_once('=').map(|(key, _)| key).unwrap_or_default();
            wrong.extend(unknown_keys(key).into_iter().filter(|k| k == key).map(|k| format!("{name}: no key {k}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn wrong_names_are_found() {
    assert_eq!(unknown_flags("pass --allow-anything if you may"), ["--allow-anything"]);
    assert_eq!(unknown_flags("`d2r doctor --shard 0/4`"), ["--shard of d2r doctor"]);
    assert_eq!(unknown_flags("d2r ingest vindr --root x \\\n  --resume never"), ["--resume of d2r ingest vindr"]);
    assert_eq!(
        unknown_flags("d2r submit slurm --shards 2 -- annotate --detector RUN --images x"),
        ["--images of d2r annotate"]
    );
    assert!(unknown_flags("d2r annotate --detector RUN --lake lake --json; --set preset --seed 1").is_empty());
    assert_eq!(unknown_keys("set detector.train.setps, or `semi.ignored`."), ["detector.train.setps", "semi.ignored"]);
    assert!(unknown_keys("detector.train.lr, report.train. and out/report.html").is_empty());
    let source =
        "let a = \"x --one \\\n   y\\n\"; // --two\nlet c = '\"'; let d = \"--three\";\n#[cfg(test)] \"--four\"";
    let pieces: Vec<(usize, String)> = literals_and_comments(source);
    assert_eq!(pieces, [(1, "x --one y\n".to_owned()), (2, "// --two".to_owned()), (3, "--three".to_owned())]);
}

//! Retired words: each idea has one name, the standard one of the field (`docs/glossary.md`). This test keeps the
//! names that were given up out of sources, presets and documents.

use std::path::Path;

use d2r_acceptance::root;
use walkdir::WalkDir;

/// A retired word or phrase, what is written instead, and the folders or files where the word is right.
struct Retired {
    phrase: &'static str,
    instead: &'static str,
    except: &'static [&'static str],
}

const fn word(phrase: &'static str, instead: &'static str) -> Retired {
    Retired { phrase, instead, except: &[] }
}

/// The headings that radiologists write, whatever their words.
const HEADINGS_OF_REPORTS: &str = "batch/src/datasets/report_sections/";

/// Words are looked for in lower case between characters that are no letters, so that `per_film` holds `film`.
const RETIRED: &[Retired] = &[
    Retired {
        phrase: "film",
        instead: "image or radiograph",
        except: &["batch/phantom/", "data-contracts/tests/", HEADINGS_OF_REPORTS],
    },
    Retired { phrase: "films", instead: "images or radiographs", except: &["batch/phantom/", HEADINGS_OF_REPORTS] },
    word("looks at", "a description of the operation"),
    word("each look", "pass"),
    word("both looks", "flip test-time augmentation"),
    word("joined looks", "merged detections"),
    word("both ways", "flip test-time augmentation"),
    word("one way", "without flip test-time augmentation"),
    word("mirrored views", "flip test-time augmentation"),
    word("mirrored_views", "flip_tta"),
    word("neither taught nor denied", "ignored"),
    word("nor denied", "ignored"),
    word("set aside", "ignored"),
    word("losses_aside", "losses with frozen batch-norm statistics"),
    word("unsure", "ignored or uncertain"),
    word("the surest", "the highest-scoring"),
    word("surest", "highest-scoring"),
    word("likeliest", "most probable"),
    word("committee", "ensemble"),
    Retired { phrase: "nobody", instead: "a plain negation", except: &["data-contracts/tests/"] },
    word("whoever", "a plain noun"),
    word("told", "given"),
    word("heard", "a description of the operation"),
    word("faint", "weak"),
    word("deaf", "a description of the operation"),
    word("loud", "a description of the operation"),
    word("mended", "corrected"),
    word("input_side", "input_size"),
    word("region_side", "region_size"),
    word("side_weight", "box_loss_weight or laterality_weight"),
    word("side_score_min", "threshold"),
    word("min_readers", "min_annotators"),
    word("side words", "laterality words"),
    word("readers' boxes", "annotators' boxes"),
    word("readers of the world", "dataset parsers"),
    word("fused readers", "fusion of annotators' boxes"),
    word("reader's box", "annotator's box"),
    word("browser's student", "preview model"),
    word("the student for the browser", "preview model"),
    word("distilled student", "preview model"),
    word("strong views", "strong augmentation"),
    word("weak views", "weak augmentation"),
    word("findings_labeler", "report_labeler"),
    word("by_student", "by_preview_model"),
];

/// Folders and files that are read, and the endings of what is read in them.
const PLACES: [&str; 16] = [
    "batch/src",
    "batch/collectives",
    "batch/phantom",
    "batch/presets",
    "batch/examples",
    "data-contracts",
    "wasm-viewer",
    "tests",
    "dags",
    "docs",
    "scripts",
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "Makefile",
];
const ENDINGS: [&str; 12] = ["rs", "toml", "md", "py", "js", "mjs", "ts", "html", "css", "yaml", "sh", "txt"];

/// The glossary names retired words; the changelog has a table of old names.
const NOT_READ: [&str; 5] =
    ["docs/glossary.md", "tests/tests/words.rs", "node_modules", "/target/", "package-lock.json"];

/// Whether `phrase` occurs in `line` (both in lower case) between characters that are no letters.
fn holds(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(at, _)| {
        let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
        !letter(line[..at].chars().next_back()) && !letter(line[at + phrase.len()..].chars().next())
    })
}

fn retired_in(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.to_lowercase();
        for word in RETIRED {
            if !word.except.iter().any(|e| name.starts_with(e)) && holds(&line, word.phrase) {
                found.push(format!("{name}:{}: `{}`; write {}", number + 1, word.phrase, word.instead));
            }
        }
    }
    found
}

fn is_read(path: &Path, name: &str) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
    (ENDINGS.contains(&ending.as_str()) || name == "Makefile") && !NOT_READ.iter().any(|n| name.contains(n))
}

#[test]
fn no_retired_word_comes_back() {
    let mut found = Vec::new();
    for place in PLACES {
        for entry in WalkDir::new(root().join(place)).into_iter().filter_map(Result::ok) {
            let name = entry.path().strip_prefix(root()).unwrap_or(entry.path()).to_string_lossy().replace('\\', "/");
            if entry.file_type().is_file() && is_read(entry.path(), &name) {
                let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
                found.extend(retired_in(&name, &text));
            }
        }
    }
    assert!(found.is_empty(), "{} retired words:\n{}", found.len(), found.join("\n"));
}

#[test]
fn words_are_found_in_names_and_not_inside_other_words() {
    assert_eq!(retired_in("batch/src/a.rs", "let per_film = 1; // Film").len(), 1);
    assert!(retired_in("batch/src/a.rs", "filmed, toldo, committees").is_empty());
    assert!(retired_in("batch/phantom/src/a.rs", "a film is exposed").is_empty());
}

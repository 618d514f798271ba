use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::annotators::{Boxed, consensus, three_readings};
use crate::config::{PhantomConfig, Reporting};
use crate::layouts::output_folder::sha256_hex;
use d2r_contracts::boxes::BoxXyxy;

const SEED: u64 = 20;

fn small() -> PhantomConfig {
    PhantomConfig { labelled_images: 30, report_studies: 60, two_view_studies: 12, ..PhantomConfig::of_tests() }
}

fn realistic() -> PhantomConfig {
    PhantomConfig { reports: Reporting::Realistic, ..small() }
}

/// Text or digest by path.
type Files = BTreeMap<String, String>;

static EXACT: LazyLock<(Files, Files)> = LazyLock::new(|| files(&small()));
static REALISTIC: LazyLock<(Files, Files)> = LazyLock::new(|| files(&realistic()));

/// The files of a phantom in all layouts: texts by path, tables without their compression; digests of the others.
fn files(config: &PhantomConfig) -> (Files, Files) {
    let dir = tempfile::tempdir().unwrap();
    let catalogue = Catalogue::of_layouts(config, SEED, &Layout::ALL);
    let folder = OutputFolder::start(dir.path(), &()).unwrap();
    write(&folder, &catalogue, SEED).unwrap();
    let manifest = folder.finish("key", BTreeMap::new()).unwrap();
    let text = |path: &str| -> Option<String> {
        let bytes = std::fs::read(dir.path().join(path)).unwrap();
        match Path::new(path).extension()?.to_str()? {
            "gz" => {
                let mut text = String::new();
                GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
                Some(text)
            }
            "csv" | "json" | "txt" | "xml" => String::from_utf8(bytes).ok(),
            _ => None,
        }
    };
    let (mut texts, mut others) = (BTreeMap::new(), BTreeMap::new());
    for (path, file) in &manifest.files {
        match text(path) {
            Some(text) => texts.insert(path.clone(), text),
            None => others.insert(path.clone(), file.sha256.clone()),
        };
    }
    (texts, others)
}

fn digest(texts: &Files) -> String {
    let all: String = texts.iter().map(|(path, text)| format!("{path}\n{text}\n")).collect();
    sha256_hex(all.as_bytes())
}

/// Reports, labels and annotators' boxes of exact phantoms stay as they are: published figures were measured on them.
#[test]
fn texts_and_tables_of_exact_phantoms_do_not_change() {
    assert_eq!(digest(&EXACT.0), "1d7b29ff2d1fb157ac9ed36f0b390bd907be299ce59ab357796ce35d4a9c0baf");
}

#[test]
fn exact_annotators_do_not_change() {
    let drawn: Vec<Boxed> = (0..6)
        .map(|i| {
            let at = 20.0 + 60.0 * i as f32;
            Boxed { class_id: i * 3, box_: BoxXyxy::new(at, at, at + 50.0, at + 40.0), small: i % 2 == 0 }
        })
        .collect();
    let mut text = String::new();
    for seed in 0..200 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        text.push_str(&format!("{:?}\n", three_readings(&drawn, 512.0, 512.0, &mut rng)));
        text.push_str(&format!("{:?}\n", consensus(&drawn, 512.0, 512.0, &mut rng)));
    }
    assert_eq!(sha256_hex(text.as_bytes()), "e8718265696021924a0c5f3c131cf03f146584df624cf4168b97a43ddf6877ea");
}

#[test]
fn realistic_phantoms_have_the_same_films_and_layouts_and_other_words() {
    let ((exact, exact_films), (realistic, films)) = (&*EXACT, &*REALISTIC);
    // The set of `annotation` is another one: reports without findings are left out.
    let kept = |path: &&String| !path.starts_with("annotation/");
    assert!(films.iter().filter(|(path, _)| kept(path)).eq(exact_films.iter().filter(|(path, _)| kept(path))));
    assert!(realistic.keys().filter(kept).eq(exact.keys().filter(kept)));
    assert_ne!(digest(realistic), digest(exact));
    // The classes of these sets are those of their own labels, not of annotators or reports.
    for untouched in ["nih/", "rsna/", "chestx_det/"] {
        let of = |all: &Files| -> Vec<String> {
            all.iter().filter(|(path, _)| path.starts_with(untouched)).map(|(_, text)| text.clone()).collect()
        };
        assert_eq!(of(realistic), of(exact), "{untouched}");
    }
    assert_eq!(digest(&files(&self::realistic()).0), digest(realistic), "the same seed gives the same bytes");
}

#[test]
fn realistic_report_files_stay_readable() {
    let texts = &REALISTIC.0;
    let reports: Vec<&String> =
        texts.iter().filter(|(path, _)| path.starts_with("mimic/") && path.ends_with(".txt")).map(|(_, t)| t).collect();
    assert_eq!(reports.len(), 60);
    let with = |heading: &str| reports.iter().filter(|text| text.contains(&format!("\n {heading}: \n"))).count();
    let (findings, impression, joint) = (with("FINDINGS"), with("IMPRESSION"), with("FINDINGS AND IMPRESSION"));
    assert!(
        findings > 20 && impression > 20 && joint > 1 && findings < 60 && impression < 60,
        "{findings} {impression}"
    );
    for text in &reports {
        assert!(text.lines().all(|line| line.len() <= 81), "{text}");
        // What a parser takes for a line of signs would be lost.
        assert!(
            text.lines().all(|line| line.trim().is_empty() || line.contains(|c: char| c.is_alphabetic() || c == '_')),
            "{text}"
        );
    }
    assert!(reports.iter().any(|text| text.contains("COMPARISON:  ___.")));
    assert!(reports.iter().any(|text| text.lines().any(|line| line.starts_with(" HEART: "))));
}

#[test]
fn realistic_json_and_xml_hold_reports() {
    let texts = &REALISTIC.0;
    for set in ["annotation", "iu_xray"] {
        let all: serde_json::Value = serde_json::from_str(&texts[&format!("{set}/annotation.json")]).unwrap();
        let examples: Vec<&serde_json::Value> =
            ["train", "val", "test"].iter().flat_map(|split| all[split].as_array().unwrap()).collect();
        assert!(!examples.is_empty());
        assert!(examples.iter().all(|e| e["report"].as_str().unwrap().ends_with('.')), "{set}");
    }
    let openi: String = texts.iter().filter(|(path, _)| path.starts_with("openi/")).map(|(_, t)| t.as_str()).collect();
    assert!(!openi.contains("___") && openi.contains("Label=\"FINDINGS\"></AbstractText>"));
}

//! `docs/recipes.md` against the resolved presets: a value that differs from the publication has a reason, and a value of
//! a preset that the page does not show, or shows differently, is an error.

use std::collections::{BTreeMap, BTreeSet};

use d2r_acceptance::{outcome, root, run};
use serde_json::Value;

/// Preset, then key to our cell, the published cell and the reason; with the rows of the preset that it is laid over.
fn page() -> BTreeMap<String, BTreeMap<String, [String; 3]>> {
    let text = std::fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    let mut presets: BTreeMap<String, BTreeMap<String, [String; 3]>> = BTreeMap::new();
    let (mut preset, mut own) = (None, BTreeSet::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## `") {
            preset = Some(name.trim_end_matches('`').to_owned());
            own.clear();
        }
        if let (Some((_, base)), Some(preset)) = (line.split_once("n top of `"), &preset) {
            let rows = presets[base.trim_end_matches("`:")].clone();
            presets.insert(preset.clone(), rows);
        }
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let ([key, ours, published, reason], Some(preset)) = (&cells[..], &preset)
            && key.contains('.')
        {
            let row = [ours, published, reason].map(|cell| (*cell).to_owned());
            presets.entry(preset.clone()).or_default().insert((*key).to_owned(), row);
            assert!(own.insert((*key).to_owned()), "{preset}: {key} has two rows");
        }
    }
    presets
}

/// Every key of a resolved preset, with its value as the page writes it.
fn resolved(preset: &str) -> BTreeMap<String, Value> {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, err) = outcome(&run(folder.path(), &["config", "show", "--preset", preset, "--json"]));
    assert_eq!(code, 0, "{err}");
    let mut keys = BTreeMap::new();
    leaves("", &serde_json::from_str(&out).unwrap(), &mut keys);
    keys
}

fn leaves(prefix: &str, value: &Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                leaves(&key, inner, keys);
            }
        }
        other => {
            keys.insert(prefix.to_owned(), other.clone());
        }
    }
}

fn is_written_as(value: &Value, cell: &str) -> bool {
    match value {
        Value::String(text) => text == cell,
        Value::Number(number) => cell.parse::<f64>().ok() == number.as_f64(),
        Value::Array(_) => serde_json::from_str::<Value>(cell).ok().as_ref() == Some(value),
        Value::Bool(flag) => cell == if *flag { "true" } else { "false" },
        _ => false,
    }
}

#[test]
fn the_page_shows_what_the_presets_are_and_gives_reasons_for_differences() {
    let page = page();
    assert_eq!(page.len(), 7, "{:?}", page.keys());
    let default = resolved("default");
    for (preset, rows) in &page {
        let values = resolved(preset);
        for (key, [ours, published, reason]) in rows {
            let value = values.get(key).unwrap_or_else(|| panic!("{preset}: there is no key {key}"));
            assert!(is_written_as(value, ours), "{preset}: {key} is {value}, the page says {ours}");
            assert!(!reason.is_empty(), "{preset}: {key} has neither source nor reason");
            let source = reason.split([':', ';', ' ']).next().unwrap_or_default();
            let is_source = ["UT", "W2", "R2", "D2R", "detectron2"].contains(&source);
            assert!(ours == published || !is_source || reason.len() > 12, "{preset}: {key} differs without a reason");
        }
        // What the preset changes is on the page.
        for (key, value) in &values {
            let trained =
                ["detector.", "semi.", "annotate.", "report.", "generate."].iter().any(|s| key.starts_with(s));
            assert!(!trained || default[key] == *value || rows.contains_key(key), "{preset}: {key} is not on the page");
        }
    }
}

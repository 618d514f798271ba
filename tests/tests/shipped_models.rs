//! The models in `batch/models`: they are small, they are what their cards say, and the command writes reports with them.

use d2r_acceptance::{outcome, root, run};
use walkdir::WalkDir;

/// Bytes of the report model and its detector at most.
const REPORTER_BYTES: u64 = 8_000_000;

#[test]
fn the_report_model_is_small_and_nothing_but_safetensors_and_cards() {
    let mut bytes = 0;
    for entry in WalkDir::new(root().join("batch/models/reporter")).into_iter().filter_map(Result::ok) {
        if entry.file_type().is_file() {
            bytes += entry.metadata().unwrap().len();
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(name == "card.json" || name == "model.safetensors", "{name} does not belong to a shipped model");
        }
    }
    assert!((1..REPORTER_BYTES).contains(&bytes), "{bytes} bytes");
}

#[test]
fn new_radiographs_get_reports_boxes_links_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let model = root().join("batch/models/reporter");
    let model = model.to_str().unwrap();
    let (code, _, err) = outcome(&run(folder.path(), &["phantom", "--images", "12", "--seed", "77", "--out", "p"]));
    assert_eq!(code, 0, "{err}");
    let args = ["report", "--preset", "demo", "--images", "p/mimic/files", "--reporter", model, "--out", "out"];
    let (code, out, err) = outcome(&run(folder.path(), &[&args[..], &["--json"]].concat()));
    assert_eq!(code, 0, "{err}");
    let result: serde_json::Value = serde_json::from_str(out.trim()).unwrap();
    for table in ["generated_reports", "report_sentences", "lesions", "sentence_boxes"] {
        assert!(result["rows"][table].as_u64().unwrap_or(0) > 0, "table {table}: {out}");
    }
    let reports: Vec<_> = std::fs::read_dir(folder.path().join("out/reports")).unwrap().collect();
    assert_eq!(reports.len() as u64, result["rows"]["generated_reports"].as_u64().unwrap());
    let page = std::fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("data:image/jpeg;base64,"), "the page shows no radiograph");
}

//! `d2r import-weights r2gen`: a public R2Gen state dict and its vocabulary as a report model's run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::vocabulary::Vocabulary;

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::digest::{file_digest, sha256_file};
use crate::reporter::card::{ReporterCard, new_model, visual_spec};
use crate::stages::work_key::work_key;
use crate::training::model_card::{ModelCard, WeightsOrigin};
use crate::training::named_tensors::named_tensors;
use crate::training::run_dir::RunDir;
use crate::weights::import::ImportReport;
use crate::weights::r2gen_names::import_r2gen;

/// The first word of the run's name.
const VERB: &str = "reporter";

#[derive(Debug, Clone)]
pub struct Args {
    /// A safetensors file.
    pub weights: PathBuf,
    /// A JSON list of the words in the order of their ids, `<unk>` among them.
    pub vocabulary: PathBuf,
    /// Where runs are kept.
    pub runs: PathBuf,
}

/// Imports into a new run with the configured report model.
///
/// # Errors
/// [`Error::BadData`] for a vocabulary or weights that do not fit; those of reading and writing.
pub fn run(ctx: &Context, args: Args) -> Result<(StageResult, ImportReport)> {
    let start = Instant::now();
    if !args.weights.is_file() {
        let hint = "expected a safetensors file; pickled weights are not read, convert them first";
        return Err(Error::missing(args.weights, hint));
    }
    let vocabulary = read_vocabulary(&args.vocabulary)?;
    let words = vocabulary.len() as i64 + 1;
    let config = &ctx.config.report.model;
    let card = ReporterCard {
        config: config.clone(),
        visual: visual_spec(config),
        vocabulary,
        labels: LabelSet::vindr(),
        align: None,
        detector_sha256: None,
    };
    tch::manual_seed(ctx.config.run.seed as i64);
    let mut model = new_model(&card, ctx.device)?;
    let report = import_r2gen(&mut model, words, &args.weights)?;
    let text = serde_json::to_string(config).map_err(|e| Error::Internal(e.to_string()))?;
    let sha256 = sha256_file(&args.weights)?;
    let key = work_key(&[
        ("verb", "import-weights r2gen"),
        ("config", &text),
        ("file", &sha256),
        ("vocabulary", &sha256_file(&args.vocabulary)?),
    ]);
    let (run, _lock) = RunDir::open(&args.runs, VERB, &key, ctx)?;
    let digest = run.write_best(&named_tensors(model.variables()))?;
    run.write_json("import.json", &report)?;
    let origin = WeightsOrigin::file("r2gen", sha256);
    ModelCard::new(VERB, run.id(), digest, card).with_origin(Some(origin)).write(&run)?;
    let count = |names: &[String]| names.len() as f64;
    let result = StageResult {
        stage: "import-weights".into(),
        files: vec![file_digest(&run.best())?, file_digest(&run.path().join("card.json"))?],
        figures: [("taken".to_owned(), count(&report.taken)), ("unused".to_owned(), count(&report.unused))].into(),
        wall_s: start.elapsed().as_secs_f64(),
        ..StageResult::default()
    };
    run.finish(&result)?;
    Ok((result, report))
}

fn read_vocabulary(path: &Path) -> Result<Vocabulary> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_str(&text)
        .map_err(|e| Error::bad_data(path.display(), format!("not a JSON list of sorted words: {e}")))
}

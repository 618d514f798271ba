//! Distils a finished report model into a preview model.

mod pairs;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::{ImageRow, LesionRow, ReportRow};

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};
use crate::preview_model::card::{KIND, PreviewModelCard, input_spec};
use crate::preview_model::distill::trainer::{Distillation, distill};
use crate::preview_model::model::preview_model::PreviewModel;
use crate::reporter::card::load_reporter;
use crate::stages::train::distill::pairs::PairReader;
use crate::stages::train::finish::TrainingStage;
use crate::stages::work_key::work_key;

#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    /// Its dataset with reports and annotated boxes.
    pub dataset: String,
    /// A second dataset whose images are used with generated reports alone; its own reports, if any, are not read.
    pub unreported: Option<String>,
    /// The report model's run.
    pub reporter: PathBuf,
    /// Where runs are kept.
    pub runs: PathBuf,
}

/// Distils, or finds that the same was done.
///
/// # Errors
/// [`Error::InputMissing`] without report model or reports; those of the loop.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    ctx.refuse_bf16("distill")?;
    let lake = Lake::open(&args.lake)?;
    let (report_model, card) = load_reporter(&args.reporter, ctx.device)?;
    if !card.model.labels.is_vindr() {
        let problem = format!(
            "the report model has label set {}; preview models have the VinDr-CXR classes alone",
            card.model.labels
        );
        return Err(Error::bad_data(args.reporter.display(), problem));
    }
    for split in ["train", "val"] {
        lake.check_label_set(&Partition::new(&args.dataset, split), KIND, &card.model.labels)?;
    }
    let key = key(ctx, &lake, &args, &card.model_sha256)?;
    let (dataset, runs) = (args.dataset.as_str(), args.runs.as_path());
    let stage = TrainingStage {
        name: "distill",
        kind: KIND,
        score: "val.log_likelihood",
        lake: &lake,
        dataset,
        runs,
        key,
        origin: None,
        start,
    };
    if let Some(result) = stage.finished::<PreviewModelCard>(ctx)? {
        return Ok(result);
    }
    let (run, _lock) = stage.open_run(ctx)?;
    let config = &ctx.config.preview;
    let preview_card = PreviewModelCard {
        config: config.model.clone(),
        input: input_spec(&config.model),
        vocabulary: card.model.vocabulary.clone(),
        report_model_sha256: card.model_sha256.clone(),
    };
    let reader = PairReader { ctx, lake: &lake, report_model: &report_model, card: &card };
    let (mut training, mut failures) = reader.reported(&Partition::new(dataset, "train"), &preview_card.input)?;
    if let Some(unreported) = &args.unreported {
        let (pairs, more) = reader.unreported(&Partition::new(unreported, "train"), &preview_card.input)?;
        training.extend(pairs);
        failures.extend(more);
    }
    let (validation, more) = reader.reported(&Partition::new(dataset, "val"), &preview_card.input)?;
    failures.extend(more);
    tch::manual_seed(ctx.config.run.seed as i64);
    let mut model = PreviewModel::new(&config.model, card.model.vocabulary.len() as i64 + 1, ctx.device)?;
    let parameters = model.parameters();
    let job = Distillation {
        report_model: &report_model,
        visual: card.model.visual,
        same_frame: card.model.visual.image.fit == preview_card.input.fit,
        train: Arc::new(training),
        validation: &validation,
        config: &config.train,
        seed: ctx.config.run.seed,
        device: ctx.device,
        progress: ctx.progress,
        stop: &ctx.stop,
    };
    let outcome = distill(&mut model, &run, &job)?;
    let figures = [("parameters".to_owned(), parameters as f64)].into();
    stage.finish_training(&ctx.ranks, &run, preview_card, outcome, failures, figures)
}

fn key(ctx: &Context, lake: &Lake, args: &Args, reporter_sha256: &str) -> Result<String> {
    let config = &ctx.config;
    let preview = (&config.preview.model, &config.preview.train);
    let config = serde_json::to_string(&(preview, &config.ingest.section, &config.generate))
        .map_err(|e| Error::Internal(e.to_string()))?;
    let mut inputs = String::new();
    let tables = [ImageRow::TABLE, LesionRow::TABLE, ReportRow::TABLE];
    let both = ["train", "val"].map(|split| (Partition::new(&args.dataset, split), &tables[..]));
    let unreported = args.unreported.iter().map(|dataset| (Partition::new(dataset, "train"), &tables[..2]));
    for (partition, tables) in both.into_iter().chain(unreported) {
        for table in tables {
            inputs.push_str(&format!("{partition} {table} {}\n", lake.content_digest(table, &partition)?));
        }
    }
    Ok(work_key(&[
        ("verb", KIND),
        ("config", &config),
        ("seed", &ctx.config.run.seed.to_string()),
        ("device", if ctx.device.is_cuda() { "cuda" } else { "cpu" }),
        ("teacher", reporter_sha256),
        ("inputs", &inputs),
    ]))
}

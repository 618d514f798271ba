//! Trains the detector on the fused annotators' boxes of a dataset of the lake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{ImageRow, LesionRow, ReportRow};

use crate::context::{Context, StageResult};
use crate::detector::card::{DetectorCard, input_spec, load_detector};
use crate::detector::model::Detector;
use crate::detector::semi::job::SemiTraining;
use crate::detector::semi::trainer;
use crate::detector::thresholds::{Thresholds, UNKNOWN};
use crate::detector::train::supervised::{DetectorTraining, train};
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};
use crate::stages::train::detector_inputs::{add_reports, classes_in_reports, load};
use crate::stages::train::finish::TrainingStage;
use crate::stages::train::thresholds_by_class::{Known, thresholds_by_class};
use crate::stages::work_key::work_key;
use crate::training::model_card::{ModelCard, WeightsOrigin};
use crate::training::named_tensors::load_strict;
use crate::training::run_dir::RunDir;
use crate::training::virtual_shards::VirtualShards;

/// The first word of the runs' names.
const VERB: &str = "detector";

/// What to train on.
#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    /// Its dataset with annotators' boxes.
    pub dataset: String,
    /// A dataset whose images are used without boxes (semi-supervised training); the labelled one's name means
    /// those of its images that `detector.train.labelled_share` leaves out.
    pub unlabelled: Option<String>,
    /// Finished detector runs whose ensemble gives the pseudo-labels; without any the run's own teacher does.
    pub labellers: Vec<PathBuf>,
    /// A detector run whose weights training starts from.
    pub init: Option<PathBuf>,
    /// Where runs are kept.
    pub runs: PathBuf,
}

/// Trains, or finds that the same training was done.
///
/// # Errors
/// [`Error::NoRows`] when the dataset has no training images; those of the loop.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let lake = Lake::open(&args.lake)?;
    ctx.config.detector.check_scales()?;
    if ctx.config.detector.model.frozen_stages > 0 && args.init.is_none() {
        let problem = "stages of the backbone are not trained, so that they must not be random: give --init RUN (after \
            `d2r import-weights imagenet`), or set it to \"scratch\"";
        return Err(Error::Config { place: "detector.model.backbone".into(), problem: problem.into() });
    }
    let labels = lake.label_set_of_training(&args.dataset, "ingest the dataset again")?;
    let shards = shards(ctx, &args)?;
    let origin = match &args.init {
        Some(run) => Some(ModelCard::<DetectorCard>::read(run, VERB)?.as_origin()),
        None => None,
    };
    let key = key(ctx, &lake, &args, &labels, origin.as_ref())?;
    let (dataset, runs) = (args.dataset.as_str(), args.runs.as_path());
    let stage = TrainingStage {
        name: "train-detector",
        kind: VERB,
        score: "val.ap50",
        lake: &lake,
        dataset,
        runs,
        key,
        origin,
        start,
    };
    if let Some(result) = stage.finished::<DetectorCard>(ctx)? {
        return Ok(result);
    }
    let (run, _lock) = stage.open_run(ctx)?;
    let config = &ctx.config.detector;
    let (mut training, mut failures) = load(ctx, &lake, &args.dataset, "train")?;
    let rest = training.take_share(config.train.labelled_share, config.train.labelled_seed);
    if ctx.config.semi.filter_empty && args.unlabelled.is_some() {
        training.examples.retain(|e| !e.boxes.is_empty());
    }
    let (validation, more) = load(ctx, &lake, &args.dataset, "val")?;
    failures.extend(more);
    if training.examples.is_empty() {
        let hint = "training needs annotated images whose files can be read: run `d2r ingest`";
        return Err(lake.no_rows(ImageRow::TABLE, Partition::new(&args.dataset, "train"), hint));
    }
    tch::manual_seed(ctx.config.run.seed as i64);
    let classes = labels.classes.len() as i64;
    let mut model = Detector::with_classes(&config.model, classes, ctx.device)?;
    let mut average = Detector::with_classes(&config.model, classes, ctx.device)?;
    for detector in [&mut model, &mut average] {
        detector.set_compute(ctx.compute_kind());
    }
    model.set_recompute(ctx.recompute);
    if let Some(init) = &args.init {
        start_from(ctx, &mut model, init, &labels)?;
    }
    let labellers = labellers(ctx, &args.labellers, &labels)?;
    let training = Arc::new(training);
    let read = args.unlabelled.as_ref().filter(|_| ctx.config.semi.report_threshold > 0.0);
    let named = read.map(|name| classes_in_reports(&lake, name, &labels)).transpose()?;
    let outcome = if let Some(name) = &args.unlabelled {
        let mut unlabelled = if *name == args.dataset {
            rest
        } else {
            let (set, failed) = load(ctx, &lake, name, "train")?;
            failures.extend(failed);
            set
        };
        if let Some(named) = &named {
            add_reports(named, name, &mut unlabelled)?;
        }
        let job = SemiTraining {
            labelled: training,
            unlabelled: Arc::new(unlabelled),
            labellers,
            validation: &validation,
            config: &config.train,
            semi: &ctx.config.semi,
            architecture: config.model.architecture,
            seed: ctx.config.run.seed,
            progress: ctx.progress,
            stop: &ctx.stop,
            shards,
        };
        trainer::train(&mut model, &mut average, &run, &job)?
    } else {
        let job = DetectorTraining {
            train: training,
            validation: &validation,
            config: &config.train,
            seed: ctx.config.run.seed,
            progress: ctx.progress,
            stop: &ctx.stop,
            shards,
        };
        train(&mut model, &mut average, &run, &job)?
    };
    let thresholds = match ctx.config.annotate.threshold {
        Some(score) => Thresholds::one(score),
        None if ctx.ranks.is_first() => {
            // Images with boxes of the same dataset would be among those with reports.
            let other = args.unlabelled.as_deref().filter(|name| *name != args.dataset).zip(named.as_ref());
            let known = other.map_or(Known::FromBoxes(&args.dataset), |(name, named)| Known::FromReports(name, named));
            thresholds_by_class(ctx, &lake, known, &labels, &run.best())?
        }
        // Rank 0 writes the card.
        None => Thresholds::one(UNKNOWN),
    };
    let card = DetectorCard::new(&config.model, &labels, thresholds);
    stage.finish_training(&ctx.ranks, &run, card, outcome, failures, BTreeMap::new())
}

/// The virtual shards of every batch.
fn shards(ctx: &Context, args: &Args) -> Result<VirtualShards> {
    let train = &ctx.config.detector.train;
    let mut batches = vec![("detector.train.batch_size", train.batch_size.max(1))];
    if args.unlabelled.is_some() {
        batches.push(("semi.unlabelled_batch_size", ctx.config.semi.unlabelled_batch_size.max(1)));
    }
    VirtualShards::new(train.accumulate, &ctx.ranks, &batches)
}

/// Copies the weights of a finished run. Where that detector has other classes, the layers that depend on their number
/// keep their initial values, which is said.
fn start_from(ctx: &Context, model: &mut Detector, run: &Path, labels: &LabelSet) -> Result<()> {
    let card = ModelCard::<DetectorCard>::read(run, VERB)?;
    if card.model.labels.same_classes(labels) {
        return load_strict(model.variables_mut(), &RunDir::at(run, "").best());
    }
    // The configured network with that run's classes: other sizes must fit.
    let classes = card.model.labels.classes.len() as i64;
    let mut source = Detector::with_classes(&ctx.config.detector.model, classes, ctx.device)?;
    load_strict(source.variables_mut(), &RunDir::at(run, "").best())?;
    let _no_grad = tch::no_grad_guard();
    let (source, mut fresh) = (source.variables().variables(), Vec::new());
    for (name, mut variable) in model.variables().variables() {
        match source.get(&name).filter(|weights| weights.size() == variable.size()) {
            Some(weights) => variable.copy_(weights),
            None => fresh.push(name),
        }
    }
    fresh.sort();
    ctx.progress.line(&format!(
        "{} has label set {}, the boxes {labels}: {} keep their initial values",
        run.display(),
        card.model.labels,
        if fresh.is_empty() { "no layers".to_owned() } else { fresh.join(", ") }
    ));
    Ok(())
}

fn key(ctx: &Context, lake: &Lake, args: &Args, labels: &LabelSet, origin: Option<&WeightsOrigin>) -> Result<String> {
    let text = |e: serde_json::Error| Error::Internal(e.to_string());
    let mut config = serde_json::to_string(&ctx.config.detector).map_err(text)?;
    // The card holds them.
    config.push_str(&match ctx.config.annotate.threshold {
        Some(score) => format!(" threshold {score}"),
        None => serde_json::to_string(&ctx.config.annotate).map_err(text)?,
    });
    config.push_str(&serde_json::to_string(labels).map_err(text)?);
    if args.unlabelled.is_some() {
        config.push_str(&serde_json::to_string(&ctx.config.semi).map_err(text)?);
    }
    let seed = ctx.config.run.seed.to_string();
    let mut inputs = String::new();
    let mut digest = |dataset: &str, split: &str, table: &str| -> Result<()> {
        let digest = lake.content_digest(table, &Partition::new(dataset, split))?;
        inputs.push_str(&format!("{dataset} {split} {table} {digest}\n"));
        Ok(())
    };
    for split in ["train", "val"] {
        for table in [ImageRow::TABLE, LesionRow::TABLE] {
            digest(&args.dataset, split, table)?;
        }
    }
    if let Some(unlabelled) = &args.unlabelled {
        digest(unlabelled, "train", ImageRow::TABLE)?;
        if ctx.config.semi.report_threshold > 0.0 {
            digest(unlabelled, "train", ReportRow::TABLE)?;
        }
    }
    let device = if ctx.device.is_cuda() { "cuda" } else { "cpu" };
    inputs.push_str(origin.map_or("", |o| &o.sha256));
    for run in &args.labellers {
        inputs.push_str(&format!(" labeller {}", ModelCard::<DetectorCard>::read(run, VERB)?.model_sha256));
    }
    let precision = &ctx.config.run.precision;
    Ok(work_key(&[
        ("verb", VERB),
        ("config", &config),
        ("seed", &seed),
        ("device", device),
        ("precision", precision),
        ("inputs", &inputs),
    ]))
}

/// The detectors of finished runs; their input and classes must be those of the new one.
fn labellers(ctx: &Context, runs: &[PathBuf], labels: &LabelSet) -> Result<Vec<Detector>> {
    let config = &ctx.config.detector.model;
    let input = input_spec(config);
    let labeller = |run: &PathBuf| {
        let (mut detector, card) = load_detector(run, config.score_min, ctx.device)?;
        detector.set_compute(ctx.compute_kind());
        if card.model.input != input || !card.model.labels.same_classes(labels) {
            let problem = "input or classes of this labeller differ from those of the new detector";
            return Err(Error::bad_data(run.display(), problem));
        }
        Ok(detector)
    };
    runs.iter().map(labeller).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_fixtures::context;

    #[test]
    fn weights_in_another_precision_are_other_work() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::create(folder.path()).unwrap();
        let args = Args {
            lake: folder.path().into(),
            dataset: "vindr".into(),
            unlabelled: None,
            labellers: Vec::new(),
            init: None,
            runs: folder.path().into(),
        };
        let mut ctx = context(&[]);
        let of = |ctx: &Context| key(ctx, &lake, &args, &LabelSet::vindr(), None).unwrap();
        let in_f32 = of(&ctx);
        assert_eq!(in_f32, of(&ctx));
        ctx.config.run.precision = "bf16".into();
        assert_ne!(in_f32, of(&ctx));
    }
}

//! Trains the report model on images, accepted boxes and reference reports of a dataset of the lake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{ImageRow, LesionRow, ReportRow};
use d2r_contracts::vocabulary::Vocabulary;

use crate::config::report::TrunkWeights;
use crate::context::{Context, StageResult};
use crate::detector::card::DetectorCard;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, atomic_file};
use crate::reporter::align::alignment::Alignment;
use crate::reporter::batches::augment::StudyAugment;
use crate::reporter::batches::examples::{examples, reference_reports};
use crate::reporter::batches::given_boxes::BoxesFrom;
use crate::reporter::batches::study_batch::StudyPlan;
use crate::reporter::batches::text_tokens::TextTokens;
use crate::reporter::card::{ReporterCard, new_model, visual_spec};
use crate::reporter::train::trainer::{ReportTraining, train};
use crate::stages::decoding::generation_options;
use crate::stages::train::finish::TrainingStage;
use crate::stages::work_key::work_key;
use crate::training::model_card::ModelCard;
use crate::training::virtual_shards::VirtualShards;
use crate::weights::bert_names::import_text_encoder;
use crate::weights::initial_weights::InitialWeights;

/// The first word of the runs' names.
const VERB: &str = "reporter";
/// Tables that a training example comes from.
const INPUTS: [&str; 3] = [ImageRow::TABLE, LesionRow::TABLE, ReportRow::TABLE];

/// What to train on.
#[derive(Debug, Clone)]
pub struct Args {
    pub lake: PathBuf,
    /// Its dataset with reports and annotated boxes.
    pub dataset: String,
    /// The run whose detector annotated the dataset; copied into the new run.
    pub detector: Option<PathBuf>,
    /// Initial weights: the run of a report model or a detector, or a file with a ResNet.
    pub init: Option<PathBuf>,
    /// Whose boxes the model is given.
    pub boxes: BoxesFrom,
    /// Where runs are kept.
    pub runs: PathBuf,
}

/// Trains, or finds that the same training was done.
///
/// # Errors
/// [`Error::NoRows`] without reports; those of the loop.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    let lake = Lake::open(&args.lake)?;
    let labels = label_set(ctx, &lake, &args.dataset)?;
    let detector = match &args.detector {
        Some(run) => {
            let card = ModelCard::<DetectorCard>::read(run, "detector")?;
            check_classes(&card.model.labels, run, &labels, ctx.config.report.model.regions)?;
            Some(card.model_sha256)
        }
        None => None,
    };
    let shards = shards(ctx)?;
    let initial = initial_weights(ctx, &args)?;
    let key = key(ctx, &lake, &args, detector.as_deref(), initial.as_ref())?;
    let (dataset, runs) = (args.dataset.as_str(), args.runs.as_path());
    let stage = TrainingStage {
        name: "train-reporter",
        kind: VERB,
        score: "val.score",
        lake: &lake,
        dataset,
        runs,
        key,
        origin: initial.as_ref().map(InitialWeights::origin),
        start,
    };
    if let Some(result) = stage.finished::<ReporterCard>(ctx)? {
        return Ok(result);
    }
    let (run, _lock) = stage.open_run(ctx)?;
    let config = &ctx.config.report;
    let (train_split, val_split) = (Partition::new(dataset, "train"), Partition::new(dataset, "val"));
    let texts = reference_reports(ctx, &lake, &train_split)?;
    if texts.is_empty() {
        let hint = format!("training needs texts of section `{}`: run `d2r ingest`", ctx.config.ingest.section);
        return Err(lake.no_rows(ReportRow::TABLE, Partition::new(&args.dataset, "train"), hint));
    }
    let card = ReporterCard {
        config: config.model.clone(),
        visual: visual_spec(&config.model),
        vocabulary: match initial.as_ref().and_then(InitialWeights::vocabulary) {
            Some(known) => known.clone(),
            None => Vocabulary::build(texts.iter().map(|r| r.text_clean.as_str()), config.train.min_word_count),
        },
        labels,
        detector_sha256: detector,
        align: config.align.is_on().then(|| config.align.clone()),
    };
    let text = text_tokens(ctx, &card.vocabulary)?;
    let (training, mut failures) = examples(ctx, &lake, &train_split, &card, text.as_ref(), args.boxes)?;
    let (validation, more) = examples(ctx, &lake, &val_split, &card, None, args.boxes)?;
    failures.extend(more);
    tch::manual_seed(ctx.config.run.seed as i64);
    let mut model = new_model(&card, ctx.device)?;
    if let Some(initial) = &initial {
        initial.apply(&mut model)?;
    }
    model.set_compute(ctx.compute_kind());
    model.set_recompute(ctx.recompute);
    let mut alignment = match &text {
        Some(text) => Some(new_alignment(ctx, text, model.d_visual())?),
        None => None,
    };
    let augment = StudyAugment::new(&config.train, card.visual, &card.vocabulary, text.as_ref())?;
    let job = ReportTraining {
        plan: StudyPlan { train: Arc::new(training), augment: augment.map(Arc::new), seed: ctx.config.run.seed },
        validation: &validation,
        vocabulary: &card.vocabulary,
        visual: card.visual,
        config: &config.train,
        decode: generation_options(ctx, &card.vocabulary),
        device: ctx.device,
        progress: ctx.progress,
        stop: &ctx.stop,
        shards,
    };
    let outcome = train(&mut model, alignment.as_mut(), &run, &job)?;
    if let Some(from) = args.detector.as_ref().filter(|_| ctx.ranks.is_first()) {
        copy_detector(from, &run.path().join("detector"))?;
    }
    stage.finish_training(&ctx.ranks, &run, card, outcome, failures, BTreeMap::new())
}

/// The virtual shards of every batch. An adaptive boundary follows the batches one after the other, which shards cannot
/// do.
fn shards(ctx: &Context) -> Result<VirtualShards> {
    let (train, align) = (&ctx.config.report.train, &ctx.config.report.align);
    if train.accumulate > 1 && align.is_on() && align.adaptive_boundary {
        let problem =
            "the adaptive boundary of the alignment cannot be divided into virtual shards; set run.accumulate=1";
        return Err(Error::Config { place: "report.align.variant".into(), problem: problem.into() });
    }
    VirtualShards::new(train.accumulate, &ctx.ranks, &[("report.train.batch_size", train.batch_size.max(1))])
}

/// The label set of the boxes of both splits. A set that corresponds to nothing that reports name is said.
fn label_set(ctx: &Context, lake: &Lake, dataset: &str) -> Result<LabelSet> {
    let labels = lake.label_set_of_training(dataset, "annotate both with one detector")?;
    if ctx.config.report.model.regions && !labels.has_correspondences() {
        ctx.progress.line(&format!(
            "label set {labels} corresponds to no CheXpert label and no VinDr-CXR class: no sentence names a box, and \
             the grounding loss stays empty"
        ));
    }
    Ok(labels)
}

/// The detector whose copy goes with the model finds boxes of the classes that the model is trained with.
fn check_classes(of_detector: &LabelSet, run: &Path, labels: &LabelSet, regions: bool) -> Result<()> {
    if !regions || of_detector.same_classes(labels) {
        return Ok(());
    }
    let problem = format!("the detector has label set {of_detector}, the dataset's boxes {labels}");
    Err(Error::bad_data(run.display(), problem + "; annotate the dataset with this detector"))
}

/// The initial weights that `--init` and `report.model.trunk` ask for.
fn initial_weights(ctx: &Context, args: &Args) -> Result<Option<InitialWeights>> {
    let missing = |problem: &str| Error::Config { place: "report.model.trunk".into(), problem: problem.into() };
    match (ctx.config.report.train.trunk, &args.init, &args.detector) {
        (_, Some(path), _) => InitialWeights::open(path).map(Some),
        (TrunkWeights::Scratch, None, _) => Ok(None),
        (TrunkWeights::Detector, None, Some(run)) => InitialWeights::backbone(run).map(Some),
        (TrunkWeights::Detector, None, None) => {
            Err(missing("the trunk starts from the detector's backbone: give --detector RUN, or set it to \"scratch\""))
        }
        (TrunkWeights::Imported, None, _) => Err(missing(
            "the trunk starts from imported weights: give --init RUN|FILE (for instance torchvision's ResNet as \
             safetensors), or set it to \"scratch\"",
        )),
    }
}

fn key(
    ctx: &Context,
    lake: &Lake,
    args: &Args,
    detector: Option<&str>,
    initial: Option<&InitialWeights>,
) -> Result<String> {
    let config = serde_json::to_string(&(&ctx.config.report, &ctx.config.generate, &ctx.config.ingest.section))
        .map_err(|e| Error::Internal(e.to_string()))?;
    let seed = ctx.config.run.seed.to_string();
    let mut inputs = String::new();
    for split in ["train", "val"] {
        for table in INPUTS {
            inputs.push_str(&format!(
                "{split} {table} {}\n",
                lake.content_digest(table, &Partition::new(&args.dataset, split))?
            ));
        }
    }
    let device = if ctx.device.is_cuda() { "cuda" } else { "cpu" };
    let detector = detector.unwrap_or("none");
    Ok(work_key(&[
        ("verb", VERB),
        ("config", &config),
        ("seed", &seed),
        ("device", device),
        ("precision", &ctx.config.run.precision),
        ("detector", detector),
        ("initial weights", initial.map_or("none", InitialWeights::sha256)),
        ("boxes", if args.boxes == BoxesFrom::Detector { "detector" } else { "annotators" }),
        ("inputs", &inputs),
    ]))
}

/// The text encoder's words; `None` where nothing is aligned.
fn text_tokens(ctx: &Context, vocabulary: &Vocabulary) -> Result<Option<TextTokens>> {
    let align = &ctx.config.report.align;
    if !align.is_on() {
        return Ok(None);
    }
    TextTokens::configured(&align.text.weights, vocabulary).map(Some)
}

/// A fresh alignment, its text encoder imported where weights are configured.
fn new_alignment(ctx: &Context, text: &TextTokens, d_visual: i64) -> Result<Alignment> {
    let config = &ctx.config.report.align;
    if config.text.weights.is_empty() && config.text.is_bert() {
        ctx.progress
            .line("the text encoder has BERT's sizes and starts from random weights; --text-init DIR gives it BERT's");
    }
    let mut alignment = Alignment::new(config, text.token_count(), d_visual, ctx.device)?;
    if !config.text.weights.is_empty() {
        let path = Path::new(&config.text.weights).join("model.safetensors");
        import_text_encoder(&mut alignment, &path)?;
    }
    Ok(alignment)
}

/// Copies weights and card, so that the run needs nothing else to report on images.
fn copy_detector(from: &Path, to: &Path) -> Result<()> {
    for name in ["best/model.safetensors", "card.json"] {
        let source = from.join(name);
        let bytes = std::fs::read(&source).map_err(|e| Error::io("read", &source, e))?;
        let target = to.join(name);
        atomic_file::create_folders(target.parent().unwrap_or(to))?;
        atomic_file::write(&target, |w| w.write_all(&bytes).map_err(|e| Error::io("write", &target, e)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;

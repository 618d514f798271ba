//! Trains the report model on images, accepted boxes and reference reports of a dataset of the lake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use d2r_contracts::decode::DecodeOptions;
use d2r_contracts::report_text::sentences;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, ReportRow};
use d2r_contracts::vocabulary::Vocabulary;
use rayon::prelude::*;

use crate::context::{Context, StageResult};
use crate::datasets::prior_filter::without_prior_mentions;
use crate::datasets::source::{SourceError, read_radiograph};
use crate::detector::card::DetectorCard;
use crate::error::{Error, Result};
use crate::lake::digest::file_digest;
use crate::lake::{Lake, Partition, Provenance, Shard, atomic_file};
use crate::reporter::align::alignment::Alignment;
use crate::reporter::batches::augment::StudyAugment;
use crate::reporter::batches::study::{NamedRegions, ReportExample, VisualSpec, box_of, study_views, study_visual};
use crate::reporter::batches::text_tokens::{EncodedTexts, TextTokens};
use crate::reporter::card::{ReporterCard, new_model, visual_spec};
use crate::reporter::train::training_loop::{ReportTraining, train};
use crate::stages::decoding::generation_options;
use crate::stages::work_key::work_key;
use crate::training::model_card::ModelCard;
use crate::training::run_dir::RunDir;
use crate::weights::bert_names::import_text_encoder;
use d2r_contracts::grounding::{BoxFacts, SentenceFacts, boxes_named};

/// The first word of the runs' names.
const VERB: &str = "reporter";
/// Tables that a training example comes from.
const INPUTS: [&str; 3] = [ImageRow::TABLE, LesionRow::TABLE, ReportRow::TABLE];

/// What to train on.
#[derive(Debug, Clone)]
pub struct Args {
    /// The lake.
    pub lake: PathBuf,
    /// Its dataset with reports and annotated boxes.
    pub dataset: String,
    /// The run whose detector annotated the dataset; copied into the new run.
    pub detector: Option<PathBuf>,
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
    let detector = match &args.detector {
        Some(run) => Some(ModelCard::<DetectorCard>::read(run, "detector")?.model_sha256),
        None => None,
    };
    let key = key(ctx, &lake, &args.dataset, detector.as_deref())?;
    let found = RunDir::at(args.runs.join(RunDir::name(VERB, &key)), "");
    if ctx.resume
        && let Some(result) = found.result()?
        && ModelCard::<ReporterCard>::read(found.path(), VERB).is_ok()
    {
        return Ok(StageResult { cached: true, wall_s: start.elapsed().as_secs_f64(), ..result });
    }
    let run = RunDir::create(&args.runs, VERB, &key, ctx)?;
    let _lock = run.lock()?;
    let config = &ctx.config.report;
    let texts = to_learn_from(ctx, section(ctx, lake.read(&Partition::new(&args.dataset, "train"))?));
    if texts.is_empty() {
        let hint = format!("training needs texts of section `{}`: run `d2r ingest`", ctx.config.ingest.section);
        return Err(lake.no_rows(ReportRow::TABLE, Partition::new(&args.dataset, "train"), hint));
    }
    let card = ReporterCard {
        config: config.model.clone(),
        visual: visual_spec(&config.model),
        vocabulary: Vocabulary::build(texts.iter().map(|r| r.text_clean.as_str()), config.train.min_word_count),
        detector_sha256: detector,
        align: config.align.is_on().then(|| config.align.clone()),
    };
    let text = text_tokens(ctx, &card.vocabulary)?;
    let (training, mut failures) = examples(ctx, &lake, &args.dataset, "train", &card, text.as_ref())?;
    let (validation, more) = examples(ctx, &lake, &args.dataset, "val", &card, None)?;
    failures.extend(more);
    tch::manual_seed(ctx.config.run.seed as i64);
    let mut model = new_model(&card, ctx.device)?;
    model.set_compute(ctx.compute_kind());
    let mut alignment = match &text {
        Some(text) => Some(new_alignment(ctx, text, model.d_visual())?),
        None => None,
    };
    let augment = StudyAugment::new(&config.train.augment, card.visual, &card.vocabulary, text.as_ref())?;
    let job = ReportTraining {
        train: &training,
        augment: augment.as_ref(),
        validation: &validation,
        vocabulary: &card.vocabulary,
        visual: card.visual,
        config: &config.train,
        decode: generation_options(ctx, &card.vocabulary),
        seed: ctx.config.run.seed,
        device: ctx.device,
        progress: ctx.progress,
        stop: &ctx.stop,
    };
    let outcome = train(&mut model, alignment.as_mut(), &run, &job)?;
    if let Some(from) = &args.detector {
        copy_detector(from, &run.path().join("detector"))?;
    }
    ModelCard::new(VERB, run.id(), outcome.model_sha256.clone(), card).write(&run)?;

    let partition = Partition::new(&args.dataset, "train");
    let provenance =
        Provenance { run_id: run.id().into(), model_sha256: Some(outcome.model_sha256.clone()), work_key: key };
    let log = lake.write(&partition, Shard::default(), outcome.log, &provenance)?;
    let failed = lake.write(&partition, Shard::default(), failures, &provenance)?;
    let mut figures = BTreeMap::from([("steps".to_owned(), outcome.steps as f64)]);
    if let Some(score) = outcome.best_score {
        figures.insert("val.score".into(), score);
    }
    let result = StageResult {
        stage: "train-reporter".into(),
        cached: false,
        rows: [("train_log".into(), log.rows), (FailureRow::TABLE.into(), failed.rows)].into(),
        files: vec![file_digest(&run.best())?, file_digest(&run.path().join("card.json"))?],
        figures,
        wall_s: start.elapsed().as_secs_f64(),
    };
    run.finish(&result)?;
    Ok(result)
}

fn key(ctx: &Context, lake: &Lake, dataset: &str, detector: Option<&str>) -> Result<String> {
    let config = serde_json::to_string(&(&ctx.config.report, &ctx.config.generate, &ctx.config.ingest.section))
        .map_err(|e| Error::Internal(e.to_string()))?;
    let seed = ctx.config.run.seed.to_string();
    let mut inputs = String::new();
    for split in ["train", "val"] {
        for table in INPUTS {
            inputs.push_str(&format!(
                "{split} {table} {}\n",
                lake.content_digest(table, &Partition::new(dataset, split))?
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
    let mut alignment = Alignment::new(config, text.token_count(), d_visual, ctx.device)?;
    if !config.text.weights.is_empty() {
        let path = Path::new(&config.text.weights).join("model.safetensors");
        import_text_encoder(&mut alignment, &path)?;
    }
    Ok(alignment)
}

/// Reports of the training split without what is not learnt.
fn to_learn_from(ctx: &Context, rows: Vec<ReportRow>) -> Vec<ReportRow> {
    let rule = ctx.config.report.train.prior_mentions;
    rows.into_iter()
        .filter_map(|row| Some(ReportRow { text_clean: without_prior_mentions(&row.text_clean, rule)?, ..row }))
        .collect()
}

fn section(ctx: &Context, rows: Vec<ReportRow>) -> Vec<ReportRow> {
    rows.into_iter().filter(|r| r.section == ctx.config.ingest.section).collect()
}

/// One example for each image whose study has a report, in the order of image ids; one for each such study where the model sees
/// several views. From the training split sentences that are not learnt are left out.
pub fn examples(
    ctx: &Context,
    lake: &Lake,
    dataset: &str,
    split: &str,
    card: &ReporterCard,
    text: Option<&TextTokens>,
) -> Result<(Vec<ReportExample>, Vec<FailureRow>)> {
    let partition = Partition::new(dataset, split);
    let mut reports = section(ctx, lake.read(&partition)?);
    if split == "train" {
        reports = to_learn_from(ctx, reports);
    }
    let reports: BTreeMap<String, ReportRow> = reports.into_iter().map(|r| (r.study_id.clone(), r)).collect();
    let boxes = accepted(lake.read(&partition)?);
    let studies = study_views(lake.read(&partition)?, card.visual.views);
    let root = lake.dataset_root(dataset)?;
    let decode = DecodeOptions { allow_phi: ctx.config.ingest.allow_phi, ..DecodeOptions::default() };
    let task = ctx.progress.task(&format!("read {split} films"), studies.len() as u64, "films");
    let max_tokens = ctx.config.report.train.max_tokens;
    let read: Vec<Option<Result<ReportExample, FailureRow>>> = studies
        .par_iter()
        .map(|films| {
            let image = films.first()?;
            let report = reports.get(&image.study_id).filter(|_| !ctx.stop.is_set())?;
            task.advance(1);
            let lesions = boxes.get(&image.image_id).map_or(&[][..], Vec::as_slice);
            let made = example(&root, films, lesions, report, (&card.visual, &card.vocabulary, max_tokens), &decode);
            let longest = ctx.config.report.align.text.max_tokens.max(0) as usize;
            let made = made.map(|example| match text {
                Some(text) => ReportExample { texts: text.report(&example.reference, longest), ..example },
                None => example,
            });
            Some(made.map_err(|e| e.into_row("train-reporter", &image.path, Some(&image.image_id))))
        })
        .collect();
    ctx.stop.check()?;
    task.finish();
    let (mut examples, mut failures) = (Vec::new(), Vec::new());
    for result in read.into_iter().flatten() {
        match result {
            Ok(example) => examples.push(example),
            Err(failure) => failures.push(failure),
        }
    }
    Ok((examples, failures))
}

/// Accepted boxes of the detector by image; readers' where the detector has not been.
pub fn accepted(lesions: Vec<LesionRow>) -> BTreeMap<String, Vec<LesionRow>> {
    let pseudo = lesions.iter().any(|l| l.source == "pseudo");
    let wanted = if pseudo { "pseudo" } else { "fused" };
    let mut by_image: BTreeMap<String, Vec<LesionRow>> = BTreeMap::new();
    for row in lesions.into_iter().filter(|l| l.accepted && l.source == wanted) {
        by_image.entry(row.image_id.clone()).or_default().push(row);
    }
    by_image
}

fn example(
    root: &Path,
    films: &[ImageRow],
    lesions: &[LesionRow],
    report: &ReportRow,
    (spec, vocabulary, max_tokens): (&VisualSpec, &Vocabulary, usize),
    decode: &DecodeOptions,
) -> Result<ReportExample, SourceError> {
    let views = films.iter().map(|film| read_radiograph(root, film, decode)).collect::<Result<Vec<_>, _>>()?;
    let (visual, kept) = study_visual(&views[0], lesions, spec);
    let visual = visual.with_views(views[1..].iter(), spec);
    let width = views[0].width as f32;
    let boxes: Vec<BoxFacts> =
        kept.iter().map(|&i| BoxFacts::of(lesions[i].class_id, &box_of(&lesions[i]), width)).collect();
    let named = sentences(&report.text_clean)
        .into_iter()
        .map(|s| NamedRegions {
            first: s.tokens.start,
            end: s.tokens.end,
            regions: boxes_named(&SentenceFacts::of(&s.text), &boxes),
        })
        .filter(|n| !n.regions.is_empty())
        .collect();
    Ok(ReportExample {
        study_id: report.study_id.clone(),
        visual: Arc::new(visual),
        ids: vocabulary.encode(&report.text_clean, max_tokens),
        named,
        reference: report.text_clean.clone(),
        texts: EncodedTexts::default(),
    })
}

/// Copies weights and card, so that the run can report on films alone.
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

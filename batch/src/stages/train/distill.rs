//! Distils a finished report model into a preview model.

use std::path::PathBuf;
use std::time::Instant;

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::labels::LabelState;
use d2r_contracts::preprocess::{InputSpec, to_model_input};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::report_labeler::label;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, ReportRow};
use rayon::prelude::*;

use crate::context::{Context, StageResult};
use crate::datasets::source::{SourceError, read_radiograph};
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};
use crate::preview_model::card::{KIND, PreviewModelCard, input_spec};
use crate::preview_model::distill::batch::PreviewExample;
use crate::preview_model::distill::targets::TargetBox;
use crate::preview_model::distill::trainer::{Distillation, Pair, distill};
use crate::preview_model::model::preview_model::PreviewModel;
use crate::reporter::batches::collate::collate_visuals_of;
use crate::reporter::batches::examples::examples;
use crate::reporter::batches::given_boxes::{BoxesFrom, given_boxes};
use crate::reporter::batches::study::{ReportExample, box_of, study_visual};
use crate::reporter::batches::text_tokens::EncodedTexts;
use crate::reporter::card::{ReporterCard, load_reporter};
use crate::reporter::model::report_model::ReportModel;
use crate::stages::decoding::{generation_options, swapped_tokens};
use crate::stages::train::finish::TrainingStage;
use crate::stages::work_key::work_key;
use crate::training::model_card::ModelCard;

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
        train: &training,
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

/// Reads studies as examples of both models.
struct PairReader<'a> {
    ctx: &'a Context,
    lake: &'a Lake,
    report_model: &'a ReportModel,
    card: &'a ModelCard<ReporterCard>,
}

impl PairReader<'_> {
    /// Studies with reports; those of the training split with generated reports as well.
    fn reported(&self, partition: &Partition, input: &InputSpec) -> Result<(Vec<Pair>, Vec<FailureRow>)> {
        let (studies, failures) =
            examples(self.ctx, self.lake, partition, &self.card.model, None, BoxesFrom::Detector)?;
        let boxes = given_boxes(self.lake, partition, BoxesFrom::Detector)?;
        let images: Vec<ImageRow> = self.lake.read(partition)?;
        let with_report: std::collections::BTreeSet<&str> = studies.iter().map(|s| s.study_id.as_str()).collect();
        let failed: std::collections::BTreeSet<&str> = failures.iter().filter_map(|f| f.image_id.as_deref()).collect();
        let used: Vec<&ImageRow> = images
            .iter()
            .filter(|i| with_report.contains(i.study_id.as_str()) && !failed.contains(i.image_id.as_str()))
            .collect();
        if used.len() != studies.len() {
            let problem = format!("{} studies of {partition} against {} images", studies.len(), used.len());
            return Err(Error::Internal(problem));
        }
        let texts = match partition.split == "train" {
            true => self.generated(&studies)?,
            false => vec![Vec::new(); studies.len()],
        };
        // Threads share these; tensors cannot be shared.
        let (root, decode) = (self.lake.dataset_root(&partition.dataset)?, self.decode());
        let made: Vec<Result<PreviewExample>> = studies
            .par_iter()
            .zip(used)
            .zip(texts)
            .map(|((study, image), generated_ids)| {
                let radiograph = read_radiograph(&root, image, &decode)
                    .map_err(|_| Error::bad_data(&image.path, "the file changed during the run; run it again"))?;
                let lesions = boxes.get(&image.image_id).map_or(&[][..], Vec::as_slice);
                let (pixels, boxes) = preview_input(&radiograph, lesions, input);
                Ok(preview_example(study, pixels, boxes, generated_ids))
            })
            .collect();
        let made = made.into_iter().collect::<Result<Vec<PreviewExample>>>()?;
        Ok((studies.into_iter().zip(made).collect(), failures))
    }

    /// Images whose only report is the generated one.
    fn unreported(&self, partition: &Partition, input: &InputSpec) -> Result<(Vec<Pair>, Vec<FailureRow>)> {
        let card = &self.card.model;
        let images: Vec<ImageRow> = self.lake.read_some(partition, "run `d2r ingest`")?;
        let boxes = match given_boxes(self.lake, partition, BoxesFrom::Detector) {
            Err(Error::NoRows { .. }) => {
                self.ctx.progress.line(&format!("{partition} is not annotated: the annotators' boxes are taken"));
                given_boxes(self.lake, partition, BoxesFrom::Annotators)?
            }
            boxes => boxes?,
        };
        let (root, decode) = (self.lake.dataset_root(&partition.dataset)?, self.decode());
        let read: Vec<Result<_, FailureRow>> = images
            .par_iter()
            .map(|image| {
                let failed = |e: SourceError| e.into_row(KIND, &image.path, Some(&image.image_id));
                let radiograph = read_radiograph(&root, image, &decode).map_err(failed)?;
                let lesions = boxes.get(&image.image_id).map_or(&[][..], Vec::as_slice);
                let (visual, _) = study_visual(&radiograph, lesions, &card.visual);
                let study_id = image.study_id.clone();
                let study = ReportExample {
                    study_id,
                    visual: visual.into(),
                    ids: Vec::new(),
                    named: Vec::new(),
                    reference: String::new(),
                    labels: [LabelState::Blank; 14],
                    texts: EncodedTexts::default(),
                };
                Ok((study, preview_input(&radiograph, lesions, input)))
            })
            .collect();
        self.ctx.stop.check()?;
        let (mut studies, mut inputs, mut failures) = (Vec::new(), Vec::new(), Vec::new());
        for result in read {
            match result {
                Ok((study, input)) => {
                    studies.push(study);
                    inputs.push(input);
                }
                Err(failure) => failures.push(failure),
            }
        }
        let texts = self.generated(&studies)?;
        let with_text = studies.into_iter().zip(inputs).zip(texts).filter(|(_, ids)| ids.len() > 2);
        let pairs = with_text.map(|((study, (pixels, boxes)), ids)| {
            let reference = card.vocabulary.decode(&ids[1..ids.len() - 1]);
            let labels = label(&reference);
            let study = ReportExample { ids: ids.clone(), reference, labels, ..study };
            let example = preview_example(&study, pixels, boxes, ids);
            (study, example)
        });
        Ok((pairs.collect(), failures))
    }

    fn decode(&self) -> ImageDecodeOptions {
        ImageDecodeOptions { allow_phi: self.ctx.config.ingest.allow_phi, ..ImageDecodeOptions::default() }
    }

    /// Ids of the report that the report model generates for each study, with their boundaries; empty where it
    /// contradicts the reference.
    fn generated(&self, studies: &[ReportExample]) -> Result<Vec<Vec<i64>>> {
        let (ctx, card) = (self.ctx, &self.card.model);
        let options = generation_options(ctx, &card.vocabulary);
        let mirrored = swapped_tokens(ctx, &card.vocabulary)?;
        let task = ctx.progress.task("generate reports", studies.len() as u64, "images");
        let mut texts = Vec::with_capacity(studies.len());
        for chunk in studies.chunks(ctx.config.generate.batch_size.max(1)) {
            ctx.stop.check()?;
            let batch = collate_visuals_of(&chunk.iter().collect::<Vec<_>>(), &card.visual, ctx.device)?;
            for (report, study) in
                self.report_model.generate(&batch, mirrored.as_deref(), &options)?.into_iter().zip(chunk)
            {
                let contradicts =
                    !study.reference.is_empty() && contradicts(&card.vocabulary.decode(&report.tokens), &study.labels);
                texts.push(if contradicts { Vec::new() } else { [&[0], report.tokens.as_slice(), &[0]].concat() });
            }
            task.advance(chunk.len() as u64);
        }
        task.finish();
        Ok(texts)
    }
}

/// Pixels and boxes of a radiograph in the preview model's input.
fn preview_input(radiograph: &Radiograph, lesions: &[LesionRow], input: &InputSpec) -> (Vec<u8>, Vec<TargetBox>) {
    let resized = to_model_input(radiograph, input);
    let share = |row: &LesionRow| {
        let edges = resized.letterbox.model_from_original(&box_of(row)).to_array().map(|v| v / input.size as f32);
        TargetBox { class_id: row.class_id.max(0) as usize, score: row.score.clamp(0.0, 1.0), edges }
    };
    let boxes = lesions.iter().map(share).collect();
    (resized.pixels, boxes)
}

/// Whether a label that is positive or uncertain in the reference is negative or blank in the text.
fn contradicts(text: &str, reference: &[LabelState; 14]) -> bool {
    let stated = |s: LabelState| matches!(s, LabelState::Positive | LabelState::Uncertain);
    reference.iter().zip(label(text)).any(|(&theirs, ours)| stated(theirs) && !stated(ours))
}

/// The reference where there is no generated text.
fn preview_example(
    study: &ReportExample,
    pixels: Vec<u8>,
    boxes: Vec<TargetBox>,
    generated_ids: Vec<i64>,
) -> PreviewExample {
    let states = &study.labels;
    let stated = |s: &LabelState| matches!(s, LabelState::Positive | LabelState::Uncertain);
    let generated_ids = if generated_ids.len() > 2 { generated_ids } else { study.ids.clone() };
    PreviewExample {
        pixels,
        boxes,
        labels: std::array::from_fn(|i| if stated(&states[i]) { 1.0 } else { 0.0 }),
        ids: study.ids.clone(),
        generated_ids,
    }
}

//! The report model as a writer: boxes from the lake or from the run's detector, then words, sentences, and links by
//! attention.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use d2r_contracts::grounding::{SentenceFacts, links, sentence_weights};
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::report_text::{SentenceSpan, sentences};
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::detector::card::{DetectorCard, load_detector};
use crate::detector::inference::{InferenceOptions, detect_radiographs};
use crate::detector::lesion_row::{RowOrigin, lesion_rows};
use crate::detector::model::Detector;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};
use crate::reporter::batches::collate::collate_visuals;
use crate::reporter::batches::given_boxes::{BoxReader, BoxesFrom};
use crate::reporter::batches::study::{StudyVisual, study_visual};
use crate::reporter::card::{ReporterCard, load_reporter};
use crate::reporter::decode::generation::GeneratedReport;
use crate::reporter::decode::generation_options::GenerationOptions;
use crate::reporter::model::report_model::ReportModel;
use crate::reporter::model::visual::VisualFeatures;
use crate::stages::decoding::{generation_options, swapped_tokens};
use crate::stages::report::ImageSource;
use crate::stages::report::explanation::write_explanation;
use crate::stages::report::images::ReportImage;
use crate::stages::report::report_writer::{ImageReports, LinkedSentence, Report, ReportWriter};
use crate::stages::report::similarity::Similarity;
use crate::training::model_card::ModelCard;

/// A report model and what gives it boxes.
pub struct ReportModelWriter<'a> {
    ctx: &'a Context,
    model: ReportModel,
    card: ModelCard<ReporterCard>,
    boxes: BoxSource,
    options: GenerationOptions,
    /// For each token its laterality counterpart; `None` without flip test-time augmentation.
    swapped_tokens: Option<Vec<i64>>,
    /// The run's text encoder, where links use it.
    similarity: Option<Similarity>,
    /// Receives a picture of each image's first report.
    explain: Option<PathBuf>,
}

/// Where boxes come from.
enum BoxSource {
    /// The report model uses no regions.
    Unused,
    /// Accepted lesions of the lake, and the content digest of the table.
    Lake { lesions: Box<RefCell<BoxReader>>, digest: String },
    /// The detector that the report model was trained with.
    Detector { detector: Box<Detector>, card: Box<ModelCard<DetectorCard>> },
}

/// A report with its sentences' places and each sentence's weight on each box.
struct WeightedReport {
    /// Index of the image in the batch.
    image: usize,
    generated: GeneratedReport,
    text: String,
    spans: Vec<SentenceSpan>,
    weights: Vec<Vec<f32>>,
}

impl<'a> ReportModelWriter<'a> {
    /// The report model of a finished run.
    ///
    /// # Errors
    /// When the run is not finished, its weights do not fit its card, or the lake cannot be read.
    pub fn load(
        ctx: &'a Context,
        source: &ImageSource,
        run: &Path,
        explain: Option<PathBuf>,
        boxes: BoxesFrom,
    ) -> Result<Self> {
        let (mut model, card) = load_reporter(run, ctx.device)?;
        model.set_compute(ctx.compute_kind());
        let boxes = match card.model.config.regions {
            true => BoxSource::new(ctx, source, run, boxes, &card.model.labels)?,
            false => BoxSource::Unused,
        };
        let similarity = match ctx.config.generate.similarity_share > 0.0 {
            true => Similarity::of_run(run, &card.model, model.d_visual(), ctx.device)?,
            false => None,
        };
        let options = generation_options(ctx, &card.model.vocabulary);
        let swapped_tokens = swapped_tokens(ctx, &card.model.vocabulary)?;
        Ok(Self { ctx, model, card, boxes, options, swapped_tokens, similarity, explain })
    }

    /// Reports on a batch, image by image.
    fn write_batch(&self, batch: &[ReportImage], lesions: &[Vec<LesionRow>]) -> Result<Vec<ImageReports>> {
        self.ctx.stop.check()?;
        let _no_grad = tch::no_grad_guard();
        let spec = &self.card.model.visual;
        let visuals: Vec<(StudyVisual, Vec<usize>)> = batch
            .par_iter()
            .zip(lesions)
            .map(|(image, lesions)| {
                let accepted: Vec<usize> = (0..lesions.len()).filter(|&i| lesions[i].accepted).collect();
                let rows: Vec<LesionRow> = accepted.iter().map(|&i| lesions[i].clone()).collect();
                let (visual, kept) = study_visual(&image.radiograph, &rows, spec);
                (visual.with_views(image.views.iter(), spec), kept.into_iter().map(|i| accepted[i]).collect())
            })
            .collect();
        let studies: Vec<&StudyVisual> = visuals.iter().map(|(visual, _)| visual).collect();
        let tensors = collate_visuals(&studies, spec, self.ctx.device)?;
        let keys: Vec<u64> = batch.iter().map(|image| sampling_key(&image.row.image_id)).collect();
        let generated = self.model.generate_all(&tensors, self.swapped_tokens.as_deref(), &self.options, &keys)?;
        let of_image = |(image, reports): (usize, Vec<GeneratedReport>)| reports.into_iter().map(move |r| (image, r));
        let all = generated.reports.into_iter().enumerate().flat_map(of_image);
        let mut weighted: Vec<WeightedReport> = all.map(|(image, report)| self.weighted(image, report)).collect();
        self.add_similarity(&generated.features, &mut weighted)?;
        let boxes = visuals.into_iter().map(|(_, kept)| kept);
        let mut reports: Vec<ImageReports> = lesions
            .iter()
            .zip(boxes)
            .map(|(lesions, boxes)| ImageReports { lesions: lesions.clone(), boxes, reports: Vec::new() })
            .collect();
        for report in weighted {
            reports[report.image].reports.push(self.linked(report));
        }
        if let Some(folder) = &self.explain {
            batch.iter().zip(&reports).try_for_each(|(image, reports)| write_explanation(folder, image, reports))?;
        }
        Ok(reports)
    }

    /// Text and sentences of a report; weights by attention.
    fn weighted(&self, image: usize, generated: GeneratedReport) -> WeightedReport {
        let text = self.card.model.vocabulary.decode(&generated.tokens);
        let spans = sentences(&text);
        let weights =
            spans.iter().map(|span| sentence_weights(&generated.attention[words_of(span, &generated)])).collect();
        WeightedReport { image, generated, text, spans, weights }
    }

    /// Mixes the text encoder's similarity into the weights of sentences that are similar to any region.
    fn add_similarity(&self, features: &VisualFeatures, reports: &mut [WeightedReport]) -> Result<()> {
        let Some(similarity) = &self.similarity else { return Ok(()) };
        let texts: Vec<(usize, String)> =
            reports.iter().flat_map(|r| r.spans.iter().map(|span| (r.image, span.text.clone()))).collect();
        let mut similarities = similarity.weights(features, &texts)?.into_iter();
        let share = self.ctx.config.generate.similarity_share as f32;
        for weights in reports.iter_mut().flat_map(|r| r.weights.iter_mut()) {
            let similar = similarities.next().unwrap_or_default();
            if similar.iter().any(|w| *w > 0.0) {
                weights.iter_mut().zip(similar).for_each(|(w, s)| *w = (1.0 - share) * *w + share * s);
            }
        }
        Ok(())
    }

    /// Sentences with their links.
    fn linked(&self, report: WeightedReport) -> Report {
        let WeightedReport { generated, text, spans, weights, .. } = report;
        let config = &self.ctx.config.generate;
        let sentences = spans.into_iter().zip(&weights).map(|(span, weights)| LinkedSentence {
            log_prob: generated.log_probs[words_of(&span, &generated)].iter().sum(),
            links: links(&SentenceFacts::of(&span.text), weights, config.link_weight_min as f32),
            span,
        });
        Report {
            sentences: sentences.collect(),
            text,
            log_probs: generated.log_probs,
            ended: generated.ended,
            beam_size: config.beam_size,
            max_words: config.max_words,
        }
    }
}

impl ReportWriter for ReportModelWriter<'_> {
    /// All lesions of the image, accepted or not.
    type Detections = Vec<LesionRow>;

    fn views(&self) -> usize {
        self.card.model.visual.views
    }

    fn model_sha256(&self) -> &str {
        &self.card.model_sha256
    }

    fn labels(&self) -> &LabelSet {
        &self.card.model.labels
    }

    fn identity(&self) -> Result<Vec<(&'static str, String)>> {
        let config = &self.ctx.config;
        let settings = serde_json::to_string(&(&config.generate, config.run.seed, &config.annotate))
            .map_err(|e| Error::Internal(e.to_string()))?;
        let boxes = match &self.boxes {
            BoxSource::Lake { digest, .. } => digest.clone(),
            BoxSource::Detector { card, .. } => card.model_sha256.clone(),
            BoxSource::Unused => "none".to_owned(),
        };
        let precision = config.run.precision.clone();
        let model = self.card.model_sha256.clone();
        Ok(vec![("config", settings), ("precision", precision), ("model", model), ("boxes", boxes)])
    }

    fn finds_lesions(&self) -> bool {
        matches!(self.boxes, BoxSource::Detector { .. })
    }

    fn explains(&self) -> bool {
        self.explain.is_some()
    }

    fn detect(&self, images: &[ReportImage]) -> Result<Vec<Vec<LesionRow>>> {
        self.boxes.lesions(self.ctx, images)
    }

    fn write(&self, images: &[ReportImage], detections: Vec<Vec<LesionRow>>) -> Result<Vec<ImageReports>> {
        let size = self.ctx.config.generate.batch_size.max(1);
        let batches = images.chunks(size).zip(detections.chunks(size));
        let reports = batches.map(|(batch, lesions)| self.write_batch(batch, lesions)).collect::<Result<Vec<_>>>()?;
        Ok(reports.into_iter().flatten().collect())
    }
}

impl BoxSource {
    /// `labels`: the classes that the report model was trained with.
    fn new(ctx: &Context, source: &ImageSource, run: &Path, boxes: BoxesFrom, labels: &LabelSet) -> Result<Self> {
        let check = |given: &LabelSet, place: String| match given.same_classes(labels) {
            true => Ok(()),
            false => {
                let problem = format!("its boxes have label set {given}, the report model was trained with {labels}");
                Err(Error::bad_data(place, problem))
            }
        };
        match source {
            ImageSource::Lake { lake, dataset, split } => {
                let (lake, partition) = (Lake::open(lake)?, Partition::new(dataset, split));
                let digest = lake.content_digest(LesionRow::TABLE, &partition)?;
                if lake.rows_of(LesionRow::TABLE, &partition)? > 0 {
                    check(&lake.label_set(&partition)?, format!("table {} {partition}", LesionRow::TABLE))?;
                }
                let lesions = Box::new(RefCell::new(BoxReader::new(lake, partition, boxes)?));
                Ok(Self::Lake { lesions, digest })
            }
            ImageSource::Folder { .. } => {
                let floor = ctx.config.annotate.score_floor;
                let (mut detector, card) = load_detector(&run.join("detector"), floor, ctx.device)?;
                detector.set_compute(ctx.compute_kind());
                check(&card.model.labels, run.join("detector").display().to_string())?;
                Ok(Self::Detector { detector: Box::new(detector), card: Box::new(card) })
            }
        }
    }

    /// The lesions of each image.
    fn lesions(&self, ctx: &Context, images: &[ReportImage]) -> Result<Vec<Vec<LesionRow>>> {
        match self {
            Self::Unused => Ok(vec![Vec::new(); images.len()]),
            Self::Lake { lesions, .. } => {
                // A shard's images come in the order of their ids, as the boxes do.
                let mut lesions = lesions.borrow_mut();
                images.iter().map(|image| lesions.of_image(&image.row.image_id)).collect()
            }
            Self::Detector { detector, card } => {
                let annotate = &ctx.config.annotate;
                let options = InferenceOptions {
                    input: card.model.input,
                    batch_size: annotate.batch_size,
                    flip_tta: annotate.flip_tta,
                };
                let radiographs: Vec<&Radiograph> = images.iter().map(|image| &image.radiograph).collect();
                let found = detect_radiographs(detector, &radiographs, options, &ctx.stop)?;
                let (thresholds, labels) = (&card.model.thresholds, &card.model.labels);
                let origin = RowOrigin { thresholds, model_sha256: Some(&card.model_sha256), labels };
                let rows = images.iter().zip(&found).map(|(image, d)| lesion_rows(&image.row.image_id, d, origin));
                rows.collect()
            }
        }
    }
}

/// The places of a sentence's words among the report's words.
fn words_of(span: &SentenceSpan, report: &GeneratedReport) -> Range<usize> {
    let words = report.tokens.len().min(report.attention.len());
    span.tokens.start.min(words)..span.tokens.end.min(words)
}

/// Seeds the sampling of an image's words, whatever images are in its batch.
fn sampling_key(image_id: &str) -> u64 {
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&Sha256::digest(image_id)[..8]);
    u64::from_le_bytes(bytes)
}

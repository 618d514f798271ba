//! Examples of the report model from a dataset of the lake: images, accepted boxes, reference reports.

use std::collections::BTreeMap;

use d2r_contracts::grounding::{BoxFacts, SentenceFacts, boxes_named};
use d2r_contracts::report_labeler::label;
use d2r_contracts::report_text::sentences_with_source;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, ReportRow};
use rayon::prelude::*;

use crate::context::Context;
use crate::datasets::prior_filter::without_prior_mentions;
use crate::error::Result;
use crate::lake::{Lake, Partition};
use crate::reporter::batches::given_boxes::{BoxesFrom, given_boxes};
use crate::reporter::batches::random_crop::prepared_spec;
use crate::reporter::batches::study::{NamedRegions, ReportExample, box_of, study_views};
use crate::reporter::batches::text_tokens::{EncodedTexts, TextTokens};
use crate::reporter::batches::visual_reader::{ReadError, VisualReader};
use crate::reporter::card::ReporterCard;

/// The split that models are trained on.
const TRAIN: &str = "train";

/// The reports of the configured section; in the training split without sentences that `report.train.prior_mentions`
/// leaves out.
///
/// # Errors
/// Those of reading.
pub fn reference_reports(ctx: &Context, lake: &Lake, partition: &Partition) -> Result<Vec<ReportRow>> {
    let rows: Vec<ReportRow> = lake.read(partition)?;
    let rows = rows.into_iter().filter(|r| r.section == ctx.config.ingest.section);
    if partition.split != TRAIN {
        return Ok(rows.collect());
    }
    let rule = ctx.config.report.train.prior_mentions;
    Ok(rows.filter_map(|row| without_prior_mentions(row, rule)).collect())
}

/// One example for each image whose study has a report, in the order of image ids; one for each such study where the
/// model sees several views. Images of the training split are prepared for `report.train.augment`. `text`: the text
/// encoder's tokens, where image and text are aligned. Images that cannot be read are rows of `failures`.
///
/// # Errors
/// [`crate::Error::Stopped`] after a signal; those of reading tables.
pub fn examples(
    ctx: &Context,
    lake: &Lake,
    partition: &Partition,
    card: &ReporterCard,
    text: Option<&TextTokens>,
    from: BoxesFrom,
) -> Result<(Vec<ReportExample>, Vec<FailureRow>)> {
    let is_cropped = partition.split == TRAIN && ctx.config.report.train.random_crop;
    let spec = if is_cropped { prepared_spec(&card.visual) } else { card.visual };
    let visuals = VisualReader::new(ctx, lake, &partition.dataset, spec, KEPT_BYTES)?;
    examples_read_by(visuals, ctx, lake, partition, card, text, from)
}

/// [`examples`] with pixels from this reader.
///
/// # Errors
/// Those of [`examples`].
pub(crate) fn examples_read_by(
    visuals: VisualReader,
    ctx: &Context,
    lake: &Lake,
    partition: &Partition,
    card: &ReporterCard,
    text: Option<&TextTokens>,
    from: BoxesFrom,
) -> Result<(Vec<ReportExample>, Vec<FailureRow>)> {
    let reports = reference_reports(ctx, lake, partition)?;
    let reports: BTreeMap<String, ReportRow> = reports.into_iter().map(|r| (r.study_id.clone(), r)).collect();
    let boxes = match card.config.regions {
        true => given_boxes(lake, partition, from)?,
        false => BTreeMap::new(),
    };
    let studies = study_views(lake.read(partition)?, card.visual.views);
    let reader = ExampleReader { visuals, card, max_tokens: ctx.config.report.train.max_tokens };
    let longest = ctx.config.report.align.text.max_tokens.max(0) as usize;
    let task = ctx.progress.task(&format!("read {} images", partition.split), studies.len() as u64, "images");
    let read: Vec<Option<Result<ReportExample, FailureRow>>> = studies
        .par_iter()
        .map(|images| {
            let report = |image: &ImageRow| reports.get(&image.study_id).filter(|_| !ctx.stop.is_set());
            let Some((image, report)) = images.first().and_then(|image| Some((image, report(image)?))) else {
                return Ok(None);
            };
            task.advance(1);
            let lesions = boxes.get(&image.image_id).map_or(&[][..], Vec::as_slice);
            let example = reader.example(images, lesions, report).map(|example| match text {
                Some(text) => ReportExample { texts: text.report(&example.reference, longest), ..example },
                None => example,
            });
            match example {
                Ok(example) => Ok(Some(Ok(example))),
                Err(ReadError::Image(e)) => {
                    Ok(Some(Err(e.into_row("train-reporter", &image.path, Some(&image.image_id)))))
                }
                Err(ReadError::Store(e)) => Err(e),
            }
        })
        .collect::<Result<_>>()?;
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

/// Bytes of pixels of a split that are kept in memory at most; those of further studies are read from the store at each use.
const KEPT_BYTES: usize = 2 << 30;

/// How the images and the report of a study become an example.
struct ExampleReader<'a> {
    visuals: VisualReader,
    card: &'a ReporterCard,
    /// Longest target, ids.
    max_tokens: usize,
}

impl ExampleReader<'_> {
    /// `images`: the views of the study, at least one; `lesions`: boxes of the first.
    fn example(
        &self,
        images: &[ImageRow],
        lesions: &[LesionRow],
        report: &ReportRow,
    ) -> Result<ReportExample, ReadError> {
        let (visual, kept, width) = self.visuals.visual(images, lesions)?;
        let facts = |&i: &usize| BoxFacts::in_set(&self.card.labels, lesions[i].class_id, &box_of(&lesions[i]), width);
        let boxes: Vec<BoxFacts> = kept.iter().map(facts).collect();
        let named = sentences_with_source(&report.text_clean, &report.text)
            .into_iter()
            .map(|(sentence, source)| NamedRegions {
                first: sentence.tokens.start,
                end: sentence.tokens.end,
                regions: boxes_named(&SentenceFacts::of(&source), &boxes),
            })
            .filter(|n| !n.regions.is_empty())
            .collect();
        Ok(ReportExample {
            study_id: report.study_id.clone(),
            visual,
            ids: self.card.vocabulary.encode(&report.text_clean, self.max_tokens),
            named,
            reference: report.text_clean.clone(),
            labels: label(&report.text),
            texts: EncodedTexts::default(),
        })
    }
}

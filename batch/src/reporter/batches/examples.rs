//! Examples of the report model from a dataset of the lake: images, accepted boxes, reference reports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::grounding::{BoxFacts, SentenceFacts, boxes_named};
use d2r_contracts::preprocess::letterbox_of;
use d2r_contracts::report_labeler::label;
use d2r_contracts::report_text::sentences_with_source;
use d2r_contracts::space::ImageSize;
use d2r_contracts::tables::{FailureRow, ImageRow, LesionRow, ReportRow};
use rayon::prelude::*;

use crate::context::Context;
use crate::datasets::prepared::{self, PreparedKey, PreparedStore};
use crate::datasets::prior_filter::without_prior_mentions;
use crate::datasets::source::{SourceError, read_radiograph};
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};
use crate::reporter::batches::given_boxes::{BoxesFrom, given_boxes};
use crate::reporter::batches::study::{
    NamedRegions, ReportExample, ScoredRegion, StudyVisual, VisualSpec, box_of, scored_regions, study_views,
    study_visual,
};
use crate::reporter::batches::text_tokens::{EncodedTexts, TextTokens};
use crate::reporter::batches::visual_handle::{StoredVisual, VisualHandle};
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
/// model sees several views. `text`: the text encoder's tokens, where image and text are aligned. Images that cannot
/// be read are rows of `failures`.
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
    examples_within(ctx, lake, partition, card, text, from, KEPT_BYTES)
}

/// [`examples`] with at most `kept_bytes` of pixels in memory.
///
/// # Errors
/// Those of [`examples`].
pub(crate) fn examples_within(
    ctx: &Context,
    lake: &Lake,
    partition: &Partition,
    card: &ReporterCard,
    text: Option<&TextTokens>,
    from: BoxesFrom,
    kept_bytes: usize,
) -> Result<(Vec<ReportExample>, Vec<FailureRow>)> {
    let reports = reference_reports(ctx, lake, partition)?;
    let reports: BTreeMap<String, ReportRow> = reports.into_iter().map(|r| (r.study_id.clone(), r)).collect();
    let boxes = match card.config.regions {
        true => given_boxes(lake, partition, from)?,
        false => BTreeMap::new(),
    };
    let studies = study_views(lake.read(partition)?, card.visual.views);
    let reader = ExampleReader {
        root: lake.dataset_root(&partition.dataset)?,
        store: PreparedStore::at(lake.root().join(prepared::FOLDER)),
        kept: AtomicUsize::new(0),
        kept_bytes,
        decode: ImageDecodeOptions { allow_phi: ctx.config.ingest.allow_phi, ..ImageDecodeOptions::default() },
        card,
        max_tokens: ctx.config.report.train.max_tokens,
    };
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

/// Why a study is not at hand: an image cannot be used, or the prepared one cannot be kept.
enum ReadError {
    Image(SourceError),
    Store(Error),
}

impl From<SourceError> for ReadError {
    fn from(error: SourceError) -> Self {
        Self::Image(error)
    }
}

/// How the images and the report of a study become an example.
struct ExampleReader<'a> {
    root: PathBuf,
    store: PreparedStore,
    /// Bytes of pixels in memory, and how many may be there.
    kept: AtomicUsize,
    kept_bytes: usize,
    decode: ImageDecodeOptions,
    card: &'a ReporterCard,
    /// Longest target, ids.
    max_tokens: usize,
}

impl ExampleReader<'_> {
    /// The pixels of a study, the index of each region's row in `lesions`, and the width of the first view. A study that is
    /// prepared is not decoded.
    fn visual(&self, images: &[ImageRow], lesions: &[LesionRow]) -> Result<(VisualHandle, Vec<usize>, f32), ReadError> {
        let spec = &self.card.visual;
        let stored = self.stored(images, lesions);
        if let Some((stored, kept, width)) = &stored
            && self.store.contains(&stored.key)
        {
            let handle = || VisualHandle::Stored(Arc::clone(stored));
            if !self.has_memory(spec) {
                return Ok((handle(), kept.clone(), *width));
            }
            if let Some(visual) = stored.read() {
                return Ok((self.keep(visual, handle), kept.clone(), *width));
            }
        }
        let read = |image| read_radiograph(&self.root, image, &self.decode);
        let views = images.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let (visual, kept) = study_visual(&views[0], lesions, spec);
        let (visual, width) = (visual.with_views(views[1..].iter(), spec), views[0].width as f32);
        match stored {
            Some((stored, ..)) => {
                stored.write(&visual).map_err(ReadError::Store)?;
                Ok((self.keep(visual, || VisualHandle::Stored(stored)), kept, width))
            }
            None => Ok((visual.into(), kept, width)),
        }
    }

    fn has_memory(&self, spec: &VisualSpec) -> bool {
        let size = spec.image.size as usize;
        self.kept.load(Ordering::Relaxed) + size * size * spec.views.max(1) <= self.kept_bytes
    }

    /// In memory while there is room.
    fn keep(&self, visual: StudyVisual, else_stored: impl FnOnce() -> VisualHandle) -> VisualHandle {
        let bytes = visual.bytes();
        if self.kept.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.kept_bytes {
            return visual.into();
        }
        self.kept.fetch_sub(bytes, Ordering::Relaxed);
        else_stored()
    }

    /// Where the pixels of a study are kept; `None` where digests or sizes of its images are not known.
    fn stored(&self, images: &[ImageRow], lesions: &[LesionRow]) -> Option<(Arc<StoredVisual>, Vec<usize>, f32)> {
        let spec = self.card.visual;
        let first = images.first()?;
        let size = ImageSize { width: first.width?.try_into().ok()?, height: first.height?.try_into().ok()? };
        let (kept, regions): (Vec<usize>, Vec<ScoredRegion>) = scored_regions(size, lesions, &spec).into_iter().unzip();
        let files = images.iter().map(|image| image.sha256.as_deref()).collect::<Option<Vec<_>>>()?.join(" ");
        let boxes: String = regions.iter().map(|r| format!("{:?}", r.region.to_array())).collect();
        let image =
            serde_json::to_string(&(spec.image.size, spec.image.fit, spec.region_size, spec.region_margin)).ok()?;
        let decode = if self.decode.allow_phi { "any" } else { "de-identified" };
        let parts = [("files", files.as_str()), ("study input", &image), ("boxes", &boxes), ("decode", decode)];
        let letterbox = letterbox_of(size, &spec.image);
        let stored = StoredVisual { store: self.store.clone(), key: PreparedKey::of(&parts), letterbox, regions, spec };
        Some((Arc::new(stored), kept, size.width as f32))
    }

    /// `images`: the views of the study, at least one; `lesions`: boxes of the first.
    fn example(
        &self,
        images: &[ImageRow],
        lesions: &[LesionRow],
        report: &ReportRow,
    ) -> Result<ReportExample, ReadError> {
        let (visual, kept, width) = self.visual(images, lesions)?;
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

//! The preview model of the browser as a writer: one pass gives detections and the tokens that its words come from.

use std::path::Path;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::report_text::sentences;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::LesionRow;
use d2r_viewer::session::{Analysis, Generation, PreviewSession};

use crate::context::Context;
use crate::detector::detection::Detection;
use crate::detector::lesion_row::{RowOrigin, lesion_rows};
use crate::detector::thresholds::Thresholds;
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition};
use crate::stages::preview_bundle::read_bundle;
use crate::stages::report::ImageSource;
use crate::stages::report::images::ReportImage;
use crate::stages::report::report_writer::{ImageReports, LinkedSentence, Report, ReportWriter};

/// The producer of a detector's boxes in a lake.
const ANNOTATE: &str = "annotate";

/// A preview bundle at work.
pub struct PreviewModelWriter<'a> {
    ctx: &'a Context,
    session: PreviewSession,
    /// The 22 classes of VinDr-CXR.
    labels: LabelSet,
}

impl<'a> PreviewModelWriter<'a> {
    /// The preview model of a bundle.
    ///
    /// # Errors
    /// Those of [`read_bundle`]; [`Error::BadData`] for a lake that holds a detector's boxes of the split.
    pub fn load(ctx: &'a Context, source: &ImageSource, bundle: &Path) -> Result<Self> {
        ctx.refuse_bf16("a preview model")?;
        let session = read_bundle(bundle)?;
        if let ImageSource::Lake { lake, dataset, split } = source {
            let (lake, partition) = (Lake::open(lake)?, Partition::new(dataset, split));
            let parts = lake.parts(LesionRow::TABLE, &partition)?;
            if let Some(part) = parts.iter().find(|p| p.producer == ANNOTATE && p.rows > 0) {
                let problem = format!("{} holds a detector's boxes of {partition}", part.file);
                let remedy = "the preview model detects lesions itself; use a lake without these boxes";
                return Err(Error::bad_data(lake.root().display(), format!("{problem}; {remedy}")));
            }
        }
        Ok(Self { ctx, session, labels: LabelSet::vindr() })
    }

    fn report(&self, image: &ReportImage, analysis: Analysis) -> Result<ImageReports> {
        let card = self.session.card();
        let detections: Vec<_> = analysis
            .image
            .detections
            .iter()
            .map(|found| {
                let [x_min, y_min, x_max, y_max] = found.region;
                let region = BoxXyxy::new(x_min, y_min, x_max, y_max);
                let (class_id, score) = (found.class_id, found.score);
                Detection { class_id, score, region, edge_logits: None, edge_stds: None }
            })
            .collect();
        let thresholds = Thresholds::one(f64::from(card.options.score_min));
        let origin =
            RowOrigin { thresholds: &thresholds, model_sha256: Some(&card.model_sha256), labels: &self.labels };
        let lesions = lesion_rows(&image.row.image_id, &detections, origin)?;
        let spans = sentences(&analysis.report).into_iter().zip(analysis.sentences);
        let report = Report {
            sentences: spans
                .map(|(span, sentence)| LinkedSentence { span, log_prob: sentence.log_prob, links: sentence.links })
                .collect(),
            text: analysis.report,
            log_probs: analysis.log_probs,
            ended: analysis.ended,
            beam_size: card.options.beam_size,
            max_words: card.decoder.max_words,
        };
        Ok(ImageReports { boxes: (0..lesions.len()).collect(), lesions, reports: vec![report] })
    }
}

impl ReportWriter for PreviewModelWriter<'_> {
    type Detections = Generation;

    fn views(&self) -> usize {
        1
    }

    fn model_sha256(&self) -> &str {
        &self.session.card().model_sha256
    }

    fn labels(&self) -> &LabelSet {
        &self.labels
    }

    fn identity(&self) -> Result<Vec<(&'static str, String)>> {
        let card = self.session.card();
        let bundle = serde_json::to_string(&(&card.files, &card.options));
        Ok(vec![("bundle", bundle.map_err(|e| Error::Internal(e.to_string()))?)])
    }

    fn finds_lesions(&self) -> bool {
        true
    }

    fn explains(&self) -> bool {
        false
    }

    fn detect(&self, images: &[ReportImage]) -> Result<Vec<Generation>> {
        let detect = |image: &ReportImage| {
            self.ctx.stop.check()?;
            self.session.begin(&image.radiograph).map_err(|e| failed(image, &e))
        };
        images.iter().map(detect).collect()
    }

    fn write(&self, images: &[ReportImage], detections: Vec<Generation>) -> Result<Vec<ImageReports>> {
        let write = |(image, mut generation): (&ReportImage, Generation)| {
            self.ctx.stop.check()?;
            while generation.advance().map_err(|e| failed(image, &e))? {}
            self.report(image, self.session.finish(generation))
        };
        images.iter().zip(detections).map(write).collect()
    }
}

fn failed(image: &ReportImage, error: &d2r_viewer::error::ViewerError) -> Error {
    Error::Internal(format!("{}: {error}", image.row.path))
}

//! What writes reports: opened images in, detections out; images and detections in, reports out.

use d2r_contracts::label_set::LabelSet;
use d2r_contracts::report_text::SentenceSpan;
use d2r_contracts::tables::LesionRow;

use crate::error::Result;
use crate::stages::report::images::ReportImage;

/// A model that detects lesions and writes reports about them.
pub trait ReportWriter {
    /// The detections of one image, with what the text generation needs of them.
    type Detections;

    /// Number of images of a study that one report is about.
    fn views(&self) -> usize;
    /// SHA-256 of the model's weights, hexadecimal.
    fn model_sha256(&self) -> &str;
    /// The classes of the lesions.
    fn labels(&self) -> &LabelSet;
    /// Labels and values of everything but the images that decides the rows; part of the work key.
    ///
    /// # Errors
    /// When a part of it cannot be read.
    fn identity(&self) -> Result<Vec<(&'static str, String)>>;
    /// Whether the lesions are new rows; they are the lake's own otherwise.
    fn finds_lesions(&self) -> bool;
    /// Whether files beside the rows are written, which exist only after a run.
    fn explains(&self) -> bool;
    /// Detections of each image, in the images' order.
    ///
    /// # Errors
    /// [`crate::Error::Stopped`] after a signal; those of the model.
    fn detect(&self, images: &[ReportImage]) -> Result<Vec<Self::Detections>>;
    /// Reports on each image, in the images' order.
    ///
    /// # Errors
    /// [`crate::Error::Stopped`] after a signal; those of the model and of writing explanations.
    fn write(&self, images: &[ReportImage], detections: Vec<Self::Detections>) -> Result<Vec<ImageReports>>;
}

/// The lesions of one image and the reports on it, the best report first.
#[derive(Debug)]
pub struct ImageReports {
    /// All detected lesions, accepted or not.
    pub lesions: Vec<LesionRow>,
    /// Indices in `lesions` of the boxes that the model was given, in the model's order.
    pub boxes: Vec<usize>,
    pub reports: Vec<Report>,
}

#[derive(Debug)]
pub struct Report {
    pub text: String,
    pub sentences: Vec<LinkedSentence>,
    /// Log-probability of each word.
    pub log_probs: Vec<f32>,
    /// Whether the model ended the report itself, before the longest length.
    pub ended: bool,
    pub beam_size: usize,
    pub max_words: usize,
}

/// A sentence of a report and its links.
#[derive(Debug)]
pub struct LinkedSentence {
    pub span: SentenceSpan,
    /// Sum of the log-probabilities of the sentence's words.
    pub log_prob: f32,
    /// Indices in [`ImageReports::boxes`], each with its weight, 0 to 1.
    pub links: Vec<(usize, f32)>,
}

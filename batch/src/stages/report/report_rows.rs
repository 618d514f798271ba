//! A finished report as rows, whoever wrote it: the report, its sentences and links, its findings, and what a person should
//! look at first.

use d2r_contracts::grounding::{BoxFacts, SentenceFacts, laterality_conflict};
use d2r_contracts::labels::CHEXPERT_LABELS;
use d2r_contracts::report_labeler::label;
use d2r_contracts::report_text::{SentenceSpan, mentions_prior};
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow,
};

/// Rows to write.
#[derive(Debug, Default)]
pub struct Tables {
    pub images: Vec<ImageRow>,
    pub lesions: Vec<LesionRow>,
    pub reports: Vec<GeneratedReportRow>,
    pub sentences: Vec<ReportSentenceRow>,
    pub links: Vec<SentenceBoxRow>,
    pub findings: Vec<FindingRow>,
    pub failures: Vec<FailureRow>,
}

/// A sentence of a report.
pub struct LinkedSentence<'a> {
    /// Its text and place.
    pub span: &'a SentenceSpan,
    /// Sum of its words' log-probabilities.
    pub log_prob: f32,
    /// Boxes by place, each with its weight.
    pub links: Vec<(usize, f32)>,
}

/// A finished report.
pub struct FinishedReport<'a> {
    pub report_id: String,
    pub image: &'a ImageRow,
    pub text: &'a str,
    pub sentences: Vec<LinkedSentence<'a>>,
    /// The film's boxes, and their ids.
    pub boxes: Vec<BoxFacts>,
    pub box_ids: Vec<String>,
    /// Of each word.
    pub log_probs: &'a [f32],
    /// The model ended it itself.
    pub ended: bool,
    pub beam_size: usize,
    pub max_words: usize,
    pub model_sha256: &'a str,
}

impl Tables {
    /// Adds a report's rows.
    pub fn add_report(&mut self, report: FinishedReport) {
        let FinishedReport { report_id, image, text, sentences, boxes, box_ids, log_probs, .. } = report;
        let (mut conflict, mut unlinked, mut spoken_of) = (false, 0, vec![false; boxes.len()]);
        for (id, LinkedSentence { span, log_prob, links }) in sentences.iter().enumerate() {
            let said = SentenceFacts::of(&span.text);
            conflict |= laterality_conflict(&said, links, &boxes);
            unlinked += i32::from(links.is_empty() && said.states_anything());
            self.sentences.push(ReportSentenceRow {
                report_id: report_id.clone(),
                sentence_id: id as i32,
                char_start: span.char_start as i32,
                char_end: span.char_end as i32,
                text: span.text.clone(),
                logprob: *log_prob,
            });
            for &(place, weight) in links {
                spoken_of[place] = true;
                self.links.push(SentenceBoxRow {
                    report_id: report_id.clone(),
                    sentence_id: id as i32,
                    box_id: box_ids[place].clone(),
                    weight: weight.clamp(0.0, 1.0),
                });
            }
        }
        for (name, state) in CHEXPERT_LABELS.iter().zip(label(text)) {
            self.findings.push(FindingRow {
                study_id: image.study_id.clone(),
                report_id: Some(report_id.clone()),
                origin: "generated".into(),
                label: (*name).into(),
                state: state.as_str().into(),
            });
        }
        let prior = mentions_prior(text);
        self.reports.push(GeneratedReportRow {
            report_id,
            image_id: image.image_id.clone(),
            study_id: image.study_id.clone(),
            text: text.into(),
            n_sentences: sentences.len() as i32,
            n_boxes: boxes.len() as i32,
            mean_logprob: log_probs.iter().sum::<f32>() / log_probs.len().max(1) as f32,
            mentions_prior: prior,
            laterality_conflict: conflict,
            needs_review: prior || conflict || !report.ended,
            beam_size: report.beam_size as i32,
            max_words: report.max_words as i32,
            model_sha256: report.model_sha256.into(),
            box_without_sentence: Some(spoken_of.iter().filter(|spoken| !**spoken).count() as i32),
            sentence_without_box: Some(unlinked),
        });
    }
}

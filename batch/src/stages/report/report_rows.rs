//! Written reports as rows: report, sentences, links, labels, and whether a radiologist should check the report.

use d2r_contracts::grounding::{BoxFacts, SentenceFacts, laterality_conflict};
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::labels::CHEXPERT_LABELS;
use d2r_contracts::report_labeler::label;
use d2r_contracts::report_text::mentions_prior;
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow,
};

use crate::stages::report::images::OpenedImages;
use crate::stages::report::report_writer::{ImageReports, LinkedSentence, Report};

/// The rows of a run, by table.
#[derive(Debug, Default)]
pub struct ReportRows {
    pub images: Vec<ImageRow>,
    pub lesions: Vec<LesionRow>,
    pub reports: Vec<GeneratedReportRow>,
    pub sentences: Vec<ReportSentenceRow>,
    pub links: Vec<SentenceBoxRow>,
    pub findings: Vec<FindingRow>,
    pub failures: Vec<FailureRow>,
}

/// What the reports on one image have in common.
struct Subject<'a> {
    image: &'a ImageRow,
    /// The boxes that sentences may link to.
    facts: Vec<BoxFacts>,
    box_ids: Vec<&'a str>,
    model_sha256: &'a str,
}

impl ReportRows {
    /// Adds a chunk of images with the reports on them, in the images' order. `labels`: the classes of the lesions.
    pub fn add(&mut self, opened: OpenedImages, reports: Vec<ImageReports>, model_sha256: &str, labels: &LabelSet) {
        self.failures.extend(opened.failures);
        for (image, ImageReports { lesions, boxes, reports }) in opened.images.into_iter().zip(reports) {
            let width = image.radiograph.width as f32;
            let boxes: Vec<&LesionRow> = boxes.iter().map(|&i| &lesions[i]).collect();
            let subject = Subject {
                image: &image.row,
                facts: boxes.iter().map(|row| BoxFacts::in_set(labels, row.class_id, &row.region(), width)).collect(),
                box_ids: boxes.iter().map(|row| row.box_id.as_str()).collect(),
                model_sha256,
            };
            for (number, report) in reports.into_iter().enumerate() {
                self.add_report(&subject, number, report);
            }
            self.images.push(image.row);
            self.lesions.extend(lesions);
        }
    }

    /// Adds the `number`-th report on an image, counted from 0.
    fn add_report(&mut self, subject: &Subject, number: usize, report: Report) {
        let image = subject.image;
        let report_id = match number {
            0 => format!("{}-r", image.image_id),
            more => format!("{}-r{more}", image.image_id),
        };
        let (mut conflict, mut unlinked, mut linked) = (false, 0, vec![false; subject.box_ids.len()]);
        for (id, LinkedSentence { span, log_prob, links }) in report.sentences.iter().enumerate() {
            let facts = SentenceFacts::of(&span.text);
            conflict |= laterality_conflict(&facts, links, &subject.facts);
            unlinked += i32::from(links.is_empty() && facts.states_anything());
            self.sentences.push(ReportSentenceRow {
                report_id: report_id.clone(),
                sentence_id: id as i32,
                char_start: span.char_start as i32,
                char_end: span.char_end as i32,
                text: span.text.clone(),
                logprob: *log_prob,
            });
            for &(index, weight) in links {
                linked[index] = true;
                self.links.push(SentenceBoxRow {
                    report_id: report_id.clone(),
                    sentence_id: id as i32,
                    box_id: subject.box_ids[index].to_owned(),
                    weight: weight.clamp(0.0, 1.0),
                });
            }
        }
        for (name, state) in CHEXPERT_LABELS.iter().zip(label(&report.text)) {
            self.findings.push(FindingRow {
                study_id: image.study_id.clone(),
                report_id: Some(report_id.clone()),
                origin: "generated".into(),
                label: (*name).into(),
                state: state.as_str().into(),
            });
        }
        let prior = mentions_prior(&report.text);
        self.reports.push(GeneratedReportRow {
            report_id,
            image_id: image.image_id.clone(),
            study_id: image.study_id.clone(),
            n_sentences: report.sentences.len() as i32,
            n_boxes: subject.box_ids.len() as i32,
            mean_logprob: report.log_probs.iter().sum::<f32>() / report.log_probs.len().max(1) as f32,
            mentions_prior: prior,
            laterality_conflict: conflict,
            needs_review: prior || conflict || !report.ended,
            beam_size: report.beam_size as i32,
            max_words: report.max_words as i32,
            model_sha256: subject.model_sha256.into(),
            box_without_sentence: Some(linked.iter().filter(|linked| !**linked).count() as i32),
            sentence_without_box: Some(unlinked),
            text: report.text,
        });
    }
}

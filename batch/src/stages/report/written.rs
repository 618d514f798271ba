//! From the model's words to rows: text, sentences, links, findings, and what a person should look at first.

use std::path::Path;

use d2r_contracts::labels::FINDING_LABELS;
use d2r_contracts::report_text::{mentions_prior, sentences};
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow,
};

use super::films::Film;
use crate::data::collate_report::stack_visuals;
use crate::data::report_batch::{StudyVisual, box_of};
use crate::error::{Error, Result};
use crate::eval::gallery::CaseBox;
use crate::eval::overlay::{Overlay, render};
use crate::lake::atomic_file;
use d2r_contracts::findings_labeler::label;
use d2r_contracts::grounding::{BoxFacts, SentenceFacts, laterality_conflict, links, sentence_weights};
use crate::report::report_model::{ReportModel, Written};
use crate::stages::context::Context;
use crate::stages::train_reporter::decoding;
use crate::train::model_card::{ModelCard, NOTICE};
use crate::train::report_loop::visual_tensors;
use crate::train::reporter_card::ReporterCard;

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

/// The report model at work.
pub struct Writer<'a> {
    pub ctx: &'a Context,
    pub model: &'a ReportModel,
    pub card: &'a ModelCard<ReporterCard>,
    /// Receives a picture of each report.
    pub explain: Option<&'a Path>,
}

/// Writes the picture of a film's report.
fn explain(
    folder: &Path,
    film: &Film,
    picture: &[u8],
    size: (u32, u32),
    (sentences, links): (&[ReportSentenceRow], &[SentenceBoxRow]),
) -> Result<()> {
    let boxes: Vec<CaseBox> = film
        .kept
        .iter()
        .map(|&i| &film.lesions[i])
        .map(|row| CaseBox {
            box_id: row.box_id.clone(),
            class_id: row.class_id,
            class_name: row.class_name.clone(),
            score: Some(row.score),
            region: box_of(row),
        })
        .collect();
    let place = |link: &SentenceBoxRow| Some((boxes.iter().position(|b| b.box_id == link.box_id)?, link.weight));
    let told: Vec<(String, Vec<(usize, f32)>)> = sentences
        .iter()
        .map(|s| (s.text.clone(), links.iter().filter(|l| l.sentence_id == s.sentence_id).filter_map(place).collect()))
        .collect();
    let overlay =
        Overlay { image_id: &film.image.image_id, picture, size, boxes: &boxes, sentences: &told, notice: NOTICE };
    atomic_file::create_folders(folder)?;
    let path = folder.join(format!("{}.svg", film.image.image_id.replace(['/', '\\'], "_")));
    atomic_file::write(&path, |w| w.write_all(render(&overlay).as_bytes()).map_err(|e| Error::io("write", &path, e)))?;
    Ok(())
}

impl Writer<'_> {
    /// Writes about a batch of films.
    pub fn write(&self, films: &[&Film], tables: &mut Tables) -> Result<()> {
        let visuals: Vec<&StudyVisual> = films.iter().map(|f| &f.visual).collect();
        let batch = visual_tensors(stack_visuals(&visuals, &self.card.model.visual, self.ctx.device)?);
        let reports = self.model.generate(&batch, &decoding(self.ctx, &self.card.model.vocabulary))?;
        for (film, report) in films.iter().zip(&reports) {
            let first = (tables.sentences.len(), tables.links.len());
            self.add(film, report, tables);
            if let (Some(folder), Some((picture, size))) = (self.explain, &film.picture) {
                explain(folder, film, picture, *size, (&tables.sentences[first.0..], &tables.links[first.1..]))?;
            }
        }
        Ok(())
    }

    fn add(&self, film: &Film, report: &Written, tables: &mut Tables) {
        let text = self.card.model.vocabulary.decode(&report.words);
        let report_id = format!("{}-r", film.image.image_id);
        let boxes: Vec<BoxFacts> = film
            .kept
            .iter()
            .map(|&i| BoxFacts::of(film.lesions[i].class_id, &box_of(&film.lesions[i]), film.width))
            .collect();
        let spans = sentences(&text);
        let mut conflict = false;
        for (sentence_id, span) in spans.iter().enumerate() {
            let words = span.tokens.start.min(report.words.len())..span.tokens.end.min(report.words.len());
            let said = SentenceFacts::of(&span.text);
            let weights = sentence_weights(
                &report.attention[words.start.min(report.attention.len())..words.end.min(report.attention.len())],
            );
            let linked = links(&said, &weights, self.ctx.config.generate.link_weight_min as f32);
            conflict |= laterality_conflict(&said, &linked, &boxes);
            tables.sentences.push(ReportSentenceRow {
                report_id: report_id.clone(),
                sentence_id: sentence_id as i32,
                char_start: span.char_start as i32,
                char_end: span.char_end as i32,
                text: span.text.clone(),
                logprob: report.log_probs[words].iter().sum(),
            });
            tables.links.extend(linked.into_iter().map(|(region, weight)| SentenceBoxRow {
                report_id: report_id.clone(),
                sentence_id: sentence_id as i32,
                box_id: film.lesions[film.kept[region]].box_id.clone(),
                weight: weight.clamp(0.0, 1.0),
            }));
        }
        for (name, state) in FINDING_LABELS.iter().zip(label(&text)) {
            tables.findings.push(FindingRow {
                study_id: film.image.study_id.clone(),
                report_id: Some(report_id.clone()),
                origin: "generated".into(),
                label: (*name).into(),
                state: state.as_str().into(),
            });
        }
        let prior = mentions_prior(&text);
        let generate = &self.ctx.config.generate;
        tables.reports.push(GeneratedReportRow {
            report_id,
            image_id: film.image.image_id.clone(),
            study_id: film.image.study_id.clone(),
            n_sentences: spans.len() as i32,
            n_boxes: film.kept.len() as i32,
            mean_logprob: report.log_probs.iter().sum::<f32>() / report.log_probs.len().max(1) as f32,
            mentions_prior: prior,
            laterality_conflict: conflict,
            needs_review: prior || conflict || !report.ended,
            beam_size: generate.beam_size as i32,
            max_words: generate.max_words as i32,
            model_sha256: self.card.model_sha256.clone(),
            text,
        });
    }
}

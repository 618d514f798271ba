//! From the model's words to rows: text, sentences, links, findings, and what a person should look at first.

use std::ops::Range;
use std::path::Path;

use d2r_contracts::findings_labeler::label;
use d2r_contracts::grounding::{BoxFacts, SentenceFacts, laterality_conflict, links, sentence_weights};
use d2r_contracts::labels::FINDING_LABELS;
use d2r_contracts::report_text::{SentenceSpan, mentions_prior, sentences};
use d2r_contracts::tables::{
    FailureRow, FindingRow, GeneratedReportRow, ImageRow, LesionRow, ReportSentenceRow, SentenceBoxRow,
};

use sha2::{Digest, Sha256};

use super::films::Film;
use super::similarity::Similarity;
use crate::data::collate_report::stack_visuals;
use crate::data::report_batch::{StudyVisual, box_of};
use crate::error::{Error, Result};
use crate::eval::gallery::CaseBox;
use crate::eval::overlay::{Overlay, render};
use crate::lake::atomic_file;
use crate::report::generation::Written;
use crate::report::report_model::{ReportModel, VisualFeatures};
use crate::stages::context::Context;
use crate::stages::decoding::decoding;
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
    /// The run's text encoder, where links are to use it.
    pub similarity: Option<Similarity>,
    /// Receives a picture of each report.
    pub explain: Option<&'a Path>,
}

/// A report with the places of its sentences and each sentence's weight on each box.
struct Told<'a> {
    report: &'a Written,
    /// Its number among the film's reports.
    number: usize,
    text: String,
    spans: Vec<SentenceSpan>,
    weights: Vec<Vec<f32>>,
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
        let _no_grad = tch::no_grad_guard();
        let features = self.model.features(&batch, false);
        let keys: Vec<u64> = films.iter().map(|f| key(&f.image.image_id)).collect();
        let options = decoding(self.ctx, &self.card.model.vocabulary);
        let reports = self.model.write(&features, &options, &keys)?;
        let mut told: Vec<(usize, Told)> = Vec::new();
        for (film, reports) in reports.iter().enumerate() {
            told.extend(reports.iter().enumerate().map(|(number, report)| (film, self.told(report, number))));
        }
        self.weigh_similarity(&features, &mut told)?;
        for (film, told) in told {
            let film = films[film];
            let first = (tables.sentences.len(), tables.links.len());
            self.add(film, &told, tables);
            if let (0, Some(folder), Some((picture, size))) = (told.number, self.explain, &film.picture) {
                explain(folder, film, picture, *size, (&tables.sentences[first.0..], &tables.links[first.1..]))?;
            }
        }
        Ok(())
    }

    /// Text and sentences of a report; weights by attention.
    fn told<'r>(&self, report: &'r Written, number: usize) -> Told<'r> {
        let text = self.card.model.vocabulary.decode(&report.words);
        let spans = sentences(&text);
        let weights = spans.iter().map(|span| sentence_weights(&report.attention[words_of(span, report)])).collect();
        Told { report, number, text, spans, weights }
    }

    /// Mixes the text encoder's opinion into the weights of sentences that it matches with any region.
    fn weigh_similarity(&self, features: &VisualFeatures, told: &mut [(usize, Told)]) -> Result<()> {
        let Some(similarity) = &self.similarity else { return Ok(()) };
        let said: Vec<(usize, String)> =
            told.iter().flat_map(|(film, t)| t.spans.iter().map(move |span| (*film, span.text.clone()))).collect();
        let mut found = similarity.weights(features, &said)?.into_iter();
        let share = self.ctx.config.generate.similarity_share as f32;
        for weights in told.iter_mut().flat_map(|(_, t)| t.weights.iter_mut()) {
            let similar = found.next().unwrap_or_default();
            if similar.iter().any(|w| *w > 0.0) {
                weights.iter_mut().zip(similar).for_each(|(w, s)| *w = (1.0 - share) * *w + share * s);
            }
        }
        Ok(())
    }

    fn add(&self, film: &Film, told: &Told, tables: &mut Tables) {
        let Told { report, number, text, spans, weights } = told;
        let report_id = match number {
            0 => format!("{}-r", film.image.image_id),
            more => format!("{}-r{more}", film.image.image_id),
        };
        let boxes: Vec<BoxFacts> = film
            .kept
            .iter()
            .map(|&i| BoxFacts::of(film.lesions[i].class_id, &box_of(&film.lesions[i]), film.width))
            .collect();
        let (mut conflict, mut unlinked, mut spoken_of) = (false, 0, vec![false; boxes.len()]);
        for (sentence_id, (span, weights)) in spans.iter().zip(weights).enumerate() {
            let said = SentenceFacts::of(&span.text);
            let linked = links(&said, weights, self.ctx.config.generate.link_weight_min as f32);
            conflict |= laterality_conflict(&said, &linked, &boxes);
            unlinked += i32::from(linked.is_empty() && said.states_anything());
            linked.iter().for_each(|(region, _)| spoken_of[*region] = true);
            tables.sentences.push(ReportSentenceRow {
                report_id: report_id.clone(),
                sentence_id: sentence_id as i32,
                char_start: span.char_start as i32,
                char_end: span.char_end as i32,
                text: span.text.clone(),
                logprob: report.log_probs[words_of(span, report)].iter().sum(),
            });
            tables.links.extend(linked.into_iter().map(|(region, weight)| SentenceBoxRow {
                report_id: report_id.clone(),
                sentence_id: sentence_id as i32,
                box_id: film.lesions[film.kept[region]].box_id.clone(),
                weight: weight.clamp(0.0, 1.0),
            }));
        }
        for (name, state) in FINDING_LABELS.iter().zip(label(text)) {
            tables.findings.push(FindingRow {
                study_id: film.image.study_id.clone(),
                report_id: Some(report_id.clone()),
                origin: "generated".into(),
                label: (*name).into(),
                state: state.as_str().into(),
            });
        }
        let prior = mentions_prior(text);
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
            box_without_sentence: Some(spoken_of.iter().filter(|spoken| !**spoken).count() as i32),
            sentence_without_box: Some(unlinked),
            text: text.clone(),
        });
    }
}

/// The places of a sentence's words among a report's, which attention and log-probabilities have one entry each for.
fn words_of(span: &SentenceSpan, report: &Written) -> Range<usize> {
    let words = report.words.len().min(report.attention.len());
    span.tokens.start.min(words)..span.tokens.end.min(words)
}

/// A number for an image that does not depend on the images beside it.
fn key(image_id: &str) -> u64 {
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&Sha256::digest(image_id)[..8]);
    u64::from_le_bytes(bytes)
}

//! From the report model's words to reports: text, sentences, and the boxes that each rests on.

use std::ops::Range;
use std::path::Path;

use d2r_contracts::grounding::{BoxFacts, SentenceFacts, links, sentence_weights};
use d2r_contracts::report_text::{SentenceSpan, sentences};
use d2r_contracts::tables::{ReportSentenceRow, SentenceBoxRow};
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::error::{Error, Result};
use crate::eval::page::gallery::CaseBox;
use crate::eval::page::overlay::{Overlay, render};
use crate::lake::atomic_file;
use crate::reporter::batches::collate::collate_visuals;
use crate::reporter::batches::study::{StudyVisual, box_of};
use crate::reporter::card::ReporterCard;
use crate::reporter::decode::generation::GeneratedReport;
use crate::reporter::model::report_model::ReportModel;
use crate::reporter::model::visual::VisualFeatures;
use crate::stages::decoding::generation_options;
use crate::stages::report::films::Film;
use crate::stages::report::report_rows::{FinishedReport, LinkedSentence, Tables};
use crate::stages::report::similarity::Similarity;
use crate::training::model_card::{ModelCard, NOTICE};

/// The report model at work.
pub struct Writer<'a> {
    pub ctx: &'a Context,
    pub model: &'a ReportModel,
    pub card: &'a ModelCard<ReporterCard>,
    /// For each word its mirror image, where each film is read both ways.
    pub swapped_tokens: Option<Vec<i64>>,
    /// The run's text encoder, where links are to use it.
    pub similarity: Option<Similarity>,
    /// Receives a picture of each report.
    pub explain: Option<&'a Path>,
}

/// A report with the places of its sentences and each sentence's weight on each box.
struct Told<'a> {
    report: &'a GeneratedReport,
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
        let batch = collate_visuals(&visuals, &self.card.model.visual, self.ctx.device)?;
        let _no_grad = tch::no_grad_guard();
        let features = self.model.features(&batch, false);
        let mirrored = self.model.flipped_input(&batch, self.swapped_tokens.as_deref());
        let keys: Vec<u64> = films.iter().map(|f| key(&f.image.image_id)).collect();
        let options = generation_options(self.ctx, &self.card.model.vocabulary);
        let reports = self.model.generate_from(&features, mirrored.as_ref(), &options, &keys)?;
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
    fn told<'r>(&self, report: &'r GeneratedReport, number: usize) -> Told<'r> {
        let text = self.card.model.vocabulary.decode(&report.tokens);
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
        let generate = &self.ctx.config.generate;
        let sentences = spans.iter().zip(weights).map(|(span, weights)| LinkedSentence {
            span,
            log_prob: report.log_probs[words_of(span, report)].iter().sum(),
            links: links(&SentenceFacts::of(&span.text), weights, generate.link_weight_min as f32),
        });
        tables.add_report(FinishedReport {
            report_id,
            image: &film.image,
            text,
            sentences: sentences.collect(),
            boxes,
            box_ids: film.kept.iter().map(|&i| film.lesions[i].box_id.clone()).collect(),
            log_probs: &report.log_probs,
            ended: report.ended,
            beam_size: generate.beam_size,
            max_words: generate.max_words,
            model_sha256: &self.card.model_sha256,
        });
    }
}

/// The places of a sentence's words among a report's, which attention and log-probabilities have one entry each for.
fn words_of(span: &SentenceSpan, report: &GeneratedReport) -> Range<usize> {
    let words = report.tokens.len().min(report.attention.len());
    span.tokens.start.min(words)..span.tokens.end.min(words)
}

/// A number for an image that does not depend on the images beside it.
fn key(image_id: &str) -> u64 {
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&Sha256::digest(image_id)[..8]);
    u64::from_le_bytes(bytes)
}

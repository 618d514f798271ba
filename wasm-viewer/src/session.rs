//! A loaded bundle: a film's bytes in, report, findings and links out. The same natively and in the browser.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::{DecodeOptions, decode};
use d2r_contracts::grounding::{BoxFacts, SentenceFacts, boxes_named, sentence_weights};
use d2r_contracts::nms::nms;
use d2r_contracts::preprocess::{ModelInput, to_model_input};
use d2r_contracts::preview_bundle::{BUNDLE_VERSION, ENCODER, FILE_MAX, PreviewCard, STEP};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::report_text::sentences;
use d2r_contracts::space::{Model, Original};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::NOTICE;
use crate::error::{Result, ViewerError};
use crate::generate::generate;
use crate::graph::{Encoded, Plan, encode, plan};

/// A bundle's models, ready for films.
#[derive(Debug)]
pub struct PreviewSession {
    card: PreviewCard,
    encoder: Plan,
    step: Plan,
}

/// A box that the student sees.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// VinDr-CXR class.
    pub class_id: i32,
    /// Its name.
    pub class_name: String,
    /// 0 to 1.
    pub score: f32,
    /// `x_min y_min x_max y_max` in the film's own pixels.
    pub region: [f32; 4],
}

/// A sentence and what it rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sentence {
    /// The sentence.
    pub text: String,
    /// Sum of its words' log-probabilities.
    pub log_prob: f32,
    /// Findings by index, each with its share of the sentence's attention.
    pub links: Vec<(usize, f32)>,
    /// Mean attention over the grid of the film as the model sees it, row by row; sums to 1.
    pub look: Vec<f32>,
}

/// What is said of a film.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// Columns of the film.
    pub width: u32,
    /// Rows of the film.
    pub height: u32,
    /// The report.
    pub report: String,
    /// The model ended the report itself.
    pub ended: bool,
    /// Log-probability of each word.
    pub log_probs: Vec<f32>,
    /// Its sentences.
    pub sentences: Vec<Sentence>,
    /// Boxes, the surest first.
    pub findings: Vec<Finding>,
    /// Score of each CheXpert label.
    pub labels: Vec<(String, f32)>,
    /// The highest class score of each cell of the heat map, row by row.
    pub heat: Vec<f32>,
    /// Research-use notice.
    pub notice: &'static str,
}

/// The card of a bundle.
///
/// # Errors
/// [`ViewerError::Bundle`] for text that is no card of this version.
pub fn read_card(text: &[u8]) -> Result<PreviewCard> {
    let card: PreviewCard =
        serde_json::from_slice(text).map_err(|e| ViewerError::Bundle(format!("card.json: {e}")))?;
    let bad = |problem: &str| Err(ViewerError::Bundle(format!("card.json: {problem}")));
    if card.version != BUNDLE_VERSION {
        return bad(&format!("version {}, this viewer reads {BUNDLE_VERSION}", card.version));
    }
    let sizes = &card.decoder;
    let all = [sizes.layers, sizes.heads, sizes.d_head, sizes.max_words, sizes.grid, sizes.heat_grid];
    if all.contains(&0) || all.iter().any(|n| *n > 4096) || card.input.side == 0 || card.input.side > 2048 {
        return bad("its sizes are out of bounds");
    }
    Ok(card)
}

/// Whether these bytes are the file that the card names.
///
/// # Errors
/// [`ViewerError::Digest`] when they are not.
pub fn check_file(card: &PreviewCard, name: &str, bytes: &[u8]) -> Result<()> {
    let wrong = |problem: String| ViewerError::Digest { name: name.into(), problem };
    let entry = card.file(name).ok_or_else(|| wrong("the card does not name it".into()))?;
    if bytes.len() as u64 != entry.bytes || entry.bytes > FILE_MAX {
        return Err(wrong(format!("{} bytes instead of {}", bytes.len(), entry.bytes)));
    }
    let digest: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
    if digest != entry.sha256 { Err(wrong("its digest differs".into())) } else { Ok(()) }
}

impl PreviewSession {
    /// Checks the files against the card before anything parses them, and prepares the graphs.
    ///
    /// # Errors
    /// [`ViewerError::Bundle`], [`ViewerError::Digest`] or [`ViewerError::Model`].
    pub fn new(card: &[u8], encoder: &[u8], step: &[u8]) -> Result<Self> {
        let card = read_card(card)?;
        check_file(&card, ENCODER, encoder)?;
        check_file(&card, STEP, step)?;
        Ok(Self { encoder: plan(encoder)?, step: plan(step)?, card })
    }

    /// The card.
    pub fn card(&self) -> &PreviewCard {
        &self.card
    }

    /// Decodes a PNG, JPEG or DICOM file and says what the student sees. `on_word` is given each word as it comes;
    /// returning `false` stops there.
    ///
    /// # Errors
    /// [`ViewerError::Film`] for a file that cannot be used; [`ViewerError::Model`].
    pub fn analyze(&self, bytes: &[u8], on_word: &mut dyn FnMut(&str) -> bool) -> Result<Analysis> {
        let film = decode(bytes, &DecodeOptions::default())
            .map_err(|e| ViewerError::Film { code: e.code().to_owned(), message: e.to_string() })?;
        self.analyze_film(&film.radiograph, on_word)
    }

    /// The same for a decoded film.
    ///
    /// # Errors
    /// [`ViewerError::Model`].
    pub fn analyze_film(&self, film: &Radiograph, on_word: &mut dyn FnMut(&str) -> bool) -> Result<Analysis> {
        let card = &self.card;
        let side = card.input.side as usize;
        let input = to_model_input(film, &card.input);
        let encoded = encode(&self.encoder, &input.pixels, side)?;
        let (findings, places) = self.findings(&encoded, &input);
        let vocabulary = &card.vocabulary;
        let mut tell = |id: i64| on_word(vocabulary.word(id).unwrap_or_default());
        let (sizes, options) = (&card.decoder, &card.options);
        let told = generate(&self.step, sizes, options, vocabulary.unknown_id(), &encoded.memory, &mut tell)?;
        let report = vocabulary.decode(&told.words);
        let facts: Vec<BoxFacts> = findings
            .iter()
            .map(|f| {
                let [a, b, c, d] = f.region;
                BoxFacts::of(f.class_id, &BoxXyxy::<Original>::new(a, b, c, d), film.width as f32)
            })
            .collect();
        let spans = sentences(&report);
        let sentences = spans.into_iter().map(|span| {
            let words = span.tokens.start.min(told.words.len())..span.tokens.end.min(told.words.len());
            let look = mean(&told.looks[words.clone()]);
            let links = self.links(&span.text, &look, &facts, &places);
            Sentence { log_prob: told.log_probs[words].iter().sum(), text: span.text, links, look }
        });
        Ok(Analysis {
            width: film.width,
            height: film.height,
            sentences: sentences.collect(),
            report,
            ended: told.ended,
            log_probs: told.log_probs,
            findings,
            labels: card.labels.iter().cloned().zip(encoded.labels.iter().copied()).collect(),
            heat: hottest(&encoded.heat, card.decoder.heat_grid),
            notice: NOTICE,
        })
    }

    /// Peaks of the heat map as boxes in the film's pixels, and the same in the model's.
    fn findings(&self, encoded: &Encoded, input: &ModelInput) -> (Vec<Finding>, Vec<BoxXyxy<Model>>) {
        let (options, grid) = (&self.card.options, self.card.decoder.heat_grid);
        let (cells, side) = (grid * grid, self.card.input.side as f32);
        let (mut boxes, mut scores, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for (class, map) in encoded.heat.chunks_exact(cells).enumerate().take(self.card.classes.len()) {
            for (cell, score) in map.iter().enumerate().filter(|(_, s)| **s >= options.score_min) {
                let (row, column) = (cell / grid, cell % grid);
                let around = |r: usize, c: usize| map[r * grid + c];
                let near = |v: usize| v.saturating_sub(1)..(v + 2).min(grid);
                if near(row).any(|r| near(column).any(|c| around(r, c) > *score)) {
                    continue;
                }
                let edge = |which: usize| encoded.edges.get(which * cells + cell).copied().unwrap_or(0.0) * side;
                let (x, y) = ((column as f32 + 0.5) * side / grid as f32, (row as f32 + 0.5) * side / grid as f32);
                boxes.push(BoxXyxy::<Model>::new(x - edge(0), y - edge(1), x + edge(2), y + edge(3)));
                scores.push(*score);
                classes.push(class as i32);
            }
        }
        let kept = nms(&boxes, &scores, &classes, options.nms_iou);
        let mut found = (Vec::new(), Vec::new());
        for i in kept {
            let region = input.letterbox.original_from_model(&boxes[i]);
            if !region.is_proper() || found.0.len() >= options.max_findings {
                continue;
            }
            let class_name = self.card.classes[classes[i] as usize].clone();
            found.0.push(Finding { class_id: classes[i], class_name, score: scores[i], region: region.to_array() });
            found.1.push(boxes[i]);
        }
        found
    }

    /// The boxes that a sentence names, each with its share of the sentence's attention among them.
    fn links(&self, text: &str, look: &[f32], facts: &[BoxFacts], places: &[BoxXyxy<Model>]) -> Vec<(usize, f32)> {
        let named = boxes_named(&SentenceFacts::of(text), facts);
        let (grid, side) = (self.card.decoder.grid, self.card.input.side as f32);
        let on: Vec<f32> = named.iter().map(|&i| look_on(look, grid, side, &places[i])).collect();
        let weights = sentence_weights(&[on]);
        named.into_iter().zip(weights).filter(|(_, w)| *w >= self.card.options.link_weight_min).collect()
    }
}

/// Mean attention inside a box: each cell counts by the part of it that the box covers.
fn look_on(look: &[f32], grid: usize, side: f32, region: &BoxXyxy<Model>) -> f32 {
    let cell = side / grid as f32;
    let (mut sum, mut area) = (0.0, 0.0);
    for (i, share) in look.iter().enumerate() {
        let (x, y) = ((i % grid) as f32 * cell, (i / grid) as f32 * cell);
        let part = region.intersection(&BoxXyxy::new(x, y, x + cell, y + cell));
        sum += share * part;
        area += part;
    }
    if area > 0.0 { sum / area } else { 0.0 }
}

fn mean(looks: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; looks.first().map_or(0, Vec::len)];
    for look in looks {
        for (s, v) in sum.iter_mut().zip(look) {
            *s += v / looks.len() as f32;
        }
    }
    sum
}

fn hottest(heat: &[f32], grid: usize) -> Vec<f32> {
    let mut top = vec![0f32; grid * grid];
    for map in heat.chunks_exact(grid * grid) {
        for (t, v) in top.iter_mut().zip(map) {
            *t = t.max(*v);
        }
    }
    top
}

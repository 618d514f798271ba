//! A loaded bundle: a film in, report, findings and links out. The same natively and in the browser.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::{DecodeOptions, decode};
use d2r_contracts::grounding::{BoxFacts, SentenceFacts, boxes_named, sentence_weights};
use d2r_contracts::preprocess::{ModelInput, to_model_input};
use d2r_contracts::preview_bundle::{ENCODER, PreviewCard, STEP};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::report_text::sentences;
use d2r_contracts::space::{Model, Original};
use serde::Serialize;

use crate::NOTICE;
use crate::bundle::{check_file, read_card};
use crate::error::{Result, ViewerError};
use crate::findings::{Finding, findings, hottest};
use crate::generate::Writer;
use crate::graph::{Plan, encode, kernels, plan};

/// A bundle's models, ready for films.
#[derive(Debug)]
pub struct PreviewSession {
    card: PreviewCard,
    encoder: Plan,
    step: Plan,
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

/// What is seen of a film before a word is written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    /// Columns of the film.
    pub width: u32,
    /// Rows of the film.
    pub height: u32,
    /// Boxes, the surest first.
    pub findings: Vec<Finding>,
    /// Score of each CheXpert label.
    pub labels: Vec<(String, f32)>,
    /// The highest class score of each cell of the heat map, row by row.
    pub heat: Vec<f32>,
    /// Where the model's square lies: `x_min y_min x_max y_max` in the film's pixels, beyond the film where it was
    /// padded. The heat map and every `look` cover it.
    pub frame: [f32; 4],
}

/// What is said of a film.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// What was seen.
    #[serde(flatten)]
    pub seen: Seen,
    /// The report.
    pub report: String,
    /// The model ended the report itself.
    pub ended: bool,
    /// Log-probability of each word.
    pub log_probs: Vec<f32>,
    /// Its sentences.
    pub sentences: Vec<Sentence>,
    /// Research-use notice.
    pub notice: &'static str,
}

/// A film whose report is being written: [`Reading::advance`] until it says `false`, then [`PreviewSession::finish`].
#[derive(Debug)]
pub struct Reading {
    seen: Seen,
    places: Vec<BoxXyxy<Model>>,
    writer: Writer,
}

impl Reading {
    /// What was seen.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// One more word; `false` when the report is done.
    ///
    /// # Errors
    /// [`ViewerError::Model`].
    pub fn advance(&mut self) -> Result<bool> {
        self.writer.advance()
    }

    /// Ids of the likeliest words so far.
    pub fn words(&self) -> &[i64] {
        self.writer.words()
    }
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

    /// Names of the matrix kernels that the graphs run on, each once.
    pub fn kernels(&self) -> Vec<String> {
        let mut all: Vec<String> = [&self.encoder, &self.step].into_iter().flat_map(kernels).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Decodes a PNG, JPEG or DICOM file and says what the student sees. `on_word` is given each word of a greedy
    /// report as it comes; returning `false` stops there.
    ///
    /// # Errors
    /// [`ViewerError::Film`] for a file that cannot be used; [`ViewerError::Model`].
    pub fn analyze(&self, bytes: &[u8], on_word: &mut dyn FnMut(&str) -> bool) -> Result<Analysis> {
        let film = decode(bytes, &DecodeOptions::default()).map_err(ViewerError::film)?;
        self.analyze_film(&film.radiograph, on_word)
    }

    /// The same for a decoded film.
    ///
    /// # Errors
    /// [`ViewerError::Model`].
    pub fn analyze_film(&self, film: &Radiograph, on_word: &mut dyn FnMut(&str) -> bool) -> Result<Analysis> {
        let mut reading = self.begin(film)?;
        let greedy = self.card.options.beam_size <= 1;
        let mut told = 0;
        while reading.advance()? {
            if greedy && reading.words().len() > told {
                told = reading.words().len();
                let word = reading.words().last().and_then(|id| self.card.vocabulary.word(*id));
                if !on_word(word.unwrap_or_default()) {
                    break;
                }
            }
        }
        Ok(self.finish(reading))
    }

    /// Looks at a film; no word is written yet.
    ///
    /// # Errors
    /// [`ViewerError::Model`].
    pub fn begin(&self, film: &Radiograph) -> Result<Reading> {
        let card = &self.card;
        let input = to_model_input(film, &card.input);
        let encoded = encode(&self.encoder, &input.pixels, card.input.size as usize)?;
        let (findings, places) = findings(card, &encoded, &input);
        let seen = Seen {
            width: film.width,
            height: film.height,
            findings,
            labels: card.labels.iter().cloned().zip(encoded.labels.iter().copied()).collect(),
            heat: hottest(&encoded.heat, card.decoder.heat_grid),
            frame: frame(&input),
        };
        let unknown = card.vocabulary.unknown_id();
        let writer = Writer::new(&self.step, card.decoder, card.options, unknown, encoded.memory)?;
        Ok(Reading { seen, places, writer })
    }

    /// The report as far as it was written, its sentences linked to boxes.
    pub fn finish(&self, reading: Reading) -> Analysis {
        let Reading { seen, places, writer } = reading;
        let told = writer.finish();
        let report = self.card.vocabulary.decode(&told.words);
        let facts: Vec<BoxFacts> = seen
            .findings
            .iter()
            .map(|f| {
                let [a, b, c, d] = f.region;
                BoxFacts::of(f.class_id, &BoxXyxy::<Original>::new(a, b, c, d), seen.width as f32)
            })
            .collect();
        let spans = sentences(&report).into_iter();
        let sentences = spans.map(|span| {
            let words = span.tokens.start.min(told.words.len())..span.tokens.end.min(told.words.len());
            let look = mean(&told.looks[words.clone()]);
            let links = self.links(&span.text, &look, &facts, &places);
            Sentence { log_prob: told.log_probs[words].iter().sum(), text: span.text, links, look }
        });
        let sentences = sentences.collect();
        Analysis { seen, report, ended: told.ended, log_probs: told.log_probs, sentences, notice: NOTICE }
    }

    /// The boxes that a sentence names, each with its share of the sentence's attention among them.
    fn links(&self, text: &str, look: &[f32], facts: &[BoxFacts], places: &[BoxXyxy<Model>]) -> Vec<(usize, f32)> {
        let named = boxes_named(&SentenceFacts::of(text), facts);
        let (grid, size) = (self.card.decoder.grid, self.card.input.size as f32);
        let on: Vec<f32> = named.iter().map(|&i| look_on(look, grid, size, &places[i])).collect();
        let weights = sentence_weights(&[on]);
        named.into_iter().zip(weights).filter(|(_, w)| *w >= self.card.options.link_weight_min).collect()
    }
}

/// The model's square in the film's pixels.
fn frame(input: &ModelInput) -> [f32; 4] {
    let map = &input.letterbox;
    let x = |v: f32| (v - map.pad_x) / map.scale_x;
    let y = |v: f32| (v - map.pad_y) / map.scale_y;
    [x(0.0), y(0.0), x(map.model_width as f32), y(map.model_height as f32)]
}

/// Mean attention inside a box: each cell counts by the part of it that the box covers.
fn look_on(look: &[f32], grid: usize, size: f32, region: &BoxXyxy<Model>) -> f32 {
    let cell = size / grid as f32;
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

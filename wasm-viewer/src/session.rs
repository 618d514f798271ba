//! A loaded bundle: radiograph in; detections, labels, report and links out. The same code natively and in the browser.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::decode::{ImageDecodeOptions, decode};
use d2r_contracts::grounding::{BoxFacts, SentenceFacts, boxes_named, sentence_weights};
use d2r_contracts::preprocess::to_model_input;
use d2r_contracts::preview_bundle::{ENCODER, PreviewCard, STEP};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::report_text::{readable, readable_sentences, sentences};
use d2r_contracts::space::{Model, Original};
use serde::Serialize;

use crate::NOTICE;
use crate::beam_search::BeamSearch;
use crate::bundle::{check_file, read_card};
use crate::detections::{Detection, Detections, class_max, detections};
use crate::error::Result;
use crate::graph::{Plan, encode, kernels, plan};

/// The graphs and the card of a bundle.
#[derive(Debug)]
pub struct PreviewSession {
    card: PreviewCard,
    encoder: Plan,
    step: Plan,
}

/// A sentence with its attention and links.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sentence {
    /// Text of the sentence, as its tokens.
    pub text: String,
    /// The text as a person writes it.
    pub readable: String,
    /// Sum of the words' log-probabilities.
    pub log_prob: f32,
    /// Index of a detection, and its share of the sentence's attention among the detections that the sentence names.
    pub links: Vec<(usize, f32)>,
    /// Mean cross-attention of the words over the patch tokens, row by row, `[grid * grid]`; sums to 1.
    pub attention: Vec<f32>,
}

/// Results of the encoder for one radiograph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ImageAnalysis {
    /// Columns of the radiograph.
    pub width: u32,
    /// Rows of the radiograph.
    pub height: u32,
    /// By descending score.
    pub detections: Vec<Detection>,
    /// CheXpert label and score, 0 to 1.
    pub labels: Vec<(String, f32)>,
    /// The highest class score of each cell of the heat map, row by row, `[heat_grid * heat_grid]`.
    pub heat: Vec<f32>,
    /// The square model input, `x_min y_min x_max y_max` in original pixels, beyond the radiograph where it is padded.
    /// The heat map and every `attention` cover it.
    pub input_extent: [f32; 4],
}

/// All results for one radiograph.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// Results of the encoder.
    #[serde(flatten)]
    pub image: ImageAnalysis,
    /// Text of the report, as its tokens.
    pub report: String,
    /// The report as a person writes it.
    pub readable: String,
    /// The model wrote the end of the report.
    pub ended: bool,
    /// Log-probability of each word.
    pub log_probs: Vec<f32>,
    pub sentences: Vec<Sentence>,
    /// Research-use notice.
    pub notice: &'static str,
}

/// The generation of one report: [`Generation::advance`] until it returns `false`, then [`PreviewSession::finish`].
#[derive(Debug)]
pub struct Generation {
    image: ImageAnalysis,
    model_boxes: Vec<BoxXyxy<Model>>,
    search: BeamSearch,
}

impl Generation {
    /// Results of the encoder.
    pub fn image(&self) -> &ImageAnalysis {
        &self.image
    }

    /// Adds one word; `false` when the report is finished.
    ///
    /// # Errors
    /// [`ViewerError::Model`](crate::error::ViewerError::Model).
    pub fn advance(&mut self) -> Result<bool> {
        self.search.advance()
    }

    /// Ids of the most probable words so far.
    pub fn words(&self) -> &[i64] {
        self.search.words()
    }
}

impl PreviewSession {
    /// Checks the files against the card before parsing them, and prepares the graphs.
    ///
    /// # Errors
    /// The bundle cannot be used, a file differs from the card, or tract refuses a graph.
    pub fn new(card: &[u8], encoder: &[u8], step: &[u8]) -> Result<Self> {
        let card = read_card(card)?;
        check_file(&card, ENCODER, encoder)?;
        check_file(&card, STEP, step)?;
        Ok(Self { encoder: plan(encoder)?, step: plan(step)?, card })
    }

    /// The bundle's card.
    pub fn card(&self) -> &PreviewCard {
        &self.card
    }

    /// Names of the graphs' matrix multiplication kernels, each once.
    pub fn kernels(&self) -> Vec<String> {
        let mut all: Vec<String> = [&self.encoder, &self.step].into_iter().flat_map(kernels).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Decodes and analyses a PNG, JPEG or DICOM file. `on_word` receives each word of a greedy report as it is
    /// generated; returning `false` stops the report there.
    ///
    /// # Errors
    /// The file cannot be decoded, or a graph fails.
    pub fn analyze(&self, bytes: &[u8], on_word: &mut dyn FnMut(&str) -> bool) -> Result<Analysis> {
        self.analyze_radiograph(&decode(bytes, &ImageDecodeOptions::default())?.radiograph, on_word)
    }

    /// [`PreviewSession::analyze`] of a decoded radiograph.
    ///
    /// # Errors
    /// A graph fails.
    pub fn analyze_radiograph(
        &self,
        radiograph: &Radiograph,
        on_word: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Analysis> {
        let mut generation = self.begin(radiograph)?;
        let greedy = self.card.options.beam_size <= 1;
        let mut reported = 0;
        while generation.advance()? {
            if greedy && generation.words().len() > reported {
                reported = generation.words().len();
                let word = generation.words().last().and_then(|id| self.card.vocabulary.word(*id));
                if !on_word(word.unwrap_or_default()) {
                    break;
                }
            }
        }
        Ok(self.finish(generation))
    }

    /// Runs the encoder; the report is empty.
    ///
    /// # Errors
    /// A graph fails.
    pub fn begin(&self, radiograph: &Radiograph) -> Result<Generation> {
        let card = &self.card;
        let input = to_model_input(radiograph, &card.input);
        let encoded = encode(&self.encoder, &input.pixels, card.input.size as usize)?;
        let Detections { list, model_boxes } = detections(card, &encoded, &input);
        let image = ImageAnalysis {
            width: radiograph.width,
            height: radiograph.height,
            detections: list,
            labels: card.labels.iter().cloned().zip(encoded.labels.iter().copied()).collect(),
            heat: class_max(&encoded.heat, card.decoder.heat_grid),
            input_extent: input.letterbox.model_extent().to_array(),
        };
        let unknown = card.vocabulary.unknown_id();
        let search = BeamSearch::new(&self.step, card.decoder, card.options, unknown, encoded.memory)?;
        Ok(Generation { image, model_boxes, search })
    }

    /// The report as far as it was generated, with its sentences linked to detections.
    pub fn finish(&self, generation: Generation) -> Analysis {
        let Generation { image, model_boxes, search } = generation;
        let hypothesis = search.finish();
        let report = self.card.vocabulary.decode(&hypothesis.words);
        let facts: Vec<BoxFacts> = image
            .detections
            .iter()
            .map(|d| {
                let [x_min, y_min, x_max, y_max] = d.region;
                BoxFacts::of(d.class_id, &BoxXyxy::<Original>::new(x_min, y_min, x_max, y_max), image.width as f32)
            })
            .collect();
        let count = hypothesis.words.len();
        let written = readable_sentences(&report);
        let sentences = sentences(&report).into_iter().zip(written).map(|(span, readable)| {
            let words = span.tokens.start.min(count)..span.tokens.end.min(count);
            let attention = mean(&hypothesis.attention[words.clone()]);
            let links = self.links(&span.text, &attention, &facts, &model_boxes);
            let log_prob = hypothesis.log_probs[words].iter().sum();
            Sentence { log_prob, text: span.text, readable, links, attention }
        });
        let sentences = sentences.collect();
        let (ended, log_probs) = (hypothesis.ended, hypothesis.log_probs);
        let readable = readable(&report);
        Analysis { image, report, readable, ended, log_probs, sentences, notice: NOTICE }
    }

    /// The detections that a sentence names, each with its share of the sentence's attention among them.
    fn links(
        &self,
        text: &str,
        attention: &[f32],
        facts: &[BoxFacts],
        model_boxes: &[BoxXyxy<Model>],
    ) -> Vec<(usize, f32)> {
        let named = boxes_named(&SentenceFacts::of(text), facts);
        let (grid, size) = (self.card.decoder.grid, self.card.input.size as f32);
        let inside: Vec<f32> =
            named.iter().map(|&i| attention_inside(attention, grid, size, &model_boxes[i])).collect();
        let weights = sentence_weights(&[inside]);
        named.into_iter().zip(weights).filter(|(_, w)| *w >= self.card.options.link_weight_min).collect()
    }
}

/// Mean attention inside a box; each cell is weighted by its area inside the box.
fn attention_inside(attention: &[f32], grid: usize, size: f32, region: &BoxXyxy<Model>) -> f32 {
    let cell = size / grid as f32;
    let (mut sum, mut area) = (0.0, 0.0);
    for (i, weight) in attention.iter().enumerate() {
        let (x, y) = ((i % grid) as f32 * cell, (i / grid) as f32 * cell);
        let part = region.intersection(&BoxXyxy::new(x, y, x + cell, y + cell));
        sum += weight * part;
        area += part;
    }
    if area > 0.0 { sum / area } else { 0.0 }
}

/// Mean over words, `[words][cells]` to `[cells]`; empty without words.
fn mean(attention: &[Vec<f32>]) -> Vec<f32> {
    let mut sum = vec![0.0; attention.first().map_or(0, Vec::len)];
    for word in attention {
        for (sum, weight) in sum.iter_mut().zip(word) {
            *sum += weight / attention.len() as f32;
        }
    }
    sum
}

//! Words to vectors of the visual tokens' width: BERT and a projection, for reports and for sentences.
//! Published: two encoders, sentences one image at a time. Here one encoder for both unless two are asked for, and all
//! sentences of a batch at once, equal ones only once.

use tch::{Tensor, nn};

use crate::config::report::TextEncoderMode;
use crate::nn::mlp::linear;
use crate::reporter::align::bert::{Bert, BertShape};
use crate::reporter::align::negative_aware::Tokens;

/// Encoded texts wait for the loss at unit length.
#[derive(Debug)]
pub struct TextEncoder {
    reports: Bert,
    sentences: Option<Bert>,
    report_fc: nn::Linear,
    sentence_fc: nn::Linear,
    frozen: bool,
}

/// Word ids of several texts.
#[derive(Debug)]
pub struct Texts {
    /// i64 `[n, T]`.
    pub ids: Tensor,
    /// Boolean `[n, T]`.
    pub kept: Tensor,
}

impl TextEncoder {
    /// Vectors of width `d_visual`; parameters `text_extractor.{bert.*,fc.*}` and `textlist_extractor.{bert.*,fc.*}`, the
    /// latter without `bert` unless there are two.
    pub fn new(path: &nn::Path, shape: BertShape, mode: TextEncoderMode, d_visual: i64) -> Self {
        let (of_report, of_sentence) = (path / "text_extractor", path / "textlist_extractor");
        Self {
            reports: Bert::new(&(&of_report / "bert"), shape),
            sentences: (mode == TextEncoderMode::Two).then(|| Bert::new(&(&of_sentence / "bert"), shape)),
            report_fc: linear(&(&of_report / "fc"), shape.width, d_visual),
            sentence_fc: linear(&(&of_sentence / "fc"), shape.width, d_visual),
            frozen: mode == TextEncoderMode::Frozen,
        }
    }

    /// All word states of whole reports.
    pub fn reports(&self, texts: &Texts, train: bool) -> Tokens {
        self.encoded(&self.reports, &self.report_fc, texts, train)
    }

    /// All word states of sentences.
    pub fn sentences(&self, texts: &Texts, train: bool) -> Tokens {
        self.encoded(self.sentences.as_ref().unwrap_or(&self.reports), &self.sentence_fc, texts, train)
    }

    fn encoded(&self, bert: &Bert, fc: &nn::Linear, texts: &Texts, train: bool) -> Tokens {
        let states = if self.frozen {
            tch::no_grad(|| bert.forward_t(&texts.ids, &texts.kept, false))
        } else {
            bert.forward_t(&texts.ids, &texts.kept, train)
        };
        Tokens::unit(&states.apply(fc), &texts.kept)
    }
}

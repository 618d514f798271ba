//! Text encoder of the alignment: BERT and a projection to the width of the visual tokens, for reports and for sentences.
//! D2R-Net has two encoders; here the mode `two` has, else one BERT with two projections encodes both.

use tch::{Tensor, nn};

use crate::config::report::TextEncoderMode;
use crate::nn::mlp::linear;
use crate::reporter::align::bert::{Bert, BertShape};
use crate::reporter::align::negative_aware::Tokens;

/// One or two BERTs, a projection for reports and one for sentences.
#[derive(Debug)]
pub struct TextEncoder {
    reports: Bert,
    sentences: Option<Bert>,
    report_fc: nn::Linear,
    sentence_fc: nn::Linear,
    frozen: bool,
}

/// Token ids of several texts.
#[derive(Debug)]
pub struct TextInput {
    /// i64 `[n, T]`, padded with 0.
    pub ids: Tensor,
    /// Boolean `[n, T]`: tokens that are not padding.
    pub present: Tensor,
}

impl TextEncoder {
    /// Vectors of width `d_visual`. Parameters `text_extractor.{bert.*,fc.*}` and `textlist_extractor.{bert.*,fc.*}`, the
    /// latter without `bert` unless there are two encoders.
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

    /// Unit vectors of all tokens of whole reports.
    pub fn reports(&self, texts: &TextInput, train: bool) -> Tokens {
        self.encoded(&self.reports, &self.report_fc, texts, train)
    }

    /// Unit vectors of all tokens of sentences.
    pub fn sentences(&self, texts: &TextInput, train: bool) -> Tokens {
        self.encoded(self.sentences.as_ref().unwrap_or(&self.reports), &self.sentence_fc, texts, train)
    }

    fn encoded(&self, bert: &Bert, fc: &nn::Linear, texts: &TextInput, train: bool) -> Tokens {
        let states = if self.frozen {
            tch::no_grad(|| bert.forward_t(&texts.ids, &texts.present, false))
        } else {
            bert.forward_t(&texts.ids, &texts.present, train)
        };
        Tokens::unit(&states.apply(fc), &texts.present)
    }
}

//! Optimizer of the report model: Adam (AMSGrad) with separate learning rates for visual encoder, decoder and text
//! encoder.

use tch::Tensor;

use crate::config::report::ReportTrainConfig;
use crate::error::Result;
use crate::reporter::align::alignment::Alignment;
use crate::reporter::model::report_model::ReportModel;
use crate::training::named_tensors::named_tensors;
use crate::training::optimizer::{Optimizer, ParamGroup, Rule, decay_split};

/// Prefixes of the parameters with the learning rate `lr_visual`.
const VISUAL: [&str; 2] = ["visual_extractor.", "region_encoder."];

/// Visual, language and text parameters, each with and without weight decay.
///
/// # Errors
/// Those of [`Optimizer::new`].
pub fn optimizer(model: &ReportModel, alignment: Option<&Alignment>, config: &ReportTrainConfig) -> Result<Optimizer> {
    let trainable = |vs| named_tensors(vs).into_iter().filter(|(_, t): &(String, Tensor)| t.requires_grad());
    let (visual, language): (Vec<_>, Vec<_>) =
        trainable(model.variables()).partition(|(name, _)| VISUAL.iter().any(|v| name.starts_with(v)));
    let mut sets = vec![("visual", visual, config.lr_visual), ("language", language, config.lr)];
    if let Some(alignment) = alignment {
        sets.push(("text", trainable(alignment.variables()).collect(), alignment.lr()));
    }
    let mut groups = Vec::new();
    for (name, params, lr) in sets {
        let (decayed, plain) = if config.decay_all { (params, Vec::new()) } else { decay_split(params) };
        groups.push(ParamGroup { name: name.into(), params: decayed, lr, weight_decay: config.weight_decay });
        groups.push(ParamGroup { name: format!("{name} norms and biases"), params: plain, lr, weight_decay: 0.0 });
    }
    Optimizer::new(Rule::ADAM_AMSGRAD, groups)
}

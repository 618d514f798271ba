//! Import of published BERT weights into the text encoder of the alignment. Hugging Face's names, with or without the
//! prefix `bert.`, and the older `gamma` and `beta` of its layer norms; pooler and language-model head are not used.

use std::path::Path;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::reporter::align::alignment::Alignment;
use crate::training::named_tensors::read_tensors;
use crate::weights::import::ImportReport;

/// Prefixes of the encoders among the alignment's variables.
const ENCODERS: [&str; 2] = ["text_extractor.bert.", "textlist_extractor.bert."];

/// Name of a tensor's variable within an encoder; `None` for tensors that are not used.
fn variable_name(source: &str) -> Option<String> {
    let name = source.strip_prefix("bert.").unwrap_or(source);
    if name.starts_with("pooler.") || name.starts_with("cls.") || name == "embeddings.position_ids" {
        return None;
    }
    Some(name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"))
}

/// Copies an encoder's weights into each encoder of `alignment`; the projections keep their initial values.
/// Nothing is copied unless everything fits.
///
/// # Errors
/// [`Error::BadData`] with missing, surplus and misshapen names; those of reading.
pub fn import_text_encoder(alignment: &mut Alignment, file: &Path) -> Result<ImportReport> {
    let mut wanted = alignment.variables().variables();
    let present: Vec<&str> = ENCODERS.into_iter().filter(|e| wanted.keys().any(|name| name.starts_with(e))).collect();
    let (mut report, mut copies): (ImportReport, Vec<(Tensor, Tensor)>) = Default::default();
    for (source, tensor) in read_tensors(file)? {
        let Some(name) = variable_name(&source) else {
            report.unused.push(source);
            continue;
        };
        for encoder in &present {
            match wanted.remove(&format!("{encoder}{name}")) {
                None => report.surplus.push(source.clone()),
                Some(variable) if variable.size() != tensor.size() => report.misshapen.push(format!(
                    "{source} is {:?}, report.align.text expects {:?}",
                    tensor.size(),
                    variable.size()
                )),
                Some(variable) => {
                    copies.push((variable, tensor.shallow_clone()));
                    report.taken.push(format!("{encoder}{name}"));
                }
            }
        }
    }
    for name in wanted.into_keys() {
        let encoder = ENCODERS.iter().any(|e| name.starts_with(e));
        if encoder { report.missing.push(name) } else { report.fresh.push(name) }
    }
    if !report.fits() {
        return Err(Error::bad_data(file.display(), format!("does not fit the text encoder: {}", report.problems())));
    }
    let _no_grad = tch::no_grad_guard();
    for (mut variable, tensor) in copies {
        variable.copy_(&tensor);
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::config::report::{AlignmentConfig, TextEncoderMode};
    use crate::config::{Layers, resolve};

    fn config(mode: TextEncoderMode) -> AlignmentConfig {
        let layers = Layers { preset: Some("tiny".into()), ..Layers::default() };
        let mut align = resolve(&layers).unwrap().config.report.align;
        align.text.mode = mode;
        align
    }

    fn published(width: i64, words: i64) -> Vec<(String, Tensor)> {
        let vs = tch::nn::VarStore::new(Device::Cpu);
        let shape = crate::reporter::align::bert::BertShape {
            token_count: words,
            positions: 512,
            width,
            layers: 1,
            heads: 2,
            d_ff: 16,
            dropout: 0.0,
        };
        let _bert = crate::reporter::align::bert::Bert::new(&(vs.root() / "bert"), shape);
        let mut tensors: Vec<(String, Tensor)> = vs
            .variables()
            .into_iter()
            .map(|(n, t)| (n.replace("LayerNorm.weight", "LayerNorm.gamma"), t.detach()))
            .collect();
        tensors.push(("bert.pooler.dense.weight".into(), Tensor::zeros([2, 2], (Kind::Float, Device::Cpu))));
        tensors
    }

    #[test]
    fn one_or_two_encoders_get_the_same_weights_and_misfits_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("model.safetensors");
        Tensor::write_safetensors(&published(16, 40), &file).unwrap();
        for (mode, encoders) in [(TextEncoderMode::Shared, 1), (TextEncoderMode::Two, 2)] {
            let mut alignment = Alignment::new(&config(mode), 40, 8, Device::Cpu).unwrap();
            let report = import_text_encoder(&mut alignment, &file).unwrap();
            assert_eq!(report.taken.len(), encoders * (published(16, 40).len() - 1));
            assert_eq!((report.unused.len(), report.fresh.len()), (1, 4));
        }
        let mut wider = Alignment::new(&config(TextEncoderMode::Frozen), 41, 8, Device::Cpu).unwrap();
        let error = import_text_encoder(&mut wider, &file).unwrap_err();
        assert_eq!(error.exit().code(), 65);
        assert!(error.to_string().contains("word_embeddings"), "{error}");
    }
}

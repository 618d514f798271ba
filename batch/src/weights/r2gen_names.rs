//! Import of R2Gen's published state dict, strictly. The names inside `encoder_decoder` are the same; those of the
//! trunk are indices of torchvision's children. Position tables are computed here, and the file's are compared with
//! them.

use std::path::Path;

use tch::Tensor;

use crate::error::{Error, Result};
use crate::nn::positional::sinusoidal;
use crate::reporter::model::encoder_decoder::MAX_POSITIONS;
use crate::reporter::model::report_model::ReportModel;
use crate::training::named_tensors::read_tensors;
use crate::weights::import::ImportReport;

/// Prefix of the trunk in the file; indices of its children and their names in torchvision.
const TRUNK: &str = "visual_extractor.model.";
const CHILDREN: [(&str, &str); 6] =
    [("0.", "conv1."), ("1.", "bn1."), ("4.", "layer1."), ("5.", "layer2."), ("6.", "layer3."), ("7.", "layer4.")];
/// The head: one row per word of the vocabulary and one for the boundary.
const HEAD: &str = "encoder_decoder.logit.weight";
/// Largest accepted difference of a position table from the equations.
const POSITION_TOLERANCE: f64 = 1e-4;

/// How a tensor of the file is used.
#[derive(Debug, PartialEq, Eq)]
enum TensorUse {
    Variable(String),
    Positions,
    Unused,
}

fn tensor_use(source: &str) -> TensorUse {
    let name = source.strip_prefix("module.").unwrap_or(source);
    if name.ends_with(".num_batches_tracked") || name.contains(".classifier.") {
        return TensorUse::Unused;
    }
    if name.ends_with("tgt_embed.1.pe") {
        return TensorUse::Positions;
    }
    let child = name.strip_prefix(TRUNK).and_then(|rest| {
        CHILDREN
            .iter()
            .find_map(|(number, child)| rest.strip_prefix(number).map(|tail| format!("{TRUNK}{child}{tail}")))
    });
    TensorUse::Variable(child.unwrap_or_else(|| name.to_owned()))
}

/// Copies the file's weights into `model`; nothing is copied unless everything fits.
///
/// # Errors
/// [`Error::BadData`] when the head's rows are not the vocabulary and the boundary, when positions differ from the
/// equations, and with the names that are missing, surplus or misshapen; those of reading.
pub fn import_r2gen(model: &mut ReportModel, words: i64, file: &Path) -> Result<ImportReport> {
    let mut wanted = model.variables().variables();
    let (mut report, mut copies): (ImportReport, Vec<(Tensor, Tensor)>) = Default::default();
    let bad = |problem: String| Error::bad_data(file.display(), problem);
    for (source, tensor) in read_tensors(file)? {
        let name = match tensor_use(&source) {
            TensorUse::Variable(name) => name,
            TensorUse::Positions => {
                check_positions(&tensor, model.config().d_model)
                    .map_err(|problem| bad(format!("`{source}` {problem}")))?;
                report.unused.push(source);
                continue;
            }
            TensorUse::Unused => {
                report.unused.push(source);
                continue;
            }
        };
        if name == HEAD && tensor.size().first() != Some(&words) {
            let rows = tensor.size().first().copied().unwrap_or(0);
            return Err(bad(format!("its head has {} words, the vocabulary has {}", rows - 1, words - 1)));
        }
        match wanted.remove(&name) {
            None => report.surplus.push(source),
            Some(variable) if variable.size() != tensor.size() => {
                report.misshapen.push(format!(
                    "{name} is {:?}, the model expects {:?}",
                    tensor.size(),
                    variable.size()
                ));
            }
            Some(variable) => {
                copies.push((variable, tensor));
                report.taken.push(name);
            }
        }
    }
    report.missing = wanted.into_keys().collect();
    for names in [&mut report.taken, &mut report.unused, &mut report.missing, &mut report.surplus] {
        names.sort();
    }
    if !report.fits() {
        return Err(bad(format!("does not fit the model: {}", report.problems())));
    }
    let _no_grad = tch::no_grad_guard();
    for (mut variable, tensor) in copies {
        variable.copy_(&tensor);
    }
    Ok(report)
}

/// `[1, positions, width]` against the sinusoids.
fn check_positions(table: &Tensor, width: i64) -> std::result::Result<(), String> {
    let size = table.size();
    if size.len() != 3 || size[2] != width {
        return Err(format!("is {size:?}, expected positions of width {width}"));
    }
    let count = size[1].min(MAX_POSITIONS);
    let expected = sinusoidal(count, width, tch::Device::Cpu);
    let difference = (table.get(0).narrow(0, 0, count) - expected).abs().max().double_value(&[]);
    if difference <= POSITION_TOLERANCE {
        Ok(())
    } else {
        Err(format!("differs from sinusoidal positions by {difference}"))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::config::report::ReportModelConfig;
    use crate::config::{Layers, resolve};

    const WORDS: i64 = 12;

    fn config() -> ReportModelConfig {
        let layers = Layers { preset: Some("r2gen_mimic".into()), ..Layers::default() };
        let published = resolve(&layers).unwrap().config.report.model;
        ReportModelConfig {
            trunk_depth: 50,
            trunk_width: 4,
            input_size: 32,
            d_model: 16,
            d_ff: 16,
            heads: 4,
            layers: 2,
            ..published
        }
    }

    fn model(seed: i64) -> ReportModel {
        tch::manual_seed(seed);
        ReportModel::new(&config(), WORDS, (0.449, 0.226), Device::Cpu).unwrap()
    }

    /// A state dict with the published names.
    fn published(model: &ReportModel) -> Vec<(String, Tensor)> {
        let mut tensors = vec![
            ("module.visual_extractor.model.1.num_batches_tracked".to_owned(), Tensor::from(7i64)),
            ("module.encoder_decoder.model.tgt_embed.1.pe".to_owned(), sinusoidal(5000, 16, Device::Cpu).unsqueeze(0)),
        ];
        for (name, tensor) in model.variables().variables() {
            let source = CHILDREN.iter().fold(name.clone(), |n, (number, child)| {
                n.replace(&format!("{TRUNK}{child}"), &format!("{TRUNK}{number}"))
            });
            tensors.push((format!("module.{source}"), tensor.detach()));
        }
        tensors
    }

    fn problem(tensors: &[(String, Tensor)], words: i64) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r2gen.safetensors");
        Tensor::write_safetensors(tensors, &file).unwrap();
        let error = import_r2gen(&mut model(2), words, &file).unwrap_err();
        assert_eq!(error.exit().code(), 65);
        error.to_string()
    }

    #[test]
    fn all_published_names_are_mapped() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r2gen.safetensors");
        let source = model(1);
        assert!(published(&source).iter().any(|(n, _)| n == "module.visual_extractor.model.7.0.downsample.0.weight"));
        Tensor::write_safetensors(&published(&source), &file).unwrap();
        let mut target = model(2);
        let report = import_r2gen(&mut target, WORDS, &file).unwrap();
        assert_eq!((report.taken.len(), report.unused.len()), (source.variables().variables().len(), 2));
        let wanted = source.variables().variables();
        for (name, variable) in target.variables().variables() {
            assert_eq!(i64::try_from(variable.ne_tensor(&wanted[&name]).sum(Kind::Int64)).unwrap(), 0, "{name}");
        }
    }

    #[test]
    fn misfits_are_named() {
        let complete = published(&model(1));
        let without: Vec<_> = published(&model(1)).into_iter().filter(|(n, _)| !n.ends_with("rm.U.bias")).collect();
        assert!(problem(&without, WORDS).contains("model.rm.U.bias"));
        let mut more = published(&model(1));
        more.push(("align.fc.weight".into(), Tensor::from(1.0f32)));
        assert!(problem(&more, WORDS).contains("surplus"));
        assert!(problem(&complete, WORDS + 1).contains("head has 11 words, the vocabulary has 12"));
        let mut shifted = published(&model(1));
        shifted[1].1 = &shifted[1].1 + 0.5;
        assert!(problem(&shifted, WORDS).contains("positions"));
    }
}

//! Copies published weights into a detector, strictly: every variable of the model is either in the file or under a
//! prefix that keeps its initial values, and every tensor of the file is either used or known to be unused.

use std::path::Path;

use serde::Serialize;
use tch::Tensor;

use crate::config::detector::{Architecture, DetectorModelConfig};
use crate::detector::model::Detector;
use crate::error::{Error, Result};
use crate::training::named_tensors::read_tensors;
use crate::weights::detector_names::{Origin, TensorUse, shift_pyramid, tensor_use};

#[derive(Debug, Clone)]
pub struct Import<'a> {
    /// A safetensors file.
    pub file: &'a Path,
    /// The project whose tensor names it has.
    pub origin: Origin,
    /// From a checkpoint with teacher and student, take the teacher.
    pub teacher: bool,
    /// Prefixes of variables that keep their initial values, for instance `roi_heads.box_predictor.`; tensors of the
    /// file under them are not used.
    pub fresh: &'a [String],
}

/// How each tensor and each variable was treated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ImportReport {
    /// Variables set from the file.
    pub taken: Vec<String>,
    /// Variables that keep their initial values.
    pub fresh: Vec<String>,
    /// Tensors of the file that are not used.
    pub unused: Vec<String>,
    /// Variables without a tensor in the file.
    pub missing: Vec<String>,
    /// Tensors of the file without a variable, by the file's names.
    pub surplus: Vec<String>,
    /// Names with different shapes, and both shapes.
    pub misshapen: Vec<String>,
}

impl ImportReport {
    /// Whether nothing is missing, surplus or misshapen.
    pub fn fits(&self) -> bool {
        self.missing.is_empty() && self.surplus.is_empty() && self.misshapen.is_empty()
    }

    /// The first few problems in one line.
    pub fn problems(&self) -> String {
        let some = |what: &str, names: &[String]| {
            let listed: Vec<&str> = names.iter().take(5).map(String::as_str).collect();
            (!names.is_empty()).then(|| {
                format!("{} {what} ({}{})", names.len(), listed.join(", "), if names.len() > 5 { ", ..." } else { "" })
            })
        };
        let all = [("missing", &self.missing), ("surplus", &self.surplus), ("misshapen", &self.misshapen)];
        all.into_iter().filter_map(|(what, names)| some(what, names)).collect::<Vec<_>>().join("; ")
    }
}

/// Copies the file's weights into `detector`; nothing is copied unless everything fits.
///
/// Weights of detectron2 expect grey levels of 0 to 255: their first convolution is scaled to the model's normalised
/// input.
///
/// # Errors
/// [`Error::BadData`] with the missing, surplus and misshapen names; those of reading.
pub fn import(detector: &mut Detector, config: &DetectorModelConfig, job: &Import) -> Result<ImportReport> {
    let mut wanted = detector.variables().variables();
    let finest = if config.architecture == Architecture::Fcos { config.min_level as u32 } else { 2 };
    let is_fresh = |name: &str| job.fresh.iter().any(|prefix| name.starts_with(prefix.as_str()));
    let (mut report, mut copies): (ImportReport, Vec<(Tensor, Tensor)>) = Default::default();
    for (source, tensor) in read_tensors(job.file)? {
        let name = match tensor_use(job.origin, &source, job.teacher) {
            TensorUse::Unused => {
                report.unused.push(source);
                continue;
            }
            TensorUse::Variable(name) if job.origin == Origin::Detectron2 => shift_pyramid(&name, finest),
            TensorUse::Variable(name) => name,
        };
        if is_fresh(&name) {
            report.unused.push(source);
            continue;
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
                let pixels = 255.0 * f64::from(config.input_std);
                let scaled = job.origin == Origin::Detectron2 && name == "backbone.body.conv1.weight";
                copies.push((variable, if scaled { tensor * pixels } else { tensor }));
                report.taken.push(name);
            }
        }
    }
    for name in wanted.into_keys() {
        // The file of a classifier has a backbone only.
        let outside = job.origin == Origin::ImageNet && !name.starts_with("backbone.body.");
        if is_fresh(&name) || outside { report.fresh.push(name) } else { report.missing.push(name) }
    }
    for names in [&mut report.taken, &mut report.fresh, &mut report.unused, &mut report.missing, &mut report.surplus] {
        names.sort();
    }
    if !report.fits() {
        return Err(Error::bad_data(job.file.display(), format!("does not fit the model: {}", report.problems())));
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
    use crate::config::{Layers, resolve};
    use crate::training::named_tensors::{named_tensors, write_tensors};

    fn config() -> DetectorModelConfig {
        let base = resolve(&Layers { preset: Some("tiny".into()), ..Layers::default() }).unwrap().config.detector.model;
        DetectorModelConfig { architecture: Architecture::FasterRcnn, ..base }
    }

    fn detector(seed: i64) -> Detector {
        tch::manual_seed(seed);
        Detector::with_classes(&config(), 3, Device::Cpu).unwrap()
    }

    fn job<'a>(file: &'a Path, origin: Origin, fresh: &'a [String]) -> Import<'a> {
        Import { file, origin, teacher: true, fresh }
    }

    #[test]
    fn copied_weights_give_the_same_detections() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.safetensors");
        let (source, mut target) = (detector(1), detector(2));
        let mut tensors = named_tensors(source.variables());
        // Names of old files, and a counter.
        for (name, _) in &mut tensors {
            *name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.");
        }
        tensors.push(("backbone.body.bn1.num_batches_tracked".into(), Tensor::from_slice(&[7i64])));
        write_tensors(&file, &tensors).unwrap();
        let report = import(&mut target, &config(), &job(&file, Origin::Torchvision, &[])).unwrap();
        assert!(report.fits() && report.fresh.is_empty());
        assert_eq!(report.unused, ["backbone.body.bn1.num_batches_tracked"]);
        let images = Tensor::randn([1, 1, 64, 64], (Kind::Float, Device::Cpu));
        let images = crate::detector::pyramid::ImageBatch::unpadded(&images).unwrap();
        assert_eq!(target.detect(&images).unwrap(), source.detect(&images).unwrap());
    }

    #[test]
    fn misfits_are_named_and_nothing_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.safetensors");
        let (source, mut target) = (detector(1), detector(2));
        let mut tensors = named_tensors(source.variables());
        tensors.retain(|(name, _)| name != "rpn.head.cls_logits.bias");
        for (name, tensor) in &mut tensors {
            if name == "roi_heads.box_predictor.cls_score.bias" {
                *tensor = Tensor::zeros([9], (Kind::Float, Device::Cpu));
            }
        }
        tensors.push(("mask.weight".into(), Tensor::zeros([1], (Kind::Float, Device::Cpu))));
        write_tensors(&file, &tensors).unwrap();
        let before = named_tensors(target.variables()).iter().map(|(_, t)| t.copy()).collect::<Vec<_>>();
        let error = import(&mut target, &config(), &job(&file, Origin::Torchvision, &[])).unwrap_err().to_string();
        for word in [
            "1 missing (rpn.head.cls_logits.bias)",
            "1 surplus (mask.weight)",
            "cls_score.bias is [9], the model expects [4]",
        ] {
            assert!(error.contains(word), "{error}");
        }
        for ((_, now), before) in named_tensors(target.variables()).iter().zip(&before) {
            assert_eq!(now, before);
        }
        tensors.retain(|(name, _)| name != "mask.weight");
        write_tensors(&file, &tensors).unwrap();
        let fresh = ["roi_heads.box_predictor.".to_owned(), "rpn.head.cls_logits.".to_owned()];
        let report = import(&mut target, &config(), &job(&file, Origin::Torchvision, &fresh)).unwrap();
        assert_eq!(report.fresh.len(), 6);
    }

    #[test]
    fn a_classifiers_file_sets_the_backbone_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("w.safetensors");
        let (source, mut target) = (detector(1), detector(2));
        let body = named_tensors(source.variables()).into_iter();
        let mut tensors: Vec<_> =
            body.filter_map(|(n, t)| Some((n.strip_prefix("backbone.body.")?.to_owned(), t))).collect();
        tensors.push(("fc.bias".into(), Tensor::zeros([5], (Kind::Float, Device::Cpu))));
        write_tensors(&file, &tensors).unwrap();
        let report = import(&mut target, &config(), &job(&file, Origin::ImageNet, &[])).unwrap();
        assert!(report.taken.iter().all(|n| n.starts_with("backbone.body.")) && report.fresh.len() > 10);
    }
}

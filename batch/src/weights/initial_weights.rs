//! Initial weights of a report model: an earlier or an imported report model as a whole, or a trunk alone, from a
//! detector's backbone or from a classifier of torchvision (ResNet on ImageNet).

use std::path::{Path, PathBuf};

use d2r_contracts::vocabulary::Vocabulary;
use serde_json::Value;
use tch::Tensor;

use crate::detector::card::DetectorCard;
use crate::error::{Error, Result};
use crate::lake::digest::sha256_file;
use crate::reporter::card::ReporterCard;
use crate::reporter::model::report_model::ReportModel;
use crate::training::model_card::{ModelCard, WeightsOrigin};
use crate::training::named_tensors::{assign_to, load_strict, read_tensors};
use crate::training::run_dir::RunDir;
use crate::weights::detector_names::{Origin, TensorUse, tensor_use};

/// Prefix of the trunk's variables in the report model.
const TRUNK: &str = "visual_extractor.model.";
/// Prefix of the same variables in a detector.
const BACKBONE: &str = "backbone.body.";

/// Where initial weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum InitialWeights {
    /// A finished run of a report model; the new one has its vocabulary.
    ReportModel { run: PathBuf, card: Box<ModelCard<ReporterCard>> },
    /// A trunk: a ResNet in a file with these names.
    Trunk { file: PathBuf, names: Origin, origin: WeightsOrigin },
}

impl InitialWeights {
    /// `path`: the folder of a report model's or a detector's run, or a safetensors file of a torchvision classifier.
    ///
    /// # Errors
    /// [`Error::InputMissing`] when there is neither; [`Error::BadData`] for a run of another kind.
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_file() {
            let origin = WeightsOrigin::file(Origin::ImageNet.name(), sha256_file(path)?);
            return Ok(Self::Trunk { file: path.into(), names: Origin::ImageNet, origin });
        }
        if !path.join("card.json").is_file() {
            let hint = "expected a run of a report model or a detector, or a safetensors file with a ResNet";
            return Err(Error::missing(path, hint));
        }
        let head: ModelCard<Value> = RunDir::at(path, "").read_json("card.json")?;
        match head.kind.as_str() {
            "detector" => Self::backbone(path),
            _ => {
                let card = Box::new(ModelCard::read(path, "reporter")?);
                Ok(Self::ReportModel { run: path.into(), card })
            }
        }
    }

    /// The backbone of a detector's run.
    ///
    /// # Errors
    /// When the folder holds no finished detector.
    pub fn backbone(run: &Path) -> Result<Self> {
        let origin = ModelCard::<DetectorCard>::read(run, "detector")?.as_origin();
        Ok(Self::Trunk { file: RunDir::at(run, "").best(), names: Origin::Torchvision, origin })
    }

    /// Digest of the weights.
    pub fn sha256(&self) -> &str {
        match self {
            Self::ReportModel { card, .. } => &card.model_sha256,
            Self::Trunk { origin, .. } => &origin.sha256,
        }
    }

    /// What the card of a run says that starts with them.
    pub fn origin(&self) -> WeightsOrigin {
        match self {
            Self::ReportModel { card, .. } => card.as_origin(),
            Self::Trunk { origin, .. } => origin.clone(),
        }
    }

    /// The words that the initial weights know; `None` for a trunk.
    pub fn vocabulary(&self) -> Option<&Vocabulary> {
        match self {
            Self::ReportModel { card, .. } => Some(&card.model.vocabulary),
            Self::Trunk { .. } => None,
        }
    }

    /// Copies the weights into `model`; all of the trunk, or all of the model.
    ///
    /// # Errors
    /// [`Error::BadData`] with the names that do not fit.
    pub fn apply(&self, model: &mut ReportModel) -> Result<()> {
        match self {
            Self::ReportModel { run, .. } => load_strict(model.variables_mut(), &RunDir::at(run, "").best()),
            Self::Trunk { file, names, .. } => copy_trunk(model, file, *names),
        }
    }
}

/// Copies the backbone of a detector, or the classifier of a file, into the trunk, strictly.
fn copy_trunk(model: &ReportModel, file: &Path, origin: Origin) -> Result<()> {
    let in_trunk = |(source, tensor): (String, Tensor)| match tensor_use(origin, &source, true) {
        TensorUse::Variable(name) => Some((format!("{TRUNK}{}", name.strip_prefix(BACKBONE)?), tensor)),
        TensorUse::Unused => None,
    };
    let tensors: Vec<(String, Tensor)> = read_tensors(file)?.into_iter().filter_map(in_trunk).collect();
    let trunk = model.variables().variables().into_iter().filter(|(name, _)| name.starts_with(TRUNK));
    assign_to(trunk.collect(), &tensors, &file.display().to_string())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::config::report::ReportModelConfig;
    use crate::training::named_tensors::{named_tensors, write_tensors};

    fn model(seed: i64) -> ReportModel {
        tch::manual_seed(seed);
        ReportModel::new(&ReportModelConfig::small(), 9, (0.5, 0.2), Device::Cpu).unwrap()
    }

    /// The trunk of `model` under the names of a classifier.
    fn classifier(model: &ReportModel) -> Vec<(String, Tensor)> {
        let trunk = named_tensors(model.variables()).into_iter();
        let named = trunk.filter_map(|(name, t)| Some((name.strip_prefix(TRUNK)?.to_owned(), t)));
        named.chain([("fc.weight".to_owned(), Tensor::zeros([2, 2], (Kind::Float, Device::Cpu)))]).collect()
    }

    #[test]
    fn a_classifier_gives_the_trunk_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resnet.safetensors");
        let (source, mut target) = (model(1), model(2));
        write_tensors(&file, &classifier(&source)).unwrap();
        let initial = InitialWeights::open(&file).unwrap();
        assert!(initial.vocabulary().is_none() && initial.sha256().len() == 64);
        let before: Vec<(String, Tensor)> =
            named_tensors(target.variables()).into_iter().map(|(n, t)| (n, t.detach().copy())).collect();
        initial.apply(&mut target).unwrap();
        let source: std::collections::BTreeMap<_, _> = named_tensors(source.variables()).into_iter().collect();
        for ((name, now), (_, before)) in named_tensors(target.variables()).into_iter().zip(before) {
            if name.starts_with(TRUNK) {
                assert_eq!(now, source[&name], "{name}");
            } else {
                assert_eq!(now, before, "{name}");
            }
        }
    }

    #[test]
    fn a_trunk_that_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resnet.safetensors");
        let mut tensors = classifier(&model(1));
        tensors.retain(|(name, _)| name != "bn1.bias");
        write_tensors(&file, &tensors).unwrap();
        let mut target = model(2);
        let error = InitialWeights::open(&file).unwrap().apply(&mut target).unwrap_err();
        assert!(error.to_string().contains("missing `visual_extractor.model.bn1.bias`"), "{error}");
        assert_eq!(error.exit().code(), 65);
        let nowhere = InitialWeights::open(&folder.path().join("absent")).unwrap_err();
        assert_eq!(nowhere.exit().code(), 66);
    }
}

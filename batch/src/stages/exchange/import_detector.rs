//! `d2r import-weights`: a detector's weights of another project as a detector run.

use std::path::PathBuf;
use std::time::Instant;

use d2r_contracts::label_set::LabelSet;

use crate::detector::card::DetectorCard;
use crate::detector::model::Detector;
use crate::detector::thresholds::{Thresholds, UNKNOWN};
use crate::error::{Error, Result};
use crate::lake::digest::{file_digest, sha256_file};
use crate::training::model_card::{ModelCard, WeightsOrigin};
use crate::training::named_tensors::named_tensors;
use crate::training::run_dir::RunDir;
use crate::weights::detector_names::Origin;
use crate::weights::import::{Import, ImportReport, import};

use crate::context::{Context, StageResult};
use crate::stages::work_key::work_key;

/// The first word of the run's name.
const VERB: &str = "detector";

#[derive(Debug, Clone)]
pub struct Args {
    /// A safetensors file.
    pub weights: PathBuf,
    /// The project whose tensor names the file has.
    pub origin: Origin,
    /// Import the student of a checkpoint with teacher and student.
    pub student: bool,
    /// Prefixes of parameter names that keep their random initial values.
    pub fresh: Vec<String>,
    /// The classes of the detector.
    pub labels: LabelSet,
    /// Where runs are kept.
    pub runs: PathBuf,
}

/// Imports into a new run with the configured model.
///
/// # Errors
/// [`Error::BadData`] with the names that do not match; those of reading and writing.
pub fn run(ctx: &Context, args: Args) -> Result<(StageResult, ImportReport)> {
    let start = Instant::now();
    if !args.weights.is_file() {
        let hint = "expected a safetensors file; pickled weights are not read, convert them first";
        return Err(Error::missing(args.weights, hint));
    }
    let config = &ctx.config.detector.model;
    tch::manual_seed(ctx.config.run.seed as i64);
    let mut detector = Detector::with_classes(config, args.labels.classes.len() as i64, ctx.device)?;
    let job = Import { file: &args.weights, origin: args.origin, teacher: !args.student, fresh: &args.fresh };
    let report = import(&mut detector, config, &job).map_err(|e| with_classes(e, &args.labels))?;
    let text = serde_json::to_string(config).map_err(|e| Error::Internal(e.to_string()))?;
    let sha256 = sha256_file(&args.weights)?;
    let key = work_key(&[
        ("verb", "import-weights"),
        ("config", &text),
        ("file", &sha256),
        ("fresh", &args.fresh.join(" ")),
        ("student", &args.student.to_string()),
        ("label set", &serde_json::to_string(&args.labels).map_err(|e| Error::Internal(e.to_string()))?),
        ("seed", &ctx.config.run.seed.to_string()),
    ]);
    let (run, _lock) = RunDir::open(&args.runs, VERB, &key, ctx)?;
    run.write_best(&named_tensors(detector.variables()))?;
    run.write_json("import.json", &report)?;
    let threshold = ctx.config.annotate.threshold.unwrap_or(UNKNOWN);
    if ctx.config.annotate.threshold.is_none() {
        let line = format!("thresholds by class are chosen in training: until then boxes above {UNKNOWN} are accepted");
        ctx.progress.line(&line);
    }
    let card = DetectorCard::new(config, &args.labels, Thresholds::one(threshold));
    let origin = WeightsOrigin::file(args.origin.name(), sha256);
    ModelCard::new(VERB, run.id(), sha256_file(&run.best())?, card).with_origin(Some(origin)).write(&run)?;
    let count = |names: &[String]| names.len() as f64;
    let result = StageResult {
        stage: "import-weights".into(),
        files: vec![file_digest(&run.best())?, file_digest(&run.path().join("card.json"))?],
        figures: [
            ("taken".to_owned(), count(&report.taken)),
            ("fresh".to_owned(), count(&report.fresh)),
            ("unused".to_owned(), count(&report.unused)),
        ]
        .into(),
        wall_s: start.elapsed().as_secs_f64(),
        ..StageResult::default()
    };
    run.finish(&result)?;
    Ok((result, report))
}

/// Classes of which only the number is known.
pub fn unnamed_classes(count: usize) -> LabelSet {
    LabelSet::of_names(&(1..=count).map(|k| format!("class {k}")).collect::<Vec<_>>())
}

/// Adds to a misfit how many classes the model has: heads differ in shape when the file has another number of them.
fn with_classes(error: Error, labels: &LabelSet) -> Error {
    match error {
        Error::BadData { place, problem } if problem.contains("the model expects") => {
            let n = labels.classes.len();
            let hint = format!(
                "{problem}; the model has the {n} classes of label set {labels}: name the file's own by --labels or \
                 --classes (torchvision numbers COCO's 80 categories 1 to 90, detectron2 0 to 79), or pass --fresh \
                 PREFIX for its class layers"
            );
            Error::BadData { place, problem: hint }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_another_number_of_classes_names_the_label_set() {
        let misfit = |problem: &str| with_classes(Error::bad_data("w.safetensors", problem), &unnamed_classes(2));
        let error = misfit("cls_score.bias is [91], the model expects [3]").to_string();
        assert!(error.contains("the 2 classes of label set `unnamed` (2 classes: class 1, class 2)"), "{error}");
        assert_eq!(misfit("1 missing (x)").to_string(), "w.safetensors: 1 missing (x)");
        unnamed_classes(91).check().unwrap();
    }
}

//! `d2r export model`: a report model with its detector as a small folder to pass on: weights in float16 and cards, no
//! checkpoints, no optimizer, no logs. `d2r report --reporter` takes it like a run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use tch::Kind;

use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::digest::file_digest;
use crate::training::model_card::ModelCard;
use crate::training::named_tensors::{NamedTensors, read_tensors};
use crate::training::run_dir::RunDir;

#[derive(Debug, Clone)]
pub struct Args {
    /// A finished run of `train-reporter`.
    pub reporter: PathBuf,
    pub out: PathBuf,
}

/// Writes `card.json`, `best/model.safetensors` and, where the run has a detector, `detector/` with the same two.
///
/// # Errors
/// [`Error::BadData`] when the run's files do not fit their cards, or a weight is too large for float16; those of
/// reading and writing.
pub fn run(ctx: &Context, args: &Args) -> Result<StageResult> {
    let start = Instant::now();
    ctx.stop.check()?;
    let mut card = ModelCard::<Value>::read(&args.reporter, "reporter")?;
    let (from, to) = (args.reporter.join("detector"), args.out.join("detector"));
    let mut folders = Vec::new();
    if from.is_dir() {
        let mut detector = ModelCard::<Value>::read(&from, "detector")?;
        detector.model_sha256 = write_half(&from, &to)?;
        if let Some(digest) = card.model.get_mut("detector_sha256").filter(|digest| !digest.is_null()) {
            *digest = Value::String(detector.model_sha256.clone());
        }
        detector.write(&RunDir::at(&to, ""))?;
        folders.push(to);
    }
    card.model_sha256 = write_half(&args.reporter, &args.out)?;
    card.write(&RunDir::at(&args.out, ""))?;
    folders.push(args.out.clone());
    let files = folders.iter().flat_map(|folder| [weights(folder), folder.join("card.json")]);
    Ok(StageResult {
        stage: "export model".into(),
        files: files.map(|file| file_digest(&file)).collect::<Result<_>>()?,
        wall_s: start.elapsed().as_secs_f64(),
        ..StageResult::default()
    })
}

fn weights(folder: &Path) -> PathBuf {
    RunDir::at(folder, "").best()
}

/// The weights of a folder in float16, in another folder; their digest.
fn write_half(from: &Path, to: &Path) -> Result<String> {
    let from = weights(from);
    let mut tensors: NamedTensors = Vec::new();
    for (name, tensor) in read_tensors(&from)? {
        let half = if tensor.kind() == Kind::Float { tensor.to_kind(Kind::Half) } else { tensor };
        if half.is_floating_point() && i64::try_from(half.isfinite().logical_not().any()).unwrap_or(1) != 0 {
            return Err(Error::bad_data(from.display(), format!("`{name}` does not fit into float16")));
        }
        tensors.push((name, half));
    }
    RunDir::at(to, "").write_best(&tensors)
}

#[cfg(test)]
mod tests {
    use tch::Tensor;

    use super::*;
    use crate::lake::digest::sha256_file;
    use crate::training::named_tensors::write_tensors;

    #[test]
    fn a_weight_beyond_float16_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir_all(from.join("best")).unwrap();
        write_tensors(&weights(&from), &[("w".to_owned(), Tensor::from_slice(&[1.0f32, 70000.0]))]).unwrap();
        let message = write_half(&from, &to).unwrap_err().to_string();
        assert!(message.contains("`w`"), "{message}");
        assert!(!weights(&to).exists());
    }

    #[test]
    fn values_are_the_nearest_of_float16_and_integers_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir_all(from.join("best")).unwrap();
        let tensors = [("n".to_owned(), Tensor::from_slice(&[7i64])), ("w".to_owned(), Tensor::from_slice(&[0.1f32]))];
        write_tensors(&weights(&from), &tensors).unwrap();
        assert_eq!(write_half(&from, &to).unwrap(), sha256_file(&weights(&to)).unwrap());
        let mut read = read_tensors(&weights(&to)).unwrap();
        read.sort_by(|a, b| a.0.cmp(&b.0));
        assert_eq!(read.iter().map(|(_, t)| t.kind()).collect::<Vec<_>>(), [Kind::Int64, Kind::Half]);
        assert!((f64::try_from(&read[1].1).unwrap() - 0.1).abs() < 1e-4);
    }
}

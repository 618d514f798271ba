//! `d2r inspect detect`: a detector's boxes for tensors given in a file, for parity work by others.

use std::path::PathBuf;

use tch::{Device, Kind, Tensor};

use crate::context::Context;
use crate::detector::card::load_detector;
use crate::detector::detection::Detection;
use crate::detector::pyramid::ImageBatch;
use crate::error::{Error, Result};
use crate::training::model_card::ModelCard;
use crate::training::named_tensors::{read_tensors, write_tensors};

/// What to read and write.
#[derive(Debug, Clone)]
pub struct Args {
    /// A finished detector run.
    pub detector: PathBuf,
    /// A safetensors file with `images`, f32 `[B, 1 or 3, H, W]`, normalised, sides multiples of 32.
    pub inputs: PathBuf,
    /// The safetensors file to write: `boxes_i` f32 `[N, 4]`, `scores_i` f32 `[N]`, `labels_i` i64 `[N]` for each
    /// image.
    pub out: PathBuf,
    /// Keep boxes that score above this; the card's value when absent.
    pub score_min: Option<f64>,
}

/// Detects; returns the number of boxes of each image.
///
/// # Errors
/// [`Error::BadData`] when the file has no such tensor; those of reading, writing and of the detector.
pub fn run(ctx: &Context, args: &Args) -> Result<Vec<usize>> {
    let card = ModelCard::<crate::detector::card::DetectorCard>::read(&args.detector, "detector")?;
    let score_min = args.score_min.unwrap_or(card.model.config.score_min);
    let (mut detector, _) = load_detector(&args.detector, score_min, ctx.device)?;
    detector.set_compute(ctx.compute_kind());
    let tensors = read_tensors(&args.inputs)?;
    let bad = |problem: String| Error::bad_data(args.inputs.display(), problem);
    let images = tensors.iter().find(|(name, _)| name == "images");
    let (_, images) = images.ok_or_else(|| bad("it has no tensor `images`".into()))?;
    let shape = images.size();
    let fits = shape.len() == 4 && [1, 3].contains(&shape[1]) && shape[2..].iter().all(|s| *s > 0 && s % 32 == 0);
    if !fits || images.kind() != Kind::Float {
        let found = format!("`images` is {:?} {shape:?}", images.kind());
        return Err(bad(format!("{found}, expected Float [B, 1 or 3, H, W] with sides that are multiples of 32")));
    }
    let found = detector.detect(&ImageBatch::unpadded(&images.to_device(ctx.device))?)?;
    let mut out = Vec::new();
    for (i, boxes) in found.iter().enumerate() {
        let of = |value: &dyn Fn(&Detection<_>) -> Vec<f32>| boxes.iter().flat_map(value).collect::<Vec<f32>>();
        let corners = of(&|d| d.region.to_array().to_vec());
        let labels: Vec<i64> = boxes.iter().map(|d| i64::from(d.class_id)).collect();
        out.push((format!("boxes_{i}"), Tensor::from_slice(&corners).view([-1, 4]).to_device(Device::Cpu)));
        out.push((format!("scores_{i}"), Tensor::from_slice(&of(&|d| vec![d.score]))));
        out.push((format!("labels_{i}"), Tensor::from_slice(&labels)));
    }
    write_tensors(&args.out, &out)?;
    Ok(found.iter().map(Vec::len).collect())
}

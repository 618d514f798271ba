//! Detections from the outputs of FCOS's head: the top-k (point, class) pairs per level, then class-wise non-maximum
//! suppression.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::{ImageSize, Model};
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::config::detector::{DetectorModelConfig, Profile};
use crate::detector::detection::Detection;
use crate::detector::fcos::distances::corners;
use crate::detector::fcos::head::{FcosOutputs, LevelOutputs};
use crate::detector::fcos::points::points;
use crate::detector::grouped_nms::grouped_nms;
use crate::detector::pyramid::Level;
use crate::error::{Error, Result};

/// How the score of a candidate is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranking {
    /// `sqrt(class probability * centre-ness)`.
    ClassAndCentre,
    /// The class probability.
    Class,
    /// `sqrt(class probability * mean certainty of the edges)`.
    ClassAndEdges,
}

/// Numbers per candidate: score, class, four corners, four raw uncertainties of the edges, the stride.
const CANDIDATE: usize = 11;

/// Detections per image, best first, from one pass of the network. `sizes`: of each image without padding. One copy to
/// the host.
///
/// # Errors
/// [`Error::BadData`] when the output is not finite.
pub fn select(
    outputs: &FcosOutputs,
    sizes: &[ImageSize],
    ranking: Ranking,
    config: &DetectorModelConfig,
) -> Result<Vec<Vec<Detection<Model>>>> {
    let levels = outputs.levels.iter().zip(&outputs.predictions);
    let top: Vec<Tensor> = levels.map(|(l, o)| candidates(l, o, ranking, config)).collect();
    let rows = Tensor::f_cat(&top, 1)?.to_device(Device::Cpu);
    let per_image = rows.size3()?.1 as usize;
    let rows = Vec::<f32>::try_from(rows.f_reshape([-1])?)?;
    if rows.iter().any(|v| !v.is_finite()) {
        return Err(Error::bad_data("detector", "its output is not finite; the weights or the input are damaged"));
    }
    if per_image == 0 {
        return Ok(vec![Vec::new(); sizes.len()]);
    }
    let images = rows.par_chunks_exact(per_image * CANDIDATE).zip(sizes);
    Ok(images.map(|(rows, size)| detections(rows, *size, config)).collect())
}

/// The top-k (point, class) pairs of one level, f32 `[B, k, 11]`; those not above `score_min` have a score of -1.
fn candidates(level: &Level, outputs: &LevelOutputs, ranking: Ranking, config: &DetectorModelConfig) -> Tensor {
    let device = outputs.ltrb.device();
    let (batch, count, classes) = outputs.class_logits.size3().expect("logits per point");
    let probability = outputs.class_logits.sigmoid();
    let edges = outputs.edge_logits.as_ref();
    let scores = match (ranking, edges) {
        (Ranking::Class, _) => probability.shallow_clone(),
        (Ranking::ClassAndEdges, Some(edges)) => {
            let certainty = (-edges).sigmoid().mean_dim([2i64].as_slice(), true, Kind::Float);
            (&probability * certainty).sqrt()
        }
        _ => (&probability * outputs.centerness.sigmoid().unsqueeze(2)).sqrt(),
    };
    let filtered = if config.profile == Profile::Utv2 { &probability } else { &scores };
    let scores = scores.masked_fill(&filtered.le(config.score_min), -1.0);
    let k = config.candidates_per_level.min(count * classes);
    let (scores, chosen) = scores.reshape([batch, -1]).topk(k, 1, true, true);
    let point = chosen.divide_scalar_mode(classes, "floor");
    let class = (&chosen - &point * classes).to_kind(Kind::Float);
    let centred = config.profile == Profile::Utv2;
    let flat: Vec<f32> = points(&[*level], centred).iter().flat_map(|p| [p.x, p.y, p.stride]).collect();
    let anchors = Tensor::from_slice(&flat).reshape([-1, 3]).to_device(device).index_select(0, &point.reshape([-1]));
    let point = point.unsqueeze(2).expand([-1, -1, 4], false);
    let boxes = corners(&outputs.ltrb.gather(1, &point, false).reshape([-1, 4]), &anchors).reshape([batch, -1, 4]);
    let edges = edges.map_or_else(|| boxes.zeros_like(), |e| e.gather(1, &point, false));
    let scores = scores.unsqueeze(2);
    let strides = scores.full_like(f64::from(level.stride));
    Tensor::cat(&[scores, class.unsqueeze(2), boxes, edges, strides], 2)
}

/// Class-wise suppression and the top-k of one image. Torchvision clips before suppression, Unbiased Teacher v2
/// afterwards.
fn detections(rows: &[f32], size: ImageSize, config: &DetectorModelConfig) -> Vec<Detection<Model>> {
    let (width, height) = (size.width as f32, size.height as f32);
    let utv2 = config.profile == Profile::Utv2;
    let (mut boxes, mut scores, mut classes, mut edges) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for row in rows.chunks_exact(CANDIDATE).filter(|r| r[0] >= 0.0) {
        scores.push(row[0]);
        classes.push(row[1] as i32);
        let region = BoxXyxy::<Model>::new(row[2], row[3], row[4], row[5]);
        boxes.push(if utv2 { region } else { region.clip(width, height) });
        let logits = [row[6], row[7], row[8], row[9]];
        edges.push(utv2.then(|| (logits, logits.map(|s| row[10] / (1.0 + (-s).exp())))));
    }
    grouped_nms(&boxes, &scores, &classes, config.nms_iou_max as f32)
        .into_iter()
        .take(config.detections_per_image)
        .map(|i| Detection {
            class_id: classes[i],
            score: scores[i],
            region: boxes[i].clip(width, height),
            edge_logits: edges[i].map(|(logits, _)| logits),
            edge_stds: edges[i].map(|(_, stds)| stds),
        })
        .filter(|d| d.region.is_proper())
        .collect()
}

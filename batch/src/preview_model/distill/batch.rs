//! Training examples of the preview model and their collation: images at its input size, heat map targets, labels, token ids.

use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use crate::datasets::prepared::PreparedBytes;
use crate::error::Result;
use crate::nn::to_device::to_device;
use crate::preview_model::distill::augmentation::{AffineTransform, Padding, warped};
use crate::preview_model::distill::targets::{CellTargets, TargetBox, cell_targets};
use crate::preview_model::model::preview_model::{CLASSES, LABELS};

/// A training image.
#[derive(Debug, Clone)]
pub struct PreviewExample {
    /// `size^2` grey levels.
    pub pixels: PreparedBytes,
    pub boxes: Vec<TargetBox>,
    /// 1 for each label that is positive or uncertain in the reference.
    pub labels: [f32; LABELS as usize],
    /// Token ids of the reference between boundaries.
    pub ids: Vec<i64>,
    /// Token ids of the report model's text between boundaries; those of the reference where the text contradicts it.
    pub generated_ids: Vec<i64>,
}

/// Tensors of a batch.
#[derive(Debug)]
pub struct PreviewBatch {
    /// f32 `[B, 1, S, S]` in 0 to 1.
    pub images: Tensor,
    /// f32 `[B, 22, G, G]`, as in [`CellTargets::heat`].
    pub heat: Tensor,
    /// f32 `[B, 4, G, G]`, as in [`CellTargets::edges`].
    pub edges: Tensor,
    /// f32 `[B, 1, G, G]`, as in [`CellTargets::owned`].
    pub owned: Tensor,
    /// f32 `[B, 14]`.
    pub labels: Tensor,
    /// i64 `[B, T + 1]`, padded with boundaries.
    pub ids: Tensor,
    /// f32 `[B, T]`: 1 for each target token, 0 for padding.
    pub weights: Tensor,
}

/// Collates the examples. `generated`: the report model's text is the target instead of the reference; `transforms`: of images and
/// boxes; `size`: image size; `max_words`: targets are truncated to this length.
///
/// # Errors
/// When a libtorch operation fails; those of [`PreparedBytes::get`].
pub fn collate_examples(
    examples: &[&PreviewExample],
    generated: &[bool],
    transforms: Option<&[AffineTransform]>,
    size: i64,
    max_words: usize,
    device: Device,
) -> Result<PreviewBatch> {
    let (batch, grid) = (examples.len() as i64, size / 16);
    let shaped = |flat: Vec<f32>, shape: &[i64]| -> Result<Tensor> {
        to_device(&Tensor::f_from_slice(&flat)?.f_view(shape)?, device)
    };
    let transform = |i: usize| transforms.and_then(|t| t.get(i)).copied().unwrap_or(AffineTransform::IDENTITY);
    let cells: Vec<CellTargets> =
        examples.iter().enumerate().map(|(i, e)| transformed_targets(&e.boxes, transform(i), grid)).collect();
    let of_cells =
        |part: fn(&CellTargets) -> &[f32]| -> Vec<f32> { cells.iter().flat_map(|c| part(c).iter().copied()).collect() };
    let pixels = examples.par_iter().map(|e| e.pixels.get()).collect::<Result<Vec<_>>>()?;
    let pixels: Vec<u8> = pixels.iter().flat_map(|p| p.iter().copied()).collect();
    let images = to_device(&Tensor::f_from_slice(&pixels)?.f_view([batch, 1, size, size])?, device)?;
    let images = images.to_kind(Kind::Float) / 255.0;
    let texts: Vec<&[i64]> = examples
        .iter()
        .zip(generated)
        .map(|(e, generated)| if *generated { &e.generated_ids } else { &e.ids })
        .map(|ids: &Vec<i64>| &ids[..ids.len().min(max_words + 1)])
        .collect();
    let width = texts.iter().map(|t| t.len()).max().unwrap_or(0).max(2);
    let (mut ids, mut weights) = (vec![0i64; texts.len() * width], vec![0f32; texts.len() * (width - 1)]);
    for (row, text) in texts.iter().enumerate() {
        ids[row * width..row * width + text.len()].copy_from_slice(text);
        weights[row * (width - 1)..row * (width - 1) + text.len().saturating_sub(1)].fill(1.0);
    }
    Ok(PreviewBatch {
        images: transforms.map_or_else(|| images.shallow_clone(), |t| warped(&images, t, Padding::Zeros)),
        heat: shaped(of_cells(|c| &c.heat), &[batch, CLASSES, grid, grid])?,
        edges: shaped(of_cells(|c| &c.edges), &[batch, 4, grid, grid])?,
        owned: shaped(of_cells(|c| &c.owned), &[batch, 1, grid, grid])?,
        labels: shaped(examples.iter().flat_map(|e| e.labels).collect(), &[batch, LABELS])?,
        ids: to_device(&Tensor::f_from_slice(&ids)?.f_view([batch, width as i64])?, device)?,
        weights: to_device(&Tensor::f_from_slice(&weights)?.f_view([batch, width as i64 - 1])?, device)?,
    })
}

/// Targets of transformed boxes; a box whose centre leaves the image is dropped.
fn transformed_targets(boxes: &[TargetBox], transform: AffineTransform, grid: i64) -> CellTargets {
    let inside = |e: &[f32; 4]| [e[0] + e[2], e[1] + e[3]].iter().all(|twice| (0.0..2.0).contains(twice));
    let boxes = boxes.iter().map(|b| TargetBox { edges: transform.apply_to_box(b.edges), ..*b });
    let boxes: Vec<TargetBox> = boxes.filter(|b| inside(&b.edges)).collect();
    cell_targets(&boxes, CLASSES as usize, grid as usize)
}

//! What the student learns from, and its tensor border: films at its own size, cells, labels, words.

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use crate::preview_model::distill::augmentation::{Beyond, Move, moved};
use crate::preview_model::distill::targets::{CellTargets, TargetBox, cell_targets};
use crate::preview_model::model::preview_model::{CLASSES, LABELS};

/// A film to learn from.
#[derive(Debug, Clone)]
pub struct PreviewExample {
    /// `size^2` grey levels.
    pub film: Vec<u8>,
    /// Its boxes.
    pub boxes: Vec<TargetBox>,
    /// 1 for each label that the reference states or doubts.
    pub labels: [f32; LABELS as usize],
    /// Ids of the reference with their boundaries.
    pub ids: Vec<i64>,
    /// Ids of the teacher's text; those of the reference where it contradicts it.
    pub teacher_ids: Vec<i64>,
}

/// Tensors of a batch.
#[derive(Debug)]
pub struct PreviewBatch {
    /// f32 `[B, 1, S, S]` in 0 to 1.
    pub films: Tensor,
    /// `[B, 22, G, G]`.
    pub heat: Tensor,
    /// `[B, 4, G, G]`.
    pub edges: Tensor,
    /// `[B, 1, G, G]`.
    pub owned: Tensor,
    /// `[B, 14]`.
    pub labels: Tensor,
    /// i64 `[B, T + 1]`, padded with boundaries.
    pub ids: Tensor,
    /// f32 `[B, T]`: 1 for each id of a target but the first.
    pub kept: Tensor,
}

/// Stacks the examples; `from_teacher` chooses the text of each, `longest` cuts it, `moves` moves films and boxes.
///
/// # Errors
/// When libtorch refuses.
pub fn stack_examples(
    examples: &[&PreviewExample],
    from_teacher: &[bool],
    moves: Option<&[Move]>,
    size: i64,
    longest: usize,
    device: Device,
) -> Result<PreviewBatch> {
    let (batch, grid) = (examples.len() as i64, size / 16);
    let all = |flat: Vec<f32>, shape: &[i64]| -> Result<Tensor> {
        Ok(Tensor::f_from_slice(&flat)?.f_view(shape)?.f_to_device(device)?)
    };
    let there = |i: usize| moves.and_then(|m| m.get(i)).copied().unwrap_or(Move::NONE);
    let cells: Vec<CellTargets> =
        examples.iter().enumerate().map(|(i, e)| moved_targets(&e.boxes, there(i), grid)).collect();
    let of_cells =
        |part: fn(&CellTargets) -> &[f32]| -> Vec<f32> { cells.iter().flat_map(|c| part(c).iter().copied()).collect() };
    let pixels: Vec<u8> = examples.iter().flat_map(|e| e.film.iter().copied()).collect();
    let films = Tensor::f_from_slice(&pixels)?.f_view([batch, 1, size, size])?.f_to_device(device)?;
    let films = films.to_kind(Kind::Float) / 255.0;
    let texts: Vec<&[i64]> = examples
        .iter()
        .zip(from_teacher)
        .map(|(e, teacher)| if *teacher { &e.teacher_ids } else { &e.ids })
        .map(|ids: &Vec<i64>| &ids[..ids.len().min(longest + 1)])
        .collect();
    let width = texts.iter().map(|t| t.len()).max().unwrap_or(0).max(2);
    let (mut ids, mut kept) = (vec![0i64; texts.len() * width], vec![0f32; texts.len() * (width - 1)]);
    for (row, text) in texts.iter().enumerate() {
        ids[row * width..row * width + text.len()].copy_from_slice(text);
        kept[row * (width - 1)..row * (width - 1) + text.len().saturating_sub(1)].fill(1.0);
    }
    Ok(PreviewBatch {
        films: moves.map_or_else(|| films.shallow_clone(), |m| moved(&films, m, Beyond::Black)),
        heat: all(of_cells(|c| &c.heat), &[batch, CLASSES, grid, grid])?,
        edges: all(of_cells(|c| &c.edges), &[batch, 4, grid, grid])?,
        owned: all(of_cells(|c| &c.owned), &[batch, 1, grid, grid])?,
        labels: all(examples.iter().flat_map(|e| e.labels).collect(), &[batch, LABELS])?,
        ids: Tensor::f_from_slice(&ids)?.f_view([batch, width as i64])?.f_to_device(device)?,
        kept: Tensor::f_from_slice(&kept)?.f_view([batch, width as i64 - 1])?.f_to_device(device)?,
    })
}

/// Targets of a film's boxes after a move; a box whose centre leaves the film is gone.
fn moved_targets(boxes: &[TargetBox], there: Move, grid: i64) -> CellTargets {
    let inside = |e: &[f32; 4]| [e[0] + e[2], e[1] + e[3]].iter().all(|twice| (0.0..2.0).contains(twice));
    let boxes: Vec<TargetBox> =
        boxes.iter().map(|b| TargetBox { edges: there.of_box(b.edges), ..*b }).filter(|b| inside(&b.edges)).collect();
    cell_targets(&boxes, CLASSES as usize, grid as usize)
}

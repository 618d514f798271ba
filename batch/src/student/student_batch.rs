//! What the student learns from, and its tensor border: films at its own size, cells, labels, words.

use tch::{Device, Kind, Tensor};

use super::student_model::{CLASSES, LABELS};
use super::targets::CellTargets;
use crate::error::Result;

/// A film to learn from.
#[derive(Debug, Clone)]
pub struct StudentExample {
    /// `side^2` grey levels.
    pub film: Vec<u8>,
    /// Its boxes on the heat map's grid.
    pub cells: CellTargets,
    /// 1 for each label that the reference states or doubts.
    pub labels: [f32; LABELS as usize],
    /// Ids of the reference with their boundaries.
    pub ids: Vec<i64>,
    /// Ids of the teacher's text; those of the reference where it contradicts it.
    pub teacher_ids: Vec<i64>,
}

/// Tensors of a batch.
#[derive(Debug)]
pub struct StudentBatch {
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

/// Stacks the examples; `from_teacher` chooses the text of each, `longest` cuts it.
///
/// # Errors
/// When libtorch refuses.
pub fn stack_students(
    examples: &[&StudentExample],
    from_teacher: &[bool],
    side: i64,
    longest: usize,
    device: Device,
) -> Result<StudentBatch> {
    let (batch, grid) = (examples.len() as i64, side / 16);
    let all = |part: &dyn Fn(&StudentExample) -> &[f32], shape: &[i64]| -> Result<Tensor> {
        let flat: Vec<f32> = examples.iter().flat_map(|e| part(e).iter().copied()).collect();
        Ok(Tensor::f_from_slice(&flat)?.f_view(shape)?.f_to_device(device)?)
    };
    let pixels: Vec<u8> = examples.iter().flat_map(|e| e.film.iter().copied()).collect();
    let films = Tensor::f_from_slice(&pixels)?.f_view([batch, 1, side, side])?.f_to_device(device)?;
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
    Ok(StudentBatch {
        films: films.to_kind(Kind::Float) / 255.0,
        heat: all(&|e| &e.cells.heat, &[batch, CLASSES, grid, grid])?,
        edges: all(&|e| &e.cells.edges, &[batch, 4, grid, grid])?,
        owned: all(&|e| &e.cells.owned, &[batch, 1, grid, grid])?,
        labels: all(&|e| &e.labels, &[batch, LABELS])?,
        ids: Tensor::f_from_slice(&ids)?.f_view([batch, width as i64])?.f_to_device(device)?,
        kept: Tensor::f_from_slice(&kept)?.f_view([batch, width as i64 - 1])?.f_to_device(device)?,
    })
}

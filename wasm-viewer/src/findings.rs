//! Boxes out of the centre-point head: peaks of the heat map with the edges of their cells.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::nms::nms;
use d2r_contracts::preprocess::ModelInput;
use d2r_contracts::preview_bundle::PreviewCard;
use d2r_contracts::space::Model;
use serde::Serialize;

use crate::graph::Encoded;

/// A box that the student sees.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// VinDr-CXR class.
    pub class_id: i32,
    /// Its name.
    pub class_name: String,
    /// 0 to 1.
    pub score: f32,
    /// `x_min y_min x_max y_max` in the film's own pixels.
    pub region: [f32; 4],
}

/// Peaks of the heat map as boxes in the film's pixels, the surest first, and the same boxes in the model's pixels.
pub fn findings(card: &PreviewCard, encoded: &Encoded, input: &ModelInput) -> (Vec<Finding>, Vec<BoxXyxy<Model>>) {
    let (options, grid) = (&card.options, card.decoder.heat_grid);
    let (cells, size) = (grid * grid, card.input.size as f32);
    let (mut boxes, mut scores, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for (class, map) in encoded.heat.chunks_exact(cells).enumerate().take(card.classes.len()) {
        for (cell, score) in map.iter().enumerate().filter(|(_, s)| **s >= options.score_min) {
            let (row, column) = (cell / grid, cell % grid);
            let near = |v: usize| v.saturating_sub(1)..(v + 2).min(grid);
            if near(row).any(|r| near(column).any(|c| map[r * grid + c] > *score)) {
                continue;
            }
            let edge = |which: usize| encoded.edges.get(which * cells + cell).copied().unwrap_or(0.0) * size;
            let (x, y) = ((column as f32 + 0.5) * size / grid as f32, (row as f32 + 0.5) * size / grid as f32);
            boxes.push(BoxXyxy::<Model>::new(x - edge(0), y - edge(1), x + edge(2), y + edge(3)));
            scores.push(*score);
            classes.push(class as i32);
        }
    }
    let mut found = (Vec::new(), Vec::new());
    for i in nms(&boxes, &scores, &classes, options.nms_iou) {
        let region = input.letterbox.original_from_model(&boxes[i]);
        if !region.is_proper() || found.0.len() >= options.max_detections {
            continue;
        }
        let class_name = card.classes[classes[i] as usize].clone();
        found.0.push(Finding { class_id: classes[i], class_name, score: scores[i], region: region.to_array() });
        found.1.push(boxes[i]);
    }
    found
}

/// The highest class score of each cell.
pub fn hottest(heat: &[f32], grid: usize) -> Vec<f32> {
    let mut top = vec![0f32; grid * grid];
    for map in heat.chunks_exact(grid * grid) {
        for (t, v) in top.iter_mut().zip(map) {
            *t = t.max(*v);
        }
    }
    top
}

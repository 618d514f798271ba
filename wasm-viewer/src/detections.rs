//! Detections from the centre-point head: local maxima of the heat map, with the predicted distances to the box edges.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::nms::nms;
use d2r_contracts::preprocess::ModelInput;
use d2r_contracts::preview_bundle::PreviewCard;
use d2r_contracts::space::Model;
use serde::Serialize;

use crate::graph::Encoded;

/// A bounding box with class and score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Detection {
    /// VinDr-CXR class.
    pub class_id: i32,
    pub class_name: String,
    /// 0 to 1.
    pub score: f32,
    /// `x_min y_min x_max y_max` in original pixels.
    pub region: [f32; 4],
}

/// Detections of an image by descending score.
#[derive(Debug, Clone, Default)]
pub struct Detections {
    /// In original pixels.
    pub list: Vec<Detection>,
    /// The same boxes in model pixels.
    pub model_boxes: Vec<BoxXyxy<Model>>,
}

/// Local maxima of `encoded.heat` with the card's smallest score, after non-maximum suppression by class.
pub fn detections(card: &PreviewCard, encoded: &Encoded, input: &ModelInput) -> Detections {
    let (options, grid) = (&card.options, card.decoder.heat_grid);
    let (cells, size) = (grid * grid, card.input.size as f32);
    let (mut boxes, mut scores, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for (class, map) in encoded.heat.chunks_exact(cells).enumerate().take(card.classes.len()) {
        for (cell, score) in map.iter().enumerate().filter(|(_, s)| **s >= options.score_min) {
            let (row, column) = (cell / grid, cell % grid);
            let neighbours = |v: usize| v.saturating_sub(1)..(v + 2).min(grid);
            if neighbours(row).any(|r| neighbours(column).any(|c| map[r * grid + c] > *score)) {
                continue;
            }
            let edge = |which: usize| encoded.edges.get(which * cells + cell).copied().unwrap_or(0.0) * size;
            let (x, y) = ((column as f32 + 0.5) * size / grid as f32, (row as f32 + 0.5) * size / grid as f32);
            boxes.push(BoxXyxy::<Model>::new(x - edge(0), y - edge(1), x + edge(2), y + edge(3)));
            scores.push(*score);
            classes.push(class as i32);
        }
    }
    let mut kept = Detections::default();
    for i in nms(&boxes, &scores, &classes, options.nms_iou) {
        let region = input.letterbox.original_from_model(&boxes[i]);
        if !region.is_proper() || kept.list.len() >= options.max_detections {
            continue;
        }
        let class_name = card.classes[classes[i] as usize].clone();
        kept.list.push(Detection { class_id: classes[i], class_name, score: scores[i], region: region.to_array() });
        kept.model_boxes.push(boxes[i]);
    }
    kept
}

/// The highest class score of each cell, `[grid * grid]`.
pub fn class_max(heat: &[f32], grid: usize) -> Vec<f32> {
    let mut highest = vec![0f32; grid * grid];
    for map in heat.chunks_exact(grid * grid) {
        for (highest, score) in highest.iter_mut().zip(map) {
            *highest = highest.max(*score);
        }
    }
    highest
}

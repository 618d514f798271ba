//! Detections from the centre-point head: local maxima of the heat map, with the predicted distances to the box edges.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::nms::nms;
use d2r_contracts::preprocess::ModelInput;
use d2r_contracts::preview_bundle::PreviewCard;
use d2r_contracts::space::Model;
use serde::Serialize;

use crate::graph::Encoded;

/// Most boxes that enter non-maximum suppression, whose time is quadratic; the default heat map has fewer cells.
const CANDIDATES_MAX: usize = 8192;

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

/// Local maxima of `encoded.heat` with the card's smallest score, the highest 8192 of them, after non-maximum
/// suppression by class.
pub fn detections(card: &PreviewCard, encoded: &Encoded, input: &ModelInput) -> Detections {
    let (options, grid) = (&card.options, card.decoder.heat_grid);
    let (cells, size) = (grid * grid, card.input.size as f32);
    let mut maxima = Vec::new();
    for (class, map) in encoded.heat.chunks_exact(cells).enumerate().take(card.classes.len()) {
        for (cell, score) in map.iter().enumerate().filter(|(_, s)| **s >= options.score_min) {
            let (row, column) = (cell / grid, cell % grid);
            let neighbours = |v: usize| v.saturating_sub(1)..(v + 2).min(grid);
            if neighbours(row).any(|r| neighbours(column).any(|c| map[r * grid + c] > *score)) {
                continue;
            }
            maxima.push((class, cell, *score));
        }
    }
    if maxima.len() > CANDIDATES_MAX {
        maxima.sort_by(|a, b| b.2.total_cmp(&a.2));
        maxima.truncate(CANDIDATES_MAX);
    }
    let (mut boxes, mut scores, mut classes) = (Vec::new(), Vec::new(), Vec::new());
    for (class, cell, score) in maxima {
        let (row, column) = (cell / grid, cell % grid);
        let edge = |which: usize| encoded.edges.get(which * cells + cell).copied().unwrap_or(0.0) * size;
        let (x, y) = ((column as f32 + 0.5) * size / grid as f32, (row as f32 + 0.5) * size / grid as f32);
        boxes.push(BoxXyxy::<Model>::new(x - edge(0), y - edge(1), x + edge(2), y + edge(3)));
        scores.push(score);
        classes.push(class as i32);
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

#[cfg(test)]
mod tests {
    use super::*;
    use d2r_contracts::preprocess::to_model_input;
    use d2r_contracts::radiograph::Radiograph;
    use tract_onnx::prelude::{IntoTValue, tensor0};

    #[test]
    fn a_flat_heat_map_of_the_largest_size_gives_the_most_boxes_and_no_more() {
        let card = crate::card_limits::tests::largest_heat_map();
        let values = card.decoder.heat_grid.pow(2) * card.classes.len();
        let empty = || tensor0(0f32).into_tvalue();
        let heat = vec![0.5; values];
        let edges = vec![0.001; 4 * card.decoder.heat_grid.pow(2)];
        let encoded = Encoded { memory: [empty(), empty()], heat, edges, labels: Vec::new() };
        let radiograph = Radiograph { width: 64, height: 64, pixels: vec![0; 64 * 64] };
        let found = detections(&card, &encoded, &to_model_input(&radiograph, &card.input));
        assert_eq!((found.list.len(), found.model_boxes.len()), (1000, 1000));
    }
}

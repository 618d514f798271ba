//! Overlaps, suppression, coders, matching, anchors, focal loss and levels against torchvision on the same numbers.

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::nms::nms;
use d2r_contracts::space::{ImageSize, Model};
use serde_json::Value;
use tch::{Kind, Tensor};

use crate::detector::box_coder::{decode, encode};
use crate::detector::grouped_nms::grouped_nms;
use crate::detector::iou::{paired_iou, pairwise_iou};
use crate::detector::losses::{giou_loss, sigmoid_focal_sum};
use crate::detector::pyramid::levels_of;
use crate::detector::rcnn::anchors::anchors;
use crate::detector::rcnn::matcher::Matcher;
use crate::detector::rcnn::roi_align::pyramid_level;
use crate::nn::parity_golden::{assert_close, golden, numbers, tensor, values};

fn boxes(value: &Value) -> Vec<BoxXyxy<Model>> {
    let corners = numbers(value);
    corners.chunks_exact(4).map(|c| BoxXyxy::new(c[0] as f32, c[1] as f32, c[2] as f32, c[3] as f32)).collect()
}

fn floats(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|v| v as f32).collect()
}

#[test]
fn overlaps_equal_torchvisions() {
    let file = golden("box_ops");
    let (first, second) =
        (tensor(&file["overlaps"]["first"], &[1, 7, 4]), tensor(&file["overlaps"]["second"], &[5, 4]));
    let iou = pairwise_iou(&first, &second);
    assert_close(&values(&iou), &numbers(&file["overlaps"]["iou"]), 1e-6, "iou");
    let paired = paired_iou(&first.get(0).narrow(0, 0, 5), &second);
    let diagonal = iou.get(0).narrow(0, 0, 5).diagonal(0, 0, 1);
    assert_close(&values(&paired), &values(&diagonal), 1e-6, "paired iou");
    let case = &file["overlaps"]["giou_loss"];
    let predicted = tensor(&case["predicted"], &[6, 4]).set_requires_grad(true);
    let loss = giou_loss(&predicted, &tensor(&case["target"], &[6, 4]));
    assert_close(&values(&loss), &numbers(&case["loss"]), 1e-6, "giou loss");
    loss.sum(Kind::Float).backward();
    assert_close(&values(&predicted.grad()), &numbers(&case["gradient_of_sum"]), 1e-5, "giou gradient");
}

#[test]
fn suppression_equals_torchvisions() {
    let file = golden("box_ops");
    for case in file["nms"].as_array().unwrap() {
        let found = boxes(&case["boxes"]);
        let threshold = case["threshold"].as_f64().unwrap() as f32;
        let kept = nms(&found, &floats(&case["scores"]), &vec![0; found.len()], threshold);
        let kept: Vec<f64> = kept.into_iter().map(|i| i as f64).collect();
        assert_eq!(kept, numbers(&case["kept"]), "{}", case["name"]);
    }
    for case in file["batched_nms"].as_array().unwrap() {
        let groups: Vec<i32> = numbers(&case["groups"]).into_iter().map(|v| v as i32).collect();
        let threshold = case["threshold"].as_f64().unwrap() as f32;
        let kept = grouped_nms(&boxes(&case["boxes"]), &floats(&case["scores"]), &groups, threshold);
        let kept: Vec<f64> = kept.into_iter().map(|i| i as f64).collect();
        assert_eq!(kept, numbers(&case["kept"]), "{}", case["name"]);
    }
}

#[test]
fn the_classic_coder_equals_torchvisions() {
    for case in golden("box_ops")["box_coder"].as_array().unwrap() {
        let weights: [f64; 4] = numbers(&case["weights"]).try_into().unwrap();
        let source = tensor(&case["source"], &[6, 4]);
        let encoded = encode(&tensor(&case["target"], &[6, 4]), &source, weights);
        assert_close(&values(&encoded), &numbers(&case["encoded"]), 1e-5, "encoded");
        let decoded = decode(&tensor(&case["deltas"], &[6, 4]), &source, weights);
        assert_close(&values(&decoded), &numbers(&case["decoded"]), 1e-5, "decoded");
    }
}

#[test]
fn matching_equals_torchvisions() {
    for case in golden("box_ops")["matcher"].as_array().unwrap() {
        let quality = &case["quality"];
        let (rows, columns) = (quality.as_array().unwrap().len() as i64, quality[0].as_array().unwrap().len() as i64);
        let low_quality = case["low_quality"].as_bool().unwrap();
        let matcher = Matcher { low: case["low"].as_f64().unwrap(), high: case["high"].as_f64().unwrap(), low_quality };
        let iou = tensor(quality, &[1, rows, columns]);
        let found = matcher.matches(&iou, &Tensor::ones([1, rows], (Kind::Bool, tch::Device::Cpu)));
        if case["name"] == "a row of zeros" && low_quality {
            // For a box that no anchor overlaps, torchvision makes every anchor foreground.
            assert!(values(&found.labels) != numbers(&case["labels"]));
            continue;
        }
        let labels = values(&found.labels);
        assert_eq!(labels, numbers(&case["labels"]), "{}", case["name"]);
        for ((label, ours), theirs) in labels.iter().zip(values(&found.boxes)).zip(numbers(&case["matches"])) {
            assert!(*label != 1.0 || ours == theirs, "{}: {ours} against {theirs}", case["name"]);
        }
    }
}

#[test]
fn without_boxes_all_anchors_are_background() {
    let matcher = Matcher { low: 0.3, high: 0.7, low_quality: true };
    let options = (Kind::Float, tch::Device::Cpu);
    let absent = Tensor::zeros([1, 1], (Kind::Bool, tch::Device::Cpu));
    let found = matcher.matches(&Tensor::zeros([1, 1, 5], options), &absent);
    assert_eq!(values(&found.labels), [0.0; 5]);
}

#[test]
fn anchors_equal_torchvisions_and_the_closed_form() {
    for case in golden("box_ops")["anchors"].as_array().unwrap() {
        let padded = numbers(&case["padded"]);
        let grids: Vec<[i64; 2]> =
            case["grids"].as_array().unwrap().iter().map(|g| [0, 1].map(|i| g[i].as_i64().unwrap())).collect();
        let size = ImageSize { width: padded[1] as u32, height: padded[0] as u32 };
        let levels = levels_of(size, &grids, 2);
        for (name, rounded, tolerance) in [("torchvision", true, 0.0), ("closed_form", false, 1e-5)] {
            let ours: Vec<f64> = anchors(&levels, 2, rounded).into_iter().map(f64::from).collect();
            let mut first = 0;
            for level in case[name].as_array().unwrap() {
                let count = level["count"].as_u64().unwrap() as usize;
                let of_level = &ours[first * 4..(first + count) * 4];
                assert_close(&of_level[..16.min(of_level.len())], &numbers(&level["first"]), tolerance, name);
                let rows = numbers(&level["rows"]).into_iter().flat_map(|r| {
                    let row = r as usize * 4;
                    of_level[row..row + 4].to_vec()
                });
                assert_close(&rows.collect::<Vec<_>>(), &numbers(&level["sampled"]), tolerance, name);
                first += count;
            }
            assert_eq!(first * 4, ours.len());
        }
    }
}

#[test]
fn the_sigmoid_focal_loss_equals_torchvisions() {
    let file = golden("box_ops");
    let case = &file["sigmoid_focal"][0];
    let logits = tensor(&case["logits"], &[5, 4]).set_requires_grad(true);
    let positives: Vec<i64> =
        numbers(&case["targets"]).iter().enumerate().filter(|(_, t)| **t > 0.5).map(|(i, _)| i as i64).collect();
    let loss = sigmoid_focal_sum(&logits, &Tensor::from_slice(&positives));
    assert_close(&values(&loss), &[case["sum"].as_f64().unwrap()], 1e-5, "focal");
    loss.backward();
    assert_close(&values(&logits.grad()), &numbers(&case["gradient_of_sum"]), 1e-5, "focal gradient");
}

#[test]
fn levels_of_regions_equal_both_formulas() {
    let file = golden("box_ops");
    let regions = boxes(&file["levels"]["boxes"]);
    for (name, inside) in [("torchvision", false), ("epsilon_inside", true)] {
        let ours: Vec<f64> = regions.iter().map(|r| pyramid_level(r, inside) as f64).collect();
        assert_eq!(ours, numbers(&file["levels"][name]), "{name}");
    }
}

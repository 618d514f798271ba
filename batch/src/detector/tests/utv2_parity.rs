//! The losses of Unbiased Teacher v2 against its equations in double precision, values and gradients, and the golden
//! values that the published modules gave.

use tch::{Kind, Tensor};

use crate::detector::edge_box_coder;
use crate::detector::edge_losses::{
    POINT_CERTAINTY, ROI_CERTAINTY, edge_regression_loss, softmax_focal, teacher_better,
};
use crate::detector::fcos::distances::stride_overlap;
use crate::detector::fcos::head::expected_distance;
use crate::detector::fcos::losses::{better_edge_loss, distance_losses};
use crate::detector::losses::{objectness_loss, sigmoid_focal_rows};
use crate::nn::parity_golden::{assert_close, golden, numbers, tensor, values};

fn number(t: &Tensor) -> f64 {
    values(t)[0]
}

fn near(t: &Tensor, wanted: f64, tolerance: f64) {
    assert!((number(t) - wanted).abs() < tolerance, "{} against {wanted}", number(t));
}

#[test]
fn softmax_focal_loss() {
    for case in golden("utv2_losses")["softmax_focal"].as_array().unwrap() {
        let rows = case["targets"].as_array().unwrap().len() as i64;
        let logits = tensor(&case["logits"], &[rows, -1]).set_requires_grad(true);
        let classes: Vec<i64> = numbers(&case["targets"]).into_iter().map(|v| v as i64).collect();
        let loss = softmax_focal(&logits, &Tensor::from_slice(&classes));
        near(&loss, case["loss"].as_f64().unwrap(), 1e-5);
        loss.backward();
        assert_close(&values(&logits.grad()), &numbers(&case["gradient"]), 1e-5, "gradient");
    }
    let none = softmax_focal(&Tensor::zeros([0, 3], (Kind::Float, tch::Device::Cpu)), &Tensor::from_slice::<i64>(&[]));
    assert_eq!(number(&none), 0.0);
}

#[test]
fn edge_coder() {
    let file = golden("utv2_losses");
    let case = &file["edge_coder"];
    let (source, target) = (tensor(&case["source"], &[7, 4]), tensor(&case["target"], &[7, 4]));
    let encoded = edge_box_coder::encode(&target, &source);
    assert_close(&values(&encoded), &numbers(&case["encoded"]), 1e-5, "encoded");
    let decoded = edge_box_coder::decode(&encoded, &source);
    assert_close(&values(&decoded), &numbers(&case["decoded_of_encoded"]), 1e-5, "decoded again");
    let decoded = edge_box_coder::decode(&tensor(&case["deltas"], &[7, 4]), &source);
    assert_close(&values(&decoded), &numbers(&case["decoded"]), 1e-5, "decoded");
}

#[test]
fn labelled_regression_of_edges() {
    for case in golden("utv2_losses")["labelled_regression"].as_array().unwrap() {
        for (name, detach) in [("attached", false), ("detached", true)] {
            let wanted = &case[name];
            let deltas = tensor(&case["deltas"], &[-1, 4]).set_requires_grad(true);
            let stds = tensor(&case["stds"], &[-1, 4]).set_requires_grad(true);
            let (boxes, references) = (tensor(&case["target"], &[-1, 4]), tensor(&case["source"], &[-1, 4]));
            let loss = edge_regression_loss(&boxes, &references, &deltas, &stds, detach);
            let loss = loss / case["rows"].as_f64().unwrap();
            near(&loss, wanted["loss"].as_f64().unwrap(), 1e-4);
            loss.backward();
            assert_close(&values(&deltas.grad()), &numbers(&wanted["delta_gradient"]), 1e-3, "deltas");
            assert_close(&values(&stds.grad()), &numbers(&wanted["std_gradient"]), 1e-3, "uncertainties");
        }
    }
}

#[test]
fn pseudo_regression_takes_only_edges_of_which_the_teacher_is_more_certain() {
    for case in golden("utv2_losses")["teacher_better"].as_array().unwrap() {
        let deltas = tensor(&case["deltas"], &[-1, 4]).set_requires_grad(true);
        let mask =
            teacher_better(&tensor(&case["teacher_stds"], &[-1, 4]), &tensor(&case["stds"], &[-1, 4]), ROI_CERTAINTY);
        assert_eq!(values(&mask), numbers(&case["mask"]));
        let wanted = edge_box_coder::encode(&tensor(&case["target"], &[-1, 4]), &tensor(&case["source"], &[-1, 4]));
        let loss = ((wanted - &deltas).abs() * mask).sum(Kind::Float) / case["rows"].as_f64().unwrap();
        near(&loss, case["loss"].as_f64().unwrap(), 1e-4);
        loss.backward();
        assert_close(&values(&deltas.grad()), &numbers(&case["delta_gradient"]), 1e-5, "gradient");
    }
    // Logits of 0 give a certainty of one half: no edge passes.
    let fresh = Tensor::zeros([2, 4], (Kind::Float, tch::Device::Cpu));
    for rule in [ROI_CERTAINTY, POINT_CERTAINTY] {
        assert_eq!(values(&teacher_better(&fresh, &fresh, rule)), [0.0; 8]);
    }
}

#[test]
fn objectness_is_weighted_by_the_scores() {
    let file = golden("utv2_losses");
    let case = &file["objectness"];
    let logits = tensor(&case["logits"], &[2, -1]).set_requires_grad(true);
    let labels = tensor(&case["labels"], &[2, -1]);
    let weights = tensor(&case["weights"], &[2, -1]) * labels.ge(0.0).to_kind(Kind::Float);
    let loss = objectness_loss(&logits, &labels.clamp_min(0.0), &weights) / (2.0 * 256.0);
    near(&loss, case["loss"].as_f64().unwrap(), 1e-6);
    loss.backward();
    assert_close(&values(&logits.grad()), &numbers(&case["gradients"]), 1e-6, "gradient");
}

#[test]
fn distances_are_expectations_over_bins() {
    let file = golden("utv2_fcos");
    let case = &file["expectation"];
    let logits = tensor(&case["bin_logits"], &[4, 68]).set_requires_grad(true);
    let found = expected_distance(&(&logits * tensor(&case["scales"], &[4, 1])));
    assert_close(&values(&found), &numbers(&case["distances"]), 1e-5, "distances");
    (found * tensor(&case["gradient_weights"], &[1, 4])).sum(Kind::Float).backward();
    assert_close(&values(&logits.grad()), &numbers(&case["gradient"]), 1e-5, "gradient");
}

#[test]
fn fcos_losses_on_annotated_boxes() {
    let file = golden("utv2_fcos");
    let inputs = &file["labelled_inputs"];
    for case in file["labelled"].as_array().unwrap().iter().filter(|c| !c["all_kept"].as_bool().unwrap()) {
        let class_logits = tensor(&inputs["class_logits"], &[2, 7, 3]).set_requires_grad(true);
        let edges = tensor(&inputs["std_logits"], &[14, 4]).set_requires_grad(true);
        let centre = tensor(&inputs["centre_logits"], &[14]).set_requires_grad(true);
        let labels = numbers(&case["labels"]);
        let rows: Vec<i64> = (0..14).filter(|&i| labels[i as usize] < 3.0).collect();
        let entries: Vec<i64> = rows.iter().map(|&i| i * 3 + labels[i as usize] as i64).collect();
        let rows = Tensor::from_slice(&rows);
        let count = (entries.len() as f64).max(1.0);
        let used = tensor(&case["kept_images"], &[2]);
        let class = sigmoid_focal_rows(&class_logits, &Tensor::from_slice(&entries), &used) / count;
        near(&class, case["loss_class"].as_f64().unwrap(), 1e-5);
        let at = |t: &Tensor| t.index_select(0, &rows);
        let (predicted, wanted) =
            (at(&tensor(&case["distances"], &[14, 4])), at(&tensor(&inputs["targets"], &[14, 4])));
        let (iou, giou) = stride_overlap(&predicted, &wanted);
        assert_close(&values(&iou), &numbers(&case["iou"]), 1e-5, "iou");
        assert_close(&values(&giou), &numbers(&case["giou"]), 1e-5, "giou");
        let (boxes, centerness) = distance_losses(&predicted, &wanted, Some(&at(&edges)), &at(&centre));
        near(&boxes, case["loss_box"].as_f64().unwrap(), 1e-4);
        near(&centerness, case["loss_centre"].as_f64().unwrap(), 1e-5);
        (class + boxes + centerness).backward();
        let gradients = &case["gradients"];
        for (leaf, name) in [(&class_logits, "class_logits"), (&edges, "std_logits"), (&centre, "centre_logits")] {
            assert_close(&values(&leaf.grad()), &numbers(&gradients[name]), 1e-4, name);
        }
    }
}

#[test]
fn fcos_box_loss_on_pseudo_labels_takes_the_better_edges() {
    for case in golden("utv2_fcos")["unlabelled"].as_array().unwrap() {
        let distances = tensor(&case["distances"], &[6, 4]).set_requires_grad(true);
        let (teacher, student) = (tensor(&case["teacher_stds"], &[6, 4]), tensor(&case["student_stds"], &[6, 4]));
        assert_eq!(values(&teacher_better(&teacher, &student, POINT_CERTAINTY)), numbers(&case["mask"]));
        let loss = better_edge_loss(&(&distances - tensor(&case["targets"], &[6, 4])), &teacher, &student);
        near(&loss, case["loss"].as_f64().unwrap(), 1e-5);
        loss.backward();
        assert_close(&values(&distances.grad()), &numbers(&case["gradient"]), 1e-5, "gradient");
    }
}

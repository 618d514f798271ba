//! Complete detectors against torchvision's with the same weights: feature pyramids, proposals, detections, losses.

use d2r_contracts::boxes::BoxXyxy;
use serde_json::Value;
use tch::{Device, Tensor};

use super::*;
use crate::config::detector::{BackboneNorm, RcnnConfig};
use crate::config::{Layers, resolve};
use crate::detector::losses::Part;
use crate::detector::rcnn::sampler::Draw;
use crate::detector::target::{BatchTargets, Target};
use crate::nn::parity_golden::{assert_close, assert_sampled, fill, golden, image, input, numbers, values};

/// Torchvision's sizes: ResNet-50, 256 channels. Their batch norms are in evaluation mode, which is the frozen one.
fn config(architecture: Architecture) -> DetectorModelConfig {
    let base = resolve(&Layers::default()).unwrap().config.detector.model;
    let rcnn = RcnnConfig { proposals_train: 2000, ..RcnnConfig::torchvision_v1() };
    let nms_iou_max = architecture.nms_iou_max();
    DetectorModelConfig { architecture, norm: BackboneNorm::FrozenBatch, rcnn, nms_iou_max, ..base }
}

fn detector(config: &DetectorModelConfig, classes: i64, file: &Value) -> Detector {
    let detector = Detector::with_classes(config, classes, Device::Cpu).unwrap();
    fill(detector.variables(), "", &file["gains"]);
    detector
}

fn padded(images: &Tensor, sizes: &[ImageSize]) -> ImageBatch {
    ImageBatch { images: images.shallow_clone(), sizes: sizes.to_vec() }
}

/// Losses on annotated boxes with the first anchors and regions by index.
fn losses_of(detector: &Detector, images: &Tensor, targets: &[Vec<Target>]) -> DetectionLosses {
    let targets = BatchTargets::labelled(targets);
    detector
        .losses(&ImageBatch::unpadded(images).unwrap(), targets, &mut Draw::First, BatchNormStatistics::Updated)
        .unwrap()
}

fn assert_detections(found: &[Vec<Detection<Model>>], wanted: &Value, first_label: i32) {
    for (image, (found, wanted)) in found.iter().zip(wanted["images"].as_array().unwrap()).enumerate() {
        let boxes = numbers(&wanted["boxes"]);
        // Torchvision keeps boxes without area, from FCOS points outside an image; here they are dropped.
        let proper: Vec<usize> = (0..boxes.len() / 4)
            .filter(|i| boxes[4 * i + 2] > boxes[4 * i] && boxes[4 * i + 3] > boxes[4 * i + 1])
            .collect();
        let (labels, scores) = (numbers(&wanted["labels"]), numbers(&wanted["scores"]));
        assert_eq!(found.len(), proper.len(), "image {image}: number of detections");
        for (ours, &i) in found.iter().zip(&proper) {
            assert_eq!(f64::from(ours.class_id + first_label), labels[i], "image {image}, label of {i}");
            assert_close(&[f64::from(ours.score)], &scores[i..=i], 1e-4, "score");
            for (a, b) in ours.region.to_array().into_iter().zip(&boxes[4 * i..]) {
                assert!(
                    (f64::from(a) - b).abs() < 0.01,
                    "image {image}, box {i}: {:?} against {:?}",
                    ours,
                    &boxes[4 * i..4 * i + 4]
                );
            }
        }
    }
}

fn assert_maps(maps: &[Tensor], wanted: &Value, what: &str) {
    let wanted = wanted.as_array().unwrap();
    assert_eq!(maps.len(), wanted.len());
    for (i, (ours, sample)) in maps.iter().zip(wanted).enumerate() {
        assert_sampled(ours, sample, 1e-4, &format!("{what} {i}"));
    }
}

fn targets(value: &Value, first_label: i32) -> Vec<Vec<Target>> {
    let of_image = |t: &Value| {
        let (boxes, labels) = (numbers(&t["boxes"]), numbers(&t["labels"]));
        let target = |(b, label): (&[f64], &f64)| {
            let region = BoxXyxy::new(b[0] as f32, b[1] as f32, b[2] as f32, b[3] as f32);
            Target::truth(*label as i32 - first_label, region)
        };
        boxes.chunks_exact(4).zip(&labels).map(target).collect()
    };
    value.as_array().unwrap().iter().map(of_image).collect()
}

#[test]
fn faster_rcnn_equals_torchvisions() {
    let file = golden("faster_rcnn");
    let (images, sizes) = input(&file);
    assert_sampled(&images, &file["input_sample"], 1e-6, "input");
    let base = config(Architecture::FasterRcnn);
    let complete = detector(&base, 4, &file);
    let pyramid = tch::no_grad(|| {
        assert_maps(&complete.body.forward_t(&images, false), &file["body"], "C");
        complete.pyramid(&images, false).unwrap()
    });
    assert_maps(&pyramid.maps, &file["fpn"], "P");
    for wanted in file["proposals"].as_array().unwrap() {
        let number = |key: &str| wanted[key].as_i64().unwrap();
        let (candidates_eval, proposals_eval) = (number("pre_nms_top_n"), number("post_nms_top_n"));
        let rcnn = RcnnConfig { candidates_eval, proposals_eval, ..base.rcnn.clone() };
        let sized = detector(&DetectorModelConfig { rcnn, ..base.clone() }, 4, &file);
        let Head::FasterRcnn(head) = &sized.head else { unreachable!("a Faster R-CNN was asked for") };
        let outputs = tch::no_grad(|| head.rpn.forward(&pyramid));
        let proposals = head.rpn.proposals(&outputs, &sizes, ProposalCounts::Inference).unwrap();
        for (ours, wanted) in proposals.iter().zip(wanted["images"].as_array().unwrap()) {
            assert_eq!(ours.len() as f64, wanted["count"].as_f64().unwrap());
            let sum: Vec<f64> = (0..4).map(|i| ours.iter().map(|b| f64::from(b.to_array()[i])).sum::<f64>()).collect();
            assert_close(&sum, &numbers(&wanted["box_sum"]), 1e-4, "sum of proposals");
            let first: Vec<f64> = ours.iter().take(10).flat_map(|b| b.to_array()).map(f64::from).collect();
            assert_close(&first, &numbers(&wanted["first"]["boxes"]), 1e-3, "first proposals");
        }
    }
    for wanted in file["detections"].as_array().unwrap() {
        let score_min = wanted["score_thresh"].as_f64().unwrap();
        let found = detector(&DetectorModelConfig { score_min, ..base.clone() }, 4, &file);
        assert_detections(&found.detect(&padded(&images, &sizes)).unwrap(), wanted, 1);
    }
}

#[test]
fn faster_rcnn_v2_equals_torchvisions() {
    let file = golden("faster_rcnn_v2");
    let (images, sizes) = input(&file);
    let rcnn = RcnnConfig { proposals_eval: 150, ..RcnnConfig::torchvision_v2() };
    let base = DetectorModelConfig { rcnn, ..config(Architecture::FasterRcnn) };
    for wanted in file["detections"].as_array().unwrap() {
        let score_min = wanted["score_thresh"].as_f64().unwrap();
        let found = detector(&DetectorModelConfig { score_min, ..base.clone() }, 4, &file);
        assert_detections(&found.detect(&padded(&images, &sizes)).unwrap(), wanted, 1);
    }
}

#[test]
fn fcos_equals_torchvisions() {
    let file = golden("fcos");
    let (images, sizes) = input(&file);
    let base = config(Architecture::Fcos);
    let complete = detector(&base, 5, &file);
    let pyramid = tch::no_grad(|| complete.pyramid(&images, false).unwrap());
    assert_maps(&pyramid.maps, &file["fpn"], "P");
    let Head::Fcos(head) = &complete.head else { unreachable!("an FCOS was asked for") };
    let outputs = tch::no_grad(|| head.forward(&pyramid)).predictions;
    let cat = |of: &dyn Fn(&crate::detector::fcos::head::LevelOutputs) -> Tensor| {
        Tensor::cat(&outputs.iter().map(of).collect::<Vec<_>>(), 1)
    };
    assert_sampled(&cat(&|o| o.class_logits.shallow_clone()), &file["head"]["cls_logits"], 1e-4, "class logits");
    assert_sampled(&cat(&|o| o.ltrb.shallow_clone()), &file["head"]["bbox_regression"], 1e-4, "distances");
    assert_sampled(&cat(&|o| o.centerness.shallow_clone()), &file["head"]["bbox_ctrness"], 1e-4, "centre-ness");
    for wanted in file["detections"].as_array().unwrap() {
        let score_min = wanted["score_thresh"].as_f64().unwrap();
        let candidates_per_level = wanted["topk_candidates"].as_i64().unwrap();
        let config = DetectorModelConfig { score_min, candidates_per_level, ..base.clone() };
        assert_detections(&detector(&config, 5, &file).detect(&padded(&images, &sizes)).unwrap(), wanted, 0);
    }
    for case in file["loss_cases"].as_array().unwrap() {
        let targets = targets(&case["targets"], 0);
        let losses = tch::no_grad(|| losses_of(&complete, &images, &targets));
        for (part, name) in
            [(Part::Class, "classification"), (Part::Box, "bbox_regression"), (Part::Centerness, "bbox_ctrness")]
        {
            assert_close(&values(losses.get(part).unwrap()), &[case["losses"][name].as_f64().unwrap()], 1e-4, name);
        }
    }
}

#[test]
fn losses_of_faster_rcnn_equal_torchvisions_with_the_same_samples() {
    let file = golden("rcnn_losses");
    let weights = golden("faster_rcnn");
    let (images, sizes) = input(&weights);
    let base = config(Architecture::FasterRcnn);
    for case in file["cases"].as_array().unwrap() {
        let limits = &case["limits"];
        let rcnn = RcnnConfig {
            anchors_per_image: limits["rpn"]["batch"].as_i64().unwrap(),
            rois_per_image: limits["roi"]["batch"].as_u64().unwrap() as usize,
            candidates_train: 2000,
            ..base.rcnn.clone()
        };
        let detector = detector(&DetectorModelConfig { rcnn, ..base.clone() }, 4, &weights);
        let targets = targets(&case["targets"], 1);
        let pyramid = detector.pyramid(&images, true).unwrap();
        let Head::FasterRcnn(head) = &detector.head else { unreachable!("a Faster R-CNN was asked for") };
        let losses = head.losses(&pyramid, &sizes, BatchTargets::labelled(&targets), &mut Draw::First).unwrap();
        for (part, name) in [
            (Part::RpnClass, "loss_objectness"),
            (Part::RpnBox, "loss_rpn_box_reg"),
            (Part::Class, "loss_classifier"),
            (Part::Box, "loss_box_reg"),
        ] {
            assert_close(&values(losses.get(part).unwrap()), &[case["losses"][name].as_f64().unwrap()], 1e-4, name);
        }
        losses.total().backward();
        let variables = detector.variables().variables();
        for (name, sample) in case["gradients"].as_object().unwrap() {
            assert_sampled(&variables[name].grad(), sample, 2e-3, name);
        }
    }
}

#[test]
fn the_stride_of_a_bottleneck_can_be_in_its_first_convolution() {
    let file = golden("stride_in_1x1");
    for (name, stride_in_1x1) in [("stride_in_1x1", true), ("stride_in_3x3", false)] {
        let base = DetectorModelConfig { stride_in_1x1, ..config(Architecture::FasterRcnn) };
        let detector = detector(&base, 4, &file);
        let stages = tch::no_grad(|| detector.body.forward_t(&image(131, &[1, 3, 64, 96]), false));
        assert_maps(&stages, &file[name], name);
    }
}

/// A small detector of either architecture and profile.
fn small(architecture: Architecture, profile: Profile) -> Detector {
    let base = resolve(&Layers { preset: Some("tiny".into()), ..Layers::default() }).unwrap().config.detector.model;
    tch::manual_seed(5);
    Detector::with_classes(&DetectorModelConfig { architecture, profile, ..base }, 3, Device::Cpu).unwrap()
}

#[test]
fn losses_and_gradients_are_finite_without_boxes_with_one_and_with_boxes_outside() {
    let square = |a: f32, b: f32| Target::truth(1, BoxXyxy::new(a, a, b, b));
    let outside = Target::truth(0, BoxXyxy::new(300.0, 300.0, 400.0, 400.0));
    let flat = Target::truth(0, BoxXyxy::new(9.0, 9.0, 9.0, 20.0));
    let batches = [
        vec![vec![], vec![]],
        vec![vec![square(10.0, 60.0)], vec![]],
        vec![vec![square(10.0, 60.0), square(12.0, 40.0), outside, flat], vec![outside]],
    ];
    let images = image(7, &[2, 1, 128, 128]);
    for architecture in [Architecture::Fcos, Architecture::FasterRcnn] {
        for profile in [Profile::Torchvision, Profile::Utv2] {
            let detector = small(architecture, profile);
            for targets in &batches {
                let losses = losses_of(&detector, &images, targets);
                assert!(values(&losses.parts()).iter().all(|v| v.is_finite()), "{architecture:?} {profile:?}");
                losses.total().backward();
                for (name, variable) in detector.variables().variables() {
                    let grad = variable.grad();
                    assert!(!grad.defined() || values(&grad).iter().all(|v| v.is_finite()), "gradient of {name}");
                }
            }
            let found = detector.detect(&ImageBatch::unpadded(&images).unwrap()).unwrap();
            assert_eq!(found.len(), 2);
            assert!(found.iter().flatten().all(|d| d.region.is_proper() && d.region.x_max <= 128.0));
            assert!(found.iter().flatten().all(|d| d.edge_stds.is_some() == (profile == Profile::Utv2)));
        }
    }
}

#[test]
fn nothing_is_found_or_proposed_in_the_padding() {
    let images = image(7, &[2, 1, 96, 160]);
    let sizes = [ImageSize { width: 130, height: 70 }, ImageSize { width: 100, height: 96 }];
    for (i, size) in sizes.iter().enumerate() {
        let one = images.get(i as i64);
        let _ = one.narrow(1, i64::from(size.height), 96 - i64::from(size.height)).zero_();
        let _ = one.narrow(2, i64::from(size.width), 160 - i64::from(size.width)).zero_();
    }
    let targets = vec![vec![Target::truth(1, BoxXyxy::new(10.0, 10.0, 60.0, 60.0))], Vec::new()];
    for architecture in [Architecture::Fcos, Architecture::FasterRcnn] {
        for profile in [Profile::Torchvision, Profile::Utv2] {
            let base = small(architecture, profile).config;
            tch::manual_seed(5);
            let config = DetectorModelConfig { score_min: 0.0, candidates_per_level: 40, ..base };
            let detector = Detector::with_classes(&config, 3, Device::Cpu).unwrap();
            let batch = padded(&images, &sizes);
            for found in [detector.detect(&batch).unwrap(), detector.pseudo_boxes(&batch).unwrap().classes] {
                for (found, size) in found.iter().zip(&sizes) {
                    assert!(!found.is_empty());
                    let inside = |b: &BoxXyxy<Model>| {
                        b.is_proper() && b.x_max <= size.width as f32 && b.y_max <= size.height as f32
                    };
                    assert!(found.iter().all(|d| inside(&d.region)), "{architecture:?} {profile:?}");
                }
            }
            let losses = detector.losses(
                &batch,
                BatchTargets::labelled(&targets),
                &mut Draw::First,
                BatchNormStatistics::Updated,
            );
            assert!(values(&losses.unwrap().parts()).iter().all(|v| v.is_finite()));
            let Head::FasterRcnn(head) = &detector.head else { continue };
            let outputs = tch::no_grad(|| head.rpn.forward(&detector.pyramid(&images, false).unwrap()));
            let proposals = head.rpn.proposals(&outputs, &sizes, ProposalCounts::Training).unwrap();
            for (proposals, size) in proposals.iter().zip(&sizes) {
                let inside = |b: &BoxXyxy<Model>| {
                    b.x_min < size.width as f32 && b.x_max <= size.width as f32 && b.y_max <= size.height as f32
                };
                assert!(proposals.len() > 10 && proposals.iter().all(inside));
            }
        }
    }
}

#[test]
fn frozen_stages_are_not_trained() {
    let base = resolve(&Layers { preset: Some("tiny".into()), ..Layers::default() }).unwrap().config.detector.model;
    let frozen = Detector::new(&DetectorModelConfig { frozen_stages: 2, ..base }, Device::Cpu).unwrap();
    for (name, variable) in frozen.variables().variables() {
        let frozen = ["body.conv1", "body.bn1", "body.layer1"].iter().any(|p| name.contains(p));
        assert!(!(frozen && variable.requires_grad()), "{name}");
    }
    assert!(frozen.variables().variables()["backbone.body.layer2.0.conv1.weight"].requires_grad());
}

//! Local and global alignment on small batches: gradients, equal reports, images without regions.

use super::*;
use crate::config::report::AlignmentConfig;
use crate::config::{Layers, resolve};

const WIDTH: i64 = 8;
const TOKENS: i64 = 12;

fn config(lab: f64, gab: f64) -> AlignmentConfig {
    let layers = Layers { preset: Some("tiny".into()), ..Layers::default() };
    let mut align = resolve(&layers).unwrap().config.report.align;
    (align.lab_weight, align.gab_weight, align.text.dropout) = (lab, gab, 0.0);
    align
}

fn alignment(config: &AlignmentConfig) -> Alignment {
    tch::manual_seed(3);
    Alignment::new(config, TOKENS, WIDTH, Device::Cpu).unwrap()
}

fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Float, Device::Cpu))
}

fn texts() -> ReportTexts {
    let ids = |values: &[i64], width: i64| Tensor::from_slice(values).view([-1, width]);
    let all = |t: &Tensor| t.gt(0);
    let (reports, sentences) =
        (ids(&[10, 1, 2, 11, 10, 3, 11, 0, 10, 4, 5, 11], 4), ids(&[10, 1, 11, 10, 3, 11, 10, 5, 11], 3));
    ReportTexts {
        reports: TextInput { present: all(&reports), ids: reports },
        sentences: TextInput { present: all(&sentences), ids: sentences },
        shares: Tensor::from_slice(&[1f32, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0, 0.5]).view([3, 3]),
        same: Tensor::zeros([3, 3], (Kind::Bool, Device::Cpu)),
    }
}

fn number(t: &Tensor) -> f64 {
    f64::try_from(t).unwrap()
}

#[test]
fn each_loss_can_be_switched_off_and_trains_image_and_text() {
    tch::manual_seed(4);
    let patches = random(&[3, 9, WIDTH]).set_requires_grad(true);
    let regions = random(&[3, 2, WIDTH]).set_requires_grad(true);
    let present = Tensor::from_slice(&[true, true, true, false, false, false]).view([3, 2]);
    let image = || ImageTokens { patches: &patches, views: 1, regions: &regions, present: &present };
    for (lab, gab) in [(1.0, 0.0), (0.0, 1.0), (0.5, 2.0)] {
        let losses = alignment(&config(lab, gab)).losses(&image(), &texts(), 0, true);
        assert_eq!((number(&losses.local) > 0.0, number(&losses.global) > 0.0), (lab > 0.0, gab > 0.0));
    }
    let mut both = alignment(&config(1.0, 1.0));
    let losses = both.losses(&image(), &texts(), 5, true);
    (losses.local + losses.global).backward();
    let trained = |t: &Tensor| t.grad().defined() && number(&t.grad().abs().sum(Kind::Float)) > 0.0;
    assert!(trained(&patches) && trained(&regions));
    let names = both.variables().variables();
    assert!(trained(&names["text_extractor.fc.weight"]) && trained(&names["textlist_extractor.fc.weight"]));
    // An absent region has no gradient.
    let absent = regions.grad().get(1).get(1);
    assert_eq!(number(&absent.abs().sum(Kind::Float)), 0.0);
}

#[test]
fn an_image_without_regions_is_represented_by_pooled_patches() {
    let (patches, none) = (random(&[2, 16, WIDTH]), Tensor::zeros([2, 0], (Kind::Bool, Device::Cpu)));
    let empty = random(&[2, 0, WIDTH]);
    let pooled = regions_or_pooled(&ImageTokens { patches: &patches, views: 1, regions: &empty, present: &none });
    assert_eq!(pooled.vectors.size(), [2, 9, WIDTH]);
    let regions = random(&[2, 11, WIDTH]);
    let mut flags = vec![false; 22];
    flags[0] = true;
    let present = Tensor::from_slice(&flags).view([2, 11]);
    let mixed = regions_or_pooled(&ImageTokens { patches: &patches, views: 1, regions: &regions, present: &present });
    assert_eq!(mixed.vectors.size(), [2, 11, WIDTH]);
    let counts = Vec::<i64>::try_from(mixed.present.sum_dim_intlist([1i64].as_slice(), false, Kind::Int64)).unwrap();
    assert_eq!(counts, [1, 9]);
    let gap = (mixed.vectors.get(1).narrow(0, 0, 9) - pooled.vectors.get(1)).abs().max();
    assert_eq!(number(&gap), 0.0);
}

#[test]
fn a_batch_of_equal_or_empty_reports_has_no_loss() {
    let patches = random(&[3, 9, WIDTH]);
    let (regions, present) = (random(&[3, 0, WIDTH]), Tensor::zeros([3, 0], (Kind::Bool, Device::Cpu)));
    let same = Tensor::ones([3, 3], (Kind::Bool, Device::Cpu));
    let image = ImageTokens { patches: &patches, views: 1, regions: &regions, present: &present };
    for epoch in [0, 3] {
        let losses =
            alignment(&config(1.0, 1.0)).losses(&image, &ReportTexts { same: same.copy(), ..texts() }, epoch, false);
        assert_eq!((number(&losses.local), number(&losses.global)), (0.0, 0.0));
    }
}

#[test]
fn with_a_frozen_encoder_only_projections_are_trained() {
    let mut frozen = config(1.0, 1.0);
    frozen.text.mode = TextEncoderMode::Frozen;
    let alignment = alignment(&frozen);
    let trained = alignment.variables().variables().into_iter().filter(|(_, t)| t.requires_grad());
    let names: Vec<String> = trained.map(|(n, _)| n).collect();
    assert_eq!(names.len(), 4);
    assert!(names.iter().all(|n| n.contains(".fc.")));
    assert_eq!(
        Alignment::new(
            &AlignmentConfig {
                text: crate::config::report::TextEncoderConfig { heads: 3, ..frozen.text.clone() },
                ..frozen
            },
            TOKENS,
            WIDTH,
            Device::Cpu
        )
        .unwrap_err()
        .exit()
        .code(),
        78
    );
}

#[test]
fn a_sentence_attends_to_the_regions_of_its_own_image() {
    let alignment = alignment(&config(1.0, 0.0));
    let regions = random(&[2, 3, WIDTH]);
    let present = Tensor::from_slice(&[true, true, false, false, false, false]).view([2, 3]);
    let sentences = texts().sentences;
    let of_image = Tensor::from_slice(&[0i64, 0, 1]);
    let weights = alignment.sentence_weights(&regions, &present, &sentences, &of_image);
    assert_eq!(weights.size(), [3, 3]);
    let rows: Vec<Vec<f32>> = (0..3).map(|u| Vec::try_from(weights.get(u)).unwrap()).collect();
    for row in &rows[..2] {
        let total: f32 = row.iter().sum();
        // Shares of 1, or all 0 where no token matches; an absent region has 0.
        assert!((total - 1.0).abs() < 1e-4 || total == 0.0, "{row:?}");
        assert_eq!(row[2], 0.0);
    }
    assert!(rows[..2].iter().any(|row| row.iter().sum::<f32>() > 0.5));
    assert_eq!(rows[2], [0.0; 3]);
    let alone = alignment.sentence_weights(
        &regions.narrow(0, 0, 1),
        &present.narrow(0, 0, 1),
        &sentences,
        &Tensor::from_slice(&[0i64, 0, 0]),
    );
    let gap = (alone.narrow(0, 0, 2) - weights.narrow(0, 0, 2)).abs().max();
    assert!(number(&gap) < 1e-6);
}

#[test]
fn adaptive_boundaries_are_updated_in_training_and_stored() {
    tch::manual_seed(5);
    let patches = random(&[3, 9, WIDTH]);
    let regions = random(&[3, 2, WIDTH]);
    let present = Tensor::ones([3, 2], (Kind::Bool, Device::Cpu));
    let image = ImageTokens { patches: &patches, views: 1, regions: &regions, present: &present };
    let mut adaptive = alignment(&AlignmentConfig { adaptive_boundary: true, boundary: 0.5, ..config(1.0, 1.0) });
    let values =
        |a: &Alignment| ["lab", "gab"].map(|n| number(&a.variables().variables()[&format!("{n}_boundary.value")]));
    for _ in 0..3 {
        let _ = adaptive.losses(&image, &texts(), 0, false);
    }
    let counted = |a: &Alignment| number(&a.variables().variables()["gab_boundary.seen"].sum(Kind::Float));
    assert_eq!(counted(&adaptive), 0.0);
    for _ in 0..400 {
        let _ = adaptive.losses(&image, &texts(), 0, true);
    }
    for value in values(&adaptive) {
        assert!((0.0..=1.0).contains(&value) && value != 0.5, "{value}");
    }
    assert!(!alignment(&config(1.0, 1.0)).variables().variables().keys().any(|n| n.contains("boundary")));
}

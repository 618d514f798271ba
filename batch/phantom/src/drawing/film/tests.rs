//! What must hold of every drawn film: it repeats, its boxes are exact, small lesions do not survive shrinking.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::space::Original;
use sha2::{Digest, Sha256};

use super::*;
use crate::body::anatomy::NORMAL_CTR;
use crate::lesions::shapes::ENLARGED_CTR;
use crate::lesions::{LesionKind, Shape, Zone};
use crate::study::{Laterality, PhantomStudy, PlanOptions, Projection};

fn options(size: u32, normal_share: f64) -> PlanOptions {
    PlanOptions { size, normal_share, lateral: false }
}

fn abnormal(size: u32, index: u64) -> PhantomStudy {
    PhantomStudy::draw_plan(11, "test", index, &options(size, 0.0))
}

fn digest(film: &Film) -> [u8; 32] {
    let bytes: Vec<u8> = film.samples.iter().flat_map(|s| s.to_le_bytes()).collect();
    Sha256::digest(bytes).into()
}

/// The first `count` studies with a lesion of `kind`, and the lesion's index.
fn with_kind(kind: LesionKind, size: u32, count: usize) -> Vec<(PhantomStudy, usize)> {
    let found = (0..2000).map(|i| abnormal(size, i)).filter_map(|study| {
        let index = study.findings.iter().position(|f| f.lesion == kind)?;
        Some((study, index))
    });
    found.take(count).collect()
}

/// Difference in grey levels made by one lesion.
fn difference(study: &PhantomStudy, index: usize) -> Vec<f32> {
    let (with, without) = (render(study).radiograph(), render(&study.without(index)).radiograph());
    with.pixels.iter().zip(&without.pixels).map(|(a, b)| f32::from(*a) - f32::from(*b)).collect()
}

fn inside(box_: &BoxXyxy<Original>, x: usize, y: usize) -> bool {
    let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
    x > box_.x_min && x < box_.x_max && y > box_.y_min && y < box_.y_max
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (first, again) = (abnormal(128, 3), abnormal(128, 3));
    assert_eq!(first, again);
    assert_eq!(digest(&render(&first)), digest(&render(&again)));
    let others = [
        abnormal(128, 4),
        PhantomStudy::draw_plan(12, "test", 3, &options(128, 0.0)),
        PhantomStudy::draw_plan(11, "tests", 3, &options(128, 0.0)),
        first.lateral(),
    ];
    for other in others {
        assert_ne!(digest(&render(&first)), digest(&render(&other)));
    }
}

#[test]
fn samples_fill_twelve_bits_and_grey_levels_follow_them() {
    let film = render(&abnormal(128, 0));
    let (least, most) = film.samples.iter().fold((u16::MAX, 0), |(l, m), s| (l.min(*s), m.max(*s)));
    assert!(least < 200 && most > 3500 && most <= SAMPLE_MAX, "{least} {most}");
    let radiograph = film.radiograph();
    assert_eq!((radiograph.width, radiograph.height, radiograph.pixels.len()), (128, 128, 128 * 128));
    for (sample, grey) in film.samples.iter().zip(&radiograph.pixels) {
        assert!((f32::from(*sample) / 4095.0 * 255.0 - f32::from(*grey)).abs() <= 0.51);
    }
}

#[test]
fn every_kind_occurs_in_its_share() {
    let count = 600;
    let mut studies: BTreeMap<LesionKind, usize> = BTreeMap::new();
    for index in 0..count {
        let study = abnormal(128, index);
        assert!((1..=4).contains(&study.findings.len()), "{} lesions", study.findings.len());
        let mut kinds: Vec<LesionKind> = study.findings.iter().map(|f| f.lesion).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            *studies.entry(kind).or_default() += 1;
        }
    }
    for kind in LesionKind::ALL {
        let share = studies.get(&kind).copied().unwrap_or(0) as f64 / count as f64;
        let frequent = matches!(
            kind,
            LesionKind::AorticEnlargement
                | LesionKind::Cardiomegaly
                | LesionKind::PleuralEffusion
                | LesionKind::PleuralThickening
                | LesionKind::NoduleMass
        );
        let bounds = if frequent { 0.14..0.34 } else { 0.04..0.20 };
        assert!(bounds.contains(&share), "{kind:?}: {share:.3}");
    }
}

#[test]
fn normal_share_is_kept() {
    let normal = (0..300).filter(|i| PhantomStudy::draw_plan(2, "test", *i, &options(64, 0.3)).is_normal()).count();
    assert!((60..120).contains(&normal), "{normal} of 300");
    assert!((0..40).all(|i| PhantomStudy::draw_plan(2, "test", i, &options(64, 1.0)).is_normal()));
    assert!((0..40).all(|i| !PhantomStudy::draw_plan(2, "test", i, &options(64, 0.0)).is_normal()));
}

#[test]
fn boxes_are_proper_and_inside_the_film() {
    for index in 0..150 {
        for finding in abnormal(192, index).findings {
            let b = finding.box_;
            assert!(b.is_proper(), "{finding:?}");
            assert_eq!(b, b.clip(192.0, 192.0), "{:?}", finding.lesion);
            assert_eq!(finding.class_id, finding.lesion.class_id());
            assert!(finding.class_id >= 0);
        }
    }
}

/// Grey levels of a difference that a person would notice; about the visibility threshold of the boxes.
const NOTICED: f32 = 14.0;

#[test]
fn what_a_lesion_changes_lies_in_its_box_and_fills_it() {
    for kind in LesionKind::ALL {
        for (study, index) in with_kind(kind, 320, 2) {
            let box_ = study.findings[index].box_;
            let difference = difference(&study, index);
            let (mut noticed, mut hit) = (0, 0);
            let mut seen = BoxXyxy::<Original>::new(f32::MAX, f32::MAX, 0.0, 0.0);
            for (i, _) in difference.iter().enumerate().filter(|(_, d)| d.abs() > NOTICED) {
                let (x, y) = (i % 320, i / 320);
                noticed += 1;
                if inside(&box_, x, y) {
                    hit += 1;
                    let (x, y) = (x as f32, y as f32);
                    seen = BoxXyxy::new(
                        seen.x_min.min(x),
                        seen.y_min.min(y),
                        seen.x_max.max(x + 1.0),
                        seen.y_max.max(y + 1.0),
                    );
                }
            }
            assert!(noticed >= 4, "{kind:?} in study {}: {noticed} pixels", study.index);
            let share = f64::from(hit) / f64::from(noticed);
            assert!(share >= 0.98, "{kind:?} in study {}: {share:.3} of {noticed} in {box_:?}", study.index);
            // An enlarged heart or knob covers a normal one, which its box holds too.
            if !matches!(kind, LesionKind::Cardiomegaly | LesionKind::AorticEnlargement) {
                let (wide, high) = (seen.width() / box_.width(), seen.height() / box_.height());
                assert!(wide >= 0.7 && high >= 0.7, "{kind:?} in study {}: {seen:?} in {box_:?}", study.index);
            }
        }
    }
}

#[test]
fn small_lesions_fade_when_the_film_is_shrunk() {
    let mut ratios: BTreeMap<LesionKind, Vec<f32>> = BTreeMap::new();
    for kind in [LesionKind::NoduleMass, LesionKind::Calcification, LesionKind::RibFracture] {
        let small = (0..400).map(|i| abnormal(512, i)).filter_map(|study| {
            let index = study.findings.iter().position(|f| f.lesion == kind && f.small)?;
            Some((study, index))
        });
        for (study, index) in small.take(3) {
            let full = difference(&study, index);
            // Resizing cuts floats off at 0 and 1.
            let unit: Vec<f32> = full.iter().map(|d| 0.5 + d / 512.0).collect();
            let image = image::ImageBuffer::<image::Luma<f32>, _>::from_raw(512, 512, unit).unwrap();
            let shrunk = image::imageops::resize(&image, 128, 128, image::imageops::FilterType::Triangle);
            let shrunk: Vec<f32> = shrunk.as_raw().iter().map(|v| (v - 0.5) * 512.0).collect();
            let peak = |values: &[f32]| values.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            assert!(peak(&full) > 40.0, "{kind:?} in study {}: peak {}", study.index, peak(&full));
            ratios.entry(kind).or_default().push(peak(&shrunk) / peak(&full));
        }
    }
    for (kind, ratios) in ratios {
        assert_eq!(ratios.len(), 3, "{kind:?}");
        assert!(ratios.iter().all(|r| *r < 0.55), "{kind:?}: {ratios:?}");
        assert!(ratios.iter().sum::<f32>() / (ratios.len() as f32) < 0.5, "{kind:?}: {ratios:?}");
    }
}

#[test]
fn the_patients_left_is_on_the_images_right() {
    let mut seen = [0, 0];
    for index in 0..150 {
        let study = abnormal(128, index);
        for finding in &study.findings {
            // Whatever its laterality, the lesion's box lies on one half of the film; a heart lies across the middle.
            let (x, _) = finding.box_.centre();
            match finding.laterality {
                Laterality::Left => assert!(x > 64.0, "{finding:?}"),
                Laterality::Right => assert!(x < 64.0, "{finding:?}"),
                Laterality::Midline => assert_eq!(finding.zone, Zone::Mediastinal),
            }
            seen[usize::from(finding.laterality == Laterality::Left)] += 1;
            // Mirrored, a left lesion lies where right ones lie.
            let (mirrored, _) = finding.box_.mirrored(128.0).centre();
            if finding.laterality != Laterality::Midline {
                assert_eq!(mirrored < 64.0, finding.laterality == Laterality::Left);
            }
        }
    }
    assert!(seen.iter().all(|n| *n > 40), "{seen:?}");
}

#[test]
fn the_heart_lies_on_the_images_right() {
    let film = render(&PhantomStudy::draw_plan(1, "test", 0, &options(256, 1.0))).radiograph();
    // A row through the ventricles: dense further out on the patient's left than on the right.
    let row = &film.pixels[160 * 256..161 * 256];
    let dense = |columns: std::ops::Range<usize>| columns.filter(|x| row[*x] > 140).count();
    assert!(dense(140..190) > dense(66..116) + 10, "{} {}", dense(140..190), dense(66..116));
}

#[test]
fn enlarged_hearts_are_clearly_wider_than_normal_ones() {
    // Films from the front magnify normal hearts by 0.02.
    const { assert!(NORMAL_CTR.end + 0.02 + 0.05 < ENLARGED_CTR.start) };
    for (study, index) in with_kind(LesionKind::Cardiomegaly, 256, 5) {
        let Shape::Heart { ctr } = study.findings[index].shape else { panic!("not a heart") };
        let measured = study.findings[index].box_.width() / (2.0 * study.anatomy.thorax_half_width * 256.0);
        assert!((measured - ctr).abs() < 0.02, "{measured} {ctr}");
    }
}

#[test]
fn lateral_films_show_effusions_only() {
    let (mut wet, mut dry) = (0, 0);
    for index in 0..60 {
        let frontal = abnormal(128, index);
        let asked = PhantomStudy::draw_plan(11, "test", index, &PlanOptions { lateral: true, ..options(128, 0.0) });
        assert_eq!(asked, frontal.lateral());
        assert_eq!(asked.view, Projection::Lateral);
        let fluid = frontal.findings.iter().any(|f| f.lesion == LesionKind::PleuralEffusion);
        assert_eq!(asked.findings.len(), usize::from(fluid), "study {index}");
        match asked.findings.first() {
            None => dry += 1,
            Some(finding) => {
                wet += 1;
                assert_eq!(finding.box_, finding.box_.clip(128.0, 128.0));
                let changed = difference(&asked, 0);
                let noticed = changed.iter().enumerate().filter(|(_, d)| d.abs() > NOTICED);
                let (hit, all) = noticed.fold((0, 0), |(hit, all), (i, _)| {
                    (hit + usize::from(inside(&finding.box_, i % 128, i / 128)), all + 1)
                });
                assert!(all > 10 && hit * 100 >= all * 98, "study {index}: {hit} of {all}");
            }
        }
    }
    assert!(wet > 4 && dry > 4, "{wet} {dry}");
}

#[test]
fn the_smallest_films_are_drawn() {
    for size in [0, 32, 33] {
        for index in 0..12 {
            let study = abnormal(size, index);
            let film = render(&study);
            assert_eq!(film.samples.len(), (film.width * film.height) as usize);
            assert!(film.width >= 32 && !study.findings.is_empty());
        }
    }
}

#[test]
fn neighbouring_studies_share_patients() {
    let plans: Vec<PhantomStudy> = (0..60).map(|i| PhantomStudy::draw_plan(5, "test", i, &options(32, 1.0))).collect();
    let mut visits: BTreeMap<u64, Vec<&PhantomStudy>> = BTreeMap::new();
    for plan in &plans {
        visits.entry(plan.subject).or_default().push(plan);
    }
    assert_eq!(visits.len(), 42);
    assert!(visits.values().any(|v| v.len() == 3));
    for studies in visits.values() {
        assert!(studies.windows(2).all(|w| w[1].index == w[0].index + 1 && w[1].visit == w[0].visit + 1));
        assert!(studies.iter().all(|s| s.sex == studies[0].sex && s.age_decade == studies[0].age_decade));
        assert!(studies.iter().all(|s| s.anatomy.thorax_half_width == studies[0].anatomy.thorax_half_width));
    }
}

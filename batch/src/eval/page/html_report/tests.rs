use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::{CHEXPERT_LABELS, LESION_CLASSES};
use d2r_contracts::radiograph::Radiograph;
use d2r_contracts::space::ImageSize;
use d2r_contracts::tables::TrainLogRow;

use super::*;
use crate::eval::page::gallery::{CaseBox, CaseSentence, picture};
use crate::eval::page::plots;
use crate::eval::text::label_f1::Ratios;

/// A grey radiograph with two dark ellipses and a vignette.
fn radiograph() -> Radiograph {
    let size = 512u32;
    let pixel = |i: u32| {
        let (x, y) = ((i % size) as f32 / 256.0 - 1.0, (i / size) as f32 / 256.0 - 1.0);
        let lung = |cx: f32| ((x - cx) / 0.3).powi(2) + (y / 0.65).powi(2) < 1.0;
        let base = 170.0 - 80.0 * (x * x + y * y).min(1.5);
        (if lung(-0.42) || lung(0.42) { base * 0.35 } else { base }) as u8
    };
    Radiograph::new(size, size, (0..size * size).map(pixel).collect()).unwrap()
}

fn figure(name: &str, value: f64, baseline: Option<f64>, headline: bool) -> FigureRow {
    FigureRow {
        name: name.into(),
        value,
        interval: Some((value - 0.03, value + 0.028)),
        baseline: baseline.map(|b| ("constant report".into(), b)),
        n: 105,
        signature: format!("{}|ref:full|tok:space|d2r:0.1.0", name.to_lowercase().replace(' ', "_")),
        headline,
    }
}

fn case(i: usize) -> Case {
    let a_box = |id: &str, class_id: usize, x: f32, y: f32, w: f32, h: f32| CaseBox {
        box_id: id.into(),
        class_id: class_id as i32,
        class_name: LESION_CLASSES[class_id].into(),
        score: Some(0.91),
        region: BoxXyxy::new(x, y, x + w, y + h),
    };
    let (boxes, generated) = if i % 3 == 2 {
        let texts =
            ["the lungs are clear .", "the heart size is normal .", "no pneumothorax or pleural effusion is seen ."];
        (Vec::new(), texts.map(|t| CaseSentence { text: t.into(), box_ids: Vec::new() }).to_vec())
    } else {
        let sentence = |text: &str, ids: &[&str]| CaseSentence {
            text: text.into(),
            box_ids: ids.iter().map(|s| (*s).into()).collect(),
        };
        let boxes = vec![
            a_box("b1", 15, 110.0, 120.0, 34.0, 36.0),
            a_box("b2", 3, 150.0, 260.0, 230.0, 150.0),
            a_box("b3", 16, 330.0, 380.0, 120.0, 80.0),
        ];
        let sentences = vec![
            sentence("a small nodule is seen in the right upper lung zone .", &["b1"]),
            sentence("there is a moderate left pleural effusion .", &["b3"]),
            sentence("no pneumothorax is seen .", &[]),
            sentence("the heart is moderately enlarged .", &["b2", "b3"]),
            sentence("the mediastinal contours are unremarkable .", &[]),
        ];
        (boxes, sentences)
    };
    Case {
        study_id: format!("s5{:07}", 1234 + i),
        size: ImageSize { width: 512, height: 512 },
        picture: Some(picture(&radiograph()).unwrap()),
        truths: boxes
            .iter()
            .take(2)
            .map(|b| CaseBox { score: None, region: b.region.with_margin(0.12), ..b.clone() })
            .collect(),
        boxes,
        generated,
        reference: [
            "A small nodule is seen in the right upper lobe.",
            "Moderate left pleural effusion.",
            "The heart is moderately enlarged.",
            "There is no pneumothorax.",
        ]
        .map(str::to_owned)
        .to_vec(),
        scores: vec![
            ("BLEU-4".into(), "0.412".into()),
            ("ROUGE-L".into(), "0.583".into()),
            ("Label F1".into(), "0.86".into()),
        ],
        flags: if i == 0 { vec!["needs review".into()] } else { Vec::new() },
    }
}

fn training() -> Vec<TrainLogRow> {
    (0..40)
        .map(|i| TrainLogRow {
            run_id: "train-reporter-0123456789ab".into(),
            phase: if i % 4 == 3 { "validation" } else { "train" }.into(),
            step: i * 25,
            lr: 0.01,
            loss: 3.0 / (1.0 + i as f64 * 0.2) + 0.3,
            score: (i % 4 == 3).then_some(0.2 + 0.01 * i as f64),
            ..TrainLogRow::blank()
        })
        .collect()
}

pub(crate) fn sample() -> Page {
    let curve = |a: f64| (0..=100).map(|i| (1.0 - (f64::from(i) / 100.0).powf(a)).max(0.0)).collect::<Vec<f64>>();
    let curves: Vec<(String, Vec<f64>)> = [
        ("mean over classes", 2.0),
        ("Cardiomegaly", 6.0),
        ("Pleural effusion", 3.0),
        ("Nodule/Mass", 1.0),
        ("Pneumothorax", 1.5),
    ]
    .map(|(n, a)| (n.to_owned(), curve(a)))
    .to_vec();
    let froc: Vec<(f64, f64)> =
        (0..60).map(|i| (f64::from(i) * 0.06, 0.85 * (1.0 - (-f64::from(i) * 0.12).exp()))).collect();
    let labels: Vec<LabelScore> = CHEXPERT_LABELS
        .iter()
        .enumerate()
        .map(|(i, label)| {
            let f1 = 0.95 - 0.06 * i as f64;
            let support = if [6, 12].contains(&i) { 0 } else { 40 - 2 * i as u64 };
            LabelScore { label, support, stated: support, ratios: Ratios { precision: f1, recall: f1, f1 } }
        })
        .collect();
    let mut all_plots = vec![plots::precision_recall(&curves).unwrap().unwrap(), plots::froc(&froc).unwrap().unwrap()];
    all_plots.extend(plots::training(&training()).unwrap());
    all_plots.extend(plots::label_bars(&labels).unwrap());
    Page {
        kind: PageKind::Evaluation,
        subject: "mimic, test split".into(),
        identity: vec![
            ("Detections".into(), "annotate-0123456789ab".into()),
            ("Reports".into(), "report-ba9876543210".into()),
            ("Report model".into(), "4f1c9a7be2d0553a8890aa31c0d9be1f4f1c9a7be2d0553a8890aa31c0d9be1f".into()),
            ("Code version".into(), "0.1.0".into()),
        ],
        groups: vec![
            FigureGroup {
                title: "Detector".into(),
                rows: vec![figure("Detector AP50", 0.631, None, true), figure("AP, small boxes", 0.183, None, false)],
            },
            FigureGroup {
                title: "Reports".into(),
                rows: vec![
                    figure("BLEU-4", 0.352, Some(0.231), true),
                    figure("ROUGE-L", 0.502, Some(0.41), false),
                    figure("Label F1, micro", 0.402, Some(0.471), true),
                ],
            },
            FigureGroup {
                title: "Links".into(),
                rows: vec![
                    figure("Link precision", 0.834, None, true),
                    figure("Link recall, of all lesions", 0.522, None, true),
                ],
            },
        ],
        classes: LESION_CLASSES
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let some = (i % 5 != 4).then_some(0.9 - 0.03 * i as f64);
                let truths = if some.is_some() { 31 - i } else { 0 };
                (
                    (*name).to_owned(),
                    ClassAp { class_id: i as i32, truths, ap: some.map(|v| v * 0.6), ap50: some, recall50: some },
                )
            })
            .collect(),
        labels,
        plots: all_plots,
        cases: (0..3).map(case).collect(),
        timings: vec![
            Timing { stage: "annotate 0/1".into(), n: 700, seconds: [1.2, 4.1, 58.8, 0.3] },
            Timing { stage: "report 0/1".into(), n: 105, seconds: [0.2, 0.7, 21.0, 0.1] },
        ],
        failures: vec![FailureCount {
            stage: "ingest".into(),
            code: "truncated".into(),
            n: 2,
            example: "files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg".into(),
        }],
    }
}

#[test]
fn the_page_loads_nothing() {
    let page = sample().html();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains(NOTICE));
    for word in ["http://", "https://", "//cdn", "@import", "url(", "<iframe", "src="] {
        assert!(!page.contains(word), "the page holds {word}");
    }
}

#[test]
fn every_link_and_id_inside_the_page_resolves_once() {
    let page = sample().html();
    let after = |mark: &str| -> Vec<String> {
        page.split(mark).skip(1).map(|rest| rest.split('"').next().unwrap_or_default().to_owned()).collect()
    };
    let ids = after(" id=\"");
    for target in after("href=\"#") {
        assert!(ids.contains(&target), "#{target} leads nowhere");
    }
    for list in after("data-boxes=\"").iter().chain(&after("aria-labelledby=\"")) {
        assert!(list.split(' ').all(|id| ids.iter().filter(|i| *i == id).count() == 1), "{list}");
    }
}

#[test]
fn figures_stand_with_interval_baseline_and_signature() {
    let page = sample().html();
    for words in ["0.352", "0.322 – 0.380", "constant report 0.231", "ref:full", "Lung cavity", "truncated"] {
        assert!(page.contains(words), "{words}");
    }
    assert!(page.contains("against below"), "a figure below its baseline is marked");
}

#[test]
fn an_empty_page_is_a_page() {
    let page = Page { subject: "<nothing>".into(), ..Page::default() }.html();
    assert!(page.contains("&lt;nothing&gt;") && page.contains("No input failed."));
    assert!(!page.contains("id=\"studies\"") && !page.contains("href=\"#studies\""));
}

use std::collections::BTreeMap;

use super::*;

const FEW: Resampling = Resampling { draws: 30, seed: 9223 };

fn reference(text: &str) -> ReferenceReport {
    ReferenceReport { text: text.into(), text_clean: text.into() }
}

fn pair(generated: &str, text: &str) -> ReportPair {
    ReportPair { generated: generated.into(), reference: reference(text), truth: None }
}

fn values(figures: &[Figure]) -> BTreeMap<&str, f64> {
    figures.iter().map(|f| (f.metric.as_str(), f.value)).collect()
}

const NORMAL: &str = "the heart is normal in size . the lungs are clear . no pneumothorax is seen .";
const SICK: &str = "the heart is enlarged . a nodule is seen in the left lung . no pneumothorax is seen .";

#[test]
fn copies_of_the_reference_are_perfect_and_beat_the_constant_report() {
    let pairs = [pair(NORMAL, NORMAL), pair(SICK, SICK), pair(NORMAL, NORMAL)];
    let found = ReportFigures::of(&pairs, &[NORMAL, SICK, NORMAL].map(reference), FEW);
    let v = values(&found.figures);
    assert!((v["bleu4"] - 1.0).abs() < 1e-6 && (v["rouge_l"] - 1.0).abs() < 1e-9);
    assert!(v["bleu4_constant"] < 1.0 && v["bleu4_over_constant"] > 0.0);
    assert_eq!((v["label_f1_micro"], v["label_f1_macro"]), (1.0, 1.0));
    assert_eq!((v["distinct_share"], v["distinct_share_all"]), (1.0, 2.0 / 3.0));
    let bleu4 = found.figures.iter().find(|f| f.metric == "bleu4").unwrap();
    assert_eq!(bleu4.baseline, Some((CONSTANT.to_owned(), v["bleu4_constant"])));
    assert_eq!(found.figures.len(), v.len(), "metric names are unique");
}

#[test]
fn a_collapsed_model_scores_as_the_constant_report_does() {
    let pairs = [pair(NORMAL, NORMAL), pair(NORMAL, SICK), pair(NORMAL, NORMAL)];
    let v_figures = ReportFigures::of(&pairs, &[reference(NORMAL)], FEW).figures;
    let v = values(&v_figures);
    assert_eq!(v["bleu4"], v["bleu4_constant"]);
    assert_eq!(v["bleu4_over_constant"], 0.0);
    assert_eq!(v["most_frequent_share"], 1.0);
}

#[test]
fn labels_of_references_and_of_the_constant_report_come_from_their_source() {
    let joined = ReferenceReport {
        text: "Bibasilar opacities/atelectasis.".into(),
        text_clean: "bibasilar opacitiesatelectasis .".into(),
    };
    let written = "bibasilar opacities . bibasilar atelectasis .";
    let pairs = [ReportPair { generated: written.into(), reference: joined.clone(), truth: None }];
    let found = ReportFigures::of(&pairs, std::slice::from_ref(&joined), FEW);
    assert_eq!(found.states[0].0, found.states[0].1);
    let f1 = found.figures.iter().find(|f| f.metric == "label_f1_micro").unwrap();
    assert_eq!((f1.value, f1.baseline.clone()), (1.0, Some((CONSTANT.to_owned(), 1.0))));
    let rouge = found.figures.iter().find(|f| f.metric == "rouge_l").unwrap();
    assert_eq!(rouge.baseline, Some((CONSTANT.to_owned(), 1.0)), "words are compared cleaned");
    assert!(rouge.value < 1.0);
}

#[test]
fn one_report_no_report_and_empty_reports_are_ordinary() {
    let none = ReportFigures::of(&[], &[], FEW);
    assert!(none.figures.is_empty() && none.states.is_empty() && none.labels.len() == 14);
    for text in [NORMAL, ""] {
        let one = ReportFigures::of(&[pair(text, NORMAL)], &[], FEW);
        assert!(one.figures.iter().all(|f| f.value.is_finite() && f.baseline.as_ref().is_none_or(|b| b.0 != CONSTANT)));
    }
    let normal = ReportFigures::of(&[pair(NORMAL, NORMAL)], &[], FEW);
    assert!(!values(&normal.figures).contains_key("distinct_share"), "no abnormal study, no share among them");
}

#[test]
fn truth_states_give_a_figure_of_their_own() {
    let mut with_truth = pair(NORMAL, NORMAL);
    with_truth.truth = Some([LabelState::Blank; 14]);
    let found = ReportFigures::of(&[with_truth], &[], FEW);
    assert_eq!(values(&found.figures)["label_f1_micro_truth"], 0.0);
}

#[test]
fn links_without_anything_to_divide_by_give_no_figure() {
    assert!(link_figures(&[], 0.3, FEW).is_empty());
    let counts = LinkCounts { links: 4, correct_links: 3, lesions: 2, named: 2, grounded: 1, small: 0, small_named: 0 };
    let figures = link_figures(&[counts], 0.3, FEW);
    let v = values(&figures);
    assert_eq!((v["precision"], v["recall"], v["recall_of_named"]), (0.75, 0.5, 0.5));
    assert!(!v.contains_key("small_lesion_recall"));
    assert!(figures[0].signature.starts_with("precision|iou:0.30|labeler:rules|truth:drawn|"));
}

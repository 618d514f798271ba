use d2r_contracts::labels::LabelState;

use super::*;
use crate::eval::text::label_f1::{UncertainAs, per_label};

fn row(run: &str, phase: &str, step: i64, loss: f64) -> TrainLogRow {
    let score = (phase == "validation").then_some(0.5);
    TrainLogRow { run_id: run.into(), phase: phase.into(), step, lr: 0.1, loss, score, ..TrainLogRow::blank() }
}

#[test]
fn a_plot_is_one_svg_element_that_asks_for_nothing() {
    let curves = [("Nodule/Mass".to_owned(), vec![1.0; 101]), ("a < b".to_owned(), vec![0.5; 101])];
    let plot = precision_recall(&curves).unwrap().unwrap();
    assert!(plot.svg.starts_with("<svg role=\"img\"") && plot.svg.trim_end().ends_with("</svg>"));
    assert!(!plot.svg.contains("http"), "no namespace is needed in a page");
    assert!(plot.svg.contains("a &lt; b") && !plot.svg.contains("a < b"));
    assert_eq!(plot.legend.len(), 2);
    assert_ne!(plot.legend[0].1, plot.legend[1].1);
}

#[test]
fn nothing_to_draw_is_no_plot() {
    assert_eq!(precision_recall(&[]).unwrap(), None);
    assert_eq!(precision_recall(&[("a".into(), vec![])]).unwrap(), None);
    assert_eq!(froc(&[]).unwrap(), None);
    assert!(training(&[]).unwrap().is_empty());
    assert_eq!(label_bars(&per_label(&[], UncertainAs::Positive)).unwrap(), None);
}

#[test]
fn one_point_and_non_finite_points_are_ordinary() {
    assert!(froc(&[(0.0, 0.0)]).unwrap().is_some());
    let plots =
        training(&[row("b", "train", 1, f64::NAN), row("a", "train", 0, 0.0), row("a", "validation", 5, 0.0)]).unwrap();
    assert_eq!(plots.len(), 1, "a run whose loss is never finite has nothing to draw");
    assert_eq!(plots[0].legend.iter().map(|l| l.0.as_str()).collect::<Vec<_>>(), ["training loss", "validation score"]);
}

#[test]
fn bars_stand_for_stated_labels_only() {
    let mut states = [LabelState::Blank; 14];
    states[1] = LabelState::Positive;
    let plot = label_bars(&per_label(&[(states, states)], UncertainAs::Positive)).unwrap().unwrap();
    assert!(plot.svg.contains("Cardiomegaly") && !plot.svg.contains("Pneumonia"));
}

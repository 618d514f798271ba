//! Precision, recall and F1 of the 14 CheXpert labels, in the variants that papers use; every figure carries its
//! variant's name. States of references and of generated reports in, figures out.
//! A ratio without a denominator is 0, as in the published scripts.

use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState};

/// States of the 14 labels of one report.
pub type States = [LabelState; 14];

/// What "uncertain" counts as; blank counts as negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UncertainAs {
    Positive,
    Negative,
}

/// Over what the ratios are averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Ratios of the counts summed over labels and reports.
    Micro,
    /// Mean over all labels of the variant; a label that never occurs counts 0.
    Macro,
    /// Mean over the labels that a reference states.
    MacroOfStated,
    /// Mean over reports of each report's own ratios.
    Reports,
}

/// A named way to compute the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// The name in signatures.
    pub name: &'static str,
    /// What "uncertain" counts as.
    pub uncertain: UncertainAs,
    /// Over what the ratios are averaged.
    pub average: Average,
    /// Indices of the labels that count.
    pub labels: &'static [usize],
}

const ALL: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13];
/// Cardiomegaly, Edema, Consolidation, Atelectasis, Pleural Effusion.
const FIVE: &[usize] = &[1, 4, 5, 7, 9];

/// Micro over 14 labels, uncertain as positive: the headline figure.
pub const MICRO: Variant =
    Variant { name: "micro14", uncertain: UncertainAs::Positive, average: Average::Micro, labels: ALL };
/// Mean over the labels that a reference states, uncertain as positive: the headline macro figure.
pub const MACRO: Variant =
    Variant { name: "macro-stated", uncertain: UncertainAs::Positive, average: Average::MacroOfStated, labels: ALL };

/// Every variant that is reported.
pub const VARIANTS: [Variant; 6] = [
    MICRO,
    MACRO,
    Variant { name: "r2gen-micro", uncertain: UncertainAs::Negative, average: Average::Micro, labels: ALL },
    Variant { name: "r2gen-macro", uncertain: UncertainAs::Negative, average: Average::Macro, labels: ALL },
    Variant { name: "miura-micro5", uncertain: UncertainAs::Positive, average: Average::Micro, labels: FIVE },
    Variant { name: "nicolson-ex14", uncertain: UncertainAs::Negative, average: Average::Reports, labels: ALL },
];

/// Precision, recall and F1, each 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Ratios {
    /// True positives / stated labels.
    pub precision: f64,
    /// True positives / labels that references state.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
}

/// Statements of a label, compared with the reference.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Counts {
    true_positives: u64,
    false_positives: u64,
    false_negatives: u64,
}

impl Counts {
    fn add(&mut self, reference: bool, generated: bool, times: u64) {
        match (reference, generated) {
            (true, true) => self.true_positives += times,
            (false, true) => self.false_positives += times,
            (true, false) => self.false_negatives += times,
            (false, false) => {}
        }
    }

    fn ratios(&self) -> Ratios {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        Ratios {
            precision: share(self.true_positives, self.true_positives + self.false_positives),
            recall: share(self.true_positives, self.true_positives + self.false_negatives),
            f1: share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives),
        }
    }
}

fn mean(values: &[(Ratios, u64)]) -> Ratios {
    let weight = values.iter().map(|(_, w)| w).sum::<u64>().max(1) as f64;
    let of = |get: fn(&Ratios) -> f64| values.iter().map(|(r, w)| get(r) * *w as f64).sum::<f64>() / weight;
    Ratios { precision: of(|r| r.precision), recall: of(|r| r.recall), f1: of(|r| r.f1) }
}

impl UncertainAs {
    fn states(self, state: LabelState) -> bool {
        state == LabelState::Positive || (state == LabelState::Uncertain && self == Self::Positive)
    }
}

fn label_counts(pairs: &[(States, States)], label: usize, uncertain: UncertainAs, weights: Option<&[u32]>) -> Counts {
    let mut counts = Counts::default();
    for (i, (reference, generated)) in pairs.iter().enumerate() {
        let times = weights.map_or(1, |w| u64::from(w[i]));
        counts.add(uncertain.states(reference[label]), uncertain.states(generated[label]), times);
    }
    counts
}

/// The figures of one variant over pairs of (reference, generated), pair `i` counted `weights[i]` times; zeros for
/// an empty set.
pub fn label_f1(pairs: &[(States, States)], variant: &Variant, weights: Option<&[u32]>) -> Ratios {
    let Variant { uncertain, average, labels, .. } = *variant;
    let of_label = |&label: &usize| label_counts(pairs, label, uncertain, weights);
    match average {
        Average::Micro => {
            let mut sum = Counts::default();
            for c in labels.iter().map(of_label) {
                sum.true_positives += c.true_positives;
                sum.false_positives += c.false_positives;
                sum.false_negatives += c.false_negatives;
            }
            sum.ratios()
        }
        Average::Macro => mean(&labels.iter().map(|l| (of_label(l).ratios(), 1)).collect::<Vec<_>>()),
        Average::MacroOfStated => {
            let stated = labels.iter().map(of_label).filter(|c| c.true_positives + c.false_negatives > 0);
            mean(&stated.map(|c| (c.ratios(), 1)).collect::<Vec<_>>())
        }
        Average::Reports => {
            let one = |(i, (reference, generated)): (usize, &(States, States))| {
                let mut counts = Counts::default();
                for &l in labels {
                    counts.add(uncertain.states(reference[l]), uncertain.states(generated[l]), 1);
                }
                (counts.ratios(), weights.map_or(1, |w| u64::from(w[i])))
            };
            mean(&pairs.iter().enumerate().map(one).collect::<Vec<_>>())
        }
    }
}

/// The figures of one label.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelScore {
    pub label: &'static str,
    /// References that state it.
    pub support: u64,
    /// Generated reports that state it.
    pub stated: u64,
    pub ratios: Ratios,
}

/// Each label by itself, in the labels' order.
pub fn per_label(pairs: &[(States, States)], uncertain: UncertainAs) -> Vec<LabelScore> {
    let one = |(label, name): (usize, &'static str)| {
        let counts = label_counts(pairs, label, uncertain, None);
        LabelScore {
            label: name,
            support: counts.true_positives + counts.false_negatives,
            stated: counts.true_positives + counts.false_positives,
            ratios: counts.ratios(),
        }
    };
    CHEXPERT_LABELS.into_iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use LabelState::{Blank, Negative, Positive, Uncertain};

    fn states(set: &[(usize, LabelState)]) -> States {
        let mut out = [Blank; 14];
        for &(label, state) in set {
            out[label] = state;
        }
        out
    }

    fn pairs() -> Vec<(States, States)> {
        vec![
            (states(&[(1, Positive), (9, Uncertain)]), states(&[(1, Positive), (9, Positive)])),
            (states(&[(1, Positive)]), states(&[(1, Negative), (13, Positive)])),
            (states(&[(13, Positive)]), states(&[(13, Positive)])),
        ]
    }

    fn f1(name: &str) -> Ratios {
        label_f1(&pairs(), VARIANTS.iter().find(|v| v.name == name).unwrap(), None)
    }

    #[test]
    fn variants_differ_as_their_definitions_do() {
        // Uncertain as positive: right 1+9+13, false_negatives 1, false_positives 13.
        assert_eq!(f1("micro14"), Ratios { precision: 0.75, recall: 0.75, f1: 0.75 });
        // Uncertain as negative: label 9 becomes a false positive.
        assert_eq!(f1("r2gen-micro"), Ratios { precision: 0.5, recall: 2.0 / 3.0, f1: 4.0 / 7.0 });
        assert_eq!(f1("miura-micro5"), Ratios { precision: 1.0, recall: 2.0 / 3.0, f1: 0.8 });
        let stated = (2.0 / 3.0 + 1.0 + 2.0 / 3.0) / 3.0;
        assert!((f1("macro-stated").f1 - stated).abs() < 1e-12);
        assert!((f1("r2gen-macro").f1 - (2.0 / 3.0 + 2.0 / 3.0) / 14.0).abs() < 1e-12);
        // Reports one by one: 2/3, 0, 1.
        assert!((f1("nicolson-ex14").f1 - (2.0 / 3.0 + 0.0 + 1.0) / 3.0).abs() < 1e-12);
    }

    #[test]
    fn weights_stand_for_repetition() {
        let twice: Vec<_> = pairs().into_iter().chain(pairs().into_iter().take(1)).collect();
        for variant in &VARIANTS {
            let (a, b) = (label_f1(&pairs(), variant, Some(&[2, 1, 1])), label_f1(&twice, variant, None));
            assert!((a.f1 - b.f1).abs() < 1e-12, "{}: {a:?} {b:?}", variant.name);
        }
    }

    #[test]
    fn nothing_to_find_is_zero_and_never_nan() {
        for variant in &VARIANTS {
            assert_eq!(label_f1(&[], variant, None), Ratios::default());
            assert_eq!(label_f1(&[([Blank; 14], [Blank; 14])], variant, None), Ratios::default());
        }
        assert!(per_label(&[], UncertainAs::Positive).iter().all(|l| l.support == 0 && l.ratios.f1 == 0.0));
    }

    #[test]
    fn support_counts_references() {
        let scores = per_label(&pairs(), UncertainAs::Positive);
        assert_eq!((scores[1].label, scores[1].support, scores[1].stated), ("Cardiomegaly", 2, 1));
        assert_eq!((scores[9].support, scores[9].stated), (1, 1));
        assert_eq!(per_label(&pairs(), UncertainAs::Negative)[9].support, 0);
    }
}

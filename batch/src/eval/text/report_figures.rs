//! All figures of generated reports against their references: text, labels, diversity, the constant-report baseline;
//! and of their links against drawn lesions. Every pair is one unit of the bootstrap.

use d2r_contracts::labels::LabelState;

use crate::eval::bootstrap::interval;
use crate::eval::detection::detection_figures::Resampling;
use crate::eval::figure::Figure;
use crate::eval::links::LinkCounts;
use crate::eval::text::bleu::{BleuCounts, bleu_counts, total};
use crate::eval::text::cider::cider;
use crate::eval::text::constant_report::best_constant_report;
use crate::eval::text::diversity::Diversity;
use crate::eval::text::label_f1::{LabelScore, MACRO, MICRO, States, UncertainAs, VARIANTS, label_f1, per_label};
use crate::eval::text::rouge::rouge_l_one;
use d2r_contracts::report_labeler::label;

/// A reference report. Figures of words compare cleaned texts; labels come from the text as it stands in its source,
/// because cleaning joins words ("opacities/atelectasis").
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReferenceReport {
    /// As in the source.
    pub text: String,
    /// After text cleaning.
    pub text_clean: String,
}

impl ReferenceReport {
    /// States of the labels, by the rule labeler.
    pub fn labels(&self) -> States {
        label(&self.text)
    }
}

/// A generated report and its reference.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportPair {
    /// As the model wrote it, in the form of cleaned texts.
    pub generated: String,
    pub reference: ReferenceReport,
    /// States of the labels in the truth, where there is one.
    pub truth: Option<States>,
}

/// Figures of generated reports, and their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportFigures {
    pub figures: Vec<Figure>,
    /// Scores of each label.
    pub labels: Vec<LabelScore>,
    /// States of (reference, generated) of each pair, by the rule labeler.
    pub states: Vec<(States, States)>,
}

const TOKENS: [(&str, &str); 2] = [("ref", "full"), ("tok", "space")];
const LABELER: (&str, &str) = ("labeler", "rules");
const CONSTANT: &str = "constant report";

impl ReportFigures {
    /// Of pairs; `train` holds the training split's reports, from which the constant report is chosen. Figures
    /// without anything to rest on are left out.
    pub fn of(pairs: &[ReportPair], train: &[ReferenceReport], resampling: Resampling) -> Self {
        let states: Vec<(States, States)> = pairs.iter().map(|p| (p.reference.labels(), label(&p.generated))).collect();
        let labels = per_label(&states, UncertainAs::Positive);
        let mut figures = Vec::new();
        if !pairs.is_empty() {
            let cleaned: Vec<&str> = train.iter().map(|report| report.text_clean.as_str()).collect();
            let constant = best_constant_report(&cleaned, resampling.seed);
            // A report of the training split, so that its labels are a reference's.
            let labels = train.iter().find(|r| Some(&r.text_clean) == constant.as_ref()).map(ReferenceReport::labels);
            figures.extend(text_figures(pairs, constant.as_deref(), resampling));
            figures.extend(label_figures(pairs, &states, labels, resampling));
            figures.extend(diversity_figures(pairs, &states));
        }
        Self { figures, labels, states }
    }
}

fn text_figures(pairs: &[ReportPair], constant: Option<&str>, resampling: Resampling) -> Vec<Figure> {
    let n = pairs.len();
    let figure = |metric: &str, name: &str, value: f64| Figure::new("reports", metric, name, value, n, &TOKENS);
    let texts: Vec<String> = pairs.iter().map(|p| p.generated.clone()).collect();
    let references: Vec<Vec<String>> = pairs.iter().map(|p| vec![p.reference.text_clean.clone()]).collect();
    let same = |text: &str| vec![text.to_owned(); n];
    let counts = bleu_counts(&texts, &references);
    let constant_counts = constant.map(|c| bleu_counts(&same(c), &references));
    let of = |counts: &[BleuCounts], weights: Option<&[u32]>, order: usize| total(counts, weights).score()[order];
    let mut figures = Vec::new();
    for order in (0..4).rev() {
        let sampled = interval(n, resampling.draws, resampling.seed, |w| Some(of(&counts, Some(w), order)));
        let (metric, name) = (format!("bleu{}", order + 1), format!("BLEU-{}", order + 1));
        let mut bleu = figure(&metric, &name, of(&counts, None, order)).with_interval(sampled);
        if let Some(constant) = &constant_counts {
            bleu = bleu.against(CONSTANT, of(constant, None, order));
        }
        bleu.headline = order == 3;
        figures.push(bleu);
    }
    if let Some(constant) = &constant_counts {
        figures.push(figure("bleu4_constant", "BLEU-4 of the constant report", of(constant, None, 3)));
        let lead = |w: Option<&[u32]>| of(&counts, w, 3) - of(constant, w, 3);
        let sampled = interval(n, resampling.draws, resampling.seed, |w| Some(lead(Some(w))));
        let lead = figure("bleu4_over_constant", "BLEU-4 above the constant report, paired", lead(None));
        figures.push(lead.with_interval(sampled));
    }
    let rouge =
        |texts: &[String]| -> Vec<f64> { texts.iter().zip(&references).map(|(h, r)| rouge_l_one(h, r)).collect() };
    let own = rouge(&texts);
    let sampled = interval(n, resampling.draws, resampling.seed, |w| {
        Some(own.iter().zip(w).map(|(v, w)| v * f64::from(*w)).sum::<f64>() / n as f64)
    });
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
    let mut rouge_l = figure("rouge_l", "ROUGE-L", mean(&own)).with_interval(sampled);
    let mut cider_d = figure("cider", "CIDEr-D", cider(&texts, &references));
    if let Some(constant) = constant {
        rouge_l = rouge_l.against(CONSTANT, mean(&rouge(&same(constant))));
        cider_d = cider_d.against(CONSTANT, cider(&same(constant), &references));
    }
    figures.push(rouge_l);
    figures.push(cider_d);
    figures
}

fn label_figures(
    pairs: &[ReportPair],
    states: &[(States, States)],
    constant: Option<States>,
    resampling: Resampling,
) -> Vec<Figure> {
    let n = pairs.len();
    let mut figures = Vec::new();
    for variant in &VARIANTS {
        let (metric, name) = match variant.name {
            v if v == MICRO.name => ("label_f1_micro".to_owned(), "Label F1, micro".to_owned()),
            v if v == MACRO.name => ("label_f1_macro".to_owned(), "Label F1, macro".to_owned()),
            v => (format!("label_f1_{}", v.replace('-', "_")), format!("Label F1, {v}")),
        };
        let parts = [("ref", "labeled"), LABELER, ("variant", variant.name)];
        let value = label_f1(states, variant, None).f1;
        let sampled = interval(n, resampling.draws, resampling.seed, |w| Some(label_f1(states, variant, Some(w)).f1));
        let mut figure = Figure::new("reports", &metric, &name, value, n, &parts).with_interval(sampled);
        if let Some(constant) = constant {
            let same: Vec<(States, States)> = states.iter().map(|(r, _)| (*r, constant)).collect();
            figure = figure.against(CONSTANT, label_f1(&same, variant, None).f1);
        }
        figure.headline = variant.name == MICRO.name;
        figures.push(figure);
    }
    let true_states: Vec<(States, States)> =
        pairs.iter().zip(states).filter_map(|(p, (_, generated))| Some((p.truth?, *generated))).collect();
    if !true_states.is_empty() {
        let metric = "label_f1_micro_truth";
        let parts = [("ref", "truth"), LABELER, ("variant", MICRO.name)];
        let value = label_f1(&true_states, &MICRO, None).f1;
        let name = "Label F1, micro, against the truth";
        figures.push(Figure::new("reports", metric, name, value, true_states.len(), &parts));
    }
    figures
}

/// Whether the rule labeler finds something in the reference.
fn abnormal(reference: &States) -> bool {
    reference.last() != Some(&LabelState::Positive)
}

fn diversity_figures<'a>(pairs: &'a [ReportPair], states: &[(States, States)]) -> Vec<Figure> {
    let all = Diversity::of(pairs.iter().map(|p| p.generated.as_str()));
    let references = Diversity::of(pairs.iter().map(|p| p.reference.text_clean.as_str()));
    let among = |reference: bool| {
        let chosen = pairs.iter().zip(states).filter(|(_, (r, _))| abnormal(r));
        let text = |p: &'a ReportPair| if reference { p.reference.text_clean.as_str() } else { p.generated.as_str() };
        Diversity::of(chosen.map(|(p, _)| text(p)))
    };
    let mut figures = Vec::new();
    let mut push = |metric: &str,
                    name: &str,
                    over: &str,
                    of: Option<Diversity>,
                    reference: Option<Diversity>,
                    get: fn(&Diversity) -> f64| {
        let Some(own) = of else { return };
        let figure = Figure::new("reports", metric, name, get(&own), own.n, &[("over", over)]);
        figures.push(match reference {
            Some(r) => figure.against("references", get(&r)),
            None => figure,
        });
    };
    let (own, other) = (among(false), among(true));
    push("distinct_share", "Distinct reports, abnormal studies", "abnormal", own, other, |d| d.distinct_share);
    push("distinct_share_all", "Distinct reports, all studies", "all", all, references, |d| d.distinct_share);
    push("most_frequent_share", "Share of the most frequent report", "all", all, references, |d| d.most_frequent_share);
    push("distinct_2", "Distinct word pairs", "all", all, references, |d| d.distinct_2);
    push("mean_words", "Words per report", "all", all, references, |d| d.mean_words);
    figures
}

/// Figures of the links of several reports.
pub fn link_figures(studies: &[LinkCounts], iou_min: f64, resampling: Resampling) -> Vec<Figure> {
    let sum = LinkCounts::total(studies, None);
    let all = sum.figures();
    let iou = format!("{iou_min:.2}");
    let parts = [("iou", iou.as_str()), LABELER, ("truth", "drawn")];
    let figure = |metric: &str, name: &str, value: Option<f64>, n: u64, of: fn(&LinkCounts) -> Option<f64>| {
        let sampled =
            interval(studies.len(), resampling.draws, resampling.seed, |w| of(&LinkCounts::total(studies, Some(w))));
        Some(Figure::new("links", metric, name, value?, n as usize, &parts).with_interval(sampled))
    };
    let precision = figure("precision", "Link precision", all.precision, sum.links, |c| c.figures().precision);
    let recall = figure("recall", "Link recall, of all lesions", all.recall, sum.lesions, |c| c.figures().recall);
    let of_named = figure("recall_of_named", "Link recall, of named lesions", all.recall_of_named, sum.named, |c| {
        c.figures().recall_of_named
    });
    let small = figure(
        "small_lesion_recall",
        "Small lesions named with their laterality",
        all.small_lesion_recall,
        sum.small,
        |c| c.figures().small_lesion_recall,
    );
    [precision.map(Figure::as_headline), recall.map(Figure::as_headline), of_named, small]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests;

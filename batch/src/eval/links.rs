//! Figures of grounding against drawn truth. Sentences of generated reports with the boxes they are linked to, and the
//! lesions drawn in the same image, in; counts per study out, so that studies can be resampled.
//! A sentence *names* a lesion when the rule labeler finds the lesion's CheXpert label positive in it (for a class
//! without a label: the class itself).

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::labels::{CHEXPERT_LABELS, LabelState, label_of_lesion};
use d2r_contracts::report_text::lateralities;
use d2r_contracts::space::Original;

use d2r_contracts::report_labeler::{SentenceLabels, label_sentence};

#[derive(Debug, Clone, PartialEq)]
pub struct DrawnLesion {
    /// Index in the 22 classes.
    pub class_id: i32,
    pub region: BoxXyxy<Original>,
    /// `left`, `right` (the patient's) or `midline`.
    pub laterality: String,
    pub small: bool,
}

/// A sentence of a generated report.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LinkedSentence {
    pub text: String,
    /// The boxes that it is linked to.
    pub boxes: Vec<BoxXyxy<Original>>,
}

/// Counts of one study, or their sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkCounts {
    pub links: u64,
    /// Links whose box overlaps a lesion that the sentence names.
    pub correct_links: u64,
    /// Number of drawn lesions.
    pub lesions: u64,
    /// Lesions that at least one sentence names.
    pub named: u64,
    /// Lesions with a correct link.
    pub grounded: u64,
    /// Number of small drawn lesions.
    pub small: u64,
    /// Small lesions that a sentence names with their laterality; a midline lesion needs none.
    pub small_named: u64,
}

/// The figures; `None` where there is nothing to divide by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LinkFigures {
    /// Correct links / links.
    pub precision: Option<f64>,
    /// Lesions with a correct link / lesions drawn.
    pub recall: Option<f64>,
    /// Lesions with a correct link / lesions that the report names.
    pub recall_of_named: Option<f64>,
    /// Small lesions named with their laterality / small lesions drawn.
    pub small_lesion_recall: Option<f64>,
}

fn names(sentence: &SentenceLabels, lesion: &DrawnLesion) -> bool {
    match label_of_lesion(lesion.class_id) {
        Some(label) => CHEXPERT_LABELS
            .iter()
            .zip(&sentence.states)
            .any(|(name, state)| *name == label && *state == LabelState::Positive),
        None => sentence.lesion_classes.contains(&lesion.class_id),
    }
}

fn names_laterality(sentence: &str, laterality: &str) -> bool {
    let named = lateralities(sentence);
    match laterality {
        "left" => named.left,
        "right" => named.right,
        _ => true,
    }
}

impl LinkCounts {
    /// Counts of one study's report. A box overlaps a lesion from `iou_min` on.
    pub fn of(sentences: &[LinkedSentence], lesions: &[DrawnLesion], iou_min: f32) -> Self {
        let labels: Vec<SentenceLabels> = sentences.iter().map(|s| label_sentence(&s.text)).collect();
        let correct = |i: usize, region: &BoxXyxy<Original>, lesion: &DrawnLesion| {
            region.iou(&lesion.region) >= iou_min && names(&labels[i], lesion)
        };
        let mut counts = Self { lesions: lesions.len() as u64, ..Self::default() };
        for (i, sentence) in sentences.iter().enumerate() {
            counts.links += sentence.boxes.len() as u64;
            counts.correct_links +=
                sentence.boxes.iter().filter(|b| lesions.iter().any(|l| correct(i, b, l))).count() as u64;
        }
        for lesion in lesions {
            let naming: Vec<usize> = (0..labels.len()).filter(|&i| names(&labels[i], lesion)).collect();
            let grounded = naming.iter().any(|&i| sentences[i].boxes.iter().any(|b| correct(i, b, lesion)));
            let with_laterality = naming.iter().any(|&i| names_laterality(&sentences[i].text, &lesion.laterality));
            counts.named += u64::from(!naming.is_empty());
            counts.grounded += u64::from(grounded);
            counts.small += u64::from(lesion.small);
            counts.small_named += u64::from(lesion.small && with_laterality);
        }
        counts
    }

    /// Sum over studies, study `i` taken `weights[i]` times.
    pub fn total(studies: &[Self], weights: Option<&[u32]>) -> Self {
        let mut sum = Self::default();
        for (i, c) in studies.iter().enumerate() {
            let times = weights.map_or(1, |w| u64::from(w[i]));
            sum.links += times * c.links;
            sum.correct_links += times * c.correct_links;
            sum.lesions += times * c.lesions;
            sum.named += times * c.named;
            sum.grounded += times * c.grounded;
            sum.small += times * c.small;
            sum.small_named += times * c.small_named;
        }
        sum
    }

    /// The figures of summed counts.
    pub fn figures(&self) -> LinkFigures {
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        LinkFigures {
            precision: share(self.correct_links, self.links),
            recall: share(self.grounded, self.lesions),
            recall_of_named: share(self.grounded, self.named),
            small_lesion_recall: share(self.small_named, self.small),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODULE: i32 = 15;
    const EMPHYSEMA: i32 = 7;
    const IOU_MIN: f32 = 0.3;

    fn at(x: f32) -> BoxXyxy<Original> {
        BoxXyxy::new(x, 0.0, x + 10.0, 10.0)
    }

    fn lesion(class_id: i32, x: f32, laterality: &str, small: bool) -> DrawnLesion {
        DrawnLesion { class_id, region: at(x), laterality: laterality.into(), small }
    }

    fn sentence(text: &str, boxes: &[BoxXyxy<Original>]) -> LinkedSentence {
        LinkedSentence { text: text.into(), boxes: boxes.to_vec() }
    }

    #[test]
    fn a_link_is_correct_when_box_and_words_agree_with_one_lesion() {
        let lesions = [lesion(NODULE, 0.0, "left", true), lesion(16, 100.0, "right", false)];
        let sentences = [
            sentence("a nodule is seen in the left lung .", &[at(1.0), at(100.0)]), // the second box is the effusion's
            sentence("no pleural effusion .", &[at(100.0)]),                        // negated, not named
        ];
        let counts = LinkCounts::of(&sentences, &lesions, IOU_MIN);
        assert_eq!(
            counts,
            LinkCounts { links: 3, correct_links: 1, lesions: 2, named: 1, grounded: 1, small: 1, small_named: 1 }
        );
        let figures = counts.figures();
        assert_eq!(
            (figures.precision, figures.recall, figures.recall_of_named),
            (Some(1.0 / 3.0), Some(0.5), Some(1.0))
        );
    }

    #[test]
    fn a_small_lesion_of_the_other_laterality_is_not_found() {
        let lesions = [lesion(NODULE, 0.0, "left", true)];
        let of = |text: &str| LinkCounts::of(&[sentence(text, &[])], &lesions, IOU_MIN).figures().small_lesion_recall;
        assert_eq!(of("a nodule is seen in the left lung ."), Some(1.0));
        assert_eq!(of("nodules are seen bilaterally ."), Some(1.0));
        assert_eq!(of("a nodule is seen in the right lung ."), Some(0.0));
        assert_eq!(of("a nodule is seen ."), Some(0.0));
        assert_eq!(of("there is a left pleural effusion . a nodule ."), Some(1.0), "one call is one sentence");
    }

    #[test]
    fn classes_without_a_label_are_named_by_class() {
        let lesions = [lesion(EMPHYSEMA, 0.0, "left", false)];
        let counts = LinkCounts::of(&[sentence("there is mild emphysema .", &[at(0.0)])], &lesions, IOU_MIN);
        assert_eq!((counts.correct_links, counts.grounded), (1, 1));
    }

    #[test]
    fn empty_and_normal_studies_divide_by_nothing() {
        assert_eq!(LinkCounts::of(&[], &[], IOU_MIN).figures(), LinkFigures::default());
        let normal = LinkCounts::of(&[sentence("the lungs are clear .", &[at(0.0)])], &[], IOU_MIN).figures();
        assert_eq!((normal.precision, normal.recall), (Some(0.0), None));
        let silent = LinkCounts::of(&[], &[lesion(NODULE, 0.0, "midline", true)], IOU_MIN);
        assert_eq!((silent.figures().precision, silent.figures().recall), (None, Some(0.0)));
        assert_eq!(LinkCounts::total(&[silent, silent], Some(&[0, 3])).lesions, 3);
    }
}

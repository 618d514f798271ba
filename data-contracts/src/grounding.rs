//! Links between sentences and boxes from attention, and conflicts of laterality.
//! A sentence's weight on a box is its words' cross-attention, averaged over words and renormalised over boxes. Only
//! sentences that state something as present or possible are linked.

use crate::boxes::BoxXyxy;
use crate::label_set::LabelSet;
use crate::labels::{CHEXPERT_LABELS, LabelState, label_of_lesion};
use crate::report_labeler::label_sentence;
use crate::report_text::{Lateralities, lateralities};
use crate::space::Original;

/// A box whose centre is nearer to the image's vertical midline than this share of its width is on neither side.
const MIDLINE_SHARE: f32 = 0.06;

/// Side of the patient's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Laterality {
    /// The image's right half.
    Left,
    /// The image's left half.
    Right,
    /// Neither.
    Midline,
}

/// A box's class and laterality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxFacts {
    /// VinDr-CXR class; `None` where a class of another label set corresponds to none.
    pub class_id: Option<i32>,
    /// CheXpert label of the class.
    pub label: Option<&'static str>,
    /// Side of its centre.
    pub laterality: Laterality,
}

impl BoxFacts {
    /// The facts of a box of a VinDr-CXR class in an image `image_width` pixels wide.
    pub fn of(class_id: i32, region: &BoxXyxy<Original>, image_width: f32) -> Self {
        Self { class_id: Some(class_id), label: label_of_lesion(class_id), laterality: laterality(region, image_width) }
    }

    /// The same of a class of a label set, with what it corresponds to.
    pub fn in_set(labels: &LabelSet, class_id: i32, region: &BoxXyxy<Original>, image_width: f32) -> Self {
        let (class_id, label) = (labels.vindr_id(class_id), labels.label_of(class_id));
        Self { class_id, label, laterality: laterality(region, image_width) }
    }
}

fn laterality(region: &BoxXyxy<Original>, image_width: f32) -> Laterality {
    let from_midline = region.centre().0 / image_width.max(1.0) - 0.5;
    match from_midline {
        d if d.abs() < MIDLINE_SHARE => Laterality::Midline,
        d if d > 0.0 => Laterality::Left,
        _ => Laterality::Right,
    }
}

/// A sentence's classes, labels and laterality.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentenceFacts {
    /// VinDr-CXR classes that it names as present.
    pub classes: Vec<i32>,
    /// CheXpert labels that it states as present or possible.
    pub labels: Vec<&'static str>,
    /// Sides that it names.
    pub lateralities: Lateralities,
}

impl SentenceFacts {
    /// Classes, labels and laterality of a sentence, by the rule-based labeler.
    pub fn of(sentence: &str) -> Self {
        let found = label_sentence(sentence);
        let stated = |s: &LabelState| matches!(s, LabelState::Positive | LabelState::Uncertain);
        let labels =
            CHEXPERT_LABELS.iter().zip(&found.states).filter(|(_, s)| stated(s)).map(|(label, _)| *label).collect();
        Self { classes: found.lesion_classes, labels, lateralities: lateralities(sentence) }
    }

    /// Whether the sentence states something as present or possible.
    pub fn states_anything(&self) -> bool {
        !(self.classes.is_empty() && self.labels.is_empty())
    }

    /// Whether exactly one side is named and `laterality` is the other one.
    fn contradicts(&self, laterality: Laterality) -> bool {
        match (self.lateralities.left, self.lateralities.right) {
            (true, false) => laterality == Laterality::Right,
            (false, true) => laterality == Laterality::Left,
            _ => false,
        }
    }
}

/// Indices of the boxes that a sentence names: those of a class that it names and of no contradicted laterality; where
/// there are none, those whose class has a label that it states.
pub fn boxes_named(sentence: &SentenceFacts, boxes: &[BoxFacts]) -> Vec<usize> {
    let matching = |matches: &dyn Fn(&BoxFacts) -> bool| -> Vec<usize> {
        let chosen = boxes.iter().enumerate().filter(|(_, b)| matches(b) && !sentence.contradicts(b.laterality));
        chosen.map(|(i, _)| i).collect()
    };
    let by_class = matching(&|b| b.class_id.is_some_and(|class| sentence.classes.contains(&class)));
    if !by_class.is_empty() {
        return by_class;
    }
    matching(&|b| b.label.is_some_and(|label| sentence.labels.contains(&label)))
}

/// A sentence's weight on each box: `attention` of its words (each with one value per box), averaged and normalised to
/// sum 1. Empty without words or boxes.
pub fn sentence_weights(attention: &[Vec<f32>]) -> Vec<f32> {
    let boxes = attention.first().map_or(0, Vec::len);
    let mut sums = vec![0f32; boxes];
    for word in attention {
        for (sum, value) in sums.iter_mut().zip(word) {
            *sum += value;
        }
    }
    let total: f32 = sums.iter().sum();
    if total > 0.0 {
        for sum in &mut sums {
            *sum /= total;
        }
    }
    sums
}

/// Links of a sentence, `(box index, weight)`: boxes with at least `weight_min` of its weight; none for a sentence that
/// states nothing as present or possible.
pub fn links(sentence: &SentenceFacts, weights: &[f32], weight_min: f32) -> Vec<(usize, f32)> {
    if !sentence.states_anything() {
        return Vec::new();
    }
    weights.iter().copied().enumerate().filter(|&(_, w)| w > 0.0 && w >= weight_min).collect()
}

/// Whether the sentence names one side, and every linked box that is not at the midline is on the other.
pub fn laterality_conflict(sentence: &SentenceFacts, linked: &[(usize, f32)], boxes: &[BoxFacts]) -> bool {
    let mut lateral =
        linked.iter().filter_map(|&(i, _)| boxes.get(i)).filter(|b| b.laterality != Laterality::Midline).peekable();
    lateral.peek().is_some() && lateral.all(|b| sentence.contradicts(b.laterality))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EFFUSION: i32 = 16;
    const NODULE: i32 = 15;
    const CALCIFICATION: i32 = 2;
    const CARDIOMEGALY: i32 = 3;

    fn region(class_id: i32, x_min: f32, x_max: f32) -> BoxFacts {
        BoxFacts::of(class_id, &BoxXyxy::new(x_min, 10.0, x_max, 60.0), 512.0)
    }

    fn sentence(classes: &[i32], labels: &[&'static str], left: bool, right: bool) -> SentenceFacts {
        SentenceFacts { classes: classes.to_vec(), labels: labels.to_vec(), lateralities: Lateralities { left, right } }
    }

    #[test]
    fn the_patients_left_is_the_right_of_the_image() {
        assert_eq!(region(EFFUSION, 400.0, 500.0).laterality, Laterality::Left);
        assert_eq!(region(EFFUSION, 10.0, 100.0).laterality, Laterality::Right);
        assert_eq!(region(CARDIOMEGALY, 150.0, 370.0).laterality, Laterality::Midline);
    }

    #[test]
    fn a_sentence_names_boxes_of_its_class_on_its_side() {
        let boxes = [region(EFFUSION, 400.0, 500.0), region(EFFUSION, 10.0, 100.0), region(NODULE, 400.0, 450.0)];
        assert_eq!(boxes_named(&sentence(&[EFFUSION], &["Pleural Effusion"], true, false), &boxes), [0]);
        assert_eq!(boxes_named(&sentence(&[EFFUSION], &["Pleural Effusion"], true, true), &boxes), [0, 1]);
        assert_eq!(boxes_named(&sentence(&[EFFUSION], &["Pleural Effusion"], false, false), &boxes), [0, 1]);
        assert!(boxes_named(&sentence(&[], &[], true, false), &boxes).is_empty());
        assert!(boxes_named(&sentence(&[EFFUSION], &[], true, false), &[]).is_empty());
    }

    #[test]
    fn without_a_box_of_the_class_the_label_decides() {
        let boxes = [region(CALCIFICATION, 400.0, 420.0)];
        assert_eq!(boxes_named(&sentence(&[NODULE], &["Lung Lesion"], false, false), &boxes), [0]);
        assert!(boxes_named(&sentence(&[NODULE], &["Lung Lesion"], false, true), &boxes).is_empty());
    }

    #[test]
    fn a_class_of_another_set_is_named_by_what_it_corresponds_to() {
        let set = LabelSet::of_categories("two", [(7, "Mass".to_owned()), (12, "Widget".to_owned())]);
        let facts = |id| BoxFacts::in_set(&set, id, &BoxXyxy::new(400.0, 10.0, 420.0, 60.0), 512.0);
        let boxes = [facts(1), facts(0)];
        assert_eq!(boxes_named(&sentence(&[NODULE], &[], false, false), &boxes), [1]);
        assert_eq!(boxes_named(&sentence(&[], &["Lung Lesion"], false, false), &boxes), [1]);
        // The ids of the set are not those of VinDr-CXR.
        assert!(boxes_named(&sentence(&[0, 1], &[], false, false), &boxes).is_empty());
    }

    #[test]
    fn weights_sum_to_one_and_negative_sentences_have_no_links() {
        let weights = sentence_weights(&[vec![0.2, 0.0], vec![0.4, 0.2]]);
        assert!((weights[0] - 0.75).abs() < 1e-6 && (weights[1] - 0.25).abs() < 1e-6, "{weights:?}");
        assert!(sentence_weights(&[]).is_empty());
        assert_eq!(sentence_weights(&[vec![0.0, 0.0]]), [0.0, 0.0]);
        let states = sentence(&[EFFUSION], &["Pleural Effusion"], false, false);
        assert_eq!(links(&states, &weights, 0.3), [(0, weights[0])]);
        assert!(links(&SentenceFacts::default(), &weights, 0.3).is_empty());
        assert!(links(&states, &[0.0, 0.0], 0.0).is_empty());
    }

    #[test]
    fn laterality_conflicts_only_when_all_lateral_boxes_are_on_the_other_side() {
        let boxes = [region(EFFUSION, 400.0, 500.0), region(EFFUSION, 10.0, 100.0), region(CARDIOMEGALY, 150.0, 370.0)];
        let right = sentence(&[EFFUSION], &[], false, true);
        assert!(laterality_conflict(&right, &[(0, 0.9)], &boxes));
        assert!(!laterality_conflict(&right, &[(0, 0.5), (1, 0.5)], &boxes));
        assert!(!laterality_conflict(&right, &[(2, 1.0)], &boxes));
        assert!(!laterality_conflict(&right, &[], &boxes));
        assert!(!laterality_conflict(&sentence(&[EFFUSION], &[], true, true), &[(0, 1.0)], &boxes));
    }
}

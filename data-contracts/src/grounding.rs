//! From attention to links: which boxes a sentence speaks of, and whether it names their side.
//! A sentence's weight on a box is its words' cross-attention, averaged over words and renormalised over boxes. Only
//! sentences that state something as present are linked; one that denies has nothing to point to.

use crate::boxes::BoxXyxy;
use crate::labels::{CHEXPERT_LABELS, LabelState, label_of_lesion};
use crate::report_labeler::label_sentence;
use crate::report_text::{Lateralities, SentenceSpan, lateralities};
use crate::space::Original;

/// A box whose centre is nearer to the film's middle than this share of its width has no side.
const MIDLINE_SHARE: f32 = 0.06;

/// The patient's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Laterality {
    /// The film's right half.
    Left,
    /// The film's left half.
    Right,
    /// Neither.
    Midline,
}

/// What grounding knows of a box.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxFacts {
    /// VinDr-CXR class.
    pub class_id: i32,
    /// Where it lies.
    pub laterality: Laterality,
}

impl BoxFacts {
    /// The facts of a box in a film `film_width` pixels wide.
    pub fn of(class_id: i32, region: &BoxXyxy<Original>, film_width: f32) -> Self {
        let from_middle = region.centre().0 / film_width.max(1.0) - 0.5;
        let laterality = match from_middle {
            d if d.abs() < MIDLINE_SHARE => Laterality::Midline,
            d if d > 0.0 => Laterality::Left,
            _ => Laterality::Right,
        };
        Self { class_id, laterality }
    }
}

/// What grounding knows of a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SentenceFacts {
    /// VinDr-CXR classes that it names as present.
    pub classes: Vec<i32>,
    /// CheXpert labels that it states as present or possible.
    pub findings: Vec<&'static str>,
    /// Sides that it names.
    pub lateralities: Lateralities,
}

impl SentenceFacts {
    /// Classes, findings and sides that a sentence names, by the rule labeler.
    pub fn of(sentence: &str) -> Self {
        let found = label_sentence(sentence);
        let stated = |s: &LabelState| matches!(s, LabelState::Positive | LabelState::Uncertain);
        let findings =
            CHEXPERT_LABELS.iter().zip(&found.states).filter(|(_, s)| stated(s)).map(|(label, _)| *label).collect();
        Self { classes: found.lesion_classes, findings, lateralities: lateralities(sentence) }
    }

    /// It states something as present or possible.
    pub fn states_anything(&self) -> bool {
        !(self.classes.is_empty() && self.findings.is_empty())
    }

    /// Exactly one side is named, and it is the other one.
    fn contradicts(&self, laterality: Laterality) -> bool {
        match (self.lateralities.left, self.lateralities.right) {
            (true, false) => laterality == Laterality::Right,
            (false, true) => laterality == Laterality::Left,
            _ => false,
        }
    }
}

/// The boxes that a sentence names: those of a class that it names on a side that it does not exclude; where there
/// is none, those whose class carries a label that it states.
pub fn boxes_named(sentence: &SentenceFacts, boxes: &[BoxFacts]) -> Vec<usize> {
    let fitting = |fits: &dyn Fn(i32) -> bool| -> Vec<usize> {
        let chosen = boxes.iter().enumerate().filter(|(_, b)| fits(b.class_id) && !sentence.contradicts(b.laterality));
        chosen.map(|(i, _)| i).collect()
    };
    let by_class = fitting(&|class| sentence.classes.contains(&class));
    if !by_class.is_empty() {
        return by_class;
    }
    fitting(&|class| label_of_lesion(class).is_some_and(|label| sentence.findings.contains(&label)))
}

/// The words `[first, end)` of each sentence. `words` are a text's words, which stand in it with single blanks between.
pub fn words_of_sentences(words: &[&str], sentences: &[SentenceSpan]) -> Vec<(usize, usize)> {
    let mut starts = Vec::with_capacity(words.len());
    let mut at = 0;
    for word in words {
        starts.push(at);
        at += word.chars().count() + 1;
    }
    let first = |char_start: usize| starts.partition_point(|&s| s < char_start);
    (0..sentences.len())
        .map(|i| {
            let end = sentences.get(i + 1).map_or(words.len(), |next| first(next.char_start));
            (first(sentences[i].char_start), end)
        })
        .collect()
}

/// A sentence's weight on each box: `attention` of its words (each with one value per box), averaged and renormalised.
/// Empty without words or boxes.
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

/// The links of a sentence: boxes with at least `weight_min` of its weight, none for a sentence that states nothing.
pub fn links(sentence: &SentenceFacts, weights: &[f32], weight_min: f32) -> Vec<(usize, f32)> {
    if !sentence.states_anything() {
        return Vec::new();
    }
    weights.iter().copied().enumerate().filter(|&(_, w)| w > 0.0 && w >= weight_min).collect()
}

/// A sentence names one side, and every linked box that has a side lies on the other.
pub fn laterality_conflict(sentence: &SentenceFacts, linked: &[(usize, f32)], boxes: &[BoxFacts]) -> bool {
    let mut sided =
        linked.iter().filter_map(|&(i, _)| boxes.get(i)).filter(|b| b.laterality != Laterality::Midline).peekable();
    sided.peek().is_some() && sided.all(|b| sentence.contradicts(b.laterality))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report_text::sentences;

    const EFFUSION: i32 = 16;
    const NODULE: i32 = 15;
    const CALCIFICATION: i32 = 2;
    const CARDIOMEGALY: i32 = 3;

    fn region(class_id: i32, x_min: f32, x_max: f32) -> BoxFacts {
        BoxFacts::of(class_id, &BoxXyxy::new(x_min, 10.0, x_max, 60.0), 512.0)
    }

    fn sentence(classes: &[i32], findings: &[&'static str], left: bool, right: bool) -> SentenceFacts {
        SentenceFacts {
            classes: classes.to_vec(),
            findings: findings.to_vec(),
            lateralities: Lateralities { left, right },
        }
    }

    #[test]
    fn the_patients_left_is_the_films_right() {
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
    fn words_fall_to_their_sentences() {
        let text = "the heart is large . no effusion . clear";
        let words: Vec<&str> = text.split(' ').collect();
        let spans = sentences(text);
        assert_eq!(words_of_sentences(&words, &spans), [(0, 5), (5, 8), (8, 9)]);
        assert!(words_of_sentences(&[], &[]).is_empty());
    }

    #[test]
    fn weights_are_shares_and_denials_link_to_nothing() {
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
    fn the_wrong_side_is_a_conflict_only_when_every_sided_box_says_so() {
        let boxes = [region(EFFUSION, 400.0, 500.0), region(EFFUSION, 10.0, 100.0), region(CARDIOMEGALY, 150.0, 370.0)];
        let right = sentence(&[EFFUSION], &[], false, true);
        assert!(laterality_conflict(&right, &[(0, 0.9)], &boxes));
        assert!(!laterality_conflict(&right, &[(0, 0.5), (1, 0.5)], &boxes));
        assert!(!laterality_conflict(&right, &[(2, 1.0)], &boxes));
        assert!(!laterality_conflict(&right, &[], &boxes));
        assert!(!laterality_conflict(&sentence(&[EFFUSION], &[], true, true), &[(0, 1.0)], &boxes));
    }
}

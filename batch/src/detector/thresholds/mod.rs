//! The scores above which a detector's boxes are accepted: one for all classes, or one per class.

pub mod choice;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::detector::semi::pseudo_label::accepted;

/// The threshold where nothing is known of a detector's scores.
pub const UNKNOWN: f64 = 0.5;

/// Boxes that score strictly above the threshold of their class are accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// That of classes without one of their own.
    #[serde(rename = "threshold")]
    all: f64,
    /// By class id; empty: one for all.
    #[serde(rename = "class_thresholds", default, skip_serializing_if = "Vec::is_empty")]
    of_classes: Vec<f64>,
}

impl Thresholds {
    /// One for all classes.
    pub fn one(score: f64) -> Self {
        Self { all: score, of_classes: Vec::new() }
    }

    /// Whether classes have their own.
    pub fn are_by_class(&self) -> bool {
        !self.of_classes.is_empty()
    }

    /// Whether they are those of a detector of this number of classes.
    pub fn fit(&self, classes: usize) -> bool {
        [0, classes].contains(&self.of_classes.len())
    }

    /// That of a class.
    pub fn of(&self, class_id: i32) -> f64 {
        usize::try_from(class_id).ok().and_then(|id| self.of_classes.get(id)).copied().unwrap_or(self.all)
    }

    /// Whether a box of this class and score is accepted.
    pub fn accept(&self, class_id: i32, score: f32) -> bool {
        accepted(score, self.of(class_id))
    }
}

impl fmt::Display for Thresholds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = |(low, high): (f64, f64), score: &f64| (low.min(*score), high.max(*score));
        match self.of_classes.iter().fold((f64::INFINITY, f64::NEG_INFINITY), bounds) {
            (low, high) if low <= high => write!(f, "the threshold of their class ({low:.2} to {high:.2})"),
            _ => write!(f, "{}", self.all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_hold_one_number_or_one_per_class() {
        let one: Thresholds = serde_json::from_str(r#"{"threshold":0.5}"#).unwrap();
        assert_eq!(one, Thresholds::one(0.5));
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"threshold":0.5}"#);
        assert_eq!((one.accept(3, 0.5), one.accept(3, 0.51), one.to_string()), (false, true, "0.5".into()));
        let two: Thresholds = serde_json::from_str(r#"{"threshold":0.5,"class_thresholds":[0.25,0.75]}"#).unwrap();
        assert_eq!([two.of(0), two.of(1), two.of(2), two.of(-1)], [0.25, 0.75, 0.5, 0.5]);
        assert_eq!((two.accept(0, 0.5), two.accept(1, 0.75)), (true, false));
        assert!(two.fit(2) && !two.fit(3) && one.fit(3));
        assert_eq!(two.to_string(), "the threshold of their class (0.25 to 0.75)");
    }
}

//! A film read both ways: the film and its mirror image go through the model side by side, and a word's probability is the mean of the two,
//! `left` and `right` swapped in the latter. What is written then says the same of a mirrored film, mirrored, whatever the model
//! has learnt of sides.

use tch::Tensor;

use crate::reporter::model::report_model::{RegionTensors, VisualFeatures, VisualTensors};

/// The visual tokens of the mirror images of a batch of films.
#[derive(Debug)]
pub struct FlippedInput {
    /// Of the mirrored films; regions keep their order.
    pub features: VisualFeatures,
    /// For each id of the vocabulary, the boundary included, its mirror image's.
    pub words: Vec<i64>,
}

impl VisualTensors {
    /// The mirror images: films and crops turned round, boxes on the other side. Letterboxed films have their padding on both sides alike.
    pub fn mirrored(&self) -> Self {
        let RegionTensors { crops, slots, present, classes, places } = &self.regions;
        let (score, x, rest) = (places.narrow(1, 0, 1), places.narrow(1, 1, 1), places.narrow(1, 2, 3));
        Self {
            films: self.films.flip([3]),
            regions: RegionTensors {
                crops: crops.flip([3]),
                slots: slots.shallow_clone(),
                present: present.shallow_clone(),
                classes: classes.shallow_clone(),
                places: Tensor::cat(&[score, 1.0 - x, rest], 1),
            },
        }
    }
}

/// The logarithm of the mean of two probabilities. `mirrored` speaks of a mirrored film's words, `words` (i64 `[words]`) names the mirror image of
/// each; both are f32 `[rows, words]`.
pub fn mean_log_probs(own: &Tensor, mirrored: &Tensor, words: &Tensor) -> Tensor {
    own.logaddexp(&mirrored.index_select(1, words)) - std::f64::consts::LN_2
}

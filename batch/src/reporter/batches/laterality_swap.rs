//! The words of a mirrored film: `left` and `right` change places, all others stay.

use std::collections::HashMap;

use d2r_contracts::report_text::swap_laterality;

use crate::error::{Error, Result};

/// Words for one side; [`swap_laterality`] knows the other's.
const LEFT: [&str; 3] = ["left", "leftward", "leftwards"];

/// Ids of words, each with its mirror image's where that is another word.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LateralitySwap(HashMap<i64, i64>);

impl LateralitySwap {
    /// Of the words that `id` knows. `place`: the setting that asks for mirrored films.
    ///
    /// # Errors
    /// [`Error::Config`] when a word for one side is known and its partner is not.
    pub fn new(place: &str, id: impl Fn(&str) -> Option<i64>) -> Result<Self> {
        let mut pairs = HashMap::new();
        for left in LEFT {
            let right = swap_laterality(left);
            match (id(left), id(&right)) {
                (Some(x), Some(y)) => pairs.extend([(x, y), (y, x)]),
                (None, None) => {}
                _ => {
                    let problem =
                        format!("mirrored films need both `{left}` and `{right}` among the words; there is only one");
                    return Err(Error::Config { place: place.into(), problem });
                }
            }
        }
        Ok(Self(pairs))
    }

    /// The mirror image of a word.
    pub fn of(&self, id: i64) -> i64 {
        self.0.get(&id).copied().unwrap_or(id)
    }

    /// Mirrors a text.
    pub fn swap(&self, ids: &mut [i64]) {
        ids.iter_mut().for_each(|id| *id = self.of(*id));
    }

    /// The mirror image of each id below `rows`.
    pub fn table(&self, rows: i64) -> Vec<i64> {
        (0..rows).map(|id| self.of(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use d2r_contracts::vocabulary::Vocabulary;

    use super::*;

    #[test]
    fn a_text_mirrored_twice_is_itself_and_half_a_pair_is_refused() {
        let text = "small left effusion , right lung clear .";
        let vocabulary = Vocabulary::build([text].into_iter(), 1);
        let words = LateralitySwap::new("x", |word| vocabulary.id(word)).unwrap();
        let mut ids = vocabulary.encode(text, 20);
        words.swap(&mut ids);
        assert_eq!(vocabulary.decode(&ids), "small right effusion , left lung clear .");
        words.swap(&mut ids);
        assert_eq!(vocabulary.decode(&ids), text);
        let table = words.table(vocabulary.len() as i64 + 1);
        assert!(table.iter().enumerate().all(|(id, &other)| table[other as usize] == id as i64));
        assert_eq!(table.iter().enumerate().filter(|(id, other)| *id as i64 != **other).count(), 2);
        let half = Vocabulary::build(["left lung clear ."].into_iter(), 1);
        let refused = LateralitySwap::new("here", |word| half.id(word)).unwrap_err().to_string();
        assert!(refused.contains("here") && refused.contains("`right`"), "{refused}");
    }
}

//! Laterality swap of token ids, for horizontally flipped images: `left` and `right` are exchanged, all other tokens stay.

use std::collections::HashMap;

use d2r_contracts::report_text::swap_laterality;

use crate::error::{Error, Result};

/// Words for the left; [`swap_laterality`] gives their counterparts.
const LEFT: [&str; 3] = ["left", "leftward", "leftwards"];

/// Ids of laterality tokens, each with its counterpart's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LateralitySwap(HashMap<i64, i64>);

impl LateralitySwap {
    /// Pairs of the vocabulary behind `id`. `place`: the configuration key that needs the swap, for the error.
    ///
    /// # Errors
    /// [`Error::Config`] when the vocabulary has a laterality word without its counterpart.
    pub fn new(place: &str, id: impl Fn(&str) -> Option<i64>) -> Result<Self> {
        let mut pairs = HashMap::new();
        for left in LEFT {
            let right = swap_laterality(left);
            match (id(left), id(&right)) {
                (Some(x), Some(y)) => pairs.extend([(x, y), (y, x)]),
                (None, None) => {}
                _ => {
                    let problem = format!(
                        "flipped images need both `{left}` and `{right}` in the vocabulary; it has only one of them"
                    );
                    return Err(Error::Config { place: place.into(), problem });
                }
            }
        }
        Ok(Self(pairs))
    }

    /// The counterpart of a token; the token itself without one.
    pub fn of(&self, id: i64) -> i64 {
        self.0.get(&id).copied().unwrap_or(id)
    }

    /// Swaps a text in place.
    pub fn swap(&self, ids: &mut [i64]) {
        ids.iter_mut().for_each(|id| *id = self.of(*id));
    }

    /// [`Self::of`] for each id below `token_count`.
    pub fn table(&self, token_count: i64) -> Vec<i64> {
        (0..token_count).map(|id| self.of(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use d2r_contracts::vocabulary::Vocabulary;

    use super::*;

    #[test]
    fn two_swaps_restore_the_text_and_an_incomplete_pair_is_refused() {
        let text = "small left effusion , right lung clear .";
        let vocabulary = Vocabulary::build([text].into_iter(), 1);
        let swap = LateralitySwap::new("x", |word| vocabulary.id(word)).unwrap();
        let mut ids = vocabulary.encode(text, 20);
        swap.swap(&mut ids);
        assert_eq!(vocabulary.decode(&ids), "small right effusion , left lung clear .");
        swap.swap(&mut ids);
        assert_eq!(vocabulary.decode(&ids), text);
        let table = swap.table(vocabulary.len() as i64 + 1);
        assert!(table.iter().enumerate().all(|(id, &other)| table[other as usize] == id as i64));
        assert_eq!(table.iter().enumerate().filter(|(id, other)| *id as i64 != **other).count(), 2);
        let half = Vocabulary::build(["left lung clear ."].into_iter(), 1);
        let refused = LateralitySwap::new("here", |word| half.id(word)).unwrap_err().to_string();
        assert!(refused.contains("here") && refused.contains("`right`"), "{refused}");
    }
}

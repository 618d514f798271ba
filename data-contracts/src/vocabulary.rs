//! The vocabulary of a report model: words and their ids.
//!
//! Ids as in R2Gen: 0 is padding, start and end; words follow from 1, sorted by code point, `<unk>` among them. In
//! JSON a vocabulary is the sorted list of its words.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::report_text::tokens;

/// Replaces every word outside the vocabulary.
pub const UNKNOWN: &str = "<unk>";

/// Padding, start and end of a text.
pub const BOUNDARY_ID: i64 = 0;

/// A sorted list of words, `<unk>` among them; a word's id is its position plus 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Vocabulary {
    words: Vec<String>,
    ids: HashMap<String, i64>,
}

/// Why a list of words is not a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// The list has no words.
    #[error("the vocabulary is empty; it needs at least `{UNKNOWN}`")]
    Empty,
    /// `<unk>` is missing.
    #[error("the vocabulary has no `{UNKNOWN}`")]
    NoUnknown,
    /// A word is empty or holds white space.
    #[error("word {index} of the vocabulary is empty or holds white space")]
    NotAWord {
        /// Position in the list, from 0.
        index: usize,
    },
    /// Two equal words.
    #[error("word {index} of the vocabulary repeats the word before it")]
    Duplicate {
        /// Position of the second one, from 0.
        index: usize,
    },
    /// A word sorts before its predecessor.
    #[error("word {index} of the vocabulary sorts before the word ahead of it; ids follow code point order")]
    Unsorted {
        /// Position in the list, from 0.
        index: usize,
    },
}

impl Vocabulary {
    /// The tokens that occur at least `min_count` times in `texts` (cleaned reports of the training split),
    /// and `<unk>`.
    pub fn build<'a>(texts: impl Iterator<Item = &'a str>, min_count: u32) -> Self {
        let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
        for token in texts.flat_map(tokens) {
            let count = counts.entry(token).or_default();
            *count = count.saturating_add(1);
        }
        counts.retain(|_, count| *count >= min_count);
        counts.insert(UNKNOWN, 1);
        Self::indexed(counts.into_keys().map(str::to_owned).collect())
    }

    /// A vocabulary from its sorted words.
    ///
    /// # Errors
    /// The list is empty, unsorted, repeats a word, lacks `<unk>` or holds something that is no token.
    pub fn from_words(words: Vec<String>) -> Result<Self, VocabularyError> {
        if words.is_empty() {
            return Err(VocabularyError::Empty);
        }
        if let Some(index) = words.iter().position(|word| tokens(word) != [word.as_str()]) {
            return Err(VocabularyError::NotAWord { index });
        }
        for (index, pair) in words.windows(2).enumerate() {
            match pair[0].cmp(&pair[1]) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Err(VocabularyError::Duplicate { index: index + 1 }),
                std::cmp::Ordering::Greater => return Err(VocabularyError::Unsorted { index: index + 1 }),
            }
        }
        let vocabulary = Self::indexed(words);
        if vocabulary.id(UNKNOWN).is_none() { Err(VocabularyError::NoUnknown) } else { Ok(vocabulary) }
    }

    fn indexed(words: Vec<String>) -> Self {
        let ids = words.iter().cloned().zip(1..).collect();
        Self { words, ids }
    }

    /// Number of words, `<unk>` included and id 0 not: embeddings and logits have `len() + 1` rows.
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary always holds `<unk>`")]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// The words in the order of their ids, which begin at 1.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The word of an id; `None` for 0 and for ids outside the vocabulary.
    pub fn word(&self, id: i64) -> Option<&str> {
        let index = usize::try_from(id).ok()?.checked_sub(1)?;
        self.words.get(index).map(String::as_str)
    }

    /// The id of a word; `None` when the vocabulary lacks it.
    pub fn id(&self, word: &str) -> Option<i64> {
        self.ids.get(word).copied()
    }

    /// The id of `<unk>`.
    pub fn unknown_id(&self) -> i64 {
        self.id(UNKNOWN).unwrap_or(BOUNDARY_ID)
    }

    /// `[0] + ids + [0]` of a cleaned text, cut to `max_tokens` ids; a text that is cut loses its end mark.
    pub fn encode(&self, text: &str, max_tokens: usize) -> Vec<i64> {
        let words = tokens(text).into_iter().map(|token| self.id(token).unwrap_or_else(|| self.unknown_id()));
        [BOUNDARY_ID].into_iter().chain(words).chain([BOUNDARY_ID]).take(max_tokens).collect()
    }

    /// The words of the ids, separated by single blanks. A 0 at the front is skipped, the next one ends the text; ids
    /// outside the vocabulary become `<unk>`.
    pub fn decode(&self, ids: &[i64]) -> String {
        let ids = ids.strip_prefix(&[BOUNDARY_ID]).unwrap_or(ids);
        let words: Vec<&str> =
            ids.iter().take_while(|&&id| id != BOUNDARY_ID).map(|&id| self.word(id).unwrap_or(UNKNOWN)).collect();
        words.join(" ")
    }
}

impl TryFrom<Vec<String>> for Vocabulary {
    type Error = VocabularyError;
    fn try_from(words: Vec<String>) -> Result<Self, VocabularyError> {
        Self::from_words(words)
    }
}

impl From<Vocabulary> for Vec<String> {
    fn from(vocabulary: Vocabulary) -> Self {
        vocabulary.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Vocabulary {
        Vocabulary::build(["the heart is normal .", "the lungs are clear .", "the heart is large ."].into_iter(), 2)
    }

    #[test]
    fn rare_words_are_dropped_and_the_rest_is_sorted() {
        assert_eq!(small().words(), [".", "<unk>", "heart", "is", "the"]);
        assert_eq!(small().len(), 5);
        assert_eq!(small().unknown_id(), 2);
        assert_eq!(Vocabulary::build(std::iter::empty(), 3).words(), ["<unk>"]);
    }

    #[test]
    fn encoding_marks_both_ends_and_truncation_drops_the_end_mark() {
        let v = small();
        assert_eq!(v.encode("the spleen is large .", 60), [0, 5, 2, 4, 2, 1, 0]);
        assert_eq!(v.encode("the heart is normal .", 4), [0, 5, 3, 4]);
        assert_eq!(v.encode("", 60), [0, 0]);
        assert!(v.encode("the", 0).is_empty());
    }

    #[test]
    fn decoding_skips_one_start_mark_and_stops_at_the_end_mark() {
        let v = small();
        assert_eq!(v.decode(&[0, 5, 3, 4, 2, 1, 0, 5]), "the heart is <unk> .");
        assert_eq!(v.decode(&[5, 3, 0, 4]), "the heart");
        assert_eq!(v.decode(&[0, 0, 5]), "");
        assert_eq!(v.decode(&[]), "");
        assert_eq!(v.decode(&[99, -3]), "<unk> <unk>");
    }

    #[test]
    fn ids_and_words_are_inverse_and_zero_is_no_word() {
        let v = small();
        for (index, word) in v.words().iter().enumerate() {
            assert_eq!(v.id(word), Some(index as i64 + 1));
            assert_eq!(v.word(index as i64 + 1), Some(word.as_str()));
        }
        assert_eq!(v.word(0), None);
        assert_eq!(v.word(6), None);
        assert_eq!(v.word(i64::MIN), None);
    }

    #[test]
    fn json_is_a_list_of_words_and_comes_back_equal() {
        let json = serde_json::to_string(&small()).unwrap();
        assert_eq!(json, r#"[".","<unk>","heart","is","the"]"#);
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), small());
    }

    #[test]
    fn broken_lists_are_refused_with_their_reason() {
        let refusal = |json: &str| serde_json::from_str::<Vocabulary>(json).unwrap_err().to_string();
        assert!(refusal("[]").contains("empty"));
        assert!(refusal(r#"["<unk>","a","a"]"#).contains("word 2 of the vocabulary repeats"));
        assert!(refusal(r#"["<unk>","b","a"]"#).contains("word 2 of the vocabulary sorts before"));
        assert!(refusal(r#"["a","b"]"#).contains("no `<unk>`"));
        assert!(refusal(r#"["<unk>","a b"]"#).contains("white space"));
        assert!(refusal(r#"["","<unk>"]"#).contains("word 0"));
    }
}

//! Tokenizer of the text encoder: WordPiece of a BERT vocabulary where one is given, else the report model's vocabulary.
//! It encodes the whole cleaned report, not the truncated target of the report model.

use std::collections::HashMap;
use std::path::Path;

use d2r_contracts::report_text::{sentences, tokens};
use d2r_contracts::vocabulary::Vocabulary;

use crate::error::{Error, Result};

/// Longest word that is split into pieces, characters; longer ones are unknown.
const MAX_WORD_CHARS: usize = 100;

/// Words or word pieces and their ids; 0 is padding.
#[derive(Debug)]
pub struct TextTokens {
    ids: HashMap<String, i64>,
    word_pieces: bool,
    unknown: i64,
    begin: i64,
    end: i64,
    token_count: i64,
}

/// Token ids of a report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedTexts {
    /// The whole report between begin and end token; empty for an empty report.
    pub report: Vec<i64>,
    /// Each sentence between begin and end token.
    pub sentences: Vec<Vec<i64>>,
}

impl TextTokens {
    /// The report model's vocabulary, with two more ids for begin and end.
    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Self {
        let ids: HashMap<String, i64> = vocabulary.words().iter().cloned().zip(1..).collect();
        let end = vocabulary.len() as i64 + 2;
        Self { ids, word_pieces: false, unknown: vocabulary.unknown_id(), begin: end - 1, end, token_count: end + 1 }
    }

    /// The word pieces of a `vocab.txt`: one per line, the line number is the id.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::BadData`] without `[PAD]` first, `[UNK]`, `[CLS]` and `[SEP]`.
    pub fn word_pieces(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let ids: HashMap<String, i64> = text.lines().map(|l| l.trim_end().to_owned()).zip(0..).collect();
        let id = |name: &str| {
            let problem = || Error::bad_data(path.display(), format!("no `{name}`; is it the vocab.txt of a BERT?"));
            ids.get(name).copied().ok_or_else(problem)
        };
        if id("[PAD]")? != 0 {
            return Err(Error::bad_data(path.display(), "`[PAD]` is not its first line"));
        }
        let (unknown, begin, end) = (id("[UNK]")?, id("[CLS]")?, id("[SEP]")?);
        Ok(Self { token_count: text.lines().count() as i64, ids, word_pieces: true, unknown, begin, end })
    }

    /// The word pieces in `folder`, or the report model's vocabulary when `folder` is empty.
    ///
    /// # Errors
    /// Those of [`Self::word_pieces`].
    pub fn configured(folder: &str, vocabulary: &Vocabulary) -> Result<Self> {
        if folder.is_empty() {
            return Ok(Self::from_vocabulary(vocabulary));
        }
        Self::word_pieces(&Path::new(folder).join("vocab.txt"))
    }

    /// Number of ids: rows of an embedding table.
    pub fn token_count(&self) -> i64 {
        self.token_count
    }

    /// The id of a whole word; `None` for a word that has no id of its own.
    pub fn id(&self, word: &str) -> Option<i64> {
        self.ids.get(word).copied()
    }

    /// A cleaned report and its sentences, each truncated to `max_tokens` ids.
    pub fn report(&self, text: &str, max_tokens: usize) -> EncodedTexts {
        let spans = sentences(text);
        EncodedTexts {
            report: if spans.is_empty() { Vec::new() } else { self.encode(text, max_tokens) },
            sentences: spans.iter().map(|s| self.encode(&s.text, max_tokens)).collect(),
        }
    }

    /// A sentence between begin and end token, truncated to `max_tokens` ids.
    pub fn sentence(&self, text: &str, max_tokens: usize) -> Vec<i64> {
        self.encode(text, max_tokens)
    }

    fn encode(&self, text: &str, max_tokens: usize) -> Vec<i64> {
        let mut ids = vec![self.begin];
        for word in tokens(text) {
            if self.word_pieces {
                self.push_pieces(word, &mut ids);
            } else {
                ids.push(self.ids.get(word).copied().unwrap_or(self.unknown));
            }
        }
        ids.truncate(max_tokens.max(2) - 1);
        ids.push(self.end);
        ids
    }

    /// WordPiece: greedy longest match; continuations start with `##`. Every punctuation character is a word of its own.
    fn push_pieces(&self, word: &str, ids: &mut Vec<i64>) {
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let end = if first.is_ascii_punctuation() {
                first.len_utf8()
            } else {
                rest.find(|c: char| c.is_ascii_punctuation()).unwrap_or(rest.len())
            };
            let (part, after) = rest.split_at(end);
            rest = after;
            match self.pieces_of(part) {
                Some(pieces) => ids.extend(pieces),
                None => ids.push(self.unknown),
            }
        }
    }

    fn pieces_of(&self, part: &str) -> Option<Vec<i64>> {
        if part.chars().count() > MAX_WORD_CHARS {
            return None;
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        while start < part.len() {
            let prefix = if start == 0 { "" } else { "##" };
            let ends = part[start..].char_indices().map(|(i, c)| start + i + c.len_utf8()).rev();
            let mut ends =
                ends.filter_map(|end| self.ids.get(&format!("{prefix}{}", &part[start..end])).map(|id| (end, *id)));
            let (end, id) = ends.next()?;
            pieces.push(id);
            start = end;
        }
        Some(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vocabulary_tokens_get_begin_and_end() {
        let vocabulary = Vocabulary::build(["the heart is large . no effusion ."].into_iter(), 1);
        let tokens = TextTokens::from_vocabulary(&vocabulary);
        let begin = vocabulary.len() as i64 + 1;
        let encoded = tokens.report("the heart is big . no effusion .", 100);
        assert_eq!(encoded.sentences.len(), 2);
        assert_eq!((encoded.report[0], *encoded.report.last().unwrap()), (begin, begin + 1));
        assert!(encoded.sentences[0].contains(&vocabulary.unknown_id()));
        assert_eq!(tokens.token_count(), begin + 2);
        assert_eq!(tokens.report("", 100), EncodedTexts::default());
        let truncated = tokens.report("the heart is large .", 4).report;
        assert_eq!((truncated.len(), truncated[3]), (4, begin + 1));
        let without_stop = tokens.report("no effusion", 100);
        assert_eq!(without_stop.sentences, [without_stop.report]);
    }

    #[test]
    fn word_pieces_are_the_longest_matches() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocab.txt");
        let lines =
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "card", "##iom", "##egaly", "-", "mid", "cardio", "##megaly", "."];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let tokens = TextTokens::word_pieces(&path).unwrap();
        // Greedy: `cardio` + `##megaly`, not `card` + `##iom` + `##egaly`.
        assert_eq!(tokens.report("cardiomegaly mid-card heart .", 100).report, [2, 9, 10, 8, 7, 4, 1, 11, 3]);
        assert_eq!(tokens.token_count(), 12);
        std::fs::write(&path, "a\nb").unwrap();
        assert_eq!(TextTokens::word_pieces(&path).unwrap_err().exit().code(), 65);
    }
}

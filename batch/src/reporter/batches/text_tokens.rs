//! Report text as ids for the text encoder: the pieces of a BERT vocabulary where one is given, else the report model's
//! own words. Either way the whole cleaned report counts, not what the report model's targets keep of it.

use std::collections::HashMap;
use std::path::Path;

use d2r_contracts::report_text::{sentences, tokens};
use d2r_contracts::vocabulary::Vocabulary;

use crate::error::{Error, Result};

/// Longest word that is cut into pieces; longer ones are unknown.
const LONGEST_WORD: usize = 100;

/// Words or pieces and their ids; 0 pads.
#[derive(Debug)]
pub struct TextTokens {
    ids: HashMap<String, i64>,
    pieces: bool,
    unknown: i64,
    begin: i64,
    end: i64,
    rows: i64,
}

/// A report for the text encoder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EncodedTexts {
    /// The whole report with its begin and end; empty for an empty report.
    pub report: Vec<i64>,
    /// Each sentence with its begin and end.
    pub sentences: Vec<Vec<i64>>,
}

impl TextTokens {
    /// The report model's words; begin and end are two ids of their own.
    pub fn words(vocabulary: &Vocabulary) -> Self {
        let ids: HashMap<String, i64> = vocabulary.words().iter().cloned().zip(1..).collect();
        let end = vocabulary.len() as i64 + 2;
        Self { ids, pieces: false, unknown: vocabulary.unknown_id(), begin: end - 1, end, rows: end + 1 }
    }

    /// The pieces of a `vocab.txt` (one a line, the line's number its id).
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read; [`Error::BadData`] without `[PAD]` first, `[UNK]`, `[CLS]` and `[SEP]`.
    pub fn pieces(path: &Path) -> Result<Self> {
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
        Ok(Self { rows: text.lines().count() as i64, ids, pieces: true, unknown, begin, end })
    }

    /// The pieces in `folder`, or the report model's words where the folder's name is empty.
    ///
    /// # Errors
    /// Those of [`Self::pieces`].
    pub fn configured(folder: &str, vocabulary: &Vocabulary) -> Result<Self> {
        if folder.is_empty() {
            return Ok(Self::words(vocabulary));
        }
        Self::pieces(&Path::new(folder).join("vocab.txt"))
    }

    /// Rows that an embedding of these ids needs.
    pub fn rows(&self) -> i64 {
        self.rows
    }

    /// The id of a whole word; `None` where it is none of its own.
    pub fn id(&self, word: &str) -> Option<i64> {
        self.ids.get(word).copied()
    }

    /// A cleaned report and its sentences, each cut to `longest` ids.
    pub fn report(&self, text: &str, longest: usize) -> EncodedTexts {
        let spans = sentences(text);
        EncodedTexts {
            report: if spans.is_empty() { Vec::new() } else { self.encode(text, longest) },
            sentences: spans.iter().map(|s| self.encode(&s.text, longest)).collect(),
        }
    }

    /// A sentence with its begin and end, cut to `longest` ids.
    pub fn sentence(&self, text: &str, longest: usize) -> Vec<i64> {
        self.encode(text, longest)
    }

    fn encode(&self, text: &str, longest: usize) -> Vec<i64> {
        let mut ids = vec![self.begin];
        for word in tokens(text) {
            if self.pieces {
                self.push_pieces(word, &mut ids);
            } else {
                ids.push(self.ids.get(word).copied().unwrap_or(self.unknown));
            }
        }
        ids.truncate(longest.max(2) - 1);
        ids.push(self.end);
        ids
    }

    /// WordPiece: the longest known beginning, then the longest known continuation (`##...`), to the end. Punctuation
    /// stands alone.
    fn push_pieces(&self, word: &str, ids: &mut Vec<i64>) {
        let mut rest = word;
        while let Some(first) = rest.chars().next() {
            let alone = first.is_ascii_punctuation();
            let end = if alone {
                first.len_utf8()
            } else {
                rest.find(|c: char| c.is_ascii_punctuation()).unwrap_or(rest.len())
            };
            let (part, after) = rest.split_at(end);
            rest = after;
            match self.cut(part) {
                Some(found) => ids.extend(found),
                None => ids.push(self.unknown),
            }
        }
    }

    fn cut(&self, part: &str) -> Option<Vec<i64>> {
        if part.chars().count() > LONGEST_WORD {
            return None;
        }
        let mut found = Vec::new();
        let mut start = 0;
        while start < part.len() {
            let prefix = if start == 0 { "" } else { "##" };
            let ends = part[start..].char_indices().map(|(i, c)| start + i + c.len_utf8()).rev();
            let mut ends =
                ends.filter_map(|end| self.ids.get(&format!("{prefix}{}", &part[start..end])).map(|id| (end, *id)));
            let (end, id) = ends.next()?;
            found.push(id);
            start = end;
        }
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_words_get_a_begin_and_an_end() {
        let vocabulary = Vocabulary::build(["the heart is large . no effusion ."].into_iter(), 1);
        let tokens = TextTokens::words(&vocabulary);
        let begin = vocabulary.len() as i64 + 1;
        let encoded = tokens.report("the heart is big . no effusion .", 100);
        assert_eq!(encoded.sentences.len(), 2);
        assert_eq!((encoded.report[0], *encoded.report.last().unwrap()), (begin, begin + 1));
        assert!(encoded.sentences[0].contains(&vocabulary.unknown_id()));
        assert_eq!(tokens.rows(), begin + 2);
        assert_eq!(tokens.report("", 100), EncodedTexts::default());
        let cut = tokens.report("the heart is large .", 4).report;
        assert_eq!((cut.len(), cut[3]), (4, begin + 1));
        let without_stop = tokens.report("no effusion", 100);
        assert_eq!(without_stop.sentences, [without_stop.report]);
    }

    #[test]
    fn pieces_are_the_longest_known_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vocab.txt");
        let lines =
            ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "card", "##iom", "##egaly", "-", "mid", "cardio", "##megaly", "."];
        std::fs::write(&path, lines.join("\n")).unwrap();
        let tokens = TextTokens::pieces(&path).unwrap();
        // Greedy: `cardio` + `##megaly`, not `card` + `##iom` + `##egaly`.
        assert_eq!(tokens.report("cardiomegaly mid-card heart .", 100).report, [2, 9, 10, 8, 7, 4, 1, 11, 3]);
        assert_eq!(tokens.rows(), 12);
        std::fs::write(&path, "a\nb").unwrap();
        assert_eq!(TextTokens::pieces(&path).unwrap_err().exit().code(), 65);
    }
}

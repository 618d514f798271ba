//! Text of a report: cleaning, tokens, sentences, laterality words and mentions of an earlier study.
//!
//! Cleaning follows R2Gen (Chen et al., EMNLP 2020) rule by rule, its defects included, because vocabularies and
//! published metrics depend on them. A cleaned text is its tokens with one blank between two of them.

mod readable;

use std::ops::Range;

pub use readable::{readable, readable_sentences};

/// The dataset whose cleaning rules apply; they differ only before the text is split into sentences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CleaningRules {
    /// Rules for IU X-Ray reports.
    IuXray,
    /// Rules for MIMIC-CXR reports: also line breaks, underscores and runs of blanks.
    MimicCxr,
}

/// The cleaned report: lower-cased sentences, each closed by the token `.`.
///
/// An empty report becomes the single token `.`. Decimal points vanish (`2.5` becomes `25`), `-` stays.
pub fn clean(report: &str, rules: CleaningRules) -> String {
    let mut text = report.to_owned();
    let mut passes = |from: &str, to: &str, times: u32| {
        for _ in 0..times {
            text = text.replace(from, to);
        }
    };
    match rules {
        CleaningRules::IuXray => passes("..", ".", 3),
        CleaningRules::MimicCxr => {
            passes("\n", " ", 1);
            passes("__", "_", 7);
            passes("  ", " ", 6);
            passes("..", ".", 8);
        }
    }
    // List numbers. `1. ` is removed everywhere, also at the end of `11. ` or `L1. `.
    passes("1. ", "", 1);
    for digit in 2..=5 {
        passes(&format!(". {digit}. "), ". ", 1);
    }
    for digit in 2..=5 {
        passes(&format!(" {digit}. "), ". ", 1);
    }
    let text = text.trim_matches(is_blank).to_lowercase();
    let sentences: Vec<String> = text.split(". ").map(clean_sentence).collect();
    tokens(&(sentences.join(" . ") + " .")).join(" ")
}

fn clean_sentence(sentence: &str) -> String {
    let unquoted: String = sentence.chars().filter(|c| !matches!(c, '"' | '/' | '\\' | '\'')).collect();
    // The published character class holds the range `:` to `[` by accident, which is why `-` stays and
    // `: ; < = > ? @` and A to Z go.
    let is_dropped = |c: char| {
        matches!(c, '.' | ',' | '*' | '!' | '%' | '^' | '&' | '_' | '+' | '(' | ')' | ':'..='[' | ']' | '{' | '}')
    };
    unquoted.trim_matches(is_blank).to_lowercase().chars().filter(|&c| !is_dropped(c)).collect()
}

/// White space as Python defines it: Unicode's, and U+001C to U+001F.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The tokens of a text, separated by white space.
pub fn tokens(text: &str) -> Vec<&str> {
    text.split(is_blank).filter(|token| !token.is_empty()).collect()
}

/// One sentence of a cleaned or generated text, without its closing ` .`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentenceSpan {
    /// First character, counted in Unicode scalar values from the start of the text.
    pub char_start: usize,
    /// One past the last character.
    pub char_end: usize,
    /// Positions of the sentence's tokens in [`tokens`] of the text, the closing `.` left out.
    pub tokens: Range<usize>,
    /// The characters from `char_start` to `char_end`.
    pub text: String,
}

/// Splits a cleaned or generated text at its `.` tokens.
///
/// Sentences without words are left out. Words after the last `.` (a truncated text) are a sentence too.
pub fn sentences(text: &str) -> Vec<SentenceSpan> {
    let mut found = Vec::new();
    let mut open: Option<(SentenceSpan, Range<usize>)> = None;
    let mut close = |(span, bytes): (SentenceSpan, Range<usize>)| {
        found.push(SentenceSpan { text: text[bytes].to_owned(), ..span });
    };
    for (position, token) in tokens_with_offsets(text).into_iter().enumerate() {
        if token.text == "." {
            open.take().into_iter().for_each(&mut close);
            continue;
        }
        let Token { text: word, char_start, byte_start } = token;
        let (span, bytes) = open.get_or_insert_with(|| {
            let tokens = position..position;
            (SentenceSpan { char_start, char_end: char_start, tokens, text: String::new() }, byte_start..byte_start)
        });
        span.char_end = char_start + word.chars().count();
        span.tokens.end = position + 1;
        bytes.end = byte_start + word.len();
    }
    open.into_iter().for_each(&mut close);
    found
}

/// The sentences of a cleaned text, each with the stretch of the source text that it was cleaned from.
///
/// Cleaning removes characters and changes none but their case, so a sentence's letters stand in the source in order. A
/// sentence whose letters do not is its own source, as in texts that were generated.
pub fn sentences_with_source(text_clean: &str, source: &str) -> Vec<(SentenceSpan, String)> {
    let mut letters: Vec<(Range<usize>, char)> = Vec::new();
    for (at, c) in source.char_indices() {
        let place = at..at + c.len_utf8();
        letters.extend(c.to_lowercase().filter(|l| l.is_alphabetic()).map(|letter| (place.clone(), letter)));
    }
    let mut from = 0;
    let with_source = |span: SentenceSpan| {
        let wanted: Vec<char> = span.text.chars().flat_map(char::to_lowercase).filter(|c| c.is_alphabetic()).collect();
        let holds =
            |start: &usize| letters[*start..].iter().map(|(_, letter)| letter).take(wanted.len()).eq(wanted.iter());
        let last_start = letters.len().checked_sub(wanted.len());
        let found = last_start.filter(|_| !wanted.is_empty()).and_then(|last| (from..=last).find(holds));
        let Some(start) = found else {
            let own = span.text.clone();
            return (span, own);
        };
        from = start + wanted.len();
        let stretch = letters[start].0.start..letters[from - 1].0.end;
        let stretch = with_signs(source, stretch);
        (span, source[stretch].to_owned())
    };
    sentences(text_clean).into_iter().map(with_source).collect()
}

/// The stretch of a text with the signs and digits that are attached to it ("(5", "?").
fn with_signs(text: &str, stretch: Range<usize>) -> Range<usize> {
    let attached = |c: char| !c.is_whitespace() && !c.is_alphabetic();
    let before = text[..stretch.start].char_indices().rev().take_while(|&(_, c)| attached(c)).last();
    let after = text[stretch.end..].char_indices().take_while(|&(_, c)| attached(c)).last();
    let start = before.map_or(stretch.start, |(at, _)| at);
    start..after.map_or(stretch.end, |(at, c)| stretch.end + at + c.len_utf8())
}

/// A token and where it begins.
struct Token<'a> {
    text: &'a str,
    char_start: usize,
    byte_start: usize,
}

fn tokens_with_offsets(text: &str) -> Vec<Token<'_>> {
    let (mut char_start, mut byte_start) = (0, 0);
    let mut found = Vec::new();
    for piece in text.split_inclusive(is_blank) {
        let token = piece.trim_end_matches(is_blank);
        if !token.is_empty() {
            found.push(Token { text: token, char_start, byte_start });
        }
        char_start += piece.chars().count();
        byte_start += piece.len();
    }
    found
}

/// Words that compare with an earlier study; a model of single studies has no input for them.
const PRIOR_WORDS: [&str; 32] = [
    "again",
    "changed",
    "compared",
    "comparison",
    "decreased",
    "earlier",
    "improved",
    "improvement",
    "improving",
    "increased",
    "interval",
    "new",
    "newly",
    "persistent",
    "persists",
    "previous",
    "previously",
    "prior",
    "progressed",
    "progression",
    "re-demonstrated",
    "redemonstrated",
    "remain",
    "remains",
    "resolved",
    "resolving",
    "since",
    "stable",
    "unchanged",
    "worse",
    "worsened",
    "worsening",
];

/// True when a word of the text refers to an earlier study (`unchanged`, `compared`, `new`, ...).
///
/// The list is lexical and has false positives: `increased lung volumes` counts.
pub fn mentions_prior(text: &str) -> bool {
    tokens(text).into_iter().any(|token| {
        let word = token.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        PRIOR_WORDS.binary_search(&word.as_str()).is_ok()
    })
}

/// The sides of the body that a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lateralities {
    /// The patient's left side is named.
    pub left: bool,
    /// The patient's right side is named.
    pub right: bool,
}

/// The sides that a text names; `bilateral`, `both` and the like name both.
pub fn lateralities(text: &str) -> Lateralities {
    let mut found = Lateralities::default();
    for word in words(text).into_iter().map(|range| text[range].to_lowercase()) {
        match word.as_str() {
            "left" | "leftward" | "leftwards" => found.left = true,
            "right" | "rightward" | "rightwards" => found.right = true,
            "bilateral" | "bilaterally" | "both" | "bibasilar" | "bibasal" | "biapical" | "bihilar" => {
                found = Lateralities { left: true, right: true };
            }
            _ => {}
        }
    }
    found
}

/// The text for the horizontally mirrored radiograph: the whole words `left` and `right` (and `leftward`, `rightward`)
/// are swapped and keep lower case, Capitalised or UPPER CASE. Swapping twice gives the text back.
pub fn swap_laterality(text: &str) -> String {
    let mut swapped = String::with_capacity(text.len());
    let mut copied = 0;
    for range in words(text) {
        let word = &text[range.clone()];
        let other = match word.to_lowercase().as_str() {
            "left" => "right",
            "right" => "left",
            "leftward" => "rightward",
            "rightward" => "leftward",
            "leftwards" => "rightwards",
            "rightwards" => "leftwards",
            _ => continue,
        };
        swapped.push_str(&text[copied..range.start]);
        swapped.push_str(&with_case_of(word, other));
        copied = range.end;
    }
    swapped.push_str(&text[copied..]);
    swapped
}

/// `word` (ASCII) in the case of `model`: upper, capitalised or lower.
fn with_case_of(model: &str, word: &str) -> String {
    let mut letters = model.chars();
    let capital = letters.next().is_some_and(char::is_uppercase);
    if capital && letters.all(char::is_uppercase) {
        word.to_uppercase()
    } else if capital {
        word[..1].to_uppercase() + &word[1..]
    } else {
        word.to_owned()
    }
}

/// Byte ranges of the runs of letters and digits; a hyphen or an underscore ends a word (`left-sided`).
fn words(text: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices() {
        match (c.is_alphanumeric(), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                found.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    found.extend(start.map(|from| from..text.len()));
    found
}

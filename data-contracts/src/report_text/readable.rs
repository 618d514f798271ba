//! A tokenised report as a person writes it. Tokens in, sentences out; what is written that way already stays.

use super::{sentences, tokens};

/// Words that are written in capitals.
#[rustfmt::skip]
const CAPITALS: [&str; 60] = [
    "ap", "pa", "ct", "cta", "mri", "xr", "cxr", "kub", "pet", "ecg", "ekg", "picc", "ett", "ngt", "ogt", "ng", "og",
    "icd", "aicd", "iabp", "ecmo", "lvad", "vp", "cvl", "cvc", "svc", "ivc", "cabg", "avr", "mvr", "tavr", "tavi", "lad",
    "copd", "chf", "ards", "ild", "dvt", "pe", "tb", "hiv", "icu", "iv", "ij", "gi", "gej", "ge", "peg", "rul", "rml",
    "rll", "lul", "lll", "ptx", "uip", "nsip", "bcg", "avf", "tips", "ercp",
];

/// Names, as they are written.
#[rustfmt::skip]
const NAMES: [(&str, &str); 14] = [
    ("swan-ganz", "Swan-Ganz"), ("dobbhoff", "Dobbhoff"), ("dobhoff", "Dobhoff"), ("port-a-cath", "Port-A-Cath"),
    ("hickman", "Hickman"), ("kerley", "Kerley"), ("foley", "Foley"), ("ghon", "Ghon"), ("hodgkin", "Hodgkin"),
    ("kaposi", "Kaposi"), ("bochdalek", "Bochdalek"), ("morgagni", "Morgagni"), ("schmorl", "Schmorl"),
    ("hampton", "Hampton"),
];

/// Words whose full stop ends no sentence.
const SHORT_FORMS: [&str; 7] = ["vs", "dr", "mr", "mrs", "approx", "e.g", "i.e"];

/// Units of a number that was separated at its decimal point.
const UNITS: [&str; 8] = ["cm", "mm", "m", "ml", "kg", "mg", "%", "x"];

/// A tokenised text (`the heart is normal .`) as a person writes it (`The heart is normal.`): sentences begin with a
/// capital, signs stand at their words, decimals are whole, and abbreviations are in capitals.
pub fn readable(text: &str) -> String {
    let tokens = tokens(text);
    let mut written = String::with_capacity(text.len());
    let (mut begins, mut attach) = (true, true);
    for (i, token) in tokens.iter().enumerate() {
        let (before, after) = (i.checked_sub(1).map(|b| tokens[b]), tokens.get(i + 1).copied());
        let decimal = *token == "."
            && before.is_some_and(is_number)
            && after.is_some_and(is_number)
            && tokens.get(i + 2).is_some_and(|unit| UNITS.contains(unit));
        let closes = token.chars().all(|c| matches!(c, '.' | ',' | ';' | ':' | '?' | '!' | ')' | ']' | '}' | '%'));
        let joins = matches!(*token, "/" | "'");
        // A second full stop closes nothing.
        if *token == "." && (written.is_empty() || (written.ends_with('.') && !decimal)) {
            continue;
        }
        if !(attach || closes || joins || decimal || token.starts_with('\'')) {
            written.push(' ');
        }
        let context = Neighbours { before, after };
        written.push_str(&word(token, context, begins && !closes));
        attach = decimal || joins || matches!(*token, "(" | "[" | "{");
        let ends = token.trim_end_matches([')', ']', '"', '\'']).ends_with(['.', '?', '!']) && !decimal;
        let short = match *token {
            "." => before.is_some_and(is_short_form),
            other => is_short_form(other.trim_end_matches('.')),
        };
        begins = (ends && !short) || (begins && !token.contains(char::is_alphanumeric));
    }
    written
}

/// [`readable`] of each sentence that [`sentences`] finds; the last has a full stop only if it is closed.
pub fn readable_sentences(text: &str) -> Vec<String> {
    let closed = text.trim_end().ends_with('.');
    let spans = sentences(text);
    let last = spans.len().saturating_sub(1);
    let close = |i: usize| if closed || i < last { " ." } else { "" };
    spans.iter().enumerate().map(|(i, span)| readable(&format!("{}{}", span.text, close(i)))).collect()
}

/// The tokens around one.
#[derive(Clone, Copy)]
struct Neighbours<'a> {
    before: Option<&'a str>,
    after: Option<&'a str>,
}

fn is_number(token: &str) -> bool {
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit())
}

fn is_short_form(token: &str) -> bool {
    SHORT_FORMS.contains(&token.to_lowercase().as_str())
}

/// A token in its written form; `first`: it begins a sentence.
fn word(token: &str, context: Neighbours<'_>, first: bool) -> String {
    if let Some(name) = named(token) {
        return name;
    }
    let mut written = String::with_capacity(token.len());
    for piece in token.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let end = piece.trim_end_matches(|c: char| !c.is_alphanumeric()).len();
        let (letters, sign) = piece.split_at(end);
        written.push_str(&if is_in_capitals(letters, token, context) {
            let (stem, plural) = split_plural(letters);
            stem.to_uppercase() + plural
        } else {
            letters.to_owned()
        });
        written.push_str(sign);
    }
    if first { capitalised(&written) } else { written }
}

/// A token that is a name, with the signs around it.
fn named(token: &str) -> Option<String> {
    let bare = token.trim_matches(|c: char| !c.is_alphanumeric());
    let (_, name) = NAMES.iter().find(|(plain, _)| *plain == bare)?;
    Some(token.replacen(bare, name, 1))
}

/// Whether letters of a token are an abbreviation.
fn is_in_capitals(letters: &str, token: &str, context: Neighbours<'_>) -> bool {
    if letters.is_empty() || letters.contains(char::is_uppercase) {
        return false;
    }
    let bare = token.trim_matches(|c: char| matches!(c, ',' | ';' | ':' | '(' | ')'));
    let is_tube = |word: Option<&str>| word.is_some_and(|w| w.starts_with("tube") || w == "tip");
    match letters {
        // "et al", "i.e."
        "et" => is_tube(context.after),
        "i" => bare == "i",
        "b" => context.before == Some("kerley"),
        _ => CAPITALS.contains(&split_plural(letters).0) || is_vertebra(letters),
    }
}

/// `piccs` as `picc` and `s`.
fn split_plural(letters: &str) -> (&str, &str) {
    match letters.strip_suffix('s') {
        Some(stem) if stem.len() >= 3 && CAPITALS.contains(&stem) => (stem, "s"),
        _ => (letters, ""),
    }
}

/// `t8`, `l1`: a letter of the spine and a number.
fn is_vertebra(letters: &str) -> bool {
    let number = letters.strip_prefix(['c', 't', 'l', 's']).filter(|n| is_number(n) && n.len() <= 2);
    number.is_some_and(|n| (1..=12).contains(&n.parse::<u8>().unwrap_or(0)))
}

/// With a capital as its first letter, where it begins with one behind signs.
fn capitalised(word: &str) -> String {
    let Some((at, letter)) = word.char_indices().find(|(_, c)| c.is_alphanumeric()) else { return word.to_owned() };
    let (before, after) = (&word[..at], &word[at + letter.len_utf8()..]);
    format!("{before}{}{after}", letter.to_uppercase())
}

//! A report as the labeler reads it: lower-case clauses with single blanks, in which short forms and contractions are
//! written out and ` : ` stands between the subject and the value of a structured statement ("Effusion - none").

use std::sync::LazyLock;

use regex::Regex;

use super::pattern;
use super::terms::SEEN;

/// Clause boundaries: ends of sentences and conjunctions that end a cue's scope.
static BREAK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"[!?;]|\.(?:\s|$)|\.\b|\s\.|\b(?:but|however|although|though|whereas|while|yet|except(?: for)?|aside from|apart from|other than|with the exception of|otherwise|which|there (?:is|are|has been|remains?))\b",
    )
});

/// What is written otherwise, in this order.
static REWRITES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        // Contractions, also as text cleaning leaves them ("cant", "ro" for "r/o").
        (r"\b(is|are|was|were|has|have|had|does|do|did|could|would|should)n ?'? ?t\b", "$1 not"),
        (r"\b(?:can ?' ?t|can ?t|can ?not)\b", "cannot"),
        (r"\br ?/ ?o\b|\br\.o\.|\brule-out\b|\bro\b", "rule out"),
        (r"\bw ?/ ?o\b|\bwo\b", "without"),
        (r"\b(cannot|could not),? however,?", "$1"),
        // Full stops that end no sentence.
        (r"\b(?:vs|versus|v\.s)\b(?: ?\.)?", " vs "),
        (r"(^| )v\. ", "${1}vs "),
        (r"\b(?:e\.g|eg)\b\.?", "for example"),
        (r"\b(?:i\.e|ie)\b\.?", "that is"),
        (r"\b(dr|mr|mrs|ms|approx|cf|resp|incl)\. ", "$1 "),
        (r" {2,}", " "),
        (
            r"\bvs (?:(?:the|a|an|most|recent) )*(prior|previous|last|earlier|older?|yesterday|baseline|comparison|study|exam|radiograph|[0-9])",
            "compared to $1",
        ),
        // A point between digits is a decimal point, a colon between digits that of a time.
        (r"([0-9])[.:]([0-9])", "$1 $2"),
        // "Effusion? no", "?pneumonia", "pneumonia?"
        (r" ?\? ?[:=-]? ?(yes|none|nil|negative|neg|positive|absent|present)\b", " : $1"),
        (r" ?\? ?[:=-]? ?no( ?[.,;)(]|$)", " : no${1}"),
        (r"(^|[ (])\? ?([a-z])", "${1}possible $2"),
        (r"([a-z)])\?", "$1 is questionable ."),
        // Subject and value.
        (r" ?[:=] ?(?:there (?:is|are|was|were|has been|have been) )?", " : "),
        (r" -+ (none|nil|negative|neg|absent|yes|positive|present|not {seen})\b", " : $1"),
        (r" -+ no( ?[.,;)]|$)", " : no${1}"),
        (r"-(none|nil|absent)\b", " : $1"),
        (r" ?\((none|no|nil|absent|negative|neg)\)", " : $1"),
        (r" {2,}", " "),
    ]
    .map(|(from, to)| (pattern(&from.replace("{seen}", SEEN)), to))
    .into()
});

/// A line that starts a statement of its own: an item of a list, or subject and value.
static STATEMENT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:[-*\u{2022}\u{b7}>] |[0-9]{1,2}[.)] |[a-z][a-z /,&()'-]{1,50}[:=?](?: |$))"));
/// A line that ends with the value of a structured statement.
static ANSWERED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"[:=?-] ?(?:none|nil|no|yes|negative|neg|positive|absent|present)(?: (?:seen|identified))?$")
});
static BULLET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[-*\u{2022}\u{b7}>]+ "));
/// The first word of a value that is complete by itself.
static ANSWER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^(?:none|nil|no|yes|negative|neg|positive|absent|present)\b"));

/// Between subject and value.
pub(super) const IS: &str = " : ";

/// The clauses of a text.
pub(super) fn clauses(text: &str) -> Vec<String> {
    let mut text = joined_lines(text);
    for (from, to) in REWRITES.iter() {
        if from.is_match(&text) {
            text = from.replace_all(&text, *to).into_owned();
        }
    }
    let clauses = BREAK.split(&text).map(str::trim).filter(|clause| !clause.is_empty());
    clauses.flat_map(stretches).flat_map(items).collect()
}

/// Longest clause, bytes: about 120 words. Each cue of a clause is compared with each term, so a text without full stops
/// is cut, and the time is linear in its length.
const CLAUSE_BYTES_MAX: usize = 800;

/// A clause as stretches of at most [`CLAUSE_BYTES_MAX`], cut between words where it has blanks.
fn stretches(clause: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = clause;
    while rest.len() > CLAUSE_BYTES_MAX {
        let most = rest.floor_char_boundary(CLAUSE_BYTES_MAX);
        let (stretch, after) = rest.split_at(rest[..most].rfind(' ').filter(|&at| at > 0).unwrap_or(most));
        found.push(stretch);
        rest = after.trim_start();
    }
    found.push(rest);
    found
}

/// One line, lower case, plain quotes and hyphens. A line that starts a statement, or follows an empty line or a
/// complete one, is separated by ` ; `; any other line continues the one before.
fn joined_lines(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    let mut separate = false;
    for line in text.to_lowercase().lines() {
        let plain: String = line.chars().filter(|c| !matches!(c, '\u{feff}' | '\u{200b}')).map(plain_char).collect();
        let plain = plain.replace('\u{2014}', " - ");
        let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() {
            separate = true;
            continue;
        }
        if !joined.is_empty() {
            joined.push_str(if separate || STATEMENT.is_match(&line) { " ; " } else { " " });
        }
        joined.push_str(&BULLET.replace(&line, ""));
        separate = ANSWERED.is_match(&line);
    }
    joined
}

fn plain_char(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2bc}' | '\u{b4}' | '`' | '\u{92}' => '\'',
        '\u{2010}' | '\u{2011}' | '\u{2012}' | '\u{2013}' | '\u{2212}' => '-',
        '\u{ff1a}' => ':',
        '\u{ff1f}' => '?',
        '_' => ' ',
        c => c,
    }
}

/// "pneumothorax : none, effusion : small" is two statements.
fn items(clause: &str) -> Vec<String> {
    let colons: Vec<usize> = clause.match_indices(IS).map(|(at, _)| at).collect();
    let mut found = Vec::new();
    let mut start = 0;
    for pair in colons.windows(2) {
        let (from, to) = (pair[0] + IS.len(), pair[1]);
        let Some(between) = clause.get(from..to) else { continue };
        let end = between.rfind(", ").map(|at| from + at).or_else(|| ANSWER.find(between).map(|m| from + m.end()));
        if let Some(end) = end {
            found.push(clause[start..end].to_owned());
            start = end;
        }
    }
    found.push(clause[start..].to_owned());
    found.into_iter().map(|item| item.trim_matches([',', ' ']).to_owned()).filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_clauses_are_cut_between_words() {
        let text = "no effusion ".repeat(1000);
        let found = clauses(&text);
        assert!(found.iter().all(|clause| clause.len() <= CLAUSE_BYTES_MAX && !clause.starts_with(' ')));
        assert_eq!(found.join(" "), text.trim_end());
        // Without blanks the cut is between characters.
        let found = clauses(&"\u{e9}".repeat(1000));
        assert_eq!(found.concat(), "\u{e9}".repeat(1000));
    }

    #[test]
    fn a_text_of_nothing_but_subjects_is_read_in_bounded_depth() {
        // Each value is read as a statement of its own: without the cut this is a call for each colon.
        crate::report_labeler::label(&"effusion : ".repeat(200_000));
    }
}

//! Sections of a free-text radiology report: which lines are headings, and the text under FINDINGS and IMPRESSION.
//! Headings vary (misspelt, joined, or the projections instead of FINDINGS); text is never logged.

use serde::Deserialize;

/// The section of a report that is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Section {
    Findings,
    Impression,
    /// Findings, then impression.
    Both,
}

impl Section {
    /// The section that a configuration or table names.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "findings" => Some(Self::Findings),
            "impression" => Some(Self::Impression),
            "both" => Some(Self::Both),
            _ => None,
        }
    }

    /// The word in the `reports` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Findings => "findings",
            Self::Impression => "impression",
            Self::Both => "both",
        }
    }
}

/// Why a report has no text for the requested section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSection {
    /// No heading names it.
    Missing,
    /// The heading is there and nothing under it.
    Empty,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionText {
    /// As in the file, without the heading and without surrounding blanks.
    pub text: String,
    /// [`Section::Both`] was requested and only one of the two is there.
    pub partial: bool,
}

/// What a heading opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heading {
    Findings,
    Impression,
    /// `FINDINGS AND IMPRESSION`: serves as either.
    FindingsAndImpression,
    /// The projections as a title over the findings, in reports without a FINDINGS heading.
    Projections,
    Other,
}

/// The text of a section.
///
/// # Errors
/// [`NoSection`].
pub fn section(report: &str, wanted: Section) -> Result<SectionText, NoSection> {
    let parts = split(report);
    let whole = |text: String| SectionText { text, partial: false };
    match wanted {
        Section::Findings => findings(&parts).map(whole),
        Section::Impression => impression(&parts).map(whole),
        Section::Both => {
            // One paragraph under a joint heading is both already.
            if let Ok(joint) = under(&parts, &[Heading::FindingsAndImpression]) {
                return Ok(whole(joint));
            }
            match (findings(&parts), impression(&parts)) {
                (Ok(f), Ok(i)) => Ok(whole(format!("{f}\n{i}"))),
                (Ok(text), Err(_)) | (Err(_), Ok(text)) => Ok(SectionText { text, partial: true }),
                (Err(NoSection::Missing), Err(NoSection::Missing)) => Err(NoSection::Missing),
                (Err(_), Err(_)) => Err(NoSection::Empty),
            }
        }
    }
}

fn findings(parts: &[(Heading, String)]) -> Result<String, NoSection> {
    let named = under(parts, &[Heading::Findings, Heading::FindingsAndImpression]);
    if named == Err(NoSection::Missing) { under(parts, &[Heading::Projections]) } else { named }
}

fn impression(parts: &[(Heading, String)]) -> Result<String, NoSection> {
    under(parts, &[Heading::Impression, Heading::FindingsAndImpression])
}

/// The text under the headings of these kinds; an addendum may repeat one.
fn under(parts: &[(Heading, String)], kinds: &[Heading]) -> Result<String, NoSection> {
    let mut found = parts.iter().filter(|(h, _)| kinds.contains(h)).peekable();
    if found.peek().is_none() {
        return Err(NoSection::Missing);
    }
    let text = found.map(|(_, text)| text.trim()).filter(|t| !t.is_empty()).collect::<Vec<_>>().join("\n");
    if text.is_empty() { Err(NoSection::Empty) } else { Ok(text) }
}

/// The report as headings with the text up to the next one.
fn split(report: &str) -> Vec<(Heading, String)> {
    let mut parts: Vec<(Heading, String)> = vec![(Heading::Other, String::new())];
    for line in report.lines() {
        let rest = match heading(line) {
            Some((kind, rest)) => {
                parts.push((kind, String::new()));
                rest
            }
            None => line,
        };
        if let Some((_, text)) = parts.last_mut() {
            text.push_str(rest.trim());
            text.push('\n');
        }
    }
    parts
}

/// A line's heading and what follows its colon. Words in capitals are a heading; in other letters only the known
/// names are, so that `Heart: normal size` stays text.
fn heading(line: &str) -> Option<(Heading, &str)> {
    let (head, rest) = line.trim_start().split_once(':')?;
    let head = head.trim();
    let wordy = |c: char| c.is_ascii_alphabetic() || matches!(c, ' ' | '(' | ')' | '/' | ',' | '-' | '&' | '.' | '_');
    if !(3..=90).contains(&head.len()) || !head.chars().all(wordy) || !head.contains(|c: char| c.is_ascii_alphabetic())
    {
        return None;
    }
    let capitals = !head.contains(|c: char| c.is_ascii_lowercase());
    let kind = kind(&head.to_ascii_uppercase());
    let known = matches!(kind, Some(Heading::Findings | Heading::Impression | Heading::FindingsAndImpression))
        || OTHERS.contains(&head.to_ascii_uppercase().as_str());
    (capitals || known).then_some((kind.unwrap_or(Heading::Other), rest))
}

/// Headings that end a section also when they are not written in capitals.
const OTHERS: [&str; 9] = [
    "INDICATION",
    "COMPARISON",
    "COMPARISONS",
    "TECHNIQUE",
    "HISTORY",
    "EXAMINATION",
    "RECOMMENDATION",
    "RECOMMENDATIONS",
    "NOTIFICATION",
];

fn kind(head: &str) -> Option<Heading> {
    let words: Vec<&str> = head.split(|c: char| !c.is_ascii_alphabetic()).filter(|w| !w.is_empty()).collect();
    let near =
        |word: &str, name: &str| word == name || (word.len() >= 6 && strsim::damerau_levenshtein(word, name) <= 2);
    let names_findings = words.iter().any(|w| near(w, "FINDINGS") || *w == "FINDING");
    let names_impression =
        words.iter().any(|w| near(w, "IMPRESSION") || matches!(*w, "CONCLUSION" | "CONCLUSIONS" | "OPINION"));
    // A sentence before a colon is no heading, whatever words it has.
    let short = words.len() <= 4;
    match (names_findings && short, names_impression && short) {
        (true, true) => Some(Heading::FindingsAndImpression),
        (true, false) => Some(Heading::Findings),
        (false, true) => Some(Heading::Impression),
        (false, false) => {
            let has = |name: &str| words.contains(&name);
            let projection = has("VIEW")
                || has("VIEWS")
                || has("PA")
                || has("AP")
                || has("PORTABLE")
                || has("FRONTAL")
                || has("RADIOGRAPH");
            (has("CHEST") && projection && !has("EXAM") && !has("EXAMINATION") && !has("COMPARISON"))
                .then_some(Heading::Projections)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  cough\n \n FINDINGS: \n \n The heart is large.\n Lungs: clear.\n \n IMPRESSION: \n \n Large heart.\n";

    fn text(report: &str, wanted: Section) -> Result<String, NoSection> {
        section(report, wanted).map(|s| s.text)
    }

    #[test]
    fn sections_of_a_full_report() {
        assert_eq!(text(FULL, Section::Findings).unwrap(), "The heart is large.\nLungs: clear.");
        assert_eq!(text(FULL, Section::Impression).unwrap(), "Large heart.");
        let both = section(FULL, Section::Both).unwrap();
        assert_eq!(both.text, "The heart is large.\nLungs: clear.\nLarge heart.");
        assert!(!both.partial);
    }

    #[test]
    fn headings_vary() {
        for head in ["FINDINGS:", " FINDING:", "FINDNGS:", "FIDNINGS:", "Findings:", "CHEST FINDINGS:", "FINDINGS :"] {
            assert_eq!(
                text(&format!("{head} one.\nIMPRESSION: two."), Section::Findings).as_deref(),
                Ok("one."),
                "{head}"
            );
        }
        for head in ["IMPRESSION:", "IMPRESSIONS:", "IMPRESSON:", "Impression:", "CONCLUSION:", "OPINION:"] {
            assert_eq!(
                text(&format!("FINDINGS: one.\n{head} two."), Section::Impression).as_deref(),
                Ok("two."),
                "{head}"
            );
        }
        let joint = "FINDINGS AND IMPRESSION: one.";
        for wanted in [Section::Findings, Section::Impression, Section::Both] {
            assert_eq!(text(joint, wanted).as_deref(), Ok("one."));
        }
        let views = "HISTORY: pain.\nPA AND LATERAL VIEWS OF THE CHEST: one.\nIMPRESSION: two.";
        assert_eq!(text(views, Section::Findings).as_deref(), Ok("one."));
    }

    #[test]
    fn missing_and_empty_sections_differ() {
        assert_eq!(text("IMPRESSION: two.", Section::Findings), Err(NoSection::Missing));
        assert_eq!(text("FINDINGS:\n \nIMPRESSION: two.", Section::Findings), Err(NoSection::Empty));
        assert_eq!(text("", Section::Both), Err(NoSection::Missing));
        assert_eq!(text("no heading here", Section::Impression), Err(NoSection::Missing));
        assert_eq!(text("FINDINGS:\nIMPRESSION:", Section::Both), Err(NoSection::Empty));
        let one = section("IMPRESSION: two.", Section::Both).unwrap();
        assert_eq!((one.text.as_str(), one.partial), ("two.", true));
    }

    #[test]
    fn text_with_colons_stays_text_and_capitals_end_a_section() {
        let report = "FINDINGS: Tubes: none.\nIn summary the findings are these: small.\nWET READ: ABC\nsigned";
        assert_eq!(
            text(report, Section::Findings).as_deref(),
            Ok("Tubes: none.\nIn summary the findings are these: small.")
        );
        assert_eq!(text("FINDINGS: a.\r\nRecommendation: b.\r\n", Section::Findings).as_deref(), Ok("a."));
    }
}

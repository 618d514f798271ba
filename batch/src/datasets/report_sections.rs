//! Sections of a free-text radiology report: which lines are headings, and the text under FINDINGS and IMPRESSION.
//! Sub-headings of organs stay in their section; of repeated sections the last with text counts, as in the section
//! parser of MIMIC-CXR's authors. Text is never logged.

mod headings;
mod text_file;

use serde::Deserialize;

use headings::{Head, is_banner, is_rule, opening};
pub use text_file::{NotText, text_of};

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
    /// As in the file, without the heading, lines of signs and surrounding blanks.
    pub text: String,
    /// [`Section::Both`] was requested and only one of the two is there.
    pub partial: bool,
}

/// What a stretch of a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Findings,
    Impression,
    /// Under `FINDINGS AND IMPRESSION`: serves as either.
    Joint,
    /// Under the projections as a title (`CHEST, TWO VIEWS`): findings.
    Projections,
    /// Organs as headings of a report that has neither FINDINGS nor projections: findings.
    Organs,
    Other,
}

impl Part {
    /// Whether organs and the like are sub-headings here.
    fn is_section(self) -> bool {
        matches!(self, Self::Findings | Self::Impression | Self::Joint | Self::Projections)
    }
}

/// The text of a section.
///
/// # Errors
/// [`NoSection`].
pub fn section(report: &str, wanted: Section) -> Result<SectionText, NoSection> {
    let parts = split(&text_file::plain_lines(report));
    let whole = |(_, text): (usize, String)| SectionText { text, partial: false };
    match wanted {
        Section::Findings => findings(&parts).map(whole),
        Section::Impression => impression(&parts).map(whole),
        Section::Both => match (findings(&parts), impression(&parts)) {
            // One paragraph under a joint heading is both already.
            (Ok(f), Ok(i)) if f.0 == i.0 => Ok(whole(f)),
            (Ok((_, f)), Ok((_, i))) => Ok(SectionText { text: format!("{f}\n{i}"), partial: false }),
            (Ok((_, text)), Err(_)) | (Err(_), Ok((_, text))) => Ok(SectionText { text, partial: true }),
            (Err(NoSection::Missing), Err(NoSection::Missing)) => Err(NoSection::Missing),
            (Err(_), Err(_)) => Err(NoSection::Empty),
        },
    }
}

/// Number and text of the part that is the findings section.
fn findings(parts: &[(Part, String)]) -> Result<(usize, String), NoSection> {
    let named = last(parts, &[Part::Findings, Part::Joint, Part::Projections]);
    named.or_else(|reason| last(parts, &[Part::Organs]).map_err(|_| reason))
}

fn impression(parts: &[(Part, String)]) -> Result<(usize, String), NoSection> {
    last(parts, &[Part::Impression, Part::Joint])
}

/// The last part of these kinds that has text: an addendum may repeat a section, and a heading may stand empty.
fn last(parts: &[(Part, String)], kinds: &[Part]) -> Result<(usize, String), NoSection> {
    let mut named = parts.iter().enumerate().filter(|(_, (part, _))| kinds.contains(part)).peekable();
    if named.peek().is_none() {
        return Err(NoSection::Missing);
    }
    let mut with_text = named.map(|(i, (_, text))| (i, text.trim())).filter(|(_, text)| !text.is_empty());
    with_text.next_back().map(|(i, text)| (i, text.to_owned())).ok_or(NoSection::Empty)
}

/// The report as parts with the text up to the next one.
fn split(report: &str) -> Vec<(Part, String)> {
    let mut parts: Vec<(Part, String)> = vec![(Part::Other, String::new())];
    for line in report.lines().map(str::trim) {
        if is_rule(line) {
            continue;
        }
        let (current, empty) = parts.last().map_or((Part::Other, true), |(p, text)| (*p, text.trim().is_empty()));
        let opened = if is_banner(line) { Some((Part::Other, "")) } else { opened_by(line, current, empty) };
        let text = match opened {
            Some((part, rest)) => {
                parts.push((part, String::new()));
                rest
            }
            None => line,
        };
        if let Some((_, part)) = parts.last_mut() {
            part.push_str(text.trim());
            part.push('\n');
        }
    }
    parts
}

/// The part that a line opens, and its text on that line; `None` for a line of the current part, which is `empty` so
/// far or not.
fn opened_by(line: &str, current: Part, empty: bool) -> Option<(Part, &str)> {
    let opening = opening(line)?;
    let part = match opening.head {
        Head::Findings => Part::Findings,
        Head::Impression => Part::Impression,
        Head::FindingsAndImpression => Part::Joint,
        // `OTHER FINDINGS` continues the findings and opens them where none are.
        Head::FurtherFindings if current.is_section() => return None,
        Head::FurtherFindings => Part::Findings,
        // Two views described one after the other are one section; so is a title under an empty heading.
        Head::Projections { .. } if matches!(current, Part::Findings | Part::Joint) => return None,
        Head::Projections { title: false } if current == Part::Projections => return None,
        Head::Projections { .. } if current.is_section() && (empty || !opening.capitals) => return None,
        Head::Projections { .. } => Part::Projections,
        Head::Chest if current.is_section() => return None,
        Head::Chest => Part::Projections,
        Head::Organ if current.is_section() || current == Part::Organs => return None,
        Head::Organ => return Some((Part::Organs, line)),
        Head::OtherSection => Part::Other,
        // The line after an empty heading is text whatever its capitals say.
        Head::Unknown if current.is_section() && current != Part::Projections && empty => return None,
        Head::Unknown => Part::Other,
    };
    Some((part, opening.rest))
}

#[cfg(test)]
mod tests;

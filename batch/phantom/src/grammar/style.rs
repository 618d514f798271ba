//! How a report is dictated and laid out: prose, short phrases or headings of organs, and which sections it has.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use super::{Region, Sentence, capitalised};
use crate::rates;

/// How sentences are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Style {
    /// Whole sentences.
    Prose,
    /// Phrases without verbs.
    Terse,
    /// Phrases under the names of organs.
    Structured,
}

/// Which sections a free-text report has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sections {
    /// FINDINGS, then IMPRESSION.
    Separate,
    /// IMPRESSION alone, which holds everything.
    ImpressionOnly,
    /// One section under FINDINGS AND IMPRESSION; its sentences are the report's findings.
    Joint,
    /// FINDINGS alone.
    FindingsOnly,
}

impl Sections {
    /// All of them, in the order of [`rates::SECTIONS`].
    pub const ALL: [Self; 4] = [Self::Separate, Self::ImpressionOnly, Self::Joint, Self::FindingsOnly];

    /// One of `allowed`, by the shares of [`rates::SECTIONS`].
    pub(super) fn draw(allowed: &[Self], rng: &mut ChaCha8Rng) -> Self {
        let shares = Self::ALL.map(|s| if allowed.contains(&s) { rates::SECTIONS[s as usize] } else { 0.0 });
        Self::ALL[drawn(&shares, rng)]
    }
}

impl Style {
    const ALL: [Self; 3] = [Self::Prose, Self::Terse, Self::Structured];

    /// By the shares of [`rates::STYLES`].
    pub(super) fn draw(rng: &mut ChaCha8Rng) -> Self {
        Self::ALL[drawn(&rates::STYLES, rng)]
    }

    /// A sentence as this style has it.
    pub(super) fn of(self, text: &str) -> String {
        if self == Self::Prose { text.to_owned() } else { terse(text) }
    }
}

/// The index of an alternative with a probability in proportion to its share.
fn drawn(shares: &[f64], rng: &mut ChaCha8Rng) -> usize {
    let mut at = rng.random::<f64>() * shares.iter().sum::<f64>();
    for (i, share) in shares.iter().enumerate() {
        at -= share;
        if at < 0.0 {
            return i;
        }
    }
    0
}

/// The heading of a region, as it stands before its first sentence.
fn heading(region: Region) -> &'static str {
    match region {
        Region::Lungs => "LUNGS",
        Region::Pleura => "PLEURA",
        Region::Heart => "HEART",
        Region::Mediastinum => "MEDIASTINUM",
        Region::Bones => "BONES",
    }
}

/// Puts headings before the first sentence of each region; the sentences are in the order of the regions.
pub(super) fn with_headings(stated: Vec<(Region, Sentence)>) -> Vec<Sentence> {
    let mut last = None;
    let mut headed = Vec::with_capacity(stated.len());
    for (region, mut sentence) in stated {
        if last.replace(region) != Some(region) {
            sentence.text = format!("{}: {}", heading(region), sentence.text);
        }
        headed.push(sentence);
    }
    headed
}

/// Whether a sentence begins with the heading of a region.
pub(super) fn has_heading(text: &str) -> bool {
    text.split_once(": ").is_some_and(|(head, _)| head.chars().all(|c| c.is_ascii_uppercase()))
}

/// Predicates that say no more than that something is there.
const SEEN: [&str; 8] = [
    " is seen",
    " are seen",
    " is present",
    " are present",
    " is noted",
    " are noted",
    " is identified",
    " are identified",
];

/// A sentence without its verb: `There is a small effusion.` as `Small effusion.`, `The heart is enlarged.` as `Heart
/// enlarged.`
pub(super) fn terse(text: &str) -> String {
    let body = text.trim_end_matches('.');
    let opened = ["There is ", "There are ", "The "].iter().find_map(|start| body.strip_prefix(start));
    let body = opened.unwrap_or(body);
    let ended = SEEN.iter().find_map(|end| body.strip_suffix(end));
    let body = match ended {
        Some(thing) => thing.to_owned(),
        None if opened.is_some() && !text.starts_with("The ") => body.to_owned(),
        None => {
            let verb = [" is ", " are "].into_iter().filter_map(|v| Some((body.find(v)?, v))).min();
            verb.map_or_else(|| body.to_owned(), |(_, verb)| body.replacen(verb, " ", 1))
        }
    };
    let bare = ["a ", "an ", "A ", "An "].iter().find_map(|article| body.strip_prefix(article)).unwrap_or(&body);
    capitalised(bare) + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_and_articles_go() {
        for (sentence, short) in [
            ("There is a small left pleural effusion.", "Small left pleural effusion."),
            ("There are several nodules in the left lung.", "Several nodules in the left lung."),
            ("The heart is mildly enlarged.", "Heart mildly enlarged."),
            ("The heart size is normal.", "Heart size normal."),
            ("No pneumothorax is seen.", "No pneumothorax."),
            ("There is no evidence of fracture.", "No evidence of fracture."),
            ("Both lungs are clear.", "Both lungs clear."),
            ("A cyst is seen in the left lung.", "Cyst seen in the left lung."),
        ] {
            assert_eq!(terse(sentence), short);
        }
    }

    #[test]
    fn headings_are_recognised() {
        assert!(has_heading("LUNGS: No edema.") && !has_heading("No edema.") && !has_heading("Note: no edema."));
    }
}

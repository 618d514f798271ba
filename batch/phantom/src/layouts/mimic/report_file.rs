//! A report as MIMIC-CXR files it: a header, sections in capitals, one space of indentation, lines of at most 80
//! columns, `___` where a name or a date stood.

use d2r_contracts::report_text::mentions_prior;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::catalogue::Visit;
use crate::config::Reporting;
use crate::grammar::style::Sections;

/// Columns of a line.
const WIDTH: usize = 80;

const INDICATIONS: [&str; 6] = [
    "___ year old patient with cough.",
    "___ year old patient with shortness of breath.",
    "___ year old patient with chest pain, evaluate for pneumonia.",
    "___ year old patient with fever.",
    "___ year old patient before surgery.",
    "___ year old patient after a fall on ___.",
];

pub(super) fn text(visit: &Visit, rng: &mut ChaCha8Rng) -> String {
    let lateral = visit.films.iter().any(|film| film.view_position() == "LATERAL");
    let frontal = visit.films.iter().find(|film| film.view_position() != "LATERAL");
    let (examination, technique) = match (frontal.map(|film| film.view_position()), lateral) {
        (Some("AP"), false) => ("CHEST (PORTABLE AP)", "Single portable AP view of the chest."),
        (Some(_), false) => ("CHEST (PA)", "Single frontal view of the chest."),
        (Some(_), true) => ("CHEST (PA AND LAT)", "Frontal and lateral views of the chest."),
        (None, _) => ("CHEST (LAT)", "Single lateral view of the chest."),
    };
    let indication = INDICATIONS[rng.random_range(0..INDICATIONS.len())];
    let mut text = format!("{:33}FINAL REPORT\n", "");
    text.push_str(&format!(" EXAMINATION:  {examination}\n \n"));
    text.push_str(&format!(" INDICATION:  {indication}\n \n"));
    text.push_str(&format!(" TECHNIQUE:  {technique}\n \n"));
    let report = &visit.report;
    let compared = visit.reporting == Reporting::Realistic
        && report.findings.iter().chain(&report.impression).any(|sentence| mentions_prior(&sentence.text));
    text.push_str(&format!(" COMPARISON:  {}\n \n", if compared { "___." } else { "None." }));
    let body: String = report.paragraphs().iter().map(|paragraph| wrapped(paragraph)).collect();
    match report.sections {
        Sections::Separate | Sections::FindingsOnly => text.push_str(&format!(" FINDINGS: \n \n{body} \n")),
        Sections::Joint => text.push_str(&format!(" FINDINGS AND IMPRESSION: \n \n{body}\n")),
        Sections::ImpressionOnly => text.push_str(&format!(" IMPRESSION: \n \n{body}\n")),
    }
    if report.sections == Sections::Separate {
        text.push_str(&format!(" IMPRESSION: \n \n{}\n", wrapped(&report.impression_text())));
    }
    text
}

/// Lines of at most [`WIDTH`] columns, each with one space before it and a line feed after.
fn wrapped(text: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        if column > 0 && column + 1 + word.len() > WIDTH {
            lines.push('\n');
            column = 0;
        }
        lines.push(' ');
        lines.push_str(word);
        column += 1 + word.len();
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_the_width_and_lose_no_word() {
        let text = "The left lung is clear and nothing else is said of it. ".repeat(9);
        let lines = wrapped(&text);
        assert!(lines.lines().count() > 5 && lines.lines().all(|l| l.len() <= WIDTH && l.starts_with(' ')), "{lines}");
        assert!(lines.lines().any(|l| l.len() > 70));
        assert_eq!(lines.split_whitespace().collect::<Vec<_>>(), text.split_whitespace().collect::<Vec<_>>());
        assert_eq!(wrapped(""), "\n");
    }
}

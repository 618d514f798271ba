//! What was drawn and reported, as rows of the truth tables; of realistic reports also what each sentence states, and
//! how the report treats each drawn lesion. Ids are those that ingest gives to the written
//! files. VinDr-CXR's training films are under `split=train` whatever part of them ingest takes for validation:
//! evaluation joins by image id over all splits of a dataset.

use d2r_contracts::labels::{CHEXPERT_LABELS, label_of_lesion, lesion_class_name};
use d2r_contracts::tables::{TruthFindingRow, TruthLesionRow, TruthLinkRow, TruthMentionRow, TruthStatementRow};

use crate::catalogue::{LabelledFilm, Visit};
use crate::config::Reporting;
use crate::grammar::Sentence;
use crate::layouts::identity::Split;
use crate::planned_film::{PlannedFilm, PlannedLesion};
use crate::study::Laterality;

/// The rows of one partition.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Truth {
    /// Drawn lesions.
    pub lesions: Vec<TruthLesionRow>,
    /// Sentences of the findings and the lesions that they state, also as possible.
    pub links: Vec<TruthLinkRow>,
    /// CheXpert labels of what was drawn, 14 a study; negative where a sentence denies what was not drawn.
    pub findings: Vec<TruthFindingRow>,
    /// How realistic reports treat the lesions of the first film; empty for exact ones, which name all of them.
    pub mentions: Vec<TruthMentionRow>,
    /// What the sentences of realistic reports state; empty for exact ones.
    pub statements: Vec<TruthStatementRow>,
}

/// The truth of one split of a labelled set. A film is its own study; labels are positive or blank, since no report
/// negates anything.
pub fn of_labelled(films: &[LabelledFilm], split: Split) -> Truth {
    let mut truth = Truth::default();
    for labelled in films.iter().filter(|f| f.split == split) {
        let film = &labelled.film;
        truth.lesions.extend(lesion_rows(film));
        let positive = |label: &str| match label {
            "No Finding" => film.lesions.is_empty(),
            _ => film.lesions.iter().any(|l| label_of_lesion(l.placed.class_id) == Some(label)),
        };
        truth.findings.extend(CHEXPERT_LABELS.map(|label| TruthFindingRow {
            study_id: film.image_id.clone(),
            label: label.to_owned(),
            state: if positive(label) { "positive" } else { "blank" }.to_owned(),
        }));
    }
    truth
}

/// The truth of one split of a set with reports. Reports describe the first film of a study.
pub fn of_visits(visits: &[Visit], split: Split) -> Truth {
    let mut truth = Truth::default();
    for visit in visits.iter().filter(|v| v.split == split) {
        truth.lesions.extend(visit.films.iter().flat_map(lesion_rows));
        for (sentence_id, sentence) in (0i32..).zip(&visit.report.findings) {
            truth.links.extend(sentence.facts.iter().filter_map(|&fact| {
                let film = visit.films.first()?;
                let lesion = film.lesions.get(fact)?;
                Some(TruthLinkRow {
                    study_id: visit.study_id.clone(),
                    sentence_id,
                    box_id: lesion.box_id.clone(),
                    image_id: film.image_id.clone(),
                    class_id: lesion.placed.class_id,
                })
            }));
        }
        let states = visit.report.labels(&visit.facts);
        truth.findings.extend(CHEXPERT_LABELS.into_iter().zip(states).map(|(label, state)| TruthFindingRow {
            study_id: visit.study_id.clone(),
            label: label.to_owned(),
            state: state.as_str().to_owned(),
        }));
        if visit.reporting == Reporting::Realistic {
            truth.mentions.extend(mention_rows(visit));
            truth.statements.extend(statement_rows(visit));
        }
    }
    truth
}

fn mention_rows(visit: &Visit) -> impl Iterator<Item = TruthMentionRow> {
    let films = visit.films.first().into_iter();
    films.flat_map(|film| film.lesions.iter().enumerate().map(move |lesion| (film, lesion))).map(
        |(film, (fact, lesion))| {
            let states = |sentences: &[Sentence]| sentences.iter().any(|sentence| sentence.facts.contains(&fact));
            TruthMentionRow {
                study_id: visit.study_id.clone(),
                box_id: lesion.box_id.clone(),
                image_id: film.image_id.clone(),
                class_id: lesion.placed.class_id,
                mention: visit.report.mention(fact).as_str().to_owned(),
                in_findings: states(&visit.report.findings),
                in_impression: states(&visit.report.impression),
            }
        },
    )
}

fn statement_rows(visit: &Visit) -> Vec<TruthStatementRow> {
    let mut rows = Vec::new();
    for (section, sentences) in [("findings", &visit.report.findings), ("impression", &visit.report.impression)] {
        for (sentence_id, sentence) in (0i32..).zip(sentences) {
            rows.extend(sentence.states().map(|(label, state)| TruthStatementRow {
                study_id: visit.study_id.clone(),
                section: section.to_owned(),
                sentence_id,
                label: label.to_owned(),
                state: state.as_str().to_owned(),
            }));
        }
    }
    rows
}

fn lesion_rows(film: &PlannedFilm) -> Vec<TruthLesionRow> {
    film.lesions
        .iter()
        .map(|PlannedLesion { box_id, placed: lesion }| TruthLesionRow {
            image_id: film.image_id.clone(),
            box_id: box_id.clone(),
            class_name: lesion_class_name(lesion.class_id).unwrap_or("Other lesion").to_owned(),
            class_id: lesion.class_id,
            x_min: lesion.box_.x_min,
            y_min: lesion.box_.y_min,
            x_max: lesion.box_.x_max,
            y_max: lesion.box_.y_max,
            side: match lesion.laterality {
                Laterality::Left => "left",
                Laterality::Right => "right",
                Laterality::Midline => "midline",
            }
            .to_owned(),
            small: lesion.small,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::catalogue::Catalogue;
    use crate::config::PhantomConfig;
    use crate::grammar::terms::named_classes;

    fn catalogue() -> Catalogue {
        Catalogue::plan(&PhantomConfig::of_tests(), 9223)
    }

    #[test]
    fn links_lead_from_sentences_to_boxes_of_the_classes_that_they_name() {
        let catalogue = catalogue();
        let mut linked = BTreeSet::new();
        for split in [Split::Train, Split::Val, Split::Test] {
            let truth = of_visits(&catalogue.mimic, split);
            for link in &truth.links {
                let visit = catalogue.mimic.iter().find(|v| v.study_id == link.study_id).unwrap();
                assert_eq!(visit.split, split);
                let text = visit.report.findings[link.sentence_id as usize].text.to_lowercase();
                let class = lesion_class_name(link.class_id).unwrap();
                assert!(named_classes(&text).contains(&class), "{class}: {text}");
                let lesion = truth.lesions.iter().find(|l| l.box_id == link.box_id).unwrap();
                assert!(lesion.image_id == link.image_id && lesion.class_id == link.class_id);
                assert!(linked.insert(link.box_id.clone()), "a box is spoken of once");
            }
        }
        let of_first_films: usize = catalogue.mimic.iter().map(|v| v.films[0].lesions.len()).sum();
        assert_eq!(linked.len(), of_first_films);
    }

    #[test]
    fn boxes_lie_in_their_films_and_every_study_has_14_labels() {
        let catalogue = catalogue();
        let (width, height) = catalogue.vindr[0].film.size();
        for split in [Split::Train, Split::Test] {
            let truth = of_labelled(&catalogue.vindr, split);
            let films = catalogue.vindr.iter().filter(|f| f.split == split).count();
            assert_eq!(truth.findings.len(), films * 14);
            let ids: BTreeSet<&str> = truth.lesions.iter().map(|l| l.box_id.as_str()).collect();
            assert_eq!(ids.len(), truth.lesions.len());
            for lesion in &truth.lesions {
                assert!(
                    lesion.x_min >= 0.0 && lesion.x_min < lesion.x_max && lesion.x_max <= width as f32,
                    "{lesion:?}"
                );
                assert!(
                    lesion.y_min >= 0.0 && lesion.y_min < lesion.y_max && lesion.y_max <= height as f32,
                    "{lesion:?}"
                );
            }
        }
    }

    #[test]
    fn a_film_without_lesions_has_no_finding() {
        let catalogue = catalogue();
        let truth = of_labelled(&catalogue.vindr, Split::Train);
        let normal: BTreeSet<&str> =
            catalogue.vindr.iter().filter(|f| f.film.lesions.is_empty()).map(|f| f.film.image_id.as_str()).collect();
        assert!(normal.len() > 30, "{}", normal.len());
        for row in truth.findings.iter().filter(|row| row.label == "No Finding") {
            assert_eq!(row.state == "positive", normal.contains(row.study_id.as_str()));
        }
    }

    fn realistic() -> Catalogue {
        Catalogue::plan(&PhantomConfig { reports: Reporting::Realistic, ..PhantomConfig::of_tests() }, 9223)
    }

    #[test]
    fn what_was_drawn_does_not_depend_on_how_it_is_reported() {
        let (exact, realistic) = (catalogue(), realistic());
        let positive = |truth: &Truth| -> BTreeSet<(String, String)> {
            let rows = truth.findings.iter().filter(|row| row.state == "positive");
            rows.map(|row| (row.study_id.clone(), row.label.clone())).collect()
        };
        for split in [Split::Train, Split::Val, Split::Test] {
            let (exact, realistic) = (of_visits(&exact.mimic, split), of_visits(&realistic.mimic, split));
            assert_eq!(exact.lesions, realistic.lesions);
            assert_eq!(positive(&exact), positive(&realistic));
            assert!(exact.mentions.is_empty() && exact.statements.is_empty());
        }
    }

    #[test]
    fn every_lesion_of_a_first_film_has_one_mention_and_links_agree() {
        let catalogue = realistic();
        let truth = of_visits(&catalogue.mimic, Split::Train);
        let visits: Vec<&Visit> = catalogue.mimic.iter().filter(|v| v.split == Split::Train).collect();
        let drawn: usize = visits.iter().map(|v| v.films[0].lesions.len()).sum();
        assert_eq!(truth.mentions.len(), drawn);
        let linked: BTreeSet<&str> = truth.links.iter().map(|link| link.box_id.as_str()).collect();
        for row in &truth.mentions {
            assert_eq!(row.in_findings, linked.contains(row.box_id.as_str()), "{row:?}");
            let stated = row.in_findings || row.in_impression;
            assert_eq!(stated, ["named", "described", "hedged"].contains(&row.mention.as_str()), "{row:?}");
        }
        let words: BTreeSet<&str> = truth.mentions.iter().map(|row| row.mention.as_str()).collect();
        assert_eq!(words, BTreeSet::from(["denied", "described", "hedged", "named", "omitted"]));
    }

    #[test]
    fn statements_are_those_of_the_report_and_their_keys_are_unique() {
        let catalogue = realistic();
        let truth = of_visits(&catalogue.mimic, Split::Train);
        let keys: BTreeSet<_> =
            truth.statements.iter().map(|row| (&row.study_id, &row.section, row.sentence_id, &row.label)).collect();
        assert_eq!(keys.len(), truth.statements.len());
        for visit in catalogue.mimic.iter().filter(|v| v.split == Split::Train) {
            for (label, state) in CHEXPERT_LABELS.into_iter().zip(visit.report.stated()).take(13) {
                let states: BTreeSet<&str> = truth
                    .statements
                    .iter()
                    .filter(|row| row.study_id == visit.study_id && row.label == label)
                    .map(|row| row.state.as_str())
                    .collect();
                let strongest = ["positive", "uncertain", "negative"].into_iter().find(|state| states.contains(state));
                assert_eq!(strongest.unwrap_or("blank"), state.as_str(), "{label}");
            }
        }
    }
}

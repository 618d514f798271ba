//! Everything a phantom holds, planned before anything is drawn: which films and studies, under which ids, in which
//! split, with which lesions and which report. Plans are small; pixels are drawn when a film is written.

use rand::RngExt;
use rayon::prelude::*;

use super::grammar;
use crate::config::{PhantomConfig, Reporting};
use crate::grammar::realistic;
use crate::grammar::style::Sections;
use crate::grammar::{Fact, Report};
use crate::layouts::Layout;
use crate::layouts::identity::{Split, SplitShares, dicom_id, hex_id, stream, study_number, subject_number, uuid};
use crate::planned_film::PlannedFilm;
use crate::study::{PhantomStudy, PlanOptions, Projection};

/// Films of the Kaggle layout and studies of the R2Gen layout: at most this many, and no more than a quarter of the
/// set that they accompany. The two layouts hold other file formats, not other content.
pub const SMALL_SET: u32 = 24;
/// Share of the lateral films that are their study's only film.
const LATERAL_ALONE: f64 = 0.25;

/// Which of the labelled sets a film belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelledSet {
    /// The PhysioNet layout.
    Physionet,
    /// The Kaggle layout.
    Kaggle,
    Nih,
    Rsna,
    ChestxDet,
}

impl LabelledSet {
    fn drawing(self) -> &'static str {
        match self {
            Self::Physionet => "vindr",
            Self::Kaggle => "vindr_kaggle",
            Self::Nih => "nih",
            Self::Rsna => "rsna",
            Self::ChestxDet => "chestx_det",
        }
    }

    /// The random stream of the annotators.
    pub fn readings(self) -> String {
        format!("{} readings", self.drawing())
    }

    /// The id of a film, in the shape of the set's ids.
    fn image_id(self, seed: u64, plan: &PhantomStudy) -> String {
        let purpose = self.drawing();
        match self {
            Self::Physionet | Self::Kaggle => hex_id(seed, purpose, plan.index),
            Self::Nih => format!("{:08}_{:03}", plan.subject + 1, plan.visit),
            Self::Rsna => uuid(seed, purpose, plan.index),
            Self::ChestxDet => format!("{}", 36_199 + plan.index),
        }
    }
}

/// A film that annotators box.
#[derive(Debug, Clone)]
pub struct LabelledFilm {
    /// Position in its set.
    pub index: u64,
    pub set: LabelledSet,
    /// Training or test; ingest takes the validation split out of the training films.
    pub split: Split,
    pub film: PlannedFilm,
    /// How its annotators work.
    pub reporting: Reporting,
}

/// A study with a report.
#[derive(Debug, Clone)]
pub struct Visit {
    /// Position in its set.
    pub index: u64,
    /// The subject; `p` and eight digits in the MIMIC layout.
    pub subject_id: String,
    /// The study; `s` and eight digits in the MIMIC layout.
    pub study_id: String,
    /// All studies of a subject are in one split.
    pub split: Split,
    /// One film or two; the report describes the first.
    pub films: Vec<PlannedFilm>,
    /// Input of the grammar: the first film's lesions, in their order.
    pub facts: Vec<Fact>,
    /// Text and labels.
    pub report: Report,
    /// How the report relates to the facts.
    pub reporting: Reporting,
}

/// The sets of a phantom; those whose layout is not written are empty.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    layouts: Vec<Layout>,
    /// VinDr-CXR, PhysioNet layout.
    pub vindr: Vec<LabelledFilm>,
    /// VinDr-CXR, Kaggle layout.
    pub vindr_kaggle: Vec<LabelledFilm>,
    /// MIMIC-CXR-JPG layout.
    pub mimic: Vec<Visit>,
    /// R2Gen layout: the first studies of `mimic` whose report has findings.
    pub annotation: Vec<Visit>,
    /// IU X-Ray layout.
    pub iu_xray: Vec<Visit>,
    /// NIH ChestX-ray14 layout.
    pub nih: Vec<LabelledFilm>,
    /// RSNA layout.
    pub rsna: Vec<LabelledFilm>,
    /// ChestX-Det layout.
    pub chestx_det: Vec<LabelledFilm>,
    /// Open-i layout.
    pub openi: Vec<Visit>,
}

/// The films of one layout.
#[derive(Debug, Clone, Copy)]
pub enum PlannedSet<'a> {
    Labelled(&'a [LabelledFilm]),
    Visits(&'a [Visit]),
}

impl Catalogue {
    /// Plans the usual layouts of a phantom.
    pub fn plan(config: &PhantomConfig, seed: u64) -> Self {
        Self::of_layouts(config, seed, &Layout::USUAL)
    }

    /// Plans a phantom in some layouts.
    pub fn of_layouts(config: &PhantomConfig, seed: u64, layouts: &[Layout]) -> Self {
        let mut catalogue = Self { layouts: layouts.to_vec(), ..Self::default() };
        catalogue.layouts.sort_unstable();
        catalogue.layouts.dedup();
        let small = |of: u32| SMALL_SET.min(of.div_ceil(4));
        let all = config.labelled_images;
        for layout in catalogue.layouts.clone() {
            match layout {
                Layout::Vindr => catalogue.vindr = labelled(config, seed, LabelledSet::Physionet, all),
                Layout::VindrKaggle => {
                    catalogue.vindr_kaggle = labelled(config, seed, LabelledSet::Kaggle, small(all));
                }
                Layout::Mimic => catalogue.mimic = mimic(config, seed),
                Layout::Annotation => {
                    let first = small(config.report_studies) as usize;
                    let with_findings = |visit: &Visit| !visit.report.findings.is_empty();
                    catalogue.annotation = if catalogue.mimic.is_empty() {
                        mimic(config, seed).into_iter().filter(with_findings).take(first).collect()
                    } else {
                        catalogue.mimic.iter().filter(|v| with_findings(v)).take(first).cloned().collect()
                    };
                }
                Layout::IuXray => catalogue.iu_xray = iu_xray(config, seed),
                Layout::Nih => catalogue.nih = labelled(config, seed, LabelledSet::Nih, all),
                Layout::Rsna => catalogue.rsna = labelled(config, seed, LabelledSet::Rsna, all),
                Layout::ChestxDet => catalogue.chestx_det = labelled(config, seed, LabelledSet::ChestxDet, all),
                Layout::Openi => catalogue.openi = openi(config, seed),
            }
        }
        catalogue
    }

    /// The layouts that are written, in order.
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The films of each layout.
    pub fn sets(&self) -> impl Iterator<Item = (Layout, PlannedSet<'_>)> {
        self.layouts.iter().map(|&layout| {
            let set = match layout {
                Layout::Vindr => PlannedSet::Labelled(&self.vindr),
                Layout::VindrKaggle => PlannedSet::Labelled(&self.vindr_kaggle),
                Layout::Mimic => PlannedSet::Visits(&self.mimic),
                Layout::Annotation => PlannedSet::Visits(&self.annotation),
                Layout::IuXray => PlannedSet::Visits(&self.iu_xray),
                Layout::Nih => PlannedSet::Labelled(&self.nih),
                Layout::Rsna => PlannedSet::Labelled(&self.rsna),
                Layout::ChestxDet => PlannedSet::Labelled(&self.chestx_det),
                Layout::Openi => PlannedSet::Visits(&self.openi),
            };
            (layout, set)
        })
    }

    /// Films to be written.
    pub fn images(&self) -> u64 {
        let of_set = |(_, set)| match set {
            PlannedSet::Labelled(films) => films.len(),
            PlannedSet::Visits(visits) => visits.iter().map(|v| v.films.len()).sum(),
        };
        self.sets().map(of_set).sum::<usize>() as u64
    }
}

fn options(config: &PhantomConfig) -> PlanOptions {
    PlanOptions { size: config.size, normal_share: config.normal_share, lateral: false }
}

/// The frontal plans of a set, each with the split of its subject.
fn plans(
    config: &PhantomConfig,
    seed: u64,
    purpose: &str,
    count: u32,
    mut shares: SplitShares,
) -> Vec<(Split, PhantomStudy)> {
    let options = options(config);
    let plans: Vec<PhantomStudy> = (0..u64::from(count))
        .into_par_iter()
        .map(|index| PhantomStudy::draw_plan(seed, purpose, index, &options))
        .collect();
    let of_subject = plans.chunk_by(|a, b| a.subject == b.subject);
    of_subject
        .flat_map(|studies| {
            let split = shares.next(studies.len());
            studies.iter().map(move |study| (split, study.clone()))
        })
        .collect()
}

fn labelled(config: &PhantomConfig, seed: u64, set: LabelledSet, count: u32) -> Vec<LabelledFilm> {
    // The training films are all written as such; validation is ingest's choice.
    let shares = SplitShares::new(0.0, config.test_share);
    let films = plans(config, seed, set.drawing(), count, shares).into_iter().map(|(split, mut plan)| {
        if matches!(set, LabelledSet::Physionet | LabelledSet::Kaggle) {
            // VinDr-CXR holds PA films only.
            plan.view = Projection::Pa;
        }
        let (index, reporting) = (plan.index, config.reports);
        LabelledFilm { index, set, split, film: PlannedFilm::new(set.image_id(seed, &plan), plan), reporting }
    });
    films.collect()
}

fn mimic(config: &PhantomConfig, seed: u64) -> Vec<Visit> {
    let reports = Reports { reporting: config.reports, seed, purpose: "mimic report", sections: &Sections::ALL };
    let shares = SplitShares::new(config.val_share, config.test_share);
    let visit = |(split, frontal): (Split, PhantomStudy)| {
        let index = frontal.index;
        let mut rng = stream(seed, "mimic views", index);
        let (lateral, alone) = (rng.random_bool(config.lateral_share), rng.random_bool(LATERAL_ALONE));
        let ids = (format!("p{}", subject_number(seed, frontal.subject)), format!("s{}", study_number(seed, index)));
        let plans = match (lateral, alone) {
            (true, true) => vec![frontal.lateral()],
            (true, false) => {
                let laterality = frontal.lateral();
                vec![frontal, laterality]
            }
            (false, _) => vec![frontal],
        };
        let name = |place| dicom_id(seed, "mimic film", index * 2 + place);
        let films = (0..).zip(plans).map(|(place, plan)| PlannedFilm::new(name(place), plan)).collect();
        Visit::new(&reports, index, ids, split, films)
    };
    plans(config, seed, "mimic", config.report_studies, shares).into_iter().map(visit).collect()
}

fn iu_xray(config: &PhantomConfig, seed: u64) -> Vec<Visit> {
    // R2Gen's files hold the findings of the reports that have them.
    let sections = &[Sections::Separate, Sections::FindingsOnly];
    let reports = Reports { reporting: config.reports, seed, purpose: "iu_xray report", sections };
    let shares = SplitShares::new(config.val_share, config.test_share);
    let visit = |(split, frontal): (Split, PhantomStudy)| {
        let index = frontal.index;
        let study = format!("CXR{}_IM-{:04}", index + 1, 1001 + index);
        let laterality = frontal.lateral();
        // Ingest numbers the images of an example.
        let films = [frontal, laterality].into_iter().enumerate();
        let films = films.map(|(place, plan)| PlannedFilm::new(format!("{study}_{place}"), plan)).collect();
        Visit::new(&reports, index, (study.clone(), study), split, films)
    };
    plans(config, seed, "iu_xray", config.two_view_studies, shares).into_iter().map(visit).collect()
}

/// Open-i's: a frontal film and a lateral one, no published split.
fn openi(config: &PhantomConfig, seed: u64) -> Vec<Visit> {
    // The files have a field for each section.
    let sections = &[Sections::Separate, Sections::ImpressionOnly, Sections::FindingsOnly];
    let reports = Reports { reporting: config.reports, seed, purpose: "openi report", sections };
    let visit = |(split, frontal): (Split, PhantomStudy)| {
        let index = frontal.index;
        let study = format!("CXR{}", index + 1);
        let lateral = frontal.lateral();
        let name = |number| format!("{study}_IM-{:04}-{number}", 1 + index);
        let films = vec![PlannedFilm::new(name(1001), frontal), PlannedFilm::new(name(2001), lateral)];
        Visit::new(&reports, index, (study.clone(), study), split, films)
    };
    let shares = SplitShares::new(0.0, 0.0);
    plans(config, seed, "openi", config.report_studies, shares).into_iter().map(visit).collect()
}

/// How the reports of a set are written.
struct Reports {
    reporting: Reporting,
    seed: u64,
    /// Name of the random stream.
    purpose: &'static str,
    /// What sections realistic reports may have.
    sections: &'static [Sections],
}

impl Reports {
    fn write(&self, facts: &[Fact], index: u64) -> Report {
        let mut rng = stream(self.seed, self.purpose, index);
        match self.reporting {
            Reporting::Exact => grammar::write(facts, &mut rng),
            Reporting::Realistic => realistic::write(facts, self.sections, &mut rng),
        }
    }
}

impl Visit {
    fn new(
        reports: &Reports,
        index: u64,
        (subject_id, study_id): (String, String),
        split: Split,
        films: Vec<PlannedFilm>,
    ) -> Self {
        let spoken_of = films.first().map_or(&[][..], |film| &film.lesions);
        let facts: Vec<Fact> = spoken_of.iter().map(|lesion| Fact::from(&lesion.placed)).collect();
        let report = reports.write(&facts, index);
        Self { index, subject_id, study_id, split, films, facts, report, reporting: reports.reporting }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn planned() -> Catalogue {
        // As many studies as the demo has; small images are planned fast.
        let sizes = PhantomConfig {
            labelled_images: 480,
            report_studies: 700,
            two_view_studies: 12,
            ..PhantomConfig::of_tests()
        };
        Catalogue::plan(&sizes, 9223)
    }

    #[test]
    fn subjects_stay_in_one_split_and_every_split_has_studies() {
        let catalogue = planned();
        let mut split_of: BTreeMap<&str, Split> = BTreeMap::new();
        for visit in &catalogue.mimic {
            assert_eq!(*split_of.entry(&visit.subject_id).or_insert(visit.split), visit.split, "{}", visit.subject_id);
        }
        assert!(split_of.len() < catalogue.mimic.len(), "some subjects come twice");
        for visits in [&catalogue.mimic, &catalogue.annotation, &catalogue.iu_xray] {
            let splits: BTreeSet<Split> = visits.iter().map(|v| v.split).collect();
            assert_eq!(splits.len(), 3);
        }
        let test = catalogue.vindr.iter().filter(|f| f.split == Split::Test).count();
        assert!((70..=74).contains(&test) && catalogue.vindr.len() == 480, "{test}");
    }

    #[test]
    fn ids_are_unique_in_their_dataset() {
        let catalogue = planned();
        let films: Vec<&str> = catalogue.mimic.iter().flat_map(|v| &v.films).map(|f| f.image_id.as_str()).collect();
        assert_eq!(films.iter().collect::<BTreeSet<_>>().len(), films.len());
        let studies: BTreeSet<&str> = catalogue.mimic.iter().map(|v| v.study_id.as_str()).collect();
        assert_eq!(studies.len(), catalogue.mimic.len());
        let both = catalogue.vindr.iter().chain(&catalogue.vindr_kaggle).map(|f| f.film.image_id.as_str());
        assert_eq!(both.collect::<BTreeSet<_>>().len(), catalogue.vindr.len() + catalogue.vindr_kaggle.len());
    }

    #[test]
    fn lateral_films_are_second_views_and_some_stand_alone() {
        let catalogue = planned();
        let lateral = |f: &PlannedFilm| f.view_position() == "LATERAL";
        let second = catalogue.mimic.iter().filter(|v| v.films.len() == 2 && lateral(&v.films[1])).count();
        let alone = catalogue.mimic.iter().filter(|v| v.films.len() == 1 && lateral(&v.films[0])).count();
        assert!((30..=80).contains(&second) && (5..=35).contains(&alone), "{second} {alone}");
        assert!(catalogue.iu_xray.iter().all(|v| v.films.len() == 2 && lateral(&v.films[1])));
    }

    #[test]
    fn facts_are_the_first_films_lesions() {
        for visit in planned().mimic {
            let of_film: Vec<i32> = visit.films[0].lesions.iter().map(|l| l.placed.class_id).collect();
            assert_eq!(visit.facts.iter().map(|f| f.class_id).collect::<Vec<_>>(), of_film);
        }
    }
}

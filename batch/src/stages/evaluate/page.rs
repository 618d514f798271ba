//! The page of a split, from its tables and radiographs.

use std::collections::BTreeMap;

use d2r_contracts::labels::lesion_class_name;
use d2r_contracts::rows::Row;
use d2r_contracts::space::ImageSize;
use d2r_contracts::tables::{
    FailureRow, GeneratedReportRow, ImageRow, LesionRow, ReportRow, ReportSentenceRow, SentenceBoxRow, TimingRow,
    TrainLogRow,
};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Args, EvaluatedSplit, resampling};
use crate::context::Context;
use crate::datasets::source::read_radiograph;
use crate::error::{Error, Result};
use crate::eval::detection::detection_figures::DetectionFigures;
use crate::eval::figure::Figure;
use crate::eval::page::gallery::{Case, CaseBox, CaseSentence, picture};
use crate::eval::page::html_report::{FailureCount, FigureGroup, Page, PageKind, Timing};
use crate::eval::page::plots;
use crate::eval::text::bleu::BleuCounts;
use crate::eval::text::label_f1::{MICRO, label_f1};
use crate::eval::text::report_figures::{ReferenceReport, ReportFigures, link_figures};
use crate::eval::text::rouge::rouge_l_one;
use crate::eval::truth::Truth;
use crate::stages::evaluate::inputs::{DetectorInput, ReportsInput, reference_reports};
use crate::stages::report::FOLDER;
use d2r_contracts::report_labeler::label;
use d2r_contracts::report_text::{readable, readable_sentences, sentences_with_source};

/// Curves in the precision-recall plot; more could not be distinguished.
const CURVES: usize = 9;
/// Share of the shown studies that are abnormal, where there are enough.
const ABNORMAL_SHARE: f64 = 0.75;

/// `None` for inputs that are not there: the page leaves them out.
fn optional<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::InputMissing { .. } | Error::NoRows { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// A page without content. A folder of images has no name in a lake: its own name is shown.
fn heading(split: &EvaluatedSplit, args: &Args) -> Result<Page> {
    if (args.dataset.as_str(), args.split.as_str()) != FOLDER {
        return Ok(Page { subject: format!("{}, {} split", args.dataset, args.split), ..Page::default() });
    }
    let root = split.lake.dataset_root(&args.dataset)?;
    let name = root.file_name().map_or_else(|| root.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(Page { kind: PageKind::Reports, subject: format!("Radiographs of {name}"), ..Page::default() })
}

pub(super) fn build(ctx: &Context, split: &EvaluatedSplit, args: &Args) -> Result<Page> {
    let mut page = heading(split, args)?;
    if let Some(input) = optional(DetectorInput::read(split, args))? {
        let computed = DetectionFigures::of(&input.boxes, &input.labels, input.truth, resampling(ctx));
        add_group(&mut page, "Detector", &computed.figures);
        let mut curves = computed.curves;
        // The classes with most truth boxes; the mean is first.
        let truths =
            |name: &str| computed.classes.iter().find(|(n, _)| n == name).map_or(usize::MAX, |(_, c)| c.truths);
        curves.sort_by_key(|(name, _)| std::cmp::Reverse(truths(name)));
        curves.truncate(CURVES);
        page.plots.extend(plots::precision_recall(&curves)?);
        page.plots.extend(plots::froc(&computed.froc)?);
        page.classes = computed.classes;
        identify(&mut page, "Detector weights", input.model_sha256);
    }
    if let Some(input) = optional(ReportsInput::read(ctx, split, args))? {
        let computed = ReportFigures::of(&input.pairs, &input.train, resampling(ctx));
        add_group(&mut page, "Reports", &computed.figures);
        if let Some(links) = &input.links {
            let iou_min = ctx.config.evaluate.link_iou_min;
            add_group(&mut page, "Sentence-to-box links", &link_figures(links, iou_min, resampling(ctx)));
        }
        page.plots.extend(plots::label_bars(&computed.labels)?);
        page.labels = computed.labels;
        identify(&mut page, "Report model weights", input.model_sha256);
    }
    let log: Vec<TrainLogRow> = all_rows(split)?;
    page.plots.extend(plots::training(&log)?);
    page.cases = cases(ctx, split, args)?;
    page.timings = all_rows::<TimingRow>(split)?.iter().map(timing).collect();
    page.failures = failures(all_rows(split)?);
    identify(&mut page, "Code version", Some(env!("CARGO_PKG_VERSION").into()));
    identify(&mut page, "Seed", Some(ctx.config.run.seed.to_string()));
    Ok(page)
}

fn add_group(page: &mut Page, title: &str, figures: &[Figure]) {
    if !figures.is_empty() {
        page.groups.push(FigureGroup { title: title.to_owned(), rows: figures.iter().map(Figure::page_row).collect() });
    }
}

fn identify(page: &mut Page, name: &str, value: Option<String>) {
    page.identity.extend(value.map(|v| (name.to_owned(), v)));
}

/// The rows of a table in all partitions of the lake.
fn all_rows<R: Row>(split: &EvaluatedSplit) -> Result<Vec<R>> {
    Ok(split.lake.read_all()?.into_iter().flat_map(|(_, rows)| rows).collect())
}

fn timing(row: &TimingRow) -> Timing {
    let seconds = [row.read_ms, row.decode_ms, row.model_ms, row.write_ms].map(|ms| ms / 1000.0);
    Timing { stage: format!("{} {}", row.stage, row.shard), n: row.n, seconds }
}

fn failures(rows: Vec<FailureRow>) -> Vec<FailureCount> {
    let mut counts: BTreeMap<(String, String), FailureCount> = BTreeMap::new();
    for row in rows {
        let example = row.path.or(row.image_id).unwrap_or_default();
        let key = (row.stage.clone(), row.code.clone());
        let count = counts.entry(key).or_insert(FailureCount { stage: row.stage, code: row.code, n: 0, example });
        count.n += 1;
    }
    counts.into_values().collect()
}

/// Studies to show: a random sample by the seed, mostly abnormal ones, in the order of report ids.
fn chosen(
    ctx: &Context,
    mut reports: Vec<GeneratedReportRow>,
    is_abnormal: impl Fn(&GeneratedReportRow) -> bool,
) -> Vec<GeneratedReportRow> {
    let wanted = ctx.config.evaluate.gallery_studies;
    let mut rng = ChaCha8Rng::seed_from_u64(ctx.config.run.seed);
    reports.shuffle(&mut rng);
    let (abnormal, normal): (Vec<_>, Vec<_>) = reports.into_iter().partition(is_abnormal);
    let abnormal_max = ((wanted as f64 * ABNORMAL_SHARE).ceil() as usize).max(wanted.saturating_sub(normal.len()));
    let abnormal: Vec<_> = abnormal.into_iter().take(abnormal_max).collect();
    let left = wanted.saturating_sub(abnormal.len());
    let mut shown: Vec<_> = abnormal.into_iter().chain(normal.into_iter().take(left)).collect();
    shown.sort_by(|a, b| a.report_id.cmp(&b.report_id));
    shown
}

fn cases(ctx: &Context, split: &EvaluatedSplit, args: &Args) -> Result<Vec<Case>> {
    let references = reference_reports(split.read::<ReportRow>()?, &ctx.config.ingest.section);
    let abnormal = |g: &GeneratedReportRow| {
        let labels = references.get(&g.study_id).map_or_else(|| label(&g.text), ReferenceReport::labels);
        labels.last() != Some(&d2r_contracts::labels::LabelState::Positive)
    };
    let reports = chosen(ctx, split.read()?, abnormal);
    if reports.is_empty() {
        return Ok(Vec::new());
    }
    let tables = Tables {
        images: split.read::<ImageRow>()?.into_iter().map(|i| (i.image_id.clone(), i)).collect(),
        lesions: split.read()?,
        sentences: split.read()?,
        links: split.read()?,
        truth: args.truth.as_ref().map(|folder| Truth::read(folder, &args.dataset)).transpose()?,
    };
    let root = optional(split.lake.dataset_root(&args.dataset))?;
    let options = ctx.decode_options();
    let mut cases = Vec::new();
    for report in &reports {
        ctx.stop.check()?;
        let mut case = tables.case(report, references.get(&report.study_id));
        let image = root.as_ref().zip(tables.images.get(&report.image_id));
        // The page shows a missing file as such; the table of failures is not the page's to write.
        if let Some(radiograph) = image.and_then(|(root, image)| read_radiograph(root, image, &options).ok()) {
            case.size = radiograph.size();
            case.picture = Some(picture(&radiograph)?);
        }
        cases.push(case);
    }
    Ok(cases)
}

struct Tables {
    images: BTreeMap<String, ImageRow>,
    lesions: Vec<LesionRow>,
    sentences: Vec<ReportSentenceRow>,
    links: Vec<SentenceBoxRow>,
    truth: Option<Truth>,
}

impl Tables {
    fn case(&self, report: &GeneratedReportRow, reference: Option<&ReferenceReport>) -> Case {
        let class_name = |id: i32| lesion_class_name(id).unwrap_or("unknown class").to_owned();
        let boxes: Vec<CaseBox> = self
            .lesions
            .iter()
            .filter(|l| l.image_id == report.image_id && l.source == "pseudo" && l.accepted)
            .map(|l| CaseBox {
                box_id: l.box_id.clone(),
                class_id: l.class_id,
                class_name: l.class_name.clone(),
                score: Some(l.score),
                region: l.region(),
            })
            .collect();
        let drawn = self.truth.iter().flat_map(|t| t.lesions_of(&report.image_id));
        let truths = drawn.enumerate().map(|(i, l)| CaseBox {
            box_id: format!("truth-{i}"),
            class_id: l.class_id,
            class_name: class_name(l.class_id),
            score: None,
            region: l.region,
        });
        let links_of = |sentence: i32| {
            let own = self.links.iter().filter(move |l| l.report_id == report.report_id && l.sentence_id == sentence);
            own.map(|l| l.box_id.clone()).collect()
        };
        let sentences = self.sentences.iter().filter(|s| s.report_id == report.report_id);
        let texts = readable_sentences(&report.text);
        let text_of = |s: &ReportSentenceRow| {
            let text = usize::try_from(s.sentence_id).ok().and_then(|i| texts.get(i)).cloned();
            text.unwrap_or_else(|| readable(&s.text))
        };
        let image = self.images.get(&report.image_id);
        let size = |n: Option<i32>| n.and_then(|n| u32::try_from(n).ok()).unwrap_or(512);
        Case {
            study_id: report.study_id.clone(),
            size: ImageSize { width: size(image.and_then(|i| i.width)), height: size(image.and_then(|i| i.height)) },
            picture: None,
            boxes,
            truths: truths.collect(),
            generated: sentences.map(|s| CaseSentence { text: text_of(s), box_ids: links_of(s.sentence_id) }).collect(),
            reference: reference.map(source_sentences).unwrap_or_default(),
            scores: reference.map(|reference| scores(&report.text, reference)).unwrap_or_default(),
            flags: flags(report),
        }
    }
}

/// The sentences of a reference as they stand in its source, one line each.
fn source_sentences(reference: &ReferenceReport) -> Vec<String> {
    let sentences = sentences_with_source(&reference.text_clean, &reference.text);
    sentences.into_iter().map(|(_, source)| readable(&source)).collect()
}

fn scores(generated: &str, reference: &ReferenceReport) -> Vec<(String, String)> {
    let references = [reference.text_clean.clone()];
    let labels = [(reference.labels(), label(generated))];
    [
        ("BLEU-4", BleuCounts::of(generated, &references).score()[3]),
        ("ROUGE-L", rouge_l_one(generated, &references)),
        ("Label F1", label_f1(&labels, &MICRO, None).f1),
    ]
    .map(|(name, value)| (name.to_owned(), format!("{value:.2}")))
    .to_vec()
}

fn flags(report: &GeneratedReportRow) -> Vec<String> {
    let all = [
        (report.needs_review, "needs review"),
        (report.laterality_conflict, "laterality conflicts with box"),
        (report.mentions_prior, "mentions an earlier examination"),
    ];
    all.into_iter().filter(|(is, _)| *is).map(|(_, words)| words.to_owned()).collect()
}

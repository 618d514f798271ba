//! What evaluation reads: tables joined into the plain values that `eval` takes.

use std::collections::BTreeMap;

use d2r_contracts::boxes::BoxXyxy;
use d2r_contracts::label_set::LabelSet;
use d2r_contracts::rows::Row;
use d2r_contracts::space::Original;
use d2r_contracts::tables::{GeneratedReportRow, ImageRow, LesionRow, ReportRow, ReportSentenceRow, SentenceBoxRow};

use super::{Args, EvaluatedSplit};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::eval::detection::image_boxes::{ImageBoxes, ScoredBox, TruthBox, by_image};
use crate::eval::links::{LinkCounts, LinkedSentence};
use crate::eval::text::report_figures::{ReferenceReport, ReportPair};
use crate::eval::truth::Truth;
use crate::lake::Partition;

fn missing(split: &EvaluatedSplit, table: &'static str, hint: &str) -> Error {
    split.lake.no_rows(table, &split.partition, hint)
}

/// Boxes of every evaluated image.
pub(super) struct DetectorInput {
    /// In the order of image ids.
    pub boxes: Vec<ImageBoxes>,
    /// Where the truth boxes come from: `drawn` or `readers`.
    pub truth: &'static str,
    /// The classes of the boxes.
    pub labels: LabelSet,
    /// Digest of the detector's weights.
    pub model_sha256: Option<String>,
}

impl DetectorInput {
    /// Digests of all that [`Self::read`] reads.
    pub fn digests(split: &EvaluatedSplit, args: &Args) -> Result<Vec<String>> {
        let mut digests = vec![split.digest(ImageRow::TABLE)?, split.digest(LesionRow::TABLE)?];
        if let Some(folder) = &args.truth {
            digests.push(Truth::read(folder, &args.dataset)?.digest);
        }
        Ok(digests)
    }

    pub fn read(split: &EvaluatedSplit, args: &Args) -> Result<Self> {
        let images: Vec<ImageRow> = split.read()?;
        if images.is_empty() {
            return Err(missing(split, ImageRow::TABLE, "run `d2r ingest`"));
        }
        let lesions: Vec<LesionRow> = split.read()?;
        let detected: Vec<&LesionRow> = lesions.iter().filter(|l| l.source == "pseudo").collect();
        if detected.is_empty() {
            return Err(missing(split, LesionRow::TABLE, "there are no detections: run `d2r annotate`"));
        }
        let found = detected
            .iter()
            .map(|l| (l.image_id.as_str(), ScoredBox { class_id: l.class_id, score: l.score, region: l.region() }));
        let model_sha256 = detected.iter().find_map(|l| l.model_sha256.clone());
        let labels = split.lake.label_set(&split.partition)?;
        if args.truth.is_some() {
            check_drawn(split, &labels)?;
        }
        let (ids, truths, truth): (Vec<String>, Vec<(String, TruthBox)>, _) = match &args.truth {
            Some(folder) => {
                let truth = Truth::read(folder, &args.dataset)?;
                let ids: Vec<String> = images.into_iter().map(|i| i.image_id).collect();
                let boxes = ids.iter().flat_map(|id| {
                    let drawn = truth.lesions_of(id).iter();
                    drawn.map(move |l| (id.clone(), TruthBox { class_id: l.class_id, region: l.region }))
                });
                (ids.clone(), boxes.collect(), "drawn")
            }
            None => {
                // With unfused boxes every further annotator's copy of a lesion would count as a miss.
                let fused = lesions.iter().filter(|l| l.source == "fused");
                let boxes = fused.map(|l| (l.image_id.clone(), TruthBox { class_id: l.class_id, region: l.region() }));
                (
                    images.into_iter().filter(|i| i.n_boxes.is_some()).map(|i| i.image_id).collect(),
                    boxes.collect(),
                    "readers",
                )
            }
        };
        if ids.is_empty() {
            return Err(missing(
                split,
                ImageRow::TABLE,
                "no image was annotated: name the truth tables with --truth DIR",
            ));
        }
        let truths = truths.iter().map(|(id, b)| (id.as_str(), *b));
        Ok(Self { boxes: by_image(&ids, truths, found), truth, labels, model_sha256 })
    }
}

/// Phantoms are drawn with VinDr-CXR classes: boxes of others cannot be compared with them.
fn check_drawn(split: &EvaluatedSplit, labels: &LabelSet) -> Result<()> {
    if labels.is_vindr() {
        return Ok(());
    }
    let problem =
        format!("its boxes have label set {labels}; drawn truth has the VinDr-CXR classes: evaluate without --truth");
    Err(Error::bad_data(format!("table {} {}", LesionRow::TABLE, split.partition), problem))
}

/// Generated reports with everything that they are compared with.
pub(super) struct ReportsInput {
    /// The first generated report of each image of the split.
    pub generated: Vec<GeneratedReportRow>,
    /// References by study, of the configured section.
    pub references: BTreeMap<String, ReferenceReport>,
    /// Generated reports that have a reference, with it; in the order of image ids.
    pub pairs: Vec<ReportPair>,
    /// Reports of the training split.
    pub train: Vec<ReferenceReport>,
    /// Link counts of every generated report; `None` without truth.
    pub links: Option<Vec<LinkCounts>>,
    /// Digest of the report model's weights.
    pub model_sha256: Option<String>,
}

impl ReportsInput {
    /// Digests of all that [`Self::read`] reads.
    pub fn digests(split: &EvaluatedSplit, args: &Args) -> Result<Vec<String>> {
        let tables = [
            GeneratedReportRow::TABLE,
            ReportSentenceRow::TABLE,
            SentenceBoxRow::TABLE,
            LesionRow::TABLE,
            ReportRow::TABLE,
        ];
        let mut digests = tables.into_iter().map(|t| split.digest(t)).collect::<Result<Vec<String>>>()?;
        digests.push(format!("train {}", split.lake.content_digest(ReportRow::TABLE, &train_of(split))?));
        if let Some(folder) = &args.truth {
            digests.push(Truth::read(folder, &args.dataset)?.digest);
        }
        Ok(digests)
    }

    pub fn read(ctx: &Context, split: &EvaluatedSplit, args: &Args) -> Result<Self> {
        let mut generated: Vec<GeneratedReportRow> = split.read()?;
        // Of several reports on an image the first one counts.
        generated.sort_by(|a, b| (&a.image_id, &a.report_id).cmp(&(&b.image_id, &b.report_id)));
        generated.dedup_by(|more, first| more.image_id == first.image_id);
        if generated.is_empty() {
            return Err(missing(split, GeneratedReportRow::TABLE, "run `d2r report`"));
        }
        let section = &ctx.config.ingest.section;
        let references = reference_reports(split.read()?, section);
        let truth = args.truth.as_ref().map(|folder| Truth::read(folder, &args.dataset)).transpose()?;
        let pair = |g: &GeneratedReportRow| {
            let reference = references.get(&g.study_id)?.clone();
            let truth = truth.as_ref().and_then(|t| t.findings.get(&g.study_id).copied());
            Some(ReportPair { generated: g.text.clone(), reference, truth })
        };
        let pairs: Vec<ReportPair> = generated.iter().filter_map(pair).collect();
        if pairs.is_empty() {
            return Err(missing(
                split,
                ReportRow::TABLE,
                "no generated report has a reference: run `d2r ingest` on a dataset with reports",
            ));
        }
        let train = reference_reports(split.lake.read(&train_of(split))?, section).into_values().collect();
        let links = match &truth {
            None => None,
            Some(truth) => {
                check_drawn(split, &split.lake.label_set(&split.partition)?)?;
                let linked = linked_sentences(split)?;
                let iou_min = ctx.config.evaluate.link_iou_min as f32;
                let of = |g: &GeneratedReportRow| {
                    let sentences = linked.get(&g.report_id).map_or(&[][..], Vec::as_slice);
                    LinkCounts::of(sentences, truth.lesions_of(&g.image_id), iou_min)
                };
                Some(generated.iter().map(of).collect())
            }
        };
        let model_sha256 = generated.first().map(|g| g.model_sha256.clone());
        Ok(Self { generated, references, pairs, train, links, model_sha256 })
    }
}

fn train_of(split: &EvaluatedSplit) -> Partition {
    Partition { dataset: split.partition.dataset.clone(), split: "train".into() }
}

/// References by study: the configured section, else whichever the study has.
pub(super) fn reference_reports(rows: Vec<ReportRow>, section: &str) -> BTreeMap<String, ReferenceReport> {
    let mut texts = BTreeMap::new();
    for row in rows {
        if row.section == section || !texts.contains_key(&row.study_id) {
            texts.insert(row.study_id, ReferenceReport { text: row.text, text_clean: row.text_clean });
        }
    }
    texts
}

/// Sentences of each report, in order, with the places of their boxes.
fn linked_sentences(split: &EvaluatedSplit) -> Result<BTreeMap<String, Vec<LinkedSentence>>> {
    let lesions: Vec<LesionRow> = split.read()?;
    let regions: BTreeMap<&str, BoxXyxy<Original>> = lesions.iter().map(|l| (l.box_id.as_str(), l.region())).collect();
    let mut boxes: BTreeMap<(String, i32), Vec<BoxXyxy<Original>>> = BTreeMap::new();
    for link in split.read::<SentenceBoxRow>()? {
        let at = regions.get(link.box_id.as_str());
        boxes.entry((link.report_id, link.sentence_id)).or_default().extend(at);
    }
    let mut linked: BTreeMap<String, Vec<LinkedSentence>> = BTreeMap::new();
    for s in split.read::<ReportSentenceRow>()? {
        let boxes = boxes.remove(&(s.report_id.clone(), s.sentence_id)).unwrap_or_default();
        linked.entry(s.report_id).or_default().push(LinkedSentence { text: s.text, boxes });
    }
    Ok(linked)
}

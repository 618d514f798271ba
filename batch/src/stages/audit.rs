//! The audit of a lake: what [`crate::audit`] finds in its tables and, when asked, in its pictures; as figures, as a page
//! and as a list.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use d2r_contracts::rows::Row;
use d2r_contracts::tables::ReportRow;
use serde::Serialize;

use crate::audit::images::{Images, is_audited};
use crate::audit::issue::{Issue, counts};
use crate::audit::kind::Kind;
use crate::audit::label_shares::{LabelShare, label_shares};
use crate::audit::page::audit_page::AuditPage;
use crate::audit::page::cards::cards;
use crate::audit::{boxes, copies, image_rows, label_shares as shares, leakage, pictures, reports};
use crate::context::{Context, FileDigest, StageResult};
use crate::error::{Error, Result};
use crate::lake::{Lake, atomic_file};

#[derive(Debug, Clone, Default)]
pub struct Args {
    pub lake: PathBuf,
    /// Datasets to audit; all when empty.
    pub datasets: Vec<String>,
    /// Read every picture.
    pub pictures: bool,
    /// Receives the page.
    pub html: Option<PathBuf>,
    /// Receives all issues and label shares as JSON.
    pub out: Option<PathBuf>,
}

/// What an audit found.
struct Audited {
    lake: Lake,
    images: Images,
    issues: Vec<Issue>,
    labels: Vec<LabelShare>,
    /// Pictures read; `None` when none was to be read.
    pictures_read: Option<usize>,
}

/// The file with all issues.
#[derive(Serialize)]
struct List<'a> {
    lake: &'a Path,
    images: usize,
    pictures_read: Option<usize>,
    /// Number of issues of every kind that was checked.
    counts: BTreeMap<&'static str, usize>,
    label_shares: &'a [LabelShare],
    issues: &'a [Issue],
}

/// Audits; figures count issues by kind. The page and the list are written before leaks end the audit.
///
/// # Errors
/// [`Error::BadData`] when patients, files or copies are in two splits; [`Error::NoRows`] for a dataset without images.
pub fn run(ctx: &Context, args: Args) -> Result<StageResult> {
    let start = Instant::now();
    ctx.stop.check()?;
    let audited = Audited::of(ctx, &args)?;
    let mut files = Vec::new();
    if let Some(path) = &args.out {
        files.push(audited.write_list(path)?);
    }
    if let Some(path) = &args.html {
        files.push(audited.write_page(ctx, &args, path)?);
    }
    audited.refuse_leaks(&args)?;
    let Audited { lake, images, .. } = &audited;
    let mut reports = 0;
    for partition in lake.partitions(ReportRow::TABLE)?.into_iter().filter(|p| is_audited(&args.datasets, p)) {
        reports += lake.parts(ReportRow::TABLE, &partition)?.iter().map(|p| p.rows).sum::<u64>();
    }
    let mut figures: BTreeMap<String, f64> =
        audited.counts().into_iter().map(|(name, n)| (name.to_owned(), n as f64)).collect();
    figures.extend(audited.pictures_read.map(|n| ("pictures_read".to_owned(), n as f64)));
    Ok(StageResult {
        stage: "audit".into(),
        rows: [("images".to_owned(), images.len() as u64), ("reports".to_owned(), reports)].into(),
        files,
        figures,
        wall_s: start.elapsed().as_secs_f64(),
        ..StageResult::default()
    })
}

impl Audited {
    fn of(ctx: &Context, args: &Args) -> Result<Self> {
        let lake = Lake::open(&args.lake)?;
        let images = Images::read(&lake, &args.datasets)?;
        let labels = label_shares(&lake, &images, &args.datasets)?;
        let mut issues = leakage::issues(&images);
        issues.extend(image_rows::issues(&images));
        issues.extend(boxes::issues(&lake, &images, &args.datasets)?);
        issues.extend(reports::issues(&lake, &args.datasets)?);
        issues.extend(shares::issues(&labels));
        let mut pictures_read = None;
        if args.pictures {
            let options = ctx.decode_options();
            let task = ctx.progress.task("read pictures", images.len() as u64, "images");
            let read = pictures::read_all(&images, &options, &task, &ctx.stop)?;
            task.finish();
            issues.extend(read.issues);
            pictures_read = Some(read.read);
            let task = ctx.progress.task("find copies", read.kept.len() as u64, "pictures");
            issues.extend(copies::issues(&images, read.kept, &options, &task, &ctx.stop)?);
            task.finish();
        }
        Issue::sort(&mut issues);
        Ok(Self { lake, images, issues, labels, pictures_read })
    }

    /// Number of issues of every kind that was checked.
    fn counts(&self) -> BTreeMap<&'static str, usize> {
        let mut counts: BTreeMap<&'static str, usize> = Kind::all()
            .filter(|kind| self.pictures_read.is_some() || !kind.needs_pictures())
            .map(|kind| (kind.name(), 0))
            .collect();
        for issue in &self.issues {
            *counts.entry(issue.kind.name()).or_default() += 1;
        }
        counts
    }

    fn write_list(&self, path: &Path) -> Result<FileDigest> {
        let list = List {
            lake: self.lake.root(),
            images: self.images.len(),
            pictures_read: self.pictures_read,
            counts: self.counts(),
            label_shares: &self.labels,
            issues: &self.issues,
        };
        let json = serde_json::to_vec_pretty(&list).map_err(|e| Error::Internal(format!("write the issues: {e}")))?;
        write(path, &json)
    }

    fn write_page(&self, ctx: &Context, args: &Args, path: &Path) -> Result<FileDigest> {
        let mut counted: BTreeMap<(String, String), usize> = BTreeMap::new();
        for image in self.images.iter() {
            let partition = image.partition;
            *counted.entry((partition.dataset.clone(), partition.split.clone())).or_default() += 1;
        }
        let mut datasets: Vec<String> = counted.keys().map(|(dataset, _)| dataset.clone()).collect();
        datasets.extend(self.issues.iter().map(|i| i.subject.dataset.clone()));
        datasets.sort();
        datasets.dedup();
        let page = AuditPage {
            lake: self.lake.root().display().to_string(),
            datasets,
            images: counted,
            pictures_read: self.pictures_read,
            labels: self.labels.clone(),
            cards: cards(&self.images, &self.issues, &ctx.decode_options())?,
            issues: self.issues.clone(),
            list: args.out.as_ref().map(|out| out.display().to_string()),
        };
        write(path, page.html().as_bytes())
    }

    fn refuse_leaks(&self, args: &Args) -> Result<()> {
        let leaks: Vec<Issue> = self.issues.iter().filter(|i| i.kind.is_leak()).cloned().collect();
        if leaks.is_empty() {
            return Ok(());
        }
        // Errors reach the logs of schedulers: they count, and the page and the list name patients and images.
        let count = |((kind, dataset), n): ((Kind, &str), usize)| format!("{n} {} in {dataset}", kind.name());
        let named = counts(&leaks).into_iter().map(count).collect::<Vec<_>>().join(", ");
        let shown = match args.html.as_ref().or(args.out.as_ref()) {
            Some(path) => format!("; {} shows them", path.display()),
            None => "; --html FILE shows them".to_owned(),
        };
        let problem = format!(
            "{} leaks between splits: {named}; split by patient and ingest again, or audit the datasets that are \
             used together with --dataset{shown}",
            leaks.len()
        );
        Err(Error::bad_data(args.lake.display(), problem))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<FileDigest> {
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        atomic_file::create_folders(folder)?;
    }
    atomic_file::write(path, |w: &mut dyn Write| w.write_all(bytes).map_err(|e| Error::io("write", path, e)))
}

#[cfg(test)]
mod tests;

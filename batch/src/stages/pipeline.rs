//! `d2r pipeline`: all stages by one command: phantom, ingest, audit, train-detector, annotate, train-reporter, report,
//! evaluate, validate, and the summary. Each stage is skipped when its work is done, so the same command continues.
//! The images with reports are the detector's unlabelled images (Unbiased Teacher v2) unless `semi.burn_in_steps` leaves
//! no steps for them.

mod inputs;
mod shared;
mod stage_list;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use d2r_contracts::rows::Row;
use d2r_contracts::tables::ImageRow;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{annotate, audit, evaluate, ingest, phantom, report, validate};
use crate::config::RunConfig;
use crate::config::report::Lera;
use crate::context::{Context, Ranks, StageResult};
use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, Shard, atomic_file};
use crate::stages::report::{BoxesFrom, ImageSource, WritingModel};
use crate::stages::train::{detector, reporter};
use inputs::Ingested;
pub use inputs::{DatasetFolder, Inputs};
pub use shared::follow;

/// The folder of the stages' records in that of the pipeline.
const RECORDS: &str = "stages";
/// Stages that write nothing.
const CHECKS: [&str; 2] = ["audit", "validate"];
/// Stages that all processes of the pipeline share; the first one does all others.
const SHARED: [&str; 2] = ["train-detector", "train-reporter"];
/// Stages that compute in `run.precision`, also `annotate-<dataset>`; all others do in f32.
const IN_BF16: [&str; 4] = ["train-detector", "annotate", "train-reporter", "report"];
/// The split that is evaluated.
const HELD_OUT: &str = "test";

#[derive(Debug, Clone)]
pub struct Args {
    /// Receives `phantom/`, `lake/`, `runs/`, `stages/`, `report.html` and `summary.json`.
    pub out: PathBuf,
    pub inputs: Inputs,
    /// A detector run whose weights the detector starts from.
    pub detector_init: Option<PathBuf>,
    /// Initial weights of the report model.
    pub reporter_init: Option<PathBuf>,
}

impl Args {
    fn lake(&self) -> PathBuf {
        self.out.join("lake")
    }

    fn runs(&self) -> PathBuf {
        self.out.join("runs")
    }

    fn phantoms(&self) -> PathBuf {
        self.out.join("phantom")
    }

    fn of_detector(&self, config: &RunConfig, labelled: &str, reports: &str) -> detector::Args {
        detector::Args {
            lake: self.lake(),
            dataset: labelled.into(),
            labellers: Vec::new(),
            unlabelled: has_mutual_phase(config).then(|| reports.into()),
            init: self.detector_init.clone(),
            runs: self.runs(),
        }
    }

    fn of_reporter(&self, reports: &str, detector: &Path) -> reporter::Args {
        reporter::Args {
            lake: self.lake(),
            dataset: reports.into(),
            detector: Some(detector.into()),
            init: self.reporter_init.clone(),
            boxes: BoxesFrom::Detector,
            runs: self.runs(),
        }
    }
}

/// Results of the pipeline.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Rows, figures and wall time of all stages.
    pub result: StageResult,
    /// Wall time by stage, seconds, of the run that did the work.
    pub wall_s: Vec<(String, f64)>,
    /// Highest resident memory of a process that ran a stage, MiB.
    pub peak_rss_mb: f64,
    /// The parts that were on.
    pub parts: Parts,
    /// The trained report model's run.
    pub reporter: PathBuf,
    /// The evaluation page.
    pub page: PathBuf,
}

/// What the models were made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parts {
    /// `unbiased_teacher_v2` or `supervised`.
    pub detector_training: &'static str,
    /// Parts of the report model and its training. D2R-Net's: cpca, lera, regions, lab, gab; ours: box_embedding, grounding.
    pub report_model: Vec<&'static str>,
}

impl Parts {
    fn of(config: &RunConfig) -> Self {
        let (model, align) = (&config.report.model, &config.report.align);
        let parts = [
            ("cpca", model.cpca),
            ("lera", model.regions && model.lera != Lera::Off),
            ("regions", model.regions),
            ("lab", align.lab_weight > 0.0),
            ("gab", align.gab_weight > 0.0),
            ("box_embedding", model.regions && model.region_embedding),
            ("grounding", model.regions && config.report.train.grounding_weight > 0.0),
        ];
        Self {
            detector_training: if has_mutual_phase(config) { "unbiased_teacher_v2" } else { "supervised" },
            report_model: parts.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect(),
        }
    }
}

/// Whether training has steps left for a mutual phase after the burn-in.
fn has_mutual_phase(config: &RunConfig) -> bool {
    config.semi.burn_in_steps < config.detector.train.steps
}

/// The record of a stage, kept so that a continued pipeline reports the times of the first run.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    result: StageResult,
    peak_rss_mb: f64,
}

struct Stages<'a> {
    ctx: &'a Context,
    records: PathBuf,
    /// All stages, in order.
    names: Vec<String>,
    done: Vec<(String, Record)>,
}

impl Stages<'_> {
    fn run(&mut self, name: &str, stage: impl FnOnce(&Context) -> Result<StageResult>) -> Result<StageResult> {
        self.ctx.stop.check()?;
        let ran =
            |(name, record): &(String, Record)| (!record.result.cached).then(|| (name.clone(), record.result.wall_s));
        let ran: Vec<_> = self.done.iter().filter_map(ran).collect();
        self.ctx.progress.line(&stage_list::line(name, &self.names, &ran));
        if SHARED.contains(&name) {
            shared::release(self.ctx)?;
        }
        let ctx = stage_context(self.ctx, name);
        ctx.use_threads();
        let result = stage(&ctx)?;
        let path = record_path(&self.records, name);
        let before: Option<Record> = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let record = match before {
            Some(first) if result.cached => {
                Record { result: StageResult { wall_s: first.result.wall_s, ..result }, ..first }
            }
            _ => Record { result, peak_rss_mb: peak_rss_mb() },
        };
        write_json(&path, &record)?;
        self.done.push((name.to_owned(), record.clone()));
        Ok(record.result)
    }
}

fn record_path(records: &Path, name: &str) -> PathBuf {
    records.join(format!("{name}.json"))
}

/// What a stage is given: its precision, and the other processes where it shares its work with them.
fn stage_context(ctx: &Context, name: &str) -> Context {
    let in_precision = IN_BF16.contains(&name) || name.starts_with("annotate-");
    let ctx = if in_precision { ctx.clone() } else { ctx.in_f32() };
    if SHARED.contains(&name) { ctx } else { Context { ranks: Ranks::alone(), ..ctx } }
}

/// Runs all stages. Of several processes the first one; the others [`follow`].
///
/// # Errors
/// Those of the stages.
pub fn run(ctx: &Context, args: &Args) -> Result<Summary> {
    let out = &args.out;
    let (phantoms, lake, runs) = (args.phantoms(), args.lake(), args.runs());
    let truth = args.inputs.are_phantoms().then(|| phantoms.join("truth"));
    let datasets = args.inputs.datasets(&phantoms)?;
    let (labelled, reports) = (datasets[0].dataset, datasets[1].dataset);
    let all = Shard::default();
    let mut stages =
        Stages { ctx, records: out.join(RECORDS), names: stage_names(&args.inputs, &datasets), done: vec![] };
    if ctx.compute_kind() != tch::Kind::Float {
        ctx.progress.line(&format!("in bf16: {}; all other stages compute in f32", IN_BF16.join(", ")));
    }

    if args.inputs.are_phantoms() {
        let args = phantom::Args { out: phantoms.clone(), ..phantom::Args::default() };
        stages.run("phantom", |c| phantom::run(c, args))?;
    }
    for ingested in &datasets {
        let args = ingest::Args {
            kind: ingested.folder.kind,
            root: ingested.folder.root.clone(),
            dataset: ingested.dataset.into(),
            lake: lake.clone(),
            shard: all,
            labels_only: false,
            original_size: None,
            refuse_burned_in: false,
            labels: ingested.labels.clone(),
        };
        stages.run(&format!("ingest-{}", ingested.dataset), |c| ingest::run(c, args))?;
    }
    stages.run("audit", |c| audit::run(c, audit::Args { lake: lake.clone(), ..audit::Args::default() }))?;
    let trained = stages.run("train-detector", |c| detector::run(c, args.of_detector(&c.config, labelled, reports)))?;
    let detector = run_folder(&runs, &trained, "train-detector")?;
    let annotated = |dataset: &str, splits: Vec<String>| {
        let (lake, detector) = (lake.clone(), detector.clone());
        annotate::Args { lake, dataset: dataset.into(), splits, detector, shard: all, student: false }
    };
    stages.run("annotate", |c| annotate::run(c, annotated(reports, Vec::new())))?;
    let trained = stages.run("train-reporter", |c| reporter::run(c, args.of_reporter(reports, &detector)))?;
    let reporter = run_folder(&runs, &trained, "train-reporter")?;
    stages.run("report", |c| {
        let source = ImageSource::Lake { lake: lake.clone(), dataset: reports.into(), split: HELD_OUT.into() };
        let model = WritingModel::ReportModel { run: reporter.clone(), explain: None, boxes: BoxesFrom::Detector };
        report::run(c, report::Args { source, model, shard: all, refuse_burned_in: false })
    })?;
    let held_out = |dataset: &str| {
        let (lake, truth) = (lake.clone(), truth.clone());
        evaluate::Args { lake, dataset: dataset.into(), split: HELD_OUT.into(), truth }
    };
    // Images with reports have no boxes by annotators; only those of phantoms are known.
    let detector_on = if args.inputs.are_phantoms() { reports } else { labelled };
    let mut figures = BTreeMap::new();
    if has_images(&lake, detector_on)? {
        if detector_on == labelled {
            let args = annotated(labelled, vec![HELD_OUT.into()]);
            stages.run(&format!("annotate-{labelled}"), |c| annotate::run(c, args))?;
        }
        match stages.run("evaluate-detector", |c| evaluate::run_detector(c, held_out(detector_on))) {
            Err(nothing @ Error::NoRows { .. }) => {
                ctx.progress.line(&format!("the detector is not evaluated: {nothing}"));
            }
            boxes => figures.extend(boxes?.figures),
        }
    } else {
        let line = format!("dataset {labelled} has no test split: the detector is not evaluated");
        ctx.progress.line(&line);
    }
    figures.extend(stages.run("evaluate-reports", |c| evaluate::run_reports(c, held_out(reports)))?.figures);
    let checked =
        stages.run("validate", |c| validate::run(c, validate::Args { lake: lake.clone(), tables: Vec::new() }))?;

    let page = out.join("report.html");
    evaluate::write_report_html(ctx, &held_out(reports), &page)?;
    let wall_s: Vec<(String, f64)> = stages.done.iter().map(|(n, r)| (n.clone(), r.result.wall_s)).collect();
    let summary = Summary {
        result: StageResult {
            stage: "pipeline".into(),
            // Checks write nothing and run every time.
            cached: stages.done.iter().all(|(name, r)| r.result.cached || CHECKS.contains(&name.as_str())),
            rows: checked.rows,
            files: Vec::new(),
            figures,
            wall_s: wall_s.iter().map(|(_, s)| s).sum(),
        },
        wall_s,
        peak_rss_mb: stages.done.iter().map(|(_, r)| r.peak_rss_mb).fold(0.0, f64::max),
        parts: Parts::of(&ctx.config),
        reporter,
        page,
    };
    write_json(&out.join("summary.json"), &summary.json())?;
    Ok(summary)
}

/// All stages, in order.
fn stage_names(inputs: &Inputs, datasets: &[Ingested]) -> Vec<String> {
    let drawn = inputs.are_phantoms().then(|| "phantom".to_owned());
    let ingests = datasets.iter().map(|d| format!("ingest-{}", d.dataset));
    let middle = ["audit", "train-detector", "annotate", "train-reporter", "report"].map(str::to_owned);
    let on_labelled = (!inputs.are_phantoms()).then(|| format!("annotate-{}", datasets[0].dataset));
    let ends = ["evaluate-detector", "evaluate-reports", "validate"].map(str::to_owned);
    drawn.into_iter().chain(ingests).chain(middle).chain(on_labelled).chain(ends).collect()
}

/// Whether the held-out split of a dataset has images.
fn has_images(lake: &Path, dataset: &str) -> Result<bool> {
    let partitions = Lake::open(lake)?.partitions(ImageRow::TABLE)?;
    Ok(partitions.contains(&Partition::new(dataset, HELD_OUT)))
}

/// The run folder that a training stage names among its files. Only its name counts: `runs` may have moved since the
/// stage ran.
fn run_folder(runs: &Path, result: &StageResult, stage: &str) -> Result<PathBuf> {
    let weights = result.files.iter().find(|f| f.path.ends_with("best/model.safetensors"));
    weights
        .and_then(|f| Some(runs.join(f.path.parent()?.parent()?.file_name()?)))
        .ok_or_else(|| Error::Internal(format!("{stage} names no weights among its files")))
}

/// Highest resident memory of this process so far, MiB; 0 where the kernel does not report it.
fn peak_rss_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec_pretty(value).map_err(|e| Error::Internal(e.to_string()))?;
    atomic_file::write(path, |w| w.write_all(&text).map_err(|e| Error::io("write", path, e)))?;
    Ok(())
}

impl Summary {
    /// `summary.json`: figures by group, rows by table, times by stage.
    pub fn json(&self) -> Value {
        let mut groups: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for (name, value) in &self.result.figures {
            let (group, key) = name.split_once('.').unwrap_or(("other", name));
            groups.entry(group.to_owned()).or_default().insert(key.to_owned(), *value);
        }
        let walls: serde_json::Map<String, Value> = self.wall_s.iter().map(|(n, s)| (n.clone(), json!(s))).collect();
        let mut json = json!({
            "wall_s": walls,
            "wall_s_total": self.result.wall_s,
            "peak_rss_mb": self.peak_rss_mb,
            "parts": self.parts,
            "lake": { "rows": self.result.rows },
            "code_version": env!("CARGO_PKG_VERSION"),
            "notice": crate::training::model_card::NOTICE,
        });
        for (group, figures) in groups {
            json[group] = json!(figures);
        }
        json
    }

    /// The summary as text.
    pub fn table(&self) -> String {
        let mut text = String::from("stage                    wall\n");
        for (name, seconds) in &self.wall_s {
            text.push_str(&format!("{name:<20} {seconds:>8.1} s\n"));
        }
        text.push_str(&format!("{:<20} {:>8.1} s, at most {:.0} MiB\n\n", "all", self.result.wall_s, self.peak_rss_mb));
        let figure = |key: &str| self.result.figures.get(key).map_or("    -".to_owned(), |v| format!("{v:.3}"));
        let rows = [
            ("detector AP50 (held-out images)", figure("detector.ap50"), String::new()),
            ("report BLEU-4", figure("reports.bleu4"), format!("constant report {}", figure("reports.bleu4_constant"))),
            ("report ROUGE-L", figure("reports.rouge_l"), String::new()),
            ("label F1, micro", figure("reports.label_f1_micro"), String::new()),
            ("distinct reports (abnormal)", figure("reports.distinct_share"), String::new()),
            ("sentence-to-box precision", figure("links.precision"), format!("recall {}", figure("links.recall"))),
        ];
        for (name, value, note) in rows {
            text.push_str(&format!("{name:<32} {value:>7}   {note}\n"));
        }
        let Parts { detector_training, report_model } = &self.parts;
        let parts = if report_model.is_empty() { "none".to_owned() } else { report_model.join(", ") };
        text.push_str(&format!("\ndetector trained by {detector_training}; parts of D2R-Net: {parts}\n"));
        text.push_str(&format!("open {}\n", self.page.display()));
        let reporter = self.reporter.display();
        text.push_str(&format!("try  d2r report --images DIR --reporter {reporter} --out DIR\n"));
        text.push_str(&format!("{}\n", crate::training::model_card::NOTICE));
        text
    }
}

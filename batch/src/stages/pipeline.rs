//! `d2r pipeline`: all stages in one process: phantom, ingest, audit, train-detector, annotate, train-reporter, report,
//! evaluate, validate, and the summary. Each stage is skipped when its work is done, so the same command continues.

mod stage_list;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{annotate, audit, evaluate, ingest, phantom, report, validate};
use crate::context::{Context, StageResult};
use crate::error::{Error, Result};
use crate::lake::{Shard, atomic_file};
use crate::stages::report::{ImageSource, WritingModel};
use crate::stages::train::{detector, reporter};

/// Stages that write nothing.
const CHECKS: [&str; 2] = ["audit", "validate"];

#[derive(Debug, Clone)]
pub struct Args {
    /// Receives `phantom/`, `lake/`, `runs/`, `stages/`, `report.html` and `summary.json`.
    pub out: PathBuf,
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
    /// The trained report model's run.
    pub reporter: PathBuf,
    /// The evaluation page.
    pub page: PathBuf,
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
    done: Vec<(String, Record)>,
}

impl Stages<'_> {
    fn run(&mut self, name: &str, stage: impl FnOnce(&Context) -> Result<StageResult>) -> Result<StageResult> {
        self.ctx.stop.check()?;
        let ran =
            |(name, record): &(String, Record)| (!record.result.cached).then(|| (name.clone(), record.result.wall_s));
        self.ctx.progress.line(&stage_list::line(name, &self.done.iter().filter_map(ran).collect::<Vec<_>>()));
        let result = stage(self.ctx)?;
        let path = self.records.join(format!("{name}.json"));
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

/// Runs all stages on phantoms.
///
/// # Errors
/// Those of the stages.
pub fn run(ctx: &Context, args: &Args) -> Result<Summary> {
    let out = &args.out;
    let (phantoms, lake, runs) = (out.join("phantom"), out.join("lake"), out.join("runs"));
    let truth = Some(phantoms.join("truth"));
    let all = Shard::default();
    let mut stages = Stages { ctx, records: out.join("stages"), done: Vec::new() };

    stages.run("phantom", |c| phantom::run(c, phantom::Args { out: phantoms.clone(), ..phantom::Args::default() }))?;
    for (kind, folder, dataset) in [
        (ingest::Kind::Vindr, "vindr", "vindr"),
        (ingest::Kind::Mimic, "mimic", "mimic"),
        (ingest::Kind::IuXray, "iu_xray", "iu_xray"),
    ] {
        let args = ingest::Args {
            kind,
            root: phantoms.join(folder),
            dataset: dataset.into(),
            lake: lake.clone(),
            shard: all,
            labels_only: false,
            original_size: None,
        };
        stages.run(&format!("ingest-{dataset}"), |c| ingest::run(c, args))?;
    }
    stages.run("audit", |c| audit::run(c, audit::Args { lake: lake.clone(), ..audit::Args::default() }))?;
    let trained = stages.run("train-detector", |c| {
        detector::run(
            c,
            detector::Args {
                lake: lake.clone(),
                dataset: "vindr".into(),
                labellers: Vec::new(),
                unlabelled: None,
                init: None,
                runs: runs.clone(),
            },
        )
    })?;
    let detector = run_folder(&runs, &trained, "train-detector")?;
    stages.run("annotate", |c| {
        let args = annotate::Args {
            lake: lake.clone(),
            dataset: "mimic".into(),
            splits: Vec::new(),
            detector: detector.clone(),
            shard: all,
            student: false,
        };
        annotate::run(c, args)
    })?;
    let trained = stages.run("train-reporter", |c| {
        let args = reporter::Args {
            lake: lake.clone(),
            dataset: "mimic".into(),
            detector: Some(detector.clone()),
            runs: runs.clone(),
        };
        reporter::run(c, args)
    })?;
    let reporter = run_folder(&runs, &trained, "train-reporter")?;
    stages.run("report", |c| {
        let source = ImageSource::Lake { lake: lake.clone(), dataset: "mimic".into(), split: "test".into() };
        let model = WritingModel::ReportModel { run: reporter.clone(), explain: None };
        report::run(c, report::Args { source, model, shard: all })
    })?;
    let held_out =
        || evaluate::Args { lake: lake.clone(), dataset: "mimic".into(), split: "test".into(), truth: truth.clone() };
    let boxes = stages.run("evaluate-detector", |c| evaluate::run_detector(c, held_out()))?;
    let texts = stages.run("evaluate-reports", |c| evaluate::run_reports(c, held_out()))?;
    let checked =
        stages.run("validate", |c| validate::run(c, validate::Args { lake: lake.clone(), tables: Vec::new() }))?;

    let page = out.join("report.html");
    evaluate::write_report_html(ctx, &held_out(), &page)?;
    let wall_s: Vec<(String, f64)> = stages.done.iter().map(|(n, r)| (n.clone(), r.result.wall_s)).collect();
    let summary = Summary {
        result: StageResult {
            stage: "pipeline".into(),
            // Checks write nothing and run every time.
            cached: stages.done.iter().all(|(name, r)| r.result.cached || CHECKS.contains(&name.as_str())),
            rows: checked.rows,
            files: Vec::new(),
            figures: boxes.figures.into_iter().chain(texts.figures).collect(),
            wall_s: wall_s.iter().map(|(_, s)| s).sum(),
        },
        wall_s,
        peak_rss_mb: stages.done.iter().map(|(_, r)| r.peak_rss_mb).fold(0.0, f64::max),
        reporter,
        page,
    };
    write_json(&out.join("summary.json"), &summary.json())?;
    Ok(summary)
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
        text.push_str(&format!("\nopen {}\n", self.page.display()));
        let reporter = self.reporter.display();
        text.push_str(&format!("try  d2r report --images DIR --reporter {reporter} --out DIR\n"));
        text.push_str(&format!("{}\n", crate::training::model_card::NOTICE));
        text
    }
}

//! The command line: one file per verb, each parses, calls one stage and prints. Results go to stdout, everything else
//! to stderr; the exit code comes from [`crate::exit::Exit`].

mod annotate;
mod audit;
mod evaluate;
mod export;
mod flags;
mod import_weights;
mod ingest;
mod inspect;
mod lake;
mod output;
mod phantom;
mod pipeline;
mod prepare;
mod program;
mod report;
mod submit;
mod train;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::program::{completions, config, doctor, file_modes, man_pages, panics, reference, restart, version};
use crate::error::Result;
use crate::exit::Exit;

const ABOUT: &str = "Turns chest radiographs into lesion-grounded reports. Research software, not a medical device.";

const EXAMPLES: &str = "\
Examples:
  d2r doctor                                           what is installed, which device will be used
  d2r pipeline --preset demo --out demo                everything, on drawn radiographs
  d2r report --images images --reporter RUN --out out  reports for a folder of PNG, JPEG or DICOM files
  d2r ingest vindr --root vindr-cxr --lake lake        a real dataset into the lake
  d2r config show --preset demo --origin               every key, its value and where it came from
  d2r --version --verbose                              versions of this program, libtorch, CUDA; digest of the sources

Exit codes:
  0 done   99 nothing to do   2 usage   65 bad data   66 input missing   70 our bug
  75 temporary, try again   78 bad configuration   130, 143 interrupted after a checkpoint";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "d2r", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    output: flags::OutputFlags,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Draw phantoms: radiographs with known lesions and reports, in the layouts of the real datasets.
    Phantom(phantom::Args),
    /// Read a dataset into the lake.
    Ingest(ingest::Args),
    /// Search for leakage between splits, copies, defective boxes, reports and pictures, odd label shares; 65 on leakage.
    Audit(audit::Args),
    /// Take over weights of torchvision, detectron2 or Unbiased Teacher v2 as a detector run.
    ImportWeights(import_weights::Args),
    /// Prepare a dataset's images for training, or remove prepared ones.
    Prepare(prepare::Args),
    /// Train the lesion detector on a labelled dataset of the lake.
    TrainDetector(train::DetectorArgs),
    /// Write the detector's boxes for a dataset of the lake.
    Annotate(annotate::Args),
    /// Train the report model on images, boxes and reports of the lake.
    TrainReporter(train::ReporterArgs),
    /// Distil a report model into the preview model, which runs in the browser.
    Distill(train::DistillArgs),
    /// Write reports for a split of the lake, or for a folder of images.
    Report(report::Args),
    /// Compute figures for detections or reports.
    Evaluate(evaluate::Args),
    /// Check every table of the lake against its contract.
    Validate(validate::Args),
    /// Show what a lake or a run holds.
    Inspect(inspect::Args),
    /// Put a lake in order: finish or remove what a killed process left, remove tables.
    Lake(lake::Args),
    /// Write detections and labels in the file formats of others.
    Export(export::Args),
    /// Print an array job for Slurm or Kubernetes in which each task does one part of a verb's work.
    Submit(submit::Args),
    /// Run everything from phantoms to the evaluated reports.
    Pipeline(pipeline::Args),
    /// Say what is installed, which device will be used, and how to install what is missing.
    Doctor(doctor::Args),
    /// Show the configuration or its schema.
    Config(config::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
    /// Write the manual pages, one per verb.
    #[command(hide = true)]
    ManPages(man_pages::Args),
    #[command(hide = true)]
    CliReference,
}

impl Verb {
    /// Whether its work is the products and convolutions of models.
    fn computes(&self) -> bool {
        matches!(
            self,
            Self::TrainDetector(_)
                | Self::Annotate(_)
                | Self::TrainReporter(_)
                | Self::Distill(_)
                | Self::Report(_)
                | Self::Pipeline(_)
        )
    }

    /// Whether its files may hold texts, ids or images of patients. What `phantom` draws and the models that `export` writes
    /// to be passed on are for all readers.
    fn writes_data_of_patients(&self) -> bool {
        if let Self::Export(export) = self {
            return export.writes_data_of_patients();
        }
        matches!(
            self,
            Self::Ingest(_)
                | Self::Audit(_)
                | Self::Prepare(_)
                | Self::TrainDetector(_)
                | Self::Annotate(_)
                | Self::TrainReporter(_)
                | Self::Distill(_)
                | Self::Report(_)
                | Self::Evaluate(_)
                | Self::Validate(_)
                | Self::Inspect(_)
                | Self::Lake(_)
                | Self::Pipeline(_)
        )
    }
}

/// Parses, runs, prints; the only place where an error becomes an exit code.
pub fn main() -> ExitCode {
    if version::is_asked_in_full(std::env::args_os().skip(1)) {
        return version::print();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            let usage = e.use_stderr();
            // A closed terminal is no reason to fail.
            let _ = e.print();
            return ExitCode::from(if usage { Exit::Usage.code() } else { Exit::Done.code() });
        }
    };
    if cli.verb.computes() {
        restart::with_thread_settings();
    }
    cli.output.init_logging();
    if cli.verb.writes_data_of_patients()
        && let Err(e) = file_modes::keep_private()
    {
        output::error(&e, cli.output.json);
        return ExitCode::from(e.exit().code());
    }
    ExitCode::from(panics::reported(cli.output.json, || run(&cli)).code())
}

fn run(cli: &Cli) -> Result<()> {
    let output = cli.output;
    match &cli.verb {
        Verb::Phantom(a) => phantom::run(output, a),
        Verb::Ingest(a) => ingest::run(output, a),
        Verb::Audit(a) => audit::run(output, a),
        Verb::ImportWeights(a) => import_weights::run(output, a),
        Verb::Prepare(a) => prepare::run(output, a),
        Verb::TrainDetector(a) => train::run_detector(output, a),
        Verb::Annotate(a) => annotate::run(output, a),
        Verb::TrainReporter(a) => train::run_reporter(output, a),
        Verb::Distill(a) => train::run_distill(output, a),
        Verb::Report(a) => report::run(output, a),
        Verb::Evaluate(a) => evaluate::run(output, a),
        Verb::Validate(a) => validate::run(output, a),
        Verb::Inspect(a) => inspect::run(output, a),
        Verb::Lake(a) => lake::run(output, a),
        Verb::Export(a) => export::run(output, a),
        Verb::Submit(a) => submit::run(output, a),
        Verb::Pipeline(a) => pipeline::run(output, a),
        Verb::Doctor(a) => doctor::run(output, a),
        Verb::Config(a) => config::run(output, a),
        Verb::Completions(a) => completions::run(a),
        Verb::ManPages(a) => man_pages::run(a),
        Verb::CliReference => reference::run(),
    }
}

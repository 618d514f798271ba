//! `d2r inspect`.

use std::path::PathBuf;

use clap::Subcommand;

use super::output;
use crate::cli::flags::Common;
use crate::error::{Error, Result};
use crate::stages::inspect;
use crate::stages::inspect::{detect, forward, preview};

/// What to look at.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  d2r inspect lake --lake demo/lake\n  d2r inspect run runs/detector-0123456789ab\n  d2r inspect detect --detector RUN --inputs in.safetensors --out out.safetensors\n  d2r inspect forward --reporter RUN --inputs in.safetensors --out out.safetensors\n  d2r inspect preview --bundle preview --images films --out out.safetensors --analyses out.json"
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Rows by table, dataset and split, with content digests.
    Lake,
    /// A run's model card.
    Run {
        /// Its folder.
        run: PathBuf,
    },
    /// A detector's boxes for tensors of a safetensors file, as tensors.
    Detect {
        /// A finished detector run.
        #[arg(long, value_name = "RUN")]
        detector: PathBuf,
        /// `images`, f32 [B, 1 or 3, H, W], normalised, sides multiples of 32.
        #[arg(long, value_name = "FILE")]
        inputs: PathBuf,
        /// Written: boxes_i, scores_i, labels_i for each image.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Keep boxes that score above this; the run's own value when absent.
        #[arg(long, value_name = "SCORE")]
        score_min: Option<f64>,
    },
    /// A report model's log-probabilities and beam search for visual features of a safetensors file, as tensors.
    Forward {
        /// A finished report model's run.
        #[arg(long, value_name = "RUN")]
        reporter: PathBuf,
        /// `att_feats` f32 [B, P, d], optional `att_mask` [B, P], `ids` i64 [B, T] from the boundary 0 on.
        #[arg(long, value_name = "FILE")]
        inputs: PathBuf,
        /// Written: logprobs [B, T-1, V+1], beam_ids, beam_sum.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// What a student makes of a folder of films: greedy words with all log-probabilities, heat, edges, labels.
    Preview {
        /// A preview bundle, on tract as the browser runs it.
        #[arg(long, value_name = "DIR", required_unless_present = "student", conflicts_with = "student")]
        bundle: Option<PathBuf>,
        /// A student's run instead, on libtorch.
        #[arg(long, value_name = "RUN")]
        student: Option<PathBuf>,
        /// PNG, JPEG and DICOM files; film i is the i-th by path.
        #[arg(long, value_name = "DIR")]
        images: PathBuf,
        /// Written: pixels_i, heat_i, edges_i, labels_i, words_i, log_probs_i for each film.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Written: for each film its file, its words' ids and all that the viewer says, as JSON.
        #[arg(long, value_name = "FILE", requires = "bundle")]
        analyses: Option<PathBuf>,
    },
}

/// Looks.
pub fn run(common: &Common, args: &Args) -> Result<()> {
    match &args.what {
        What::Lake => {
            let tables = inspect::lake(&common.lake)?;
            if common.json {
                return output::lines(&serde_json::to_string(&tables).map_err(|e| Error::Internal(e.to_string()))?);
            }
            let text: Vec<String> = tables
                .iter()
                .map(|t| {
                    format!(
                        "{:<20} {:<12} {:<6} {:>9} rows  {}",
                        t.table,
                        t.dataset,
                        t.split,
                        t.rows,
                        &t.content_sha256[..12]
                    )
                })
                .collect();
            output::lines(&text.join("\n"))
        }
        What::Detect { detector, inputs, out, score_min } => {
            let args = detect::Args {
                detector: detector.clone(),
                inputs: inputs.clone(),
                out: out.clone(),
                score_min: *score_min,
            };
            let boxes = detect::run(&common.context()?, &args)?;
            output::lines(&serde_json::json!({ "boxes": boxes, "out": out }).to_string())
        }
        What::Forward { reporter, inputs, out } => {
            let args = forward::Args { reporter: reporter.clone(), inputs: inputs.clone(), out: out.clone() };
            let words = forward::run(&common.context()?, &args)?;
            output::lines(&serde_json::json!({ "words": words, "out": out }).to_string())
        }
        What::Preview { bundle, student, images, out, analyses } => {
            let form = match (bundle, student) {
                (Some(folder), _) => preview::Form::Bundle(folder.clone()),
                (None, Some(run)) => preview::Form::Run(run.clone()),
                (None, None) => return Err(Error::Usage("give --bundle DIR or --student RUN".into())),
            };
            let (images, out, analyses) = (images.clone(), out.clone(), analyses.clone());
            let args = preview::Args { form, images, out, analyses };
            let words = preview::run(&common.context()?, &args)?;
            output::lines(&serde_json::json!({ "words": words, "out": args.out }).to_string())
        }
        What::Run { run } => {
            let card = inspect::card(run)?;
            output::lines(&serde_json::to_string_pretty(&card).map_err(|e| Error::Internal(e.to_string()))?)
        }
    }
}

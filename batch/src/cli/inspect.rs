//! `d2r inspect`.

use std::path::PathBuf;

use clap::Subcommand;
use d2r_contracts::decode::ImageDecodeOptions;

use super::output;
use crate::cli::flags::{ConfigFlags, DeviceFlags, LakeFlag, OutputFlags};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::stages::inspect;
use crate::stages::inspect::{detect, forward, image, preview};

/// What to show.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  d2r inspect lake --lake demo/lake
  d2r inspect run runs/detector-0123456789ab
  d2r inspect image chest.dcm --out chest.png
  d2r inspect detect --detector RUN --inputs in.safetensors --out out.safetensors
  d2r inspect forward --reporter RUN --inputs in.safetensors --out out.safetensors
  d2r inspect preview --bundle preview --images images --out out.safetensors --analyses out.json")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Rows by table, dataset and split, with content digests.
    Lake(LakeFlag),
    /// A run's model card.
    Run {
        /// The folder of a run.
        run: PathBuf,
    },
    /// One image file as the stages see it: what was applied and flagged, and the 8-bit image as PNG.
    Image {
        /// A PNG, JPEG or DICOM file.
        file: PathBuf,
        /// Written: the decoded image, bright is dense.
        #[arg(long, value_name = "PNG")]
        out: Option<PathBuf>,
        #[command(flatten)]
        config: ConfigFlags,
    },
    /// A detector's boxes for tensors of a safetensors file, as tensors.
    Detect {
        /// A finished detector run.
        #[arg(long, value_name = "RUN")]
        detector: PathBuf,
        /// `images`, f32 [B, 1 or 3, H, W], normalised, H and W multiples of 32.
        #[arg(long, value_name = "FILE")]
        inputs: PathBuf,
        /// Written: boxes_i, scores_i, labels_i for each image.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Keep boxes that score above this; the run's own value when absent.
        #[arg(long, value_name = "SCORE")]
        score_min: Option<f64>,
        #[command(flatten)]
        model: ModelFlags,
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
        #[command(flatten)]
        model: ModelFlags,
    },
    /// A preview model's outputs for a folder of images: greedy words with all log-probabilities, heat map, edges, labels.
    Preview {
        /// A preview bundle, on tract as the browser runs it.
        #[arg(long, value_name = "DIR", required_unless_present = "preview_model", conflicts_with = "preview_model")]
        bundle: Option<PathBuf>,
        /// A finished run of `d2r distill` instead, on libtorch.
        #[arg(long, value_name = "RUN")]
        preview_model: Option<PathBuf>,
        /// PNG, JPEG and DICOM files; image i is the i-th by path.
        #[arg(long, value_name = "DIR")]
        images: PathBuf,
        /// Written: pixels_i, heat_i, edges_i, labels_i, words_i, log_probs_i for each image.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Written: for each image its file, its words' ids and the viewer's whole analysis, as JSON.
        #[arg(long, value_name = "FILE", requires = "bundle")]
        analyses: Option<PathBuf>,
        #[command(flatten)]
        model: ModelFlags,
    },
}

#[derive(Debug, clap::Args)]
struct ModelFlags {
    #[command(flatten)]
    config: ConfigFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

impl ModelFlags {
    fn context(&self, output: OutputFlags) -> Result<Context> {
        self.config.context_on(&self.device, output)
    }
}

pub fn run(flags: OutputFlags, args: &Args) -> Result<()> {
    match &args.what {
        What::Lake(LakeFlag { lake }) => {
            let tables = inspect::lake(lake)?;
            if flags.json {
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
        What::Image { file, out, config } => {
            let allow_phi = config.resolve(None)?.config.ingest.allow_phi;
            let options = ImageDecodeOptions { allow_phi, ..ImageDecodeOptions::default() };
            let found = image::run(&image::Args { file: file.clone(), out: out.clone() }, &options)?;
            if flags.json {
                return output::lines(&serde_json::to_string(&found).map_err(|e| Error::Internal(e.to_string()))?);
            }
            output::lines(&found.text())
        }
        What::Detect { detector, inputs, out, score_min, model } => {
            let args = detect::Args {
                detector: detector.clone(),
                inputs: inputs.clone(),
                out: out.clone(),
                score_min: *score_min,
            };
            let boxes = detect::run(&model.context(flags)?, &args)?;
            output::lines(&serde_json::json!({ "boxes": boxes, "out": out }).to_string())
        }
        What::Forward { reporter, inputs, out, model } => {
            let args = forward::Args { reporter: reporter.clone(), inputs: inputs.clone(), out: out.clone() };
            let words = forward::run(&model.context(flags)?, &args)?;
            output::lines(&serde_json::json!({ "words": words, "out": out }).to_string())
        }
        What::Preview { bundle, preview_model, images, out, analyses, model } => {
            let form = match (bundle, preview_model) {
                (Some(folder), _) => preview::Form::Bundle(folder.clone()),
                (None, Some(run)) => preview::Form::Run(run.clone()),
                (None, None) => return Err(Error::Usage("give --bundle DIR or --preview-model RUN".into())),
            };
            let (images, out, analyses) = (images.clone(), out.clone(), analyses.clone());
            let args = preview::Args { form, images, out, analyses };
            let words = preview::run(&model.context(flags)?, &args)?;
            output::lines(&serde_json::json!({ "words": words, "out": args.out }).to_string())
        }
        What::Run { run } => {
            let card = inspect::card(run)?;
            output::lines(&serde_json::to_string_pretty(&card).map_err(|e| Error::Internal(e.to_string()))?)
        }
    }
}

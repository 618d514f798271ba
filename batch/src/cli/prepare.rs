//! `d2r prepare`.

use crate::cli::flags::{OutputFlags, ShardFlag, StageFlags};
use crate::error::{Error, Result};
use crate::stages::prepare;

/// Bytes in a GiB.
const GIB: f64 = (1u64 << 30) as f64;

/// What to prepare, or how much to keep.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  d2r prepare --dataset mimic --preset d2rnet --shard 0/8 --lake lake\n  \
                        d2r prepare --prune --max-gib 50 --lake lake")]
pub struct Args {
    /// A dataset of the lake.
    #[arg(long, value_name = "NAME", default_value = "mimic")]
    dataset: String,
    /// A split of the dataset; all when absent; may be repeated.
    #[arg(long, value_name = "SPLIT")]
    split: Vec<String>,
    /// Whose inputs.
    #[arg(long, value_name = "MODEL", value_enum, default_value_t = Model::Detector)]
    model: Model,
    /// Prepare nothing; remove what was prepared first until no more than --max-gib is kept.
    #[arg(long, requires = "max_gib")]
    prune: bool,
    /// Most that --prune keeps, GiB.
    #[arg(long, value_name = "GIB", requires = "prune")]
    max_gib: Option<f64>,
    #[command(flatten)]
    shard: ShardFlag,
    #[command(flatten)]
    stage: StageFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Model {
    /// Images at the detector's size.
    Detector,
    /// Images and crops of boxes at the report model's sizes.
    Reporter,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let lake = args.stage.lake();
    if args.prune {
        let gib = args.max_gib.filter(|gib| gib.is_finite() && *gib >= 0.0);
        let gib = gib.ok_or_else(|| Error::Usage("--max-gib: a number of GiB, at least 0".into()))?;
        return args.stage.print(output, &prepare::prune(&lake, (gib * GIB) as u64)?);
    }
    let model = match args.model {
        Model::Detector => prepare::For::Detector,
        Model::Reporter => prepare::For::ReportModel,
    };
    let shard = args.shard.shard()?;
    let stage = prepare::Args { lake, dataset: args.dataset.clone(), splits: args.split.clone(), model, shard };
    args.stage.print(output, &prepare::run(&ctx, &stage)?)
}

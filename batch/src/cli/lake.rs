//! `d2r lake`: what puts a lake in order by hand.

use clap::Subcommand;

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::lake::repair::Selection;
use crate::stages::lake_care;

/// What to do.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Finish an open commit; remove damaged parts and parts that no manifest names.
    #[command(after_help = "Example:\n  d2r lake repair --lake lake --dry-run")]
    Repair(RepairArgs),
    /// Remove tables of a dataset.
    #[command(
        after_help = "Example:\n  d2r lake remove --lake lake --dataset mimic --split test --table lesions --producer report"
    )]
    Remove(RemoveArgs),
}

#[derive(Debug, clap::Args)]
struct RepairArgs {
    /// Also remove finished shards that wait for the others, and finished images of shards that are not finished.
    #[arg(long)]
    waiting: bool,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    stage: StageFlags,
}

#[derive(Debug, clap::Args)]
struct RemoveArgs {
    /// The dataset.
    #[arg(long, value_name = "NAME")]
    dataset: String,
    /// The split; all when absent.
    #[arg(long, value_name = "SPLIT")]
    split: Option<String>,
    /// Tables, separated by commas; all when absent.
    #[arg(long, value_name = "TABLES", value_delimiter = ',')]
    table: Vec<String>,
    /// The verb that wrote them, for instance `annotate`; all when absent.
    #[arg(long, value_name = "VERB")]
    producer: Option<String>,
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    stage: StageFlags,
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    match &args.action {
        Action::Repair(args) => {
            let ctx = args.stage.context(output)?;
            args.stage.print(output, &lake_care::repair(&ctx, &args.stage.lake(), args.waiting, args.dry_run)?)
        }
        Action::Remove(args) => {
            let ctx = args.stage.context(output)?;
            let selection = Selection {
                dataset: args.dataset.clone(),
                split: args.split.clone(),
                tables: args.table.clone(),
                producer: args.producer.clone(),
            };
            args.stage.print(output, &lake_care::remove(&ctx, &args.stage.lake(), &selection, args.dry_run)?)
        }
    }
}

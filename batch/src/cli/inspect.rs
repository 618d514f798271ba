//! `d2r inspect`.

use std::path::PathBuf;

use clap::Subcommand;

use super::flags::Common;
use super::output;
use crate::error::{Error, Result};
use crate::stages::inspect;

/// What to look at.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  d2r inspect lake --lake demo/lake\n  d2r inspect run runs/detector-0123456789ab")]
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
        What::Run { run } => {
            let card = inspect::card(run)?;
            output::lines(&serde_json::to_string_pretty(&card).map_err(|e| Error::Internal(e.to_string()))?)
        }
    }
}

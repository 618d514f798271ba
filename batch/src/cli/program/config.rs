//! `d2r config`.

use clap::Subcommand;

use crate::cli::flags::{ConfigFlags, DeviceFlags, OutputFlags};
use crate::cli::output;
use crate::error::{Error, Result};

/// What to show.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  d2r config show --preset demo --origin\n  d2r config show --preset demo --expanded\n  d2r config schema > d2r.schema.json"
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    config: ConfigFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// The resolved configuration as TOML: every key, a file for --config.
    Show {
        /// One line per key: its value and the layer that set it.
        #[arg(long, conflicts_with = "expanded")]
        origin: bool,
        /// Every value of the run, including those that named sizes and recipes set.
        #[arg(long)]
        expanded: bool,
    },
    /// A JSON Schema of the configuration file.
    Schema,
}

pub fn run(flags: OutputFlags, args: &Args) -> Result<()> {
    let resolved = args.config.resolve(Some(&args.device))?;
    match args.verb {
        Verb::Show { origin: true, .. } => {
            let rows = resolved.entries();
            if flags.json {
                let json: serde_json::Map<String, serde_json::Value> = rows
                    .iter()
                    .map(|(k, v, o)| (k.clone(), serde_json::json!({ "value": v.to_string(), "origin": o })))
                    .collect();
                return output::lines(&serde_json::Value::Object(json).to_string());
            }
            let text: Vec<String> = rows.iter().map(|(k, v, o)| format!("{k:<38} {:<22} {o}", v.to_string())).collect();
            output::lines(&text.join("\n"))
        }
        Verb::Show { expanded: true, .. } if flags.json => {
            output::lines(&serde_json::to_string(&resolved.config).map_err(internal)?)
        }
        Verb::Show { expanded: true, .. } => output::lines(&toml::to_string(&resolved.config).map_err(internal)?),
        Verb::Show { .. } if flags.json => output::lines(&serde_json::to_string(&resolved.settings).map_err(internal)?),
        Verb::Show { .. } => output::lines(&resolved.to_toml()),
        Verb::Schema => {
            let schema = crate::config::schema::json_schema(&resolved.settings.table());
            output::lines(&serde_json::to_string_pretty(&schema).map_err(internal)?)
        }
    }
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::Internal(error.to_string())
}

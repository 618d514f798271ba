//! `d2r doctor`.

use crate::cli::flags::{ConfigFlags, DeviceFlags, LakeFlag, OutputFlags};
use crate::cli::output;
use crate::error::{Error, Result};
use crate::stages::doctor;
use crate::stages::doctor::Level;

/// What is going to be used.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r doctor --json")]
pub struct Args {
    #[command(flatten)]
    lake: LakeFlag,
    #[command(flatten)]
    config: ConfigFlags,
    #[command(flatten)]
    device: DeviceFlags,
}

/// Prints one line per check.
pub fn run(flags: OutputFlags, args: &Args) -> Result<()> {
    let resolved = args.config.resolve(Some(&args.device))?;
    let checks = doctor::checks(&resolved.config, &args.lake.lake);
    if flags.json {
        let json = serde_json::to_string(&checks).map_err(|e| Error::Internal(e.to_string()))?;
        output::lines(&json)?;
    } else {
        let mut text = String::new();
        for check in &checks {
            text.push_str(&format!("{:<5} {:<12} {}\n", check.level.word(), check.subject, check.found));
            if let Some(remedy) = &check.remedy {
                text.push_str(&format!("      {:<12} -> {remedy}\n", ""));
            }
        }
        output::lines(&text)?;
    }
    match checks.iter().find(|c| c.level == Level::Fail) {
        None => Ok(()),
        Some(check) => Err(Error::Config { place: check.subject.clone(), problem: check.found.clone() }),
    }
}

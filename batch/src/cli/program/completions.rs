//! `d2r completions`.

use clap::CommandFactory;

use crate::error::Result;

/// Which shell.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// bash, zsh, fish, elvish or powershell.
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::Cli::command(), "d2r", &mut script);
    crate::cli::output::lines(&String::from_utf8_lossy(&script))
}

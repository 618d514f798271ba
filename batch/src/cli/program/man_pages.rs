//! `d2r man-pages`, hidden: manual pages made from the parser, for an installation.

use std::path::PathBuf;

use clap::{Command, CommandFactory};

use crate::error::{Error, Result};
use crate::lake::atomic_file;

/// Where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for the pages; made when it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
}

/// Writes `d2r.1` and one page per verb.
pub fn run(args: &Args) -> Result<()> {
    std::fs::create_dir_all(&args.out).map_err(|e| Error::io("create", &args.out, e))?;
    let mut root = crate::cli::Cli::command();
    root.build();
    pages(&root, &args.out)
}

fn pages(command: &Command, folder: &std::path::Path) -> Result<()> {
    // `build` has put the parents' names into the display name: `d2r-ingest-vindr`.
    let name = command.get_display_name().unwrap_or(command.get_name()).to_owned();
    let path = folder.join(format!("{name}.1"));
    let page = clap_mangen::Man::new(command.clone().disable_help_subcommand(true));
    atomic_file::write(&path, |w| page.render(w).map_err(|e| Error::io("write", &path, e)))?;
    let mut below = command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help");
    below.try_for_each(|verb| pages(verb, folder))
}

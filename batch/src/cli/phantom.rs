//! `d2r phantom`.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use d2r_phantom::layouts::Layout;

use crate::cli::flags::{OutputFlags, StageFlags};
use crate::error::Result;
use crate::stages::phantom;

/// What to draw, and where.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  d2r phantom --out phantom --images 500 --seed 7")]
pub struct Args {
    /// The folder that receives one sub-folder per layout, and `truth/`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Labelled images, and studies with reports; the configuration's numbers when absent.
    #[arg(long, value_name = "N")]
    images: Option<u32>,
    /// A layout to write; may be repeated. The first five when absent.
    #[arg(long = "layout", value_name = "NAME", value_enum)]
    layouts: Vec<LayoutName>,
    #[command(flatten)]
    stage: StageFlags,
}

/// A layout by the name of its folder.
#[derive(Debug, Clone, Copy)]
struct LayoutName(Layout);

impl ValueEnum for LayoutName {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [LayoutName; Layout::ALL.len()] = {
            let mut all = [LayoutName(Layout::Vindr); Layout::ALL.len()];
            let mut i = 0;
            while i < all.len() {
                all[i] = LayoutName(Layout::ALL[i]);
                i += 1;
            }
            all
        };
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

pub fn run(output: OutputFlags, args: &Args) -> Result<()> {
    let ctx = args.stage.context(output)?;
    let layouts: Vec<Layout> = args.layouts.iter().map(|l| l.0).collect();
    let name = layouts.first().map_or(Layout::Vindr.name(), |l| l.name());
    let stage_args =
        phantom::Args { out: args.out.clone(), images: args.images, seed: args.stage.config.seed, layouts };
    let kind = match name {
        "vindr_kaggle" => "vindr".to_owned(),
        "annotation" => "annotation-json".to_owned(),
        name => name.replace('_', "-"),
    };
    let next = format!("ingest {kind} --root {}", args.out.join(name).display());
    args.stage.print_with_next(output, &phantom::run(&ctx, stage_args)?, &next)
}

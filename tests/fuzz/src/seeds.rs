//! Writes the first inputs of every target into `FOLDER/<target>/`, and prints the targets with their largest input.

use std::path::PathBuf;

use d2r_fuzz::TARGETS;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("."), PathBuf::from);
    for target in &TARGETS {
        let own = folder.join(target.name);
        std::fs::create_dir_all(&own)?;
        for (i, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(own.join(format!("seed-{i:02}")), seed)?;
        }
        #[expect(clippy::print_stdout, reason = "the list is what the caller reads")]
        {
            println!("{} {}", target.name, target.size_max);
        }
    }
    Ok(())
}

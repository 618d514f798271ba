//! The program that libFuzzer drives: the target is named by `D2R_FUZZ_TARGET`. With `D2R_FUZZ_SEEDS=FOLDER` it writes the first
//! inputs of every target into `FOLDER/<target>/`, prints the targets with their largest input, and ends.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use d2r_fuzz::{TARGETS, Target, check, target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("D2R_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("D2R_FUZZ_TARGET names no target: `{name}`"))
});

#[expect(clippy::print_stdout, reason = "the list is what the caller reads")]
fn write_seeds(folder: &Path) -> std::io::Result<()> {
    for target in &TARGETS {
        let own = folder.join(target.name);
        std::fs::create_dir_all(&own)?;
        for (i, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(own.join(format!("seed-{i:02}")), seed)?;
        }
        println!("{} {}", target.name, target.size_max);
    }
    Ok(())
}

fuzz_target!(
    init: {
        if let Some(folder) = std::env::var_os("D2R_FUZZ_SEEDS") {
            write_seeds(Path::new(&folder)).expect("the folder can be written");
            std::process::exit(0);
        }
    },
    |bytes: &[u8]| check(&TARGET, bytes)
);

//! The first inputs of every fuzz target, mutations of them, and the inputs that once failed.

use std::path::Path;

use d2r_fuzz::mutation::{Numbers, mutated};
use d2r_fuzz::{TARGETS, check, target};

/// Mutations of each first input.
const MUTATIONS: u64 = 300;

#[test]
fn first_inputs_and_their_mutations() {
    for target in &TARGETS {
        for (i, seed) in (target.seeds)().iter().enumerate() {
            assert!(seed.len() <= target.size_max, "{} {i}: {} bytes", target.name, seed.len());
            check(target, seed);
            for n in 0..MUTATIONS {
                let mut numbers = Numbers::new(n);
                let bytes = mutated(seed, &mut numbers);
                let checked = std::panic::catch_unwind(|| check(target, &bytes));
                assert!(checked.is_ok(), "{}: mutation {n} of first input {i}", target.name);
            }
        }
    }
}

/// `regressions/<target>/<name>`: every input that a target once failed on.
#[test]
fn inputs_that_once_failed() {
    let folder = Path::new("regressions");
    let mut n = 0;
    for entry in walkdir::WalkDir::new(folder).min_depth(2).into_iter().map(|e| e.expect("readable")) {
        let name = entry.path().parent().and_then(Path::file_name).and_then(|n| n.to_str()).expect("a folder's name");
        let target = target(name).unwrap_or_else(|| panic!("no target `{name}`"));
        check(target, &std::fs::read(entry.path()).expect("readable"));
        n += 1;
    }
    assert!(n > 0, "no inputs in {}", folder.display());
}

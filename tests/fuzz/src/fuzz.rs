//! The program that libFuzzer drives: the target is named by `D2R_FUZZ_TARGET`.
#![no_main]

use std::sync::LazyLock;

use d2r_fuzz::{Target, check, target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("D2R_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("D2R_FUZZ_TARGET names no target: `{name}`"))
});

fuzz_target!(|bytes: &[u8]| check(&TARGET, bytes));

//! `d2r --version --verbose`: what this program was built from and runs on.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit::Exit;
use crate::stages::doctor::libtorch_version;
use crate::stages::work_key::SOURCE_SHA256;
use crate::training::run_dir::LIBTORCH;

/// Whether the command line is `--version --verbose` in some order: the parser ends at `--version`.
pub fn is_asked_in_full(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut given: Vec<OsString> = arguments.collect();
    given.sort();
    let given: Vec<&str> = given.iter().filter_map(|a| a.to_str()).collect();
    matches!(given[..], ["--verbose", "--version"] | ["--verbose", "-V"])
}

/// Prints one `name value` per line.
pub fn print() -> ExitCode {
    let (version, path) = libtorch_version();
    let path = path.map_or_else(|| "not found in this process".into(), |p| p.display().to_string());
    let cuda = match tch::Cuda::device_count() {
        0 => "no device".to_owned(),
        n if tch::Cuda::cudnn_is_available() => format!("{n} devices, with cuDNN"),
        n => format!("{n} devices, without cuDNN"),
    };
    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    let text = format!(
        "d2r {}\nsources sha256 {SOURCE_SHA256}\nprofile {profile}\nlibtorch {version} (built for {LIBTORCH}) at {path}\n\
         cuda {cuda}\ncontracts {} tables\nResearch software, not a medical device.\n",
        env!("CARGO_PKG_VERSION"),
        d2r_contracts::contract::contracts().len(),
    );
    let printed = super::output::lines(&text);
    ExitCode::from(printed.map_or_else(|e| e.exit().code(), |()| Exit::Done.code()))
}

#[cfg(test)]
mod tests {
    use super::is_asked_in_full;

    #[test]
    fn only_version_and_verbose_together_ask_for_the_full_text() {
        let asked = |line: &str| is_asked_in_full(line.split_whitespace().map(Into::into));
        assert!(asked("--version --verbose"));
        assert!(asked("--verbose -V"));
        assert!(!asked("--version"));
        assert!(!asked("--verbose"));
        assert!(!asked("doctor --version --verbose"));
    }
}

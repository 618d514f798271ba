//! `d2r --version --verbose`: what this program was built from and runs on.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::exit::Exit;
use crate::stages::doctor;

/// Whether the command line is `--version --verbose` in some order: the parser ends at `--version`.
pub fn is_asked_in_full(arguments: impl Iterator<Item = OsString>) -> bool {
    let mut given: Vec<OsString> = arguments.collect();
    given.sort();
    let given: Vec<&str> = given.iter().filter_map(|a| a.to_str()).collect();
    matches!(given[..], ["--verbose", "--version"] | ["--verbose", "-V"])
}

/// Prints one `name value` per line.
pub fn print() -> ExitCode {
    let printed = crate::cli::output::lines(&doctor::program_text());
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

//! Helpers of the acceptance tests: the built command as a process, and the workspace's own files.

pub mod images;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The workspace's root: the folder above the package that cargo runs a test in. Computed when the test runs, because one
/// build folder may serve several checkouts.
///
/// # Panics
/// When there is no current folder.
pub fn root() -> PathBuf {
    let package = std::env::current_dir().expect("a test runs in its package");
    package.parent().expect("the tests package lies in the workspace").to_path_buf()
}

/// The built `d2r`, in the folder above that of this test's binary.
///
/// # Panics
/// When it has not been built.
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    let path = own.ancestors().nth(2).expect("target/<profile>/deps/<test>").join("d2r");
    assert!(path.is_file(), "{} is missing: build it first with `make build`", path.display());
    path
}

/// A `d2r` process in `folder`, with no configuration from the environment.
pub fn d2r(folder: &Path) -> Command {
    let mut command = Command::new(binary());
    command
        .current_dir(folder)
        .env_remove("D2R_LAKE")
        .env_remove("D2R_RUNS")
        .env_remove("D2R_LOG")
        .env("NO_COLOR", "1");
    for (name, _) in std::env::vars().filter(|(n, _)| n.starts_with("D2R_")) {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end.
///
/// # Panics
/// When the process cannot be started.
pub fn run(folder: &Path, args: &[&str]) -> Output {
    d2r(folder).args(args).output().expect("d2r starts")
}

/// Exit code, stdout and stderr as text.
pub fn outcome(output: &Output) -> (i32, String, String) {
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

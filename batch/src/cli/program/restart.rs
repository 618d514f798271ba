//! Settings of libraries that are read once, when the process starts: the waiting of OpenMP's threads and the limits of
//! the C library's allocator. The process sets them and starts itself again, under the same process id.

use std::ffi::OsStr;

/// Set in the process that was started again.
const MARK: &str = "D2R_RESTARTED";

/// The settings. What is in the environment already stays as it is.
/// - OpenMP's threads wait actively for a short time and then sleep. By default they do so for milliseconds, and two
///   processes on one host take the cores from each other: each needed 3.6 times as long as alone on two cores; 2.1 times with a
///   number of 1000, 2.4 times with 2500 (2 is its share). docs/experiments.md has the measurements.
/// - glibc keeps the memory of freed tensors, instead of returning it to the kernel and having it cleared again.
const SETTINGS: [(&str, &str); 2] = [
    ("GOMP_SPINCOUNT", "2000"),
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=2147483648"),
];

/// Starts the process again with the settings; returns where they are there or where that is not possible.
pub fn with_library_settings() {
    if std::env::var_os(MARK).is_some() {
        return;
    }
    let missing: Vec<_> = SETTINGS.iter().filter(|(name, _)| std::env::var_os(name).is_none()).collect();
    if !missing.is_empty() {
        exec(missing.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
    }
}

/// Replaces the process; returns when that fails.
#[cfg(unix)]
fn exec<'a>(settings: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) {
    use std::os::unix::process::CommandExt;
    let mut arguments = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) else { return };
    let mut command = std::process::Command::new(program);
    // Without the settings the work is slower; nothing else changes.
    let _failure = command.arg0(name).args(arguments).envs(settings).env(MARK, "1").exec();
}

#[cfg(not(unix))]
fn exec<'a>(_settings: impl Iterator<Item = (&'a OsStr, &'a OsStr)>) {}

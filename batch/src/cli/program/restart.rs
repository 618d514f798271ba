//! What libraries read from the environment when the process starts: how long OpenMP's threads wait actively, and whether MKL's
//! products have the same bits in every run. The process sets it and starts itself again, under the same process id.

/// Variables by which a user or a scheduler says how threads wait.
const POLICIES: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
/// Rounds of active waiting before a thread sleeps. By default it waits for milliseconds, and two processes on one host
/// take the cores from each other: each needed 3.6 times as long as alone on two cores, 2.1 times with 1000 rounds and 2.4
/// times with 2500 (2 is its share; docs/experiments.md).
const ROUNDS: &str = "2000";
/// How MKL divides a product among threads. By default it depends on how busy the machine is, and so do the last bits.
const REPRODUCIBILITY: (&str, &str) = ("MKL_CBWR", "AUTO");

/// Starts the process again with what the environment does not say: short waiting, and products with the same bits. Returns where it
/// says both, as it does the second time, and where that is not possible.
pub fn with_thread_settings() {
    let says = |name: &str| std::env::var_os(name).is_some();
    let mut settings = Vec::new();
    if !POLICIES.iter().any(|name| says(name)) {
        settings.push((POLICIES[0], ROUNDS));
    }
    if !says(REPRODUCIBILITY.0) {
        settings.push(REPRODUCIBILITY);
    }
    if !settings.is_empty() {
        exec(&settings);
    }
}

/// Replaces the process; returns when that fails.
#[cfg(unix)]
fn exec(settings: &[(&str, &str)]) {
    use std::os::unix::process::CommandExt;
    let mut arguments = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) else { return };
    let mut command = std::process::Command::new(program);
    // Without it the work may be slower, and its last bits may depend on the load; nothing else changes.
    let _failure = command.arg0(name).args(arguments).envs(settings.iter().copied()).exec();
}

#[cfg(not(unix))]
fn exec(_settings: &[(&str, &str)]) {}

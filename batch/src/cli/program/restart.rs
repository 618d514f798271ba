//! How long OpenMP's threads wait actively, which libgomp reads when the process starts. The process sets it and starts
//! itself again, under the same process id.

/// Variables by which a user or a scheduler says how threads wait.
const POLICIES: [&str; 2] = ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"];
/// Rounds of active waiting before a thread sleeps. By default it waits for milliseconds, and two processes on one host
/// take the cores from each other: each needed 3.6 times as long as alone on two cores, 2.1 times with 1000 rounds and 2.4
/// times with 2500 (2 is its share; docs/experiments.md).
const ROUNDS: &str = "2000";

/// Starts the process again with short waiting; returns where the environment says how threads wait, as it does the second
/// time, and where that is not possible.
pub fn with_short_waiting() {
    if POLICIES.iter().all(|name| std::env::var_os(name).is_none()) {
        exec();
    }
}

/// Replaces the process; returns when that fails.
#[cfg(unix)]
fn exec() {
    use std::os::unix::process::CommandExt;
    let mut arguments = std::env::args_os();
    let (Ok(program), Some(name)) = (std::env::current_exe(), arguments.next()) else { return };
    let mut command = std::process::Command::new(program);
    // Without it the work may be slower; nothing else changes.
    let _failure = command.arg0(name).args(arguments).env(POLICIES[0], ROUNDS).exec();
}

#[cfg(not(unix))]
fn exec() {}

//! A panic is a defect of the program: one line on stderr says where it happened, without data, and the exit code is 70. The
//! exception is memory that libtorch cannot get: most of its operations panic then, which is an error like any other (75).

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::output;
use crate::error::{Error, Result, is_out_of_memory};
use crate::exit::Exit;

/// Whether a panic has been reported. Those that follow in other threads, and the errors that they cause, say nothing new.
static REPORTED: AtomicBool = AtomicBool::new(false);
/// Whether it was for want of memory.
static OUT_OF_MEMORY: AtomicBool = AtomicBool::new(false);

/// Does the work of a verb and says how the process ends. An error is one line on stderr, a panic of any thread too.
pub fn reported(json: bool, work: impl FnOnce() -> Result<()>) -> Exit {
    set_hook(Box::new(move |panic| {
        // A panic of a codec, or of tract, becomes the refusal of what it read.
        if d2r_contracts::foreign_code::is_running() || REPORTED.swap(true, Ordering::Relaxed) {
            return;
        }
        if panic.payload_as_str().is_some_and(is_out_of_memory) {
            OUT_OF_MEMORY.store(true, Ordering::Relaxed);
            return output::error(&Error::out_of_memory(), json);
        }
        // The message of a panic may hold what was read from a file; its place does not.
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        output::error(&Error::Internal(format!("the program ended{place}; please report it")), json);
    }));
    let panicked = |_| Err(Error::Internal("it did not end the work as it should".into()));
    match catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked) {
        Ok(()) => Exit::Done,
        Err(e) => {
            let follows = matches!(e, Error::Internal(_)) && REPORTED.load(Ordering::Relaxed);
            if follows && OUT_OF_MEMORY.load(Ordering::Relaxed) {
                return Exit::Temporary;
            }
            if !follows {
                output::error(&e, json);
            }
            e.exit()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Names the work of the child process, which is this program of tests with one test.
    const WORK: &str = "WORK_THAT_PANICS";
    const SECRET: &str = "text of a report";

    fn fail() {
        panic!("{SECRET}");
    }

    #[test]
    fn child() {
        let Ok(work) = std::env::var(WORK) else { return };
        let exit = reported(work == "json", || {
            match work.as_str() {
                "this thread" | "json" => fail(),
                "a pool" => {
                    rayon::join(fail, fail);
                }
                "another thread" => {
                    std::thread::spawn(fail).join().map_err(|_| Error::Internal("no batch came".into()))?;
                }
                // 2^50 bytes, more than an address space has.
                "too much memory" => drop(tch::Tensor::zeros([1 << 48], (tch::Kind::Float, tch::Device::Cpu))),
                "a bad file" => return Err(Error::bad_data("a.csv", "no rows")),
                _ => {}
            }
            Ok(())
        });
        std::process::exit(i32::from(exit.code()));
    }

    /// Exit code and lines on stderr of a process that does this work.
    fn run(work: &str) -> (Option<i32>, Vec<String>) {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = module_path!().split_once("::").unwrap().1;
        let output = command.args(["--exact", &format!("{name}::child")]).env(WORK, work).output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), err.lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_panic_is_exit_code_70_and_one_line_that_says_where() {
        for work in ["this thread", "a pool", "another thread"] {
            let (code, lines) = run(work);
            assert_eq!((code, lines.len()), (Some(70), 1), "{work}: {lines:?}");
            let line = &lines[0];
            assert!(line.starts_with("error: internal error: the program ended at "), "{work}: {line}");
            assert!(line.contains("panics.rs:") && !line.contains(SECRET), "{work}: {line}");
        }
        let (code, lines) = run("json");
        let value: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!((code, lines.len(), &value["exit"]), (Some(70), 1, &70.into()), "{lines:?}");
    }

    #[test]
    fn memory_that_cannot_be_had_is_75_and_one_line_with_the_remedy() {
        let (code, lines) = run("too much memory");
        assert_eq!((code, lines.len()), (Some(75), 1), "{lines:?}");
        assert!(lines[0].starts_with("error: out of memory: ") && lines[0].contains("run.accumulate"), "{lines:?}");
    }

    #[test]
    fn an_error_is_one_line_and_done_is_none() {
        let (code, lines) = run("a bad file");
        assert_eq!((code, lines.len()), (Some(65), 1), "{lines:?}");
        assert!(lines[0].starts_with("error: ") && lines[0].contains("a.csv"), "{lines:?}");
        assert_eq!(run("nothing"), (Some(0), Vec::new()));
    }
}

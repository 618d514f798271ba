//! Signals: the first SIGTERM or SIGINT requests a checkpoint and an orderly end; the second ends the process, and so does
//! time.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// Whether a signal requested a stop. Cheap to clone and to read.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    signal: Arc<AtomicUsize>,
}

/// From SIGTERM to the end of the process, at most, seconds.
const GRACE_S: f32 = 3.0;
/// The variable with another number of seconds, for schedulers that wait longer.
const GRACE_VARIABLE: &str = "D2R_GRACE_S";
/// The longest time that the variable may give, seconds.
const GRACE_MAX_S: f32 = 86_400.0;
/// Pause between two checks of the flag.
const LOOK: Duration = Duration::from_millis(100);

/// The time that a value of [`GRACE_VARIABLE`] gives.
fn grace(value: Option<&str>) -> Result<Duration> {
    let seconds = value.map_or(Some(GRACE_S), |v| v.parse().ok());
    match seconds {
        Some(seconds) if (0.0..=GRACE_MAX_S).contains(&seconds) => Ok(Duration::from_secs_f32(seconds)),
        _ => Err(Error::Usage(format!("{GRACE_VARIABLE}: a number of seconds from 0 to {GRACE_MAX_S}"))),
    }
}

/// The flag of this process, once it listens.
static LISTENING: OnceLock<StopFlag> = OnceLock::new();

impl StopFlag {
    /// The flag of this process; one that is never set before [`Self::listen`]. For waiting where no flag is passed along.
    pub fn of_process() -> Self {
        LISTENING.get().cloned().unwrap_or_default()
    }

    /// A flag that SIGTERM and SIGINT set.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> Result<Self> {
        let flag = Self::default();
        let second = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT] {
            let install = || -> std::io::Result<()> {
                // Order matters: the shutdown handler reads `second` before the next handler sets it.
                signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&second))?;
                signal_hook::flag::register(signal, Arc::clone(&second))?;
                signal_hook::flag::register_usize(signal, Arc::clone(&flag.signal), signal as usize)?;
                Ok(())
            };
            install().map_err(|e| Error::Internal(format!("install a handler for signal {signal}: {e}")))?;
        }
        // A test may listen twice in one process; the first flag stays.
        let _ = LISTENING.set(flag.clone());
        Ok(flag)
    }

    /// Ends the process when it has not ended [`GRACE_S`] seconds after SIGTERM, or as many as `D2R_GRACE_S` says: schedulers
    /// kill soon after they ask. Every write is atomic, so that only work since the last checkpoint or commit is lost. After
    /// SIGINT a person decides, by a second one.
    ///
    /// # Errors
    /// [`Error::Usage`] when the variable is no number of seconds; [`Error::Temporary`] when no thread can be started.
    pub fn end_in_time(&self) -> Result<()> {
        let grace = grace(std::env::var_os(GRACE_VARIABLE).as_deref().map(|v| v.to_string_lossy()).as_deref())?;
        let flag = self.clone();
        let watch = move || {
            while flag.signal() != Some(SIGTERM) {
                std::thread::sleep(LOOK);
            }
            std::thread::sleep(grace);
            let seconds = grace.as_secs_f32();
            let _ = writeln!(
                std::io::stderr(),
                "error: ended {seconds} s after SIGTERM, in the middle of a step; what was committed before is intact \
                 ({GRACE_VARIABLE} gives more time)"
            );
            signal_hook::low_level::exit(128 + SIGTERM);
        };
        let started = std::thread::Builder::new().name("end in time".into()).spawn(watch);
        started.map(|_| ()).map_err(|e| Error::Temporary(format!("start a thread: {e}")))
    }

    /// Requests an orderly end, as the signal of this number does.
    pub fn request(&self, signal: i32) {
        self.signal.store(signal as usize, Ordering::Relaxed);
    }

    /// True after a signal.
    pub fn is_set(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// The signal that came, if any.
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }

    /// Fails after a signal.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    pub fn check(&self) -> Result<()> {
        self.signal().map_or(Ok(()), |signal| Err(Error::Stopped { signal }))
    }
}

#[cfg(test)]
mod tests {
    use super::grace;

    #[test]
    fn the_time_after_sigterm_is_three_seconds_unless_it_is_said() {
        assert_eq!(grace(None).unwrap().as_secs_f32(), 3.0);
        assert_eq!(grace(Some("50.5")).unwrap().as_secs_f32(), 50.5);
        for wrong in ["", "-1", "x", "nan", "1e9"] {
            assert!(grace(Some(wrong)).is_err(), "{wrong}");
        }
    }
}

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

/// From a signal to the end of the process, at most.
const GRACE: Duration = Duration::from_secs(3);
/// Pause between two checks of the flag.
const LOOK: Duration = Duration::from_millis(100);

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

    /// Ends the process when it has not ended [`GRACE`] after a signal: schedulers kill soon after they ask. Every write is
    /// atomic, so that only work since the last checkpoint or commit is lost.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn end_in_time(&self) -> Result<()> {
        let flag = self.clone();
        let watch = move || {
            let signal = loop {
                std::thread::sleep(LOOK);
                if let Some(signal) = flag.signal() {
                    break signal;
                }
            };
            std::thread::sleep(GRACE);
            let seconds = GRACE.as_secs_f32();
            let _ = writeln!(
                std::io::stderr(),
                "error: ended {seconds} s after signal {signal}, in the middle of a step; what was committed before is intact"
            );
            signal_hook::low_level::exit(128 + signal);
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

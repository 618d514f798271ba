//! Signals: the first SIGTERM or SIGINT requests a checkpoint and an orderly end, the second ends the process.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// Whether a signal requested a stop. Cheap to clone and to read.
#[derive(Debug, Clone, Default)]
pub struct StopFlag {
    signal: Arc<AtomicUsize>,
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

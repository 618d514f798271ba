//! Errors of planning, drawing and writing a phantom.

use std::path::{Path, PathBuf};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a phantom was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Settings that cannot be drawn.
    #[error("{key}: {problem}")]
    Settings {
        /// The setting, for instance `phantom.size`.
        key: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The folder holds files that no phantom wrote.
    #[error("{0}: the folder is not empty and was not written by d2r phantom; name another one")]
    Occupied(PathBuf),
    /// The observer reported a stop signal.
    #[error("stopped by signal {signal}")]
    Stopped { signal: i32 },
    /// Reading or writing failed.
    #[error("{action} {path}")]
    Io {
        /// What was tried, for instance `write`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// A defect of this crate.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    pub(crate) fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { action, path: path.as_ref().to_path_buf(), source }
    }
}

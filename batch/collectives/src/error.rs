//! What can go wrong between processes.

use std::time::Duration;

/// A failed operation. Trying the whole training again later may help.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The processes did not find each other.
    #[error("process {rank} of {size} did not meet the others at {address}:{port}: {message}")]
    Meeting {
        rank: usize,
        size: usize,
        address: String,
        port: u16,
        /// What libtorch says, its first line.
        message: String,
    },
    /// Another process has ended, or does not answer.
    #[error("{operation}: another process of this training was lost: {message}")]
    Lost {
        /// For instance `all-gather`.
        operation: &'static str,
        /// What libtorch says, its first line.
        message: String,
    },
    /// A tensor that cannot be sent: a defect of the caller.
    #[error("{operation}: {problem}")]
    Tensor {
        operation: &'static str,
        /// What the tensor is, and what it should be.
        problem: String,
    },
    /// The operation's name, an address or a duration does not fit the interface of libtorch.
    #[error("{0}")]
    Argument(String),
}

/// The first line of what libtorch says.
pub(crate) fn first_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().trim().to_owned()
}

/// Milliseconds for libtorch.
pub(crate) fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX).max(1)
}

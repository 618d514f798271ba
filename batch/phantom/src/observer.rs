//! What a caller learns while a phantom is written, and how it stops the writing.

/// Receives progress and gives the signal to stop. `()` does neither.
pub trait Observer: Sync {
    /// `n` more images are written.
    fn written(&self, n: u64) {
        let _ = n;
    }

    /// The layout that is being written.
    fn layout(&self, name: &str) {
        let _ = name;
    }

    /// The number of the signal that requests a stop; `None` to continue.
    fn stop_signal(&self) -> Option<i32> {
        None
    }
}

impl Observer for () {}

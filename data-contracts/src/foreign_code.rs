//! Third-party code on foreign bytes. Where it panics, the bytes are refused: one bad file must not end a batch. (In a browser a
//! panic cannot be caught and ends the module.)

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread runs code whose panic is caught: a hook for panics has nothing to say.
pub fn is_running() -> bool {
    RUNNING.get()
}

/// The result of `work`; `None` when it panicked.
pub fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    let outer = RUNNING.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    RUNNING.set(outer);
    done.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_and_known_as_one_that_is() {
        let panicking = || {
            assert!(is_running());
            // Inner work that ends well leaves the outer one marked.
            assert_eq!(caught(is_running), Some(true));
            assert!(is_running());
            std::panic::resume_unwind(Box::new("gave up"));
        };
        assert_eq!(caught(panicking), None::<()>);
        assert!(!is_running());
    }
}

//! Batches in the order of their steps: made on demand, or prepared ahead on a thread of their own.

use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, bounded};

use crate::error::{Error, Result};

/// Largest number of batches prepared ahead.
const AHEAD: usize = 3;

/// One batch per step, in order.
pub type Batches<'a, B> = Box<dyn Iterator<Item = Result<B>> + 'a>;

/// Prepares the batches of `wanted`, for instance of step numbers, on a thread, at most [`AHEAD`] of them before they are
/// taken. The thread ends after an error and when the batches are dropped. What is slow in `make` uses the pool of all
/// threads.
///
/// # Errors
/// Those of [`made_ahead`].
pub fn prefetched<W, B: Send + 'static>(
    wanted: impl Iterator<Item = W> + Send + 'static,
    make: impl Fn(W) -> Result<B> + Send + 'static,
) -> Result<Batches<'static, B>> {
    made_ahead(AHEAD, wanted, make)
}

/// [`prefetched`] with at most `ahead` batches that wait, beside the one that is made.
///
/// # Errors
/// [`Error::Temporary`] when no thread can be started.
pub fn made_ahead<W, B: Send + 'static>(
    ahead: usize,
    wanted: impl Iterator<Item = W> + Send + 'static,
    make: impl Fn(W) -> Result<B> + Send + 'static,
) -> Result<Batches<'static, B>> {
    let (sender, receiver) = bounded(ahead);
    let work = move || {
        for one in wanted {
            let batch = make(one);
            let failed = batch.is_err();
            if sender.send(batch).is_err() || failed {
                return;
            }
        }
    };
    let started = thread::Builder::new().name("batches".into()).spawn(work);
    let thread = started.map_err(|e| Error::Temporary(format!("start the thread that prepares batches: {e}")))?;
    Ok(Box::new(Ahead { receiver, thread: Some(thread) }))
}

/// Batches from a thread. One that panicked is an error, not the end: the batches that it did not make are missing.
struct Ahead<B> {
    receiver: Receiver<Result<B>>,
    thread: Option<JoinHandle<()>>,
}

impl<B> Iterator for Ahead<B> {
    type Item = Result<B>;

    fn next(&mut self) -> Option<Result<B>> {
        if let Ok(batch) = self.receiver.recv() {
            return Some(batch);
        }
        let panicked = self.thread.take()?.join().is_err();
        panicked.then(|| Err(Error::Internal("the thread that prepares batches ended".into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_come_in_order_and_end_after_an_error() {
        let make = |step| if step < 6 { Ok(step) } else { Err(Error::bad_data("image", "gone")) };
        let taken: Vec<Result<u64>> = prefetched(2..9, make).unwrap().collect();
        let steps: Vec<u64> = taken.iter().filter_map(|b| b.as_ref().ok().copied()).collect();
        assert_eq!(steps, [2, 3, 4, 5]);
        assert!(taken.len() == 5 && taken[4].is_err());
    }

    #[test]
    fn a_thread_that_panics_does_not_look_like_the_end() {
        let make = |step: u64| if step < 2 { Ok(step) } else { panic!("no batch") };
        let taken: Vec<Result<u64>> = made_ahead(1, 0..9, make).unwrap().collect();
        assert!(taken.len() == 3 && taken[1].is_ok() && matches!(taken[2], Err(Error::Internal(_))), "{taken:?}");
        assert_eq!(made_ahead(1, 0..2, make).unwrap().count(), 2);
    }
}

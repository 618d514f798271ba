//! Batches in the order of their steps: made on demand, or prepared ahead on a thread of their own.

use std::thread;

use crossbeam_channel::bounded;

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
    started.map_err(|e| Error::Temporary(format!("start the thread that prepares batches: {e}")))?;
    Ok(Box::new(receiver.into_iter()))
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
}

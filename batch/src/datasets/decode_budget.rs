//! Bounds the memory that decoding takes in the whole process. Files are decoded on all threads at once, and each may
//! take a hundred times its own size.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes that all files take together while they are decoded; with the program itself the process stays below 1.5 GB.
const TOTAL_BYTES: u64 = 1_200_000_000;

/// The budget of the process.
pub static PROCESS: DecodeBudget = DecodeBudget::new(TOTAL_BYTES);

/// A number of bytes that threads share.
#[derive(Debug)]
pub struct DecodeBudget {
    total: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    held: u64,
    /// Threads are served in the order in which they came, so that a large file does not wait for ever.
    next_ticket: u64,
    serving: u64,
}

/// Bytes of a budget; dropping gives them back.
#[derive(Debug)]
#[must_use]
pub struct HeldBytes<'a> {
    budget: &'a DecodeBudget,
    bytes: u64,
}

impl DecodeBudget {
    /// A budget of `total` bytes.
    pub const fn new(total: u64) -> Self {
        let state = State { held: 0, next_ticket: 0, serving: 0 };
        Self { total, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Waits until `bytes` are free and takes them. More than the total is the total: such a file is decoded alone.
    pub fn acquire(&self, bytes: u64) -> HeldBytes<'_> {
        let bytes = bytes.min(self.total);
        let mut state = self.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.serving != ticket || state.held + bytes > self.total {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.serving += 1;
        state.held += bytes;
        drop(state);
        self.changed.notify_all();
        HeldBytes { budget: self, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.budget.lock().held -= self.bytes;
        self.budget.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    #[test]
    fn threads_never_hold_more_than_the_total() {
        let (budget, held, most) = (DecodeBudget::new(100), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for thread in 0..8 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for turn in 0..50 {
                        let bytes = 10 + (thread * 7 + turn) % 60;
                        let guard = budget.acquire(bytes);
                        most.fetch_max(held.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
                        thread::yield_now();
                        held.fetch_sub(bytes, Ordering::SeqCst);
                        drop(guard);
                    }
                });
            }
        });
        assert!(most.into_inner() <= 100);
        assert_eq!(budget.lock().held, 0);
    }

    #[test]
    fn more_than_the_total_waits_until_it_is_alone() {
        let budget = DecodeBudget::new(100);
        let small = budget.acquire(1);
        thread::scope(|scope| {
            let large = scope.spawn(|| drop(budget.acquire(u64::MAX)));
            while budget.lock().next_ticket < 2 {
                thread::yield_now();
            }
            assert!(!large.is_finished());
            drop(small);
            large.join().unwrap();
        });
        assert_eq!(budget.acquire(100).bytes, 100);
    }
}

//! Epochs of a training: each takes all examples once, in a new order.

/// Sizes of such a training.
#[derive(Debug, Clone, Copy)]
pub struct Epochs {
    batch_size: usize,
    per_epoch: i64,
    epochs: i64,
}

impl Epochs {
    /// `examples`: their number, at least 1. The last batch of an epoch holds the rest.
    pub fn new(examples: usize, batch_size: usize, epochs: i64) -> Self {
        let batch_size = batch_size.max(1);
        Self { batch_size, per_epoch: examples.div_ceil(batch_size).max(1) as i64, epochs }
    }

    /// Steps of an epoch.
    pub fn steps_per_epoch(&self) -> i64 {
        self.per_epoch
    }

    /// Steps of the whole training.
    pub fn steps(&self) -> i64 {
        self.per_epoch * self.epochs
    }

    /// Epochs that are complete after `step` steps: the epoch of the next step.
    pub fn done(&self, step: i64) -> i64 {
        step / self.per_epoch
    }

    /// Whether an epoch ends with step number `step`, counted from 1.
    pub fn end_at(&self, step: i64) -> bool {
        step % self.per_epoch == 0
    }

    /// The examples of each step after the first `step` ones. `order`: all examples, in the order of an epoch.
    pub fn batches<T: Clone, F: Fn(i64) -> Vec<T>>(
        &self,
        step: i64,
        order: F,
    ) -> impl Iterator<Item = Vec<T>> + use<T, F> {
        let (first, size) = (self.done(step), self.batch_size);
        let of_epoch = move |epoch| order(epoch).chunks(size).map(<[T]>::to_vec).collect::<Vec<_>>();
        let skipped = (step - first * self.per_epoch) as usize;
        (first..self.epochs).flat_map(of_epoch).skip(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_training_gets_the_batches_that_are_left() {
        let epochs = Epochs::new(5, 2, 3);
        assert_eq!((epochs.steps_per_epoch(), epochs.steps()), (3, 9));
        let order = |epoch: i64| (0..5).map(|i| 10 * epoch + i).collect();
        let from = |step| epochs.batches(step, order).collect::<Vec<Vec<i64>>>();
        let all = from(0);
        assert_eq!(all[..4], [vec![0, 1], vec![2, 3], vec![4], vec![10, 11]]);
        assert_eq!(all.len(), 9);
        for step in 0..=9 {
            assert_eq!(from(step), all[step as usize..], "step {step}");
        }
        assert_eq!([0, 2, 3, 8, 9].map(|step| epochs.done(step)), [0, 0, 1, 2, 3]);
        assert!(epochs.end_at(3) && !epochs.end_at(4));
    }
}

//! A batch in virtual shards, `run.accumulate` of them: each is a batch of its own with its own random streams, and the
//! step takes the mean of their gradients. The shards do not depend on the number of ranks, of which each takes an
//! equal block, so that any number of ranks takes the same steps.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::training::ranks::Ranks;

/// The key with the number of shards.
const KEY: &str = "run.accumulate";

/// The virtual shards of every batch, and the ranks that they are divided among.
#[derive(Debug, Clone)]
pub struct VirtualShards {
    count: usize,
    ranks: Ranks,
}

impl VirtualShards {
    /// `count` shards, a power of two. `batches`: keys of batch sizes and their values, which `count` divides.
    ///
    /// # Errors
    /// [`Error::Config`] when the numbers do not divide each other.
    pub fn new(count: usize, ranks: &Ranks, batches: &[(&str, usize)]) -> Result<Self> {
        let wrong = |problem: String| Err(Error::Config { place: KEY.into(), problem });
        if !count.is_power_of_two() {
            return wrong(format!("{count} is no power of two"));
        }
        let size = ranks.size();
        if !count.is_multiple_of(size) {
            return wrong(format!(
                "{count} virtual shards cannot be divided among {size} processes: set it to a multiple of their number \
                 that is a power of two, or start 1, 2, 4 .. processes"
            ));
        }
        for (key, images) in batches {
            if !images.is_multiple_of(count) {
                return wrong(format!("{count} virtual shards do not divide {key} = {images}"));
            }
        }
        Ok(Self { count, ranks: ranks.clone() })
    }

    /// One shard, the whole batch, on a single process.
    pub fn whole() -> Self {
        Self { count: 1, ranks: Ranks::alone() }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn ranks(&self) -> &Ranks {
        &self.ranks
    }

    /// The shards that this rank takes.
    pub fn own(&self) -> Range<usize> {
        let each = self.count / self.ranks.size();
        self.ranks.rank() * each..(self.ranks.rank() + 1) * each
    }

    /// The places in a batch of `size` that belong to a shard. Of a smaller batch at the end of an epoch the shards get
    /// unequal numbers, possibly none.
    pub fn places(&self, shard: usize, size: usize) -> Range<usize> {
        shard * size / self.count..(shard + 1) * size / self.count
    }

    /// The places that this rank takes in a batch of `size`.
    pub fn own_places(&self, size: usize) -> Range<usize> {
        self.own_places_of()(size)
    }

    /// [`Self::own_places`] for another thread.
    pub fn own_places_of(&self) -> impl Fn(usize) -> Range<usize> + Send + use<> {
        let (own, count) = (self.own(), self.count);
        move |size| own.start * size / count..own.end * size / count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_every_place_once() {
        let shards = VirtualShards::new(4, &Ranks::alone(), &[("detector.train.batch_size", 8)]).unwrap();
        let places = |size: usize| (0..4).map(|s| shards.places(s, size)).collect::<Vec<_>>();
        assert_eq!(places(8), [0..2, 2..4, 4..6, 6..8]);
        assert_eq!(places(3), [0..0, 0..1, 1..2, 2..3], "the rest of an epoch");
        assert_eq!((shards.own(), shards.own_places(8)), (0..4, 0..8));
    }

    #[test]
    fn numbers_that_do_not_divide_each_other_are_refused() {
        for (count, batch, wanted) in [(3, 6, "no power of two"), (4, 6, "do not divide x = 6"), (0, 6, "no power")] {
            let error = VirtualShards::new(count, &Ranks::alone(), &[("x", batch)]).unwrap_err();
            assert_eq!(error.exit().code(), 78);
            assert!(error.to_string().contains(wanted), "{error}");
        }
    }
}

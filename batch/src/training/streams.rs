//! The random streams of training. Each one is a pure function of the run's seed and of the position in training (step,
//! epoch, place in the batch), so that a resumed run draws what an uninterrupted one draws.
//! A label, a constant or an order of draws that changes here changes every trained model.
//!
//! # What seeds what
//!
//! | stream | generator | draws |
//! |---|---|---|
//! | `tch::manual_seed(run.seed)`, once, by the stage | libtorch's | initial weights of all models |
//! | [`sample_rng`]`(seed, step, i)` | ChaCha8 | weak augmentation of the `i`-th image (labelled stream) or study of a batch |
//! | [`sample_rng`]`(seed, step, `[`UNLABELLED`]` + i)` | ChaCha8 | weak augmentation of the `i`-th unlabelled image |
//! | [`sample_rng`]`(seed, step, `[`STRONG`]` + place)` | ChaCha8 | strong augmentation of the image at `place` (`i` or `UNLABELLED + i`) |
//! | [`sample_rng`]`(seed, step, `[`SCALE`]` + place)` | ChaCha8 | multi-scale training: shortest edge of the image at `place` |
//! | [`shard_rng`]`(seed, step, shard)`, for shard 0 [`sample_rng`]`(seed, step, `[`DRAW`]`)` | ChaCha8 | sampling of anchors and regions (Faster R-CNN): regions directly; for anchors each drawn `u32` seeds libtorch's generator |
//! | [`epoch_rng`]`(seed, epoch)` | ChaCha8 | order of a detector's images in an epoch; where batches are of one orientation, of those that are not wide |
//! | [`epoch_rng`]`(seed, `[`WIDE`]` + epoch)` | ChaCha8 | order of the wide images then |
//! | [`epoch_rng`]`(labelled_seed, `[`SHARE`]`)` | ChaCha8 | which images `detector.train.labelled_share` keeps |
//! | [`shard_seed`]`(seed, "report dropout", step, shard)`, for shard 0 [`mixed_seed`]`(seed, "report dropout", step)` | libtorch's | dropout of the report model and of its alignment |
//! | [`purpose_rng`]`(seed, "report shuffle", epoch)` | ChaCha8 | order of the report model's studies in an epoch |
//! | [`mixed_seed`]`(seed, "distil step", step)` | libtorch's | preview model: intensity augmentation, dropout |
//! | [`purpose_rng`]`(seed, "distil order", epoch)` | ChaCha8 | preview model: reference or written text for each study, then the order |
//! | [`purpose_rng`]`(seed, "distil moves", step)` | ChaCha8 | preview model: geometric augmentation |
//!
//! Phantoms, sampling of words and bootstrap intervals are no part of training and have streams of their own.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// Added to the place of an image of the unlabelled stream.
pub const UNLABELLED: u64 = 1 << 32;
/// Added to the place of an image for its strong augmentation.
pub const STRONG: u64 = 1 << 33;
/// Added to the place of an image for its size.
pub const SCALE: u64 = 1 << 34;
/// Added to the epochs of images that are wider than high.
pub const WIDE: u64 = 1 << 63;
/// The place that samples anchors and regions: no image's.
pub const DRAW: u64 = u64::MAX;
/// The epoch that chooses a share of the images: no epoch's.
pub const SHARE: u64 = u64::MAX;

/// The generator of one place in the batch of one step.
pub fn sample_rng(seed: u64, step: u64, place: u64) -> ChaCha8Rng {
    keyed([seed, step, place, u64::from_le_bytes(*b"augment.")])
}

/// The generator that samples anchors and regions of one virtual shard.
pub fn shard_rng(seed: u64, step: u64, shard: usize) -> ChaCha8Rng {
    sample_rng(seed, step, DRAW - shard as u64)
}

/// The generator of one epoch of a detector.
pub fn epoch_rng(seed: u64, epoch: u64) -> ChaCha8Rng {
    keyed([seed, epoch, 0, u64::from_le_bytes(*b"shuffle.")])
}

fn keyed(words: [u64; 4]) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, value) in key.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&value.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// A seed for libtorch's generator: the first 8 bytes of the SHA-256 of `"<seed> <purpose> <index>"`.
pub fn mixed_seed(seed: u64, purpose: &str, index: i64) -> i64 {
    let digest = Sha256::digest(format!("{seed} {purpose} {index}"));
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(bytes)
}

/// The seed of one virtual shard for libtorch's generator: [`mixed_seed`], with the number of a shard beyond the first
/// in the purpose.
pub fn shard_seed(seed: u64, purpose: &str, index: i64, shard: usize) -> i64 {
    match shard {
        0 => mixed_seed(seed, purpose, index),
        _ => mixed_seed(seed, &format!("{purpose}, shard {shard}"), index),
    }
}

/// The generator seeded with [`mixed_seed`].
pub fn purpose_rng(seed: u64, purpose: &str, index: i64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(mixed_seed(seed, purpose, index) as u64)
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn streams_differ_in_every_part_of_their_key() {
        let first = |mut rng: ChaCha8Rng| rng.next_u64();
        let mut draws: Vec<u64> =
            [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (1, 2, UNLABELLED + 3), (1, 2, SCALE + 3), (1, 2, DRAW)]
                .map(|(seed, step, place)| first(sample_rng(seed, step, place)))
                .into();
        draws.extend([(1, 2), (2, 2), (1, WIDE + 2), (1, SHARE)].map(|(seed, epoch)| first(epoch_rng(seed, epoch))));
        draws.extend([("a", 2), ("b", 2), ("a", 3)].map(|(purpose, index)| first(purpose_rng(1, purpose, index))));
        draws.extend([1, 2].map(|shard| first(shard_rng(1, 2, shard))));
        draws.extend([1, 2].map(|shard| shard_seed(1, "a", 2, shard) as u64));
        assert_eq!(first(sample_rng(1, 2, 3)), draws[0]);
        assert_eq!(first(shard_rng(1, 2, 0)), first(sample_rng(1, 2, DRAW)));
        assert_eq!(shard_seed(1, "a", 2, 0), mixed_seed(1, "a", 2));
        let all = draws.len();
        draws.sort_unstable();
        draws.dedup();
        assert_eq!(draws.len(), all);
    }
}

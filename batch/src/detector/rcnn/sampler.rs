//! A balanced random subset of anchors: at most a share of foreground, the rest background.
//! Everything has a fixed size and a validity mask, so that the host never waits for the device.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use crate::detector::rcnn::matcher::{BACKGROUND, FOREGROUND};

/// How subsets are drawn.
#[derive(Debug, Clone)]
pub enum Draw {
    /// Uniformly, without replacement.
    Random(Box<ChaCha8Rng>),
    /// The first ones by index: for parity tests.
    First,
}

impl Draw {
    /// The seed for `tch`'s global generator before [`Draw::keys`]; `None` where keys are not random.
    pub fn next_torch_seed(&mut self) -> Option<i64> {
        match self {
            Self::Random(rng) => Some(i64::from(rand::Rng::next_u32(rng.as_mut()))),
            Self::First => None,
        }
    }

    /// f32 `[B, N]` in `[0, 1)`: items with larger keys are drawn first. Random keys come from `tch`'s global
    /// generator, which the caller seeds.
    pub fn keys(&self, shape: [i64; 2], device: Device) -> Tensor {
        match self {
            Self::Random(_) => Tensor::rand(shape, (Kind::Float, device)),
            Self::First => {
                let count = shape[1].max(1) as f64;
                (-(Tensor::arange(shape[1], (Kind::Double, device)) + 1.0) / (count + 1.0) + 1.0)
                    .to_kind(Kind::Float)
                    .expand(shape, false)
            }
        }
    }

    /// At most `count` of `indices`.
    pub fn choose(&mut self, mut indices: Vec<usize>, count: usize) -> Vec<usize> {
        if let Self::Random(rng) = self
            && indices.len() > count
        {
            let (chosen, _) = indices.partial_shuffle(rng.as_mut(), count);
            return chosen.to_vec();
        }
        indices.truncate(count);
        indices
    }
}

/// Sizes of the subset.
#[derive(Debug, Clone, Copy)]
pub struct AnchorSampler {
    /// Anchors per image.
    pub per_image: i64,
    /// Largest share of foreground.
    pub foreground_share: f64,
}

/// A subset per image.
#[derive(Debug)]
pub struct SampledAnchors {
    /// i64 `[B, F]`: indices of foreground anchors.
    pub foreground: Tensor,
    /// bool `[B, F]`: which of them are in the subset.
    pub foreground_valid: Tensor,
    /// i64 `[B, M]`: indices of background anchors.
    pub background: Tensor,
    /// bool `[B, M]`: which of them are in the subset.
    pub background_valid: Tensor,
}

impl SampledAnchors {
    /// i64 `[B, F + M]`: indices, foreground first.
    pub fn indices(&self) -> Tensor {
        Tensor::cat(&[&self.foreground, &self.background], 1)
    }

    /// bool `[B, F + M]`: which of [`SampledAnchors::indices`] are in the subset.
    pub fn valid(&self) -> Tensor {
        Tensor::cat(&[&self.foreground_valid, &self.background_valid], 1)
    }

    /// f32 `[B, F + M]`: 1 for foreground, 0 for background.
    pub fn objectness(&self) -> Tensor {
        Tensor::cat(&[self.foreground.ones_like(), self.background.zeros_like()], 1).to_kind(Kind::Float)
    }
}

impl AnchorSampler {
    /// Largest number of foreground anchors per image.
    pub fn foreground_max(&self) -> i64 {
        (self.per_image as f64 * self.foreground_share) as i64
    }

    /// A subset of anchors with labels i64 `[B, N]`; `keys`: of [`Draw::keys`], f32 `[B, N]`.
    pub fn sample(&self, labels: &Tensor, keys: &Tensor) -> SampledAnchors {
        let (_, anchors) = labels.size2().expect("labels [B, N]");
        let chosen = |label: i64, count: i64| {
            let keys = keys.masked_fill(&labels.ne(label), -1.0);
            let (values, indices) = keys.topk(count.min(anchors), 1, true, true);
            (indices, values.ge(0.0))
        };
        let (foreground, foreground_valid) = chosen(FOREGROUND, self.foreground_max());
        let (background, valid) = chosen(BACKGROUND, self.per_image);
        let room = self.per_image - foreground_valid.sum_dim_intlist([1i64].as_slice(), true, Kind::Int64);
        let rank = Tensor::arange(background.size()[1], (Kind::Int64, labels.device()));
        let background_valid = valid.logical_and(&rank.lt_tensor(&room));
        SampledAnchors { foreground, foreground_valid, background, background_valid }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn valid(t: &Tensor) -> i64 {
        i64::try_from(t.sum(Kind::Int64)).unwrap()
    }

    #[test]
    fn at_most_a_share_is_foreground_and_background_fills_the_rest() {
        let sampler = AnchorSampler { per_image: 8, foreground_share: 0.25 };
        let labels =
            Tensor::from_slice(&[1i64, 1, 1, 0, 0, -1, 0, 0, 0, 0, 0, 0, 1, -1, -1, -1, -1, -1, -1, 0, 0, -1, -1, -1])
                .view([2, 12]);
        let mut draw = Draw::Random(Box::new(ChaCha8Rng::seed_from_u64(1)));
        tch::manual_seed(draw.next_torch_seed().unwrap());
        let sampled = sampler.sample(&labels, &draw.keys([2, 12], Device::Cpu));
        assert_eq!(valid(&sampled.foreground_valid.get(0)), 2);
        assert_eq!(valid(&sampled.background_valid.get(0)), 6);
        assert_eq!(valid(&sampled.foreground_valid.get(1)), 1);
        assert_eq!(valid(&sampled.background_valid.get(1)), 2);
        let chosen = labels.gather(1, &sampled.background, false);
        let wrong = chosen.ne(BACKGROUND).logical_and(&sampled.background_valid);
        assert_eq!(valid(&wrong), 0, "only background is drawn as background");
        let first = sampler.sample(&labels, &Draw::First.keys([2, 12], Device::Cpu));
        assert_eq!(Vec::<i64>::try_from(first.foreground.get(0)).unwrap(), [0, 1]);
        assert_eq!(Vec::<i64>::try_from(first.background.get(0).narrow(0, 0, 6)).unwrap(), [3, 4, 6, 7, 8, 9]);
    }

    #[test]
    fn an_image_without_boxes_gives_background_only() {
        let sampler = AnchorSampler { per_image: 4, foreground_share: 0.5 };
        let labels = Tensor::zeros([1, 9], (Kind::Int64, Device::Cpu));
        let sampled = sampler.sample(&labels, &Draw::First.keys([1, 9], Device::Cpu));
        assert_eq!((valid(&sampled.foreground_valid), valid(&sampled.background_valid)), (0, 4));
    }

    #[test]
    fn choosing_on_the_host_is_without_replacement() {
        let mut draw = Draw::Random(Box::new(ChaCha8Rng::seed_from_u64(3)));
        let mut chosen = draw.choose((0..50).collect(), 20);
        chosen.sort_unstable();
        chosen.dedup();
        assert_eq!(chosen.len(), 20);
        assert_eq!(Draw::First.choose(vec![5, 7, 9], 2), [5, 7]);
    }
}

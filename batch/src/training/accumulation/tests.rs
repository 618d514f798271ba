//! The tree has the same bits for any division; the mean over shards is that of the whole batch; buffers.

use tch::{Device, nn};

use super::*;
use crate::training::named_tensors::named_tensors;
use crate::training::optimizer::{ParamGroup, Rule};
use crate::training::ranks::Ranks;

fn bits(sum: &Tensor) -> Vec<u32> {
    Vec::<f32>::try_from(sum).unwrap().into_iter().map(f32::to_bits).collect()
}

fn tree(leaves: &[Tensor]) -> Tensor {
    let mut tree = Tree::default();
    leaves.iter().for_each(|leaf| tree.add(leaf.shallow_clone()));
    tree.finish().unwrap()
}

#[test]
fn partial_sums_of_any_number_of_ranks_finish_the_same_tree() {
    tch::manual_seed(1);
    let leaves: Vec<Tensor> = (0..8).map(|_| Tensor::randn([64], (Kind::Float, Device::Cpu)) * 1e3).collect();
    let whole = tree(&leaves);
    for ranks in [1, 2, 4, 8] {
        let partial: Vec<Tensor> = leaves.chunks(8 / ranks).map(tree).collect();
        assert_eq!(bits(&tree(&partial)), bits(&whole), "{ranks} ranks");
    }
    let in_turn = leaves.iter().skip(1).fold(leaves[0].copy(), |sum, leaf| sum + leaf);
    assert_ne!(bits(&in_turn), bits(&whole), "the order matters");
    let mut odd = Tree::default();
    leaves[..3].iter().for_each(|leaf| odd.add(leaf.shallow_clone()));
    assert!(odd.finish().is_none());
}

/// A weight `w` (2), an unused parameter, and a buffer that every pass sets to the mean of its inputs.
struct Model {
    store: nn::VarStore,
    weight: Tensor,
    optimizer: Optimizer,
    buffer: Tensor,
}

impl Model {
    fn new() -> Self {
        let store = nn::VarStore::new(Device::Cpu);
        let weight = store.root().var("w", &[2], nn::Init::Const(1.0));
        let _ = store.root().var("unused", &[3], nn::Init::Const(1.0));
        let buffer = store.root().zeros_no_train("running_mean", &[1]);
        let params = named_tensors(&store).into_iter().filter(|(_, t)| t.requires_grad()).collect();
        let group = ParamGroup { name: "all".into(), params, lr: 0.5, weight_decay: 0.1 };
        let optimizer = Optimizer::new(Rule::Sgd { momentum: 0.0 }, vec![group]).unwrap();
        Self { store, weight, optimizer, buffer }
    }

    /// A step on `images`, and the mean loss that it logs.
    fn step(&mut self, count: usize, images: &[f32]) -> f64 {
        let shards = VirtualShards::new(count, &Ranks::alone(), &[]).unwrap();
        let (weight, mut buffer) = (&self.weight, self.buffer.data());
        let logged =
            accumulate(&shards, &mut self.optimizer, &[self.buffer.shallow_clone()], (images.len(), 1), |shard| {
                assert_eq!(f64::try_from(&buffer).unwrap(), 0.0, "every shard starts from the first value");
                let xs = Tensor::from_slice(&images[shards.places(shard, images.len())]);
                let _no_grad = tch::no_grad_guard();
                buffer.copy_(&xs.mean(Kind::Float).reshape([1]));
                drop(_no_grad);
                let loss = (weight.get(0) * &xs + weight.get(1)).square().mean(Kind::Float);
                Ok(ShardLoss { figures: loss.detach().reshape([1]), loss, passes: Vec::new() })
            });
        self.optimizer.step(1.0);
        f64::try_from(logged.unwrap()).unwrap()
    }

    fn values(&self) -> Vec<Vec<f32>> {
        named_tensors(&self.store).iter().map(|(_, t)| Vec::try_from(t).unwrap()).collect()
    }
}

#[test]
fn the_mean_over_shards_is_that_of_the_batch_also_at_the_end_of_an_epoch() {
    for images in [&[0.5, -1.0, 2.0, 3.0][..], &[0.5, -1.0, 2.0]] {
        let (mut whole, mut parts) = (Model::new(), Model::new());
        let (a, b) = (whole.step(1, images), parts.step(4, images));
        assert!((a - b).abs() < 1e-6, "{a} against {b}");
        let (whole, parts) = (whole.values(), parts.values());
        assert_ne!(whole[2], [1.0, 1.0], "it learns");
        for (a, b) in whole.concat().iter().zip(parts.concat()) {
            assert!((a - b).abs() < 1e-6, "{whole:?} against {parts:?}");
        }
        // The parameter without a gradient does not even decay.
        assert_eq!(parts[1], [1.0; 3]);
    }
}

#[test]
fn a_parameter_that_one_shard_uses_has_a_gradient_and_buffers_end_as_the_mean_of_their_changes() {
    let mut model = Model::new();
    let mut buffer = model.buffer.data();
    let shards = VirtualShards::new(2, &Ranks::alone(), &[]).unwrap();
    let (weight, unused) = (model.weight.shallow_clone(), model.store.variables()["unused"].shallow_clone());
    let buffers = [model.buffer.shallow_clone()];
    let _ = accumulate(&shards, &mut model.optimizer, &buffers, (2, 1), |shard| {
        let _ = buffer.fill_(if shard == 0 { 1.0 } else { 3.0 });
        let loss = if shard == 0 {
            weight.sum(Kind::Float)
        } else {
            (&weight * 2.0).sum(Kind::Float) + unused.sum(Kind::Float)
        };
        Ok(ShardLoss { figures: loss.detach().reshape([1]), loss, passes: Vec::new() })
    })
    .unwrap();
    assert_eq!(f64::try_from(&model.buffer).unwrap(), 2.0);
    model.optimizer.step(1.0);
    // Learning rate 0.5, decay 0.1: 1 - 0.5 (1.5 + 0.1), and 1 - 0.5 (0.5 + 0.1) for half of the batch.
    for (values, expected) in [(&weight, 0.2), (&unused, 0.7)] {
        assert!(Vec::<f32>::try_from(values).unwrap().iter().all(|v| (v - expected).abs() < 1e-6), "{values:?}");
    }
}

#[test]
fn after_an_error_the_buffers_are_as_they_were() {
    let mut model = Model::new();
    let mut buffer = model.buffer.data();
    let shards = VirtualShards::new(2, &Ranks::alone(), &[]).unwrap();
    let failed = accumulate(&shards, &mut model.optimizer, &[model.buffer.shallow_clone()], (2, 1), |_| {
        let _ = buffer.fill_(7.0);
        Err(Error::Temporary("lost".into()))
    });
    assert_eq!(failed.unwrap_err().exit().code(), 75);
    assert_eq!(f64::try_from(&model.buffer).unwrap(), 0.0);
}

//! The gradient of a step over its virtual shards: a weighted sum in a fixed binary tree. A rank sums the sub-tree of
//! its own shards; the partial sums are gathered and every rank finishes the same tree, so that the sum has the same
//! bits for any number of ranks.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::nn::pass::Passes;
use crate::training::optimizer::Optimizer;
use crate::training::virtual_shards::VirtualShards;

/// What the forward pass of one virtual shard gives.
#[derive(Debug)]
pub struct ShardLoss {
    /// Scalar with a gradient, the mean over the shard.
    pub loss: Tensor,
    /// f32 `[N]` without gradient: figures of the log, of which the mean over the shards is taken.
    pub figures: Tensor,
    /// The passes behind the loss that compute their gradients themselves, in their order.
    pub passes: Passes,
}

/// Sets the optimizer's gradients to the mean over the virtual shards of a batch, each weighted by its share of the
/// images, and returns the mean of their figures. `buffers`: f32, what the forward pass changes beside gradients
/// (running statistics); each shard starts from their values at the start of the step, and they end as the mean over
/// the shards. `size`: images of the batch; `figures`: their number. `shard_loss`: of a shard that has images, by its
/// number.
///
/// With one shard nothing is summed: gradients, buffers and figures are those of the one pass.
///
/// # Errors
/// Those of `shard_loss`; [`Error::Temporary`] when a rank was lost. The buffers are then as they were.
pub fn accumulate(
    shards: &VirtualShards,
    optimizer: &mut Optimizer,
    buffers: &[Tensor],
    (size, figures): (usize, usize),
    mut shard_loss: impl FnMut(usize) -> Result<ShardLoss>,
) -> Result<Tensor> {
    if shards.count() == 1 {
        let ShardLoss { loss, figures, passes } = shard_loss(0)?;
        optimizer.backward_through(&loss, passes)?;
        return Ok(figures);
    }
    let start = Start::of(buffers);
    let sum = sum_over_shards(shards, optimizer, &start, (size, figures), &mut shard_loss);
    start.restore();
    let (sum, present) = sum?;
    let _no_grad = tch::no_grad_guard();
    let mut parts = Parts { flat: &sum, at: 0 };
    let shapes = optimizer.shapes();
    let gradients: Vec<Tensor> = shapes.iter().map(|shape| parts.next(shape)).collect();
    for (buffer, from) in start.buffers.iter().zip(&start.copies) {
        buffer.shallow_clone().copy_(&(from + parts.next(&buffer.size())));
    }
    let figures = parts.next(&[figures as i64]);
    let set = |(gradient, present): (Tensor, bool)| if present { gradient } else { Tensor::new() };
    optimizer.set_gradients(gradients.into_iter().zip(present).map(set).collect())?;
    Ok(figures)
}

/// The sum of all shards, f32: gradients, changes of the buffers, figures, one after the other; and of each parameter
/// whether the loss of any shard depends on it, which is known without asking the device.
fn sum_over_shards(
    shards: &VirtualShards,
    optimizer: &Optimizer,
    start: &Start,
    (size, figures): (usize, usize),
    shard_loss: &mut impl FnMut(usize) -> Result<ShardLoss>,
) -> Result<(Tensor, Vec<bool>)> {
    let mut tree = Tree::default();
    let mut present = vec![0u8; optimizer.shapes().len()];
    for shard in shards.own() {
        start.restore();
        let images = shards.places(shard, size).len();
        let leaf = if images == 0 {
            start.empty_leaf(optimizer, figures)
        } else {
            let ShardLoss { loss, figures, passes } = shard_loss(shard)?;
            let gradients = optimizer.gradients(&loss, passes)?;
            present.iter_mut().zip(&gradients).for_each(|(any, g)| *any |= u8::from(g.defined()));
            start.leaf(&gradients, optimizer, &figures)? * (images as f64 / size as f64)
        };
        tree.add(leaf);
    }
    let partial = tree.finish().ok_or_else(|| Error::Internal("a rank has no virtual shard".into()))?;
    let mut tree = Tree::default();
    shards.ranks().gather(&partial)?.into_iter().for_each(|sum| tree.add(sum));
    let sum = tree.finish().ok_or_else(|| Error::Internal("no rank has a virtual shard".into()))?;
    // On the CPU, where the ranks exchange it.
    let mut anywhere = vec![false; present.len()];
    for of_rank in shards.ranks().gather(&Tensor::f_from_slice(&present)?)? {
        let of_rank = Vec::<u8>::try_from(of_rank)?;
        anywhere.iter_mut().zip(of_rank).for_each(|(any, here)| *any |= here > 0);
    }
    Ok((sum, anywhere))
}

/// The values of the buffers at the start of the step.
struct Start {
    /// They share storage with the model's variables; autograd does not see what is written to them.
    buffers: Vec<Tensor>,
    copies: Vec<Tensor>,
}

impl Start {
    fn of(buffers: &[Tensor]) -> Self {
        let _no_grad = tch::no_grad_guard();
        let buffers: Vec<Tensor> = buffers.iter().map(Tensor::data).collect();
        let copies = buffers.iter().map(Tensor::copy).collect();
        Self { buffers, copies }
    }

    fn restore(&self) {
        let _no_grad = tch::no_grad_guard();
        for (buffer, copy) in self.buffers.iter().zip(&self.copies) {
            buffer.shallow_clone().copy_(copy);
        }
    }

    /// What a shard adds to the sum, before it is weighted. Of the buffers it is the change, so that what no shard
    /// changes keeps its bits.
    fn leaf(&self, gradients: &[Tensor], optimizer: &Optimizer, figures: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let device = figures.device();
        let mut parts = Vec::new();
        for (gradient, shape) in gradients.iter().zip(optimizer.shapes()) {
            parts.push(match gradient.defined() {
                true => gradient.reshape([-1]),
                false => Tensor::zeros([shape.iter().product::<i64>()], (Kind::Float, device)),
            });
        }
        let change = |now: &Tensor, from: &Tensor| (now - from).reshape([-1]);
        parts.extend(self.buffers.iter().zip(&self.copies).map(|(now, from)| change(now, from)));
        parts.push(figures.detach().reshape([-1]));
        if let Some(odd) = parts.iter().find(|p| p.kind() != Kind::Float) {
            return Err(Error::Internal(format!("virtual shards are summed in f32, not in {:?}", odd.kind())));
        }
        Ok(Tensor::cat(&parts, 0))
    }

    /// The same of a shard without images.
    fn empty_leaf(&self, optimizer: &Optimizer, figures: usize) -> Tensor {
        let shapes = optimizer.shapes();
        let entries: i64 = shapes.iter().map(|shape| shape.iter().product::<i64>()).sum();
        let buffers: usize = self.buffers.iter().map(Tensor::numel).sum();
        let length = entries + (buffers + figures) as i64;
        Tensor::zeros([length], (Kind::Float, optimizer.device()))
    }
}

/// Reads tensors from a flat one, one after the other.
struct Parts<'a> {
    flat: &'a Tensor,
    at: i64,
}

impl Parts<'_> {
    fn next(&mut self, shape: &[i64]) -> Tensor {
        let length = shape.iter().product::<i64>();
        let part = self.flat.narrow(0, self.at, length).view(shape);
        self.at += length;
        part
    }
}

/// The sum of a power of two of tensors in a balanced binary tree, in their order: `((a + b) + (c + d)) + ..`. Only one
/// tensor per level is held.
#[derive(Debug, Default)]
struct Tree {
    /// Sums of finished sub-trees with their levels, the largest first.
    sums: Vec<(u32, Tensor)>,
}

impl Tree {
    fn add(&mut self, leaf: Tensor) {
        let _no_grad = tch::no_grad_guard();
        let (mut level, mut sum) = (0, leaf);
        while let Some((_, left)) = self.sums.pop_if(|(of, _)| *of == level) {
            sum = left + sum;
            level += 1;
        }
        self.sums.push((level, sum));
    }

    /// The sum; `None` where nothing or no power of two was added.
    fn finish(mut self) -> Option<Tensor> {
        let (_, sum) = self.sums.pop()?;
        self.sums.is_empty().then_some(sum)
    }
}

#[cfg(test)]
mod tests;

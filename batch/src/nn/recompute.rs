//! Activation checkpointing (arXiv:1604.06174): of a chain of segments only the outputs are kept, and the backward pass
//! computes what is inside a segment again, one segment at a time, the last one first.
//!
//! The gradients have the bits of those without it where the operations of libtorch have the same bits when they are
//! repeated: what is added to a gradient is added in the same order.

use std::fmt;

use tch::Tensor;

use crate::error::Result;
use crate::nn::pass::{Pass, add, with_gradient};
use crate::nn::running_statistics::RunningStatistics;

/// A part of a network, for instance some blocks of a trunk.
pub trait Segment {
    /// The output in training mode. It draws no random numbers and changes no input.
    fn forward(&self, xs: &Tensor) -> Tensor;

    /// Whether it has a parameter that is trained.
    fn is_trained(&self) -> bool;
}

/// One pass through a chain of segments: what it keeps for the backward pass.
pub struct RecomputedChain {
    segments: Vec<Box<dyn Segment>>,
    /// The input, then the output of each segment: leaves of the graph.
    ends: Vec<Tensor>,
    /// Running means and variances before the pass.
    statistics: RunningStatistics,
}

impl fmt::Debug for RecomputedChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecomputedChain").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl RecomputedChain {
    /// Runs `xs` through the segments without a graph. `statistics`: the running means and variances of the segments, as
    /// they are now.
    pub fn forward(segments: Vec<Box<dyn Segment>>, xs: &Tensor, statistics: RunningStatistics) -> Self {
        let mut ends = vec![xs.shallow_clone()];
        for segment in &segments {
            let input = &ends[ends.len() - 1];
            let learned = input.requires_grad() || segment.is_trained();
            let output = tch::no_grad(|| segment.forward(input));
            ends.push(output.set_requires_grad(learned));
        }
        Self { segments, ends, statistics }
    }

    /// The output of segment `index`.
    pub fn output(&self, index: usize) -> Tensor {
        self.ends[index + 1].shallow_clone()
    }
}

impl Pass for RecomputedChain {
    fn outputs(&self) -> Vec<&Tensor> {
        self.ends[1..].iter().filter(|end| end.requires_grad()).collect()
    }

    fn backward(self: Box<Self>, params: &[&Tensor], mut of_ends: Vec<Tensor>, sum: &mut [Tensor]) -> Result<()> {
        let Self { segments, mut ends, statistics } = *self;
        let _statistics = statistics.for_a_while();
        let mut gradient = of_ends.pop().unwrap_or_default();
        for segment in segments.iter().rev() {
            let learned = ends.pop().is_some_and(|output| output.requires_grad());
            let Some(input) = ends.last().filter(|_| learned) else { break };
            let wants = input.requires_grad();
            let outside = of_ends.pop().unwrap_or_default();
            if !gradient.defined() {
                gradient = outside;
                continue;
            }
            let xs = input.detach().set_requires_grad(wants);
            let ys = segment.forward(&xs);
            let mut roots = vec![with_gradient(&ys, &gradient)];
            if outside.defined() {
                // Made last, it is the first that is added to the gradient of `xs`, as without recomputation.
                roots.push(with_gradient(&xs, &outside));
            }
            drop(ys);
            let inputs: Vec<&Tensor> = params.iter().copied().chain(wants.then_some(&xs)).collect();
            let mut found = Tensor::f_run_backward(&roots, &inputs, false, false)?;
            gradient = if wants { found.pop().unwrap_or_default() } else { Tensor::new() };
            add(sum, found);
        }
        Ok(())
    }
}

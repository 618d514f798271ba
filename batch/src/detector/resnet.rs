//! ResNet 18, 34, 50 and 101 (He et al. 2016, arXiv:1512.03385) as torchvision lays them out: stride in the 3x3
//! convolution of a bottleneck, parameter names `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.downsample.0`.
//! f32 or bf16 `[B, 1 or 3, H, W]` in, the four levels C2 to C5 (strides 4, 8, 16, 32) out. No classifier.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use tch::{Tensor, nn};

use crate::config::detector::BackboneNorm;
use crate::nn::conv_norm::{ConvNorm, ConvShape};
use crate::nn::pass::Passes;
use crate::nn::recompute::{RecomputedChain, Segment};
use crate::nn::running_statistics::RunningStatistics;

/// Supported depths.
pub const DEPTHS: [u32; 4] = [18, 34, 50, 101];

/// Channels of a bottleneck's output, in units of its width.
const EXPANSION: i64 = 4;

/// Blocks that are computed again at a time. What is kept grows with the number of segments, what is computed again with
/// their size.
const BLOCKS: usize = 2;

/// The convolutions of one residual block, and its shortcut where the shape changes.
#[derive(Debug)]
struct Block {
    convs: Vec<ConvNorm>,
    downsample: Option<ConvNorm>,
}

impl Block {
    fn new(path: &nn::Path, shapes: &[ConvShape], norm: BackboneNorm) -> Self {
        let convs = shapes.iter().enumerate().map(|(i, shape)| {
            ConvNorm::new(&(path / format!("conv{}", i + 1)), &(path / format!("bn{}", i + 1)), *shape, norm)
        });
        let convs = convs.collect();
        let (inputs, outputs) = (shapes[0].inputs, shapes[shapes.len() - 1].outputs);
        let stride: i64 = shapes.iter().map(|s| s.stride).product();
        let downsample = (stride != 1 || inputs != outputs).then(|| {
            let path = path / "downsample";
            let shape = ConvShape { inputs, outputs, kernel: 1, stride };
            ConvNorm::new(&(&path / "0"), &(&path / "1"), shape, norm)
        });
        Self { convs, downsample }
    }

    fn forward_t(&self, xs: &Tensor, train: bool) -> Tensor {
        let mut ys = self.convs[0].forward_t(xs, train);
        for conv in &self.convs[1..] {
            ys = conv.forward_t(&ys.relu_(), train);
        }
        match &self.downsample {
            Some(shortcut) => (ys + shortcut.forward_t(xs, train)).relu_(),
            None => (ys + xs).relu_(),
        }
    }

    fn layers(&self) -> impl Iterator<Item = &ConvNorm> {
        self.convs.iter().chain(&self.downsample)
    }
}

/// The layers of a ResNet.
#[derive(Debug)]
struct Trunk {
    stem: ConvNorm,
    stages: [Vec<Block>; 4],
}

impl Trunk {
    fn stem(&self, xs: &Tensor, train: bool) -> Tensor {
        self.stem.forward_t(xs, train).relu_().max_pool2d([3, 3], [2, 2], [1, 1], [1, 1], false)
    }

    fn layers(&self) -> impl Iterator<Item = &ConvNorm> {
        std::iter::once(&self.stem).chain(self.stages.iter().flatten().flat_map(Block::layers))
    }
}

fn through(blocks: &[Block], xs: &Tensor, train: bool) -> Tensor {
    blocks.iter().fold(xs.shallow_clone(), |ys, block| block.forward_t(&ys, train))
}

/// The stem of a trunk.
struct Stem(Rc<Trunk>);

impl Segment for Stem {
    fn forward(&self, xs: &Tensor) -> Tensor {
        self.0.stem(xs, true)
    }

    fn is_trained(&self) -> bool {
        self.0.stem.is_trained()
    }
}

/// Some blocks of a trunk's stage.
struct Blocks {
    trunk: Rc<Trunk>,
    stage: usize,
    range: Range<usize>,
}

impl Blocks {
    fn blocks(&self) -> &[Block] {
        &self.trunk.stages[self.stage][self.range.clone()]
    }
}

impl Segment for Blocks {
    fn forward(&self, xs: &Tensor) -> Tensor {
        through(self.blocks(), xs, true)
    }

    fn is_trained(&self) -> bool {
        self.blocks().iter().flat_map(Block::layers).any(ConvNorm::is_trained)
    }
}

/// Configuration of a ResNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrunkShape {
    /// One of [`DEPTHS`].
    pub depth: u32,
    /// Channels of the stem, 64 as published.
    pub width: i64,
    /// The norm after each convolution.
    pub norm: BackboneNorm,
    /// The stride of a bottleneck is in its first convolution (MSRA weights) instead of the 3x3 (torchvision).
    pub stride_in_1x1: bool,
}

#[derive(Debug)]
pub struct ResNet {
    trunk: Rc<Trunk>,
    channels: [i64; 4],
    recompute: bool,
    /// The training passes since the last [`Self::take_passes`], with `recompute`.
    passes: RefCell<Passes>,
}

impl ResNet {
    /// A trunk with trainable batch norms. `depth` is one of [`DEPTHS`]; `width`: channels of the stem, 64 as
    /// published.
    ///
    /// # Panics
    /// For another depth; configurations are checked earlier.
    pub fn new(path: &nn::Path, depth: u32, width: i64) -> Self {
        Self::of(path, TrunkShape { depth, width, norm: BackboneNorm::Batch, stride_in_1x1: false })
    }

    /// A trunk of a given shape.
    ///
    /// # Panics
    /// For a depth that is not one of [`DEPTHS`].
    pub fn of(path: &nn::Path, shape: TrunkShape) -> Self {
        let TrunkShape { depth, width, norm, stride_in_1x1 } = shape;
        let (blocks, bottleneck) = match depth {
            18 => ([2, 2, 2, 2], false),
            34 => ([3, 4, 6, 3], false),
            50 => ([3, 4, 6, 3], true),
            101 => ([3, 4, 23, 3], true),
            other => panic!("ResNet-{other} does not exist"),
        };
        let stem = ConvShape { inputs: 3, outputs: width, kernel: 7, stride: 2 };
        let stem = ConvNorm::new(&(path / "conv1"), &(path / "bn1"), stem, norm);
        let expansion = if bottleneck { EXPANSION } else { 1 };
        let channels = [0, 1, 2, 3].map(|level: i64| (width << level) * expansion);
        let stages = [0, 1, 2, 3].map(|level: usize| {
            let stage = path / format!("layer{}", level + 1);
            let narrow = width << level;
            let block = |i: i64| {
                let inputs = match (i, level) {
                    (0, 0) => width,
                    (0, _) => channels[level - 1],
                    _ => channels[level],
                };
                let stride = if i == 0 && level > 0 { 2 } else { 1 };
                let shapes = block_shapes(inputs, narrow, stride, bottleneck, stride_in_1x1);
                Block::new(&(&stage / i), &shapes, norm)
            };
            (0..blocks[level]).map(block).collect()
        });
        Self { trunk: Rc::new(Trunk { stem, stages }), channels, recompute: false, passes: RefCell::default() }
    }

    /// Channels of C2 to C5.
    pub fn channels(&self) -> [i64; 4] {
        self.channels
    }

    /// C2 to C5 of `xs`, f32 or bf16 `[B, 1 or 3, H, W]`, in its kind.
    pub fn forward_t(&self, xs: &Tensor, train: bool) -> [Tensor; 4] {
        if train && self.recompute {
            return self.kept_pass(xs);
        }
        let mut ys = self.trunk.stem(xs, train);
        self.trunk.stages.each_ref().map(|stage| {
            ys = through(stage, &ys, train);
            ys.shallow_clone()
        })
    }

    /// Whether training passes keep the outputs of every second block alone and the backward pass computes the rest again,
    /// by [`crate::nn::pass::gradients`]. Every training pass must then be followed by [`Self::take_passes`].
    pub fn set_recompute(&mut self, recompute: bool) {
        self.recompute = recompute;
    }

    /// The training passes since the last call, in their order; none without recomputation.
    pub fn take_passes(&self) -> Passes {
        self.passes.take()
    }

    fn kept_pass(&self, xs: &Tensor) -> [Tensor; 4] {
        let statistics: Vec<Tensor> = self.trunk.layers().flat_map(ConvNorm::running_statistics).collect();
        let pass = RecomputedChain::forward(self.segments(), xs, RunningStatistics::of_variables(&statistics));
        let mut last = 0;
        let levels = self.trunk.stages.each_ref().map(|stage| {
            last += stage.len().div_ceil(BLOCKS);
            pass.output(last)
        });
        self.passes.borrow_mut().push(Box::new(pass));
        levels
    }

    /// The stem, then the blocks of each stage in order.
    fn segments(&self) -> Vec<Box<dyn Segment>> {
        let mut segments: Vec<Box<dyn Segment>> = vec![Box::new(Stem(Rc::clone(&self.trunk)))];
        for (stage, blocks) in self.trunk.stages.iter().enumerate() {
            for first in (0..blocks.len()).step_by(BLOCKS) {
                let range = first..(first + BLOCKS).min(blocks.len());
                segments.push(Box::new(Blocks { trunk: Rc::clone(&self.trunk), stage, range }));
            }
        }
        segments
    }
}

fn block_shapes(inputs: i64, narrow: i64, stride: i64, bottleneck: bool, stride_in_1x1: bool) -> Vec<ConvShape> {
    let shape = |inputs, outputs, kernel, stride| ConvShape { inputs, outputs, kernel, stride };
    if bottleneck {
        let (first, second) = if stride_in_1x1 { (stride, 1) } else { (1, stride) };
        return vec![
            shape(inputs, narrow, 1, first),
            shape(narrow, narrow, 3, second),
            shape(narrow, narrow * EXPANSION, 1, 1),
        ];
    }
    vec![shape(inputs, narrow, 3, stride), shape(narrow, narrow, 3, 1)]
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn levels_have_torchvisions_names_and_shapes() {
        // Trainable tensors of torchvision's resnet18/34/50/101 without `fc`: 60, 108, 159, 312.
        for (depth, trained) in [(18, 60), (34, 108), (50, 159), (101, 312)] {
            let vs = nn::VarStore::new(Device::Cpu);
            let trunk = ResNet::new(&vs.root(), depth, 4);
            assert_eq!(vs.trainable_variables().len(), trained, "ResNet-{depth}");
            let names = vs.variables();
            assert!(names.keys().all(|n| !n.contains("__")), "a name is used twice");
            assert!(names.contains_key("layer4.1.bn2.running_var") && names.contains_key("layer2.0.downsample.1.bias"));
            assert_eq!(names.contains_key("layer1.0.downsample.0.weight"), depth >= 50);
            if depth == 18 || depth == 50 {
                let levels = trunk.forward_t(&Tensor::zeros([2, 1, 64, 96], (Kind::Float, Device::Cpu)), true);
                for (i, (level, channels)) in levels.iter().zip(trunk.channels()).enumerate() {
                    let stride = 4 << i;
                    assert_eq!(level.size(), [2, channels, 64 / stride, 96 / stride]);
                }
            }
        }
    }

    #[test]
    fn with_frozen_norms_only_convolutions_are_trained() {
        let vs = nn::VarStore::new(Device::Cpu);
        let _trunk = ResNet::of(
            &vs.root(),
            TrunkShape { depth: 18, width: 4, norm: BackboneNorm::FrozenBatch, stride_in_1x1: false },
        );
        assert_eq!(vs.trainable_variables().len(), 20);
    }
}

//! Mixed precision: weights are f32; products and convolutions run in the kind of their input, f32 or bf16. Norms,
//! softmaxes and recurrent states are f32 in both cases. With f32 inputs nothing is converted.

use tch::{Tensor, nn};

/// `[*, inputs] -> [*, outputs]` in the kind of `xs`.
pub fn linear(xs: &Tensor, layer: &nn::Linear) -> Tensor {
    product(xs, &layer.ws, layer.bs.as_ref())
}

/// The same with weight `[outputs, inputs]` and bias.
pub fn product(xs: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
    let kind = xs.kind();
    xs.linear(&weight.to_kind(kind), bias.map(|b| b.to_kind(kind)).as_ref())
}

/// A convolution in the kind of `xs` `[B, C, H, W]`; the number of groups follows from the weight's shape.
pub fn convolution(xs: &Tensor, layer: &nn::Conv2D, stride: i64, padding: [i64; 2]) -> Tensor {
    let (kind, groups) = (xs.kind(), xs.size()[1] / layer.ws.size()[1].max(1));
    let bias = layer.bs.as_ref().map(|b| b.to_kind(kind));
    xs.conv2d(&layer.ws.to_kind(kind), bias.as_ref(), [stride; 2], padding, [1, 1], groups)
}

/// A convolution that keeps height and width; the kernel's height and width are odd.
pub fn same_convolution(xs: &Tensor, layer: &nn::Conv2D) -> Tensor {
    let size = layer.ws.size();
    convolution(xs, layer, 1, [size[2] / 2, size[3] / 2])
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn layers_run_in_the_kind_of_their_input_and_keep_f32_weights() {
        let vs = nn::VarStore::new(Device::Cpu);
        let dense = nn::linear(vs.root() / "a", 6, 4, Default::default());
        let strip = nn::conv(
            vs.root() / "b",
            4,
            4,
            [1, 7],
            nn::ConvConfigND::<[i64; 2]> { padding: [0, 3], groups: 4, ..Default::default() },
        );
        let xs = Tensor::randn([3, 6], (Kind::Float, Device::Cpu));
        let map = Tensor::randn([2, 4, 5, 9], (Kind::Float, Device::Cpu));
        let difference = |a: Tensor, b: Tensor| f64::try_from((a.to_kind(Kind::Float) - b).abs().max()).unwrap();
        assert_eq!(difference(linear(&xs, &dense), xs.apply(&dense)), 0.0);
        assert!(difference(same_convolution(&map, &strip), map.apply(&strip)) < 1e-6);
        let halving = nn::ConvConfig { stride: 2, padding: 1, ..nn::ConvConfig::default() };
        let halving = nn::conv2d(vs.root() / "c", 4, 6, 3, halving);
        let square = nn::conv2d(vs.root() / "d", 4, 6, 3, nn::ConvConfig { padding: 1, ..nn::ConvConfig::default() });
        assert_eq!(difference(convolution(&map, &halving, 2, [1, 1]), map.apply(&halving)), 0.0);
        assert_eq!(difference(same_convolution(&map, &square), map.apply(&square)), 0.0);
        let half = linear(&xs.to_kind(Kind::BFloat16), &dense);
        assert_eq!(half.kind(), Kind::BFloat16);
        let coarse = difference(half, xs.apply(&dense));
        assert!((1e-6..0.05).contains(&coarse), "{coarse}");
        assert_eq!(same_convolution(&map.to_kind(Kind::BFloat16), &strip).kind(), Kind::BFloat16);
        assert!(vs.variables().values().all(|v| v.kind() == Kind::Float));
    }
}

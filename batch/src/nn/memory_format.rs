//! The order of an image's values in memory.

use tch::{Device, Tensor};

/// On the CPU with the channels of a pixel side by side (`channels_last`), which oneDNN's convolutions take without
/// reordering, and which the layers after them keep; elsewhere as it is. `xs`: `[B, C, H, W]`; the values stay the same.
pub fn channels_last_on_cpu(xs: &Tensor) -> Tensor {
    match xs.device() {
        Device::Cpu => xs.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2]),
        _ => xs.shallow_clone(),
    }
}

#[cfg(test)]
mod tests {
    use tch::Kind;

    use super::*;

    #[test]
    fn values_stay_and_channels_lie_side_by_side() {
        let xs = Tensor::randn([2, 3, 4, 5], (Kind::Float, Device::Cpu));
        let ys = channels_last_on_cpu(&xs);
        assert_eq!((ys.size(), ys.stride()), (vec![2, 3, 4, 5], vec![60, 1, 15, 3]));
        assert_eq!(ys, xs);
    }
}

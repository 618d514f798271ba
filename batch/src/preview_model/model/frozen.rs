//! Preparation for export: batch norms are folded into convolutions and weights rounded to 8 bits per channel. libtorch, tract and
//! onnxruntime then compute with the same numbers and write the same reports.

use tch::Tensor;

use crate::preview_model::model::preview_model::PreviewModel;

/// Largest quantised value: symmetric 8 bits.
const QUANTISED_MAX: f64 = 127.0;

/// A quantised weight: `values * scale`.
#[derive(Debug)]
pub struct Quantised {
    /// Whole numbers from -127 to 127 in f32, in the weight's shape.
    pub values: Tensor,
    /// f32, with the weight's size along the axis and 1 elsewhere.
    pub scale: Tensor,
}

/// Quantises symmetrically with one scale per index of `axis`.
pub fn quantised(weight: &Tensor, axis: i64) -> Quantised {
    let others: Vec<i64> = (0..weight.dim() as i64).filter(|d| *d != axis).collect();
    let largest = weight.abs().amax(others.as_slice(), true);
    let scale = largest.where_self(&largest.gt(0.0), &largest.ones_like()) / QUANTISED_MAX;
    Quantised { values: (weight / &scale).round(), scale }
}

impl PreviewModel {
    /// Folds batch norms into their convolutions and rounds every weight (not biases and norms) to 8 bits per output channel or row,
    /// in place. Freezing twice changes nothing.
    pub fn freeze(&self) {
        let _no_grad = tch::no_grad_guard();
        let blocks = self.encoder.blocks.iter();
        let layers = blocks.flat_map(|b| b.expand.iter().chain([&b.depthwise, &b.project]));
        for layer in self.encoder.stem.iter().chain(layers).chain([&self.encoder.last]) {
            layer.fold();
        }
        for mut variable in self.variables().trainable_variables() {
            if variable.dim() > 1 {
                let Quantised { values, scale } = quantised(&variable, 0);
                variable.copy_(&(values * scale));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn each_channel_has_its_own_scale_and_zeros_stay() {
        let weight = Tensor::from_slice(&[1.27f32, -0.634, 0.0, 12.7, 0.0, 0.0]).view([3, 2]);
        let Quantised { values, scale } = quantised(&weight, 0);
        assert_eq!(Vec::<f32>::try_from(values.reshape([-1])).unwrap(), [127.0, -63.0, 0.0, 127.0, 0.0, 0.0]);
        assert_eq!(scale.size(), [3, 1]);
        let again = quantised(&(&values * &scale), 0);
        assert_eq!(again.values, values);
    }

    #[test]
    fn the_last_axis_can_have_the_scales() {
        let weight = Tensor::from_slice(&[1.27f32, 0.0127, -0.5, 0.01]).view([2, 2]);
        let Quantised { values, scale } = quantised(&weight, 1);
        assert_eq!(scale.size(), [1, 2]);
        assert_eq!(Vec::<i64>::try_from(values.to_kind(Kind::Int64).reshape([-1])).unwrap(), [127, 127, -50, 100]);
    }
}

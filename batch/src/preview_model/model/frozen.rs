//! The student as the browser gets it: batch norms inside their convolutions, weights in steps that fit a byte. Every
//! runtime works with the same frozen numbers, so that they agree word for word.

use tch::Tensor;

use crate::preview_model::model::preview_model::PreviewModel;

/// Most steps from zero: a byte without its lowest value.
const MOST: f64 = 127.0;

/// A weight in whole steps.
#[derive(Debug)]
pub struct Steps {
    /// As many steps, -127 to 127, in f32.
    pub whole: Tensor,
    /// The step along the axis, one elsewhere.
    pub step: Tensor,
}

/// A weight's nearest whole steps; at each place of `axis` the largest number is 127 of them.
pub fn steps(weight: &Tensor, axis: i64) -> Steps {
    let others: Vec<i64> = (0..weight.dim() as i64).filter(|d| *d != axis).collect();
    let largest = weight.abs().amax(others.as_slice(), true);
    let step = largest.where_self(&largest.gt(0.0), &largest.ones_like()) / MOST;
    Steps { whole: (weight / &step).round(), step }
}

impl PreviewModel {
    /// Folds batch norms into their convolutions and rounds every weight (not biases and norms) to 127 steps each way for
    /// each output channel or row, in place. Freezing twice changes nothing.
    pub fn freeze(&self) {
        let _no_grad = tch::no_grad_guard();
        let blocks = self.encoder.blocks.iter();
        let layers = blocks.flat_map(|b| b.expand.iter().chain([&b.depthwise, &b.project]));
        for layer in self.encoder.stem.iter().chain(layers).chain([&self.encoder.last]) {
            layer.fold();
        }
        for mut variable in self.variables().trainable_variables() {
            if variable.dim() > 1 {
                let Steps { whole, step } = steps(&variable, 0);
                variable.copy_(&(whole * step));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn each_channel_has_its_own_step_and_zeros_stay() {
        let weight = Tensor::from_slice(&[1.27f32, -0.634, 0.0, 12.7, 0.0, 0.0]).view([3, 2]);
        let Steps { whole, step } = steps(&weight, 0);
        assert_eq!(Vec::<f32>::try_from(whole.reshape([-1])).unwrap(), [127.0, -63.0, 0.0, 127.0, 0.0, 0.0]);
        assert_eq!(step.size(), [3, 1]);
        let again = steps(&(&whole * &step), 0);
        assert_eq!(again.whole, whole);
    }

    #[test]
    fn along_the_last_axis_too() {
        let weight = Tensor::from_slice(&[1.27f32, 0.0127, -0.5, 0.01]).view([2, 2]);
        let Steps { whole, step } = steps(&weight, 1);
        assert_eq!(step.size(), [1, 2]);
        assert_eq!(Vec::<i64>::try_from(whole.to_kind(Kind::Int64).reshape([-1])).unwrap(), [127, 127, -50, 100]);
    }
}

//! `LayerNormalization` as one operation: tract builds it from eleven, and a step has seven of them.

use tract_onnx::tract_hir::internal::*;

/// ONNX's operator over the last axis, with scale and offset.
#[derive(Debug, Clone)]
pub struct LayerNormalization {
    /// Added to the variance.
    pub epsilon: f32,
}

impl Expansion for LayerNormalization {
    fn name(&self) -> StaticName {
        "LayerNormalization".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 3)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[0].datum_type, &outputs[0].datum_type)?;
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, LayerNorm { epsilon: self.epsilon.to_bits() }, inputs)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct LayerNorm {
    /// Bits of the `f32` added to the variance.
    epsilon: u32,
}

impl Op for LayerNorm {
    fn name(&self) -> StaticName {
        "LayerNorm".into()
    }

    op_as_typed_op!();
}

impl EvalOp for LayerNorm {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let (xs, scale, offset) = args_3!(inputs);
        let (scale, offset) = (scale.try_as_plain_ram()?, offset.try_as_plain_ram()?);
        let (scale, offset) = (scale.as_slice::<f32>()?, offset.as_slice::<f32>()?);
        let mut out = xs.into_tensor();
        let epsilon = f32::from_bits(self.epsilon);
        let width = scale.len();
        ensure!(width > 0, "layer normalization of an empty axis");
        for row in out.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?.chunks_exact_mut(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / width as f32;
            let factor = (variance + epsilon).sqrt().recip();
            for (x, (s, o)) in row.iter_mut().zip(scale.iter().zip(offset)) {
                *x = (*x - mean) * factor * s + o;
            }
        }
        Ok(tvec!(out.into_tvalue()))
    }
}

impl TypedOp for LayerNorm {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let width = inputs[0].shape.last().context("layer normalization of a scalar")?;
        for weight in &inputs[1..] {
            ensure!(weight.rank() == 1 && &weight.shape[0] == width, "scale or offset of another width");
        }
        ensure!(
            inputs.iter().all(|i| i.datum_type == f32::datum_type()),
            "layer normalization of a type other than f32"
        );
        Ok(tvec!(f32::fact(inputs[0].shape.clone())))
    }

    as_op!();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normed(xs: Tensor, epsilon: f32) -> Vec<f32> {
        let inputs = [xs, tensor1(&[2f32, 4.0]), tensor1(&[0.5f32, 0.25])].map(IntoTValue::into_tvalue);
        let op = LayerNorm { epsilon: epsilon.to_bits() };
        let out = op.eval(&EvalContext::out_of_plan(), inputs.into_iter().collect()).unwrap();
        out[0].to_plain_array_view::<f32>().unwrap().iter().copied().collect()
    }

    #[test]
    fn each_row_has_mean_zero_and_variance_one_before_scale_and_offset() {
        assert_eq!(normed(tensor2(&[[1f32, 3.0], [7.0, 5.0]]), 0.0), [-1.5, 4.25, 2.5, -3.75]);
        // A constant row gives the offset.
        assert_eq!(normed(tensor2(&[[10f32, 10.0]]), 1e-5), [0.5, 0.25]);
    }
}

//! The step's two attentions as one operation each, without a copy of keys and values. In the graph they are ONNX
//! functions of standard operators, twenty per layer, which other runtimes inline.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;

/// The two attentions of a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Self-attention of a word over the cached words and itself. In: `query_key_value` `[1, 3 h d]`, `k_cache` `[l, h,
    /// d, s]`, `v_cache` `[l, h, s, d]`, `bias` `[s]`. Out: `mixed` `[1, h d]`, the word's `key` and `value` `[1, h, 1,
    /// d]`.
    Cached,
    /// Cross-attention of a word over the image's tokens. In: `query` `[1, h d]`, `mem_k` `[l, h, d, s]`, `mem_v`
    /// `[l, h, s, d]`. Out: `mixed` `[1, h d]` and the mean of the heads' weights `[1, s]`.
    Memory,
}

/// Softmax attention of one word in one layer; the query is scaled already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attention {
    kind: Kind,
    layer: usize,
}

impl Attention {
    /// From a node of the graph.
    ///
    /// # Errors
    /// When the node has no attribute `layer`.
    pub fn of(kind: Kind, node: &NodeProto) -> TractResult<Self> {
        let layers: TVec<usize> = node.get_attr_tvec("layer")?;
        ensure!(layers.len() == 1, "attention of {} layers", layers.len());
        Ok(Self { kind, layer: layers[0] })
    }

    fn inputs(&self) -> usize {
        match self.kind {
            Kind::Cached => 4,
            Kind::Memory => 3,
        }
    }

    fn outputs(&self) -> usize {
        match self.kind {
            Kind::Cached => 3,
            Kind::Memory => 2,
        }
    }

    /// Shapes of the outputs for keys of this shape.
    fn shapes<D: DimLike>(&self, keys: &[D]) -> Vec<TVec<D>> {
        let [heads, width, count] = [1, 2, 3].map(|axis| keys[axis].clone());
        let mixed = tvec!(D::one(), heads.clone() * width.clone());
        let own = tvec!(D::one(), heads, D::one(), width);
        match self.kind {
            Kind::Cached => vec![mixed, own.clone(), own],
            Kind::Memory => vec![mixed, tvec!(D::one(), count)],
        }
    }
}

impl Expansion for Attention {
    fn name(&self) -> StaticName {
        "Attention".into()
    }

    fn nboutputs(&self) -> TractResult<usize> {
        Ok(self.outputs())
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, self.inputs())?;
        check_output_arity(outputs, self.outputs())?;
        for output in outputs {
            solver.equals(&inputs[0].datum_type, &output.datum_type)?;
        }
        solver.given(&inputs[1].shape, move |solver, keys| {
            ensure!(keys.len() == 4, "attention over keys of {} axes", keys.len());
            for (output, shape) in outputs.iter().zip(self.shapes(&keys)) {
                solver.equals(&output.shape, shape)?;
            }
            Ok(())
        })
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }
}

impl Op for Attention {
    fn name(&self) -> StaticName {
        "Attention".into()
    }

    op_as_typed_op!();
}

impl TypedOp for Attention {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        ensure!(inputs.len() == self.inputs(), "attention with {} inputs", inputs.len());
        ensure!(inputs.iter().all(|i| i.datum_type == f32::datum_type()), "attention of a type other than f32");
        let shapes: TVec<TVec<usize>> = inputs
            .iter()
            .map(|i| i.shape.as_concrete().map(Into::into).context("attention of an unknown size"))
            .collect::<TractResult<_>>()?;
        ensure!(shapes[1].len() == 4, "attention over keys of {} axes", shapes[1].len());
        let [layers, heads, width, count] = [0, 1, 2, 3].map(|axis| shapes[1][axis]);
        ensure!(self.layer < layers && heads > 0 && width > 0 && count > 0, "attention in a layer that does not exist");
        let rows = if self.kind == Kind::Cached { 3 } else { 1 };
        ensure!(shapes[0].iter().product::<usize>() == rows * heads * width, "attention of a query of another width");
        ensure!(*shapes[2] == [layers, heads, count, width], "attention whose keys and values differ in shape");
        ensure!(self.kind == Kind::Memory || *shapes[3] == [count], "attention with a bias of another length");
        Ok(self.shapes(&shapes[1]).into_iter().map(f32::fact).collect())
    }

    as_op!();
}

impl EvalOp for Attention {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let plain = inputs.iter().map(|i| i.try_as_plain_ram()).collect::<TractResult<TVec<_>>>()?;
        let given = plain.iter().map(|i| i.as_slice::<f32>()).collect::<TractResult<TVec<_>>>()?;
        let [heads, width, count] = [1, 2, 3].map(|axis| inputs[1].shape()[axis]);
        let (row, size) = (heads * width, width * count);
        let mut mixed = vec![0f32; row];
        let mut mean_weights = vec![0f32; count];
        // The word's weight on itself is the last one.
        let mut weights = vec![0f32; count + 1];
        for (head, mixed) in mixed.chunks_exact_mut(width).enumerate() {
            let start = (self.layer * heads + head) * size;
            let (keys, values) = (&given[1][start..start + size], &given[2][start..start + size]);
            let own = |which: usize| &given[0][which * row + head * width..][..width];
            let query = own(0);
            let (others, on_itself) = weights.split_at_mut(count);
            match self.kind {
                Kind::Cached => others.copy_from_slice(given[3]),
                Kind::Memory => others.fill(0.0),
            }
            for (key, share) in keys.chunks_exact(count).zip(query) {
                add(others, key, *share);
            }
            on_itself[0] = match self.kind {
                Kind::Cached => query.iter().zip(own(1)).map(|(q, k)| q * k).sum(),
                Kind::Memory => f32::NEG_INFINITY,
            };
            softmax(&mut weights);
            for (value, weight) in values.chunks_exact(width).zip(&weights) {
                // Empty places of the caches have weight 0.
                if *weight > 0.0 {
                    add(mixed, value, *weight);
                }
            }
            match self.kind {
                Kind::Cached => add(mixed, own(2), weights[count]),
                Kind::Memory => add(&mut mean_weights, &weights[..count], 1.0 / heads as f32),
            }
        }
        let mut out = tvec!(Tensor::from_shape(&[1, row], &mixed)?.into_tvalue());
        if self.kind == Kind::Cached {
            for which in 1..3 {
                let own = &given[0][which * row..(which + 1) * row];
                out.push(Tensor::from_shape(&[1, heads, 1, width], own)?.into_tvalue());
            }
        } else {
            out.push(Tensor::from_shape(&[1, count], &mean_weights)?.into_tvalue());
        }
        Ok(out)
    }
}

/// `to += share * from`.
fn add(to: &mut [f32], from: &[f32], share: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += share * from;
    }
}

fn softmax(scores: &mut [f32]) {
    let top = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - top).exp();
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(kind: Kind, inputs: &[Tensor]) -> Vec<Vec<f32>> {
        let inputs = inputs.iter().map(|i| i.clone().into_tvalue()).collect();
        let out = Attention { kind, layer: 1 }.eval(&EvalContext::out_of_plan(), inputs).unwrap();
        out.iter().map(|o| o.to_plain_array_view::<f32>().unwrap().iter().copied().collect()).collect()
    }

    fn tensor(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_shape(shape, values).unwrap()
    }

    // Two layers of one head, width 2, two places; the first layer must not be read.
    const KEYS: [f32; 8] = [9.0, 9.0, 9.0, 9.0, 1.0, 0.0, 0.0, 1.0];
    const VALUES: [f32; 8] = [9.0, 9.0, 9.0, 9.0, 10.0, 20.0, 30.0, 40.0];

    #[test]
    fn memory_attention_is_the_softmax_of_the_scores() {
        let ln3 = 3f32.ln();
        let out = run(
            Kind::Memory,
            &[tensor(&[1, 2], &[ln3, 0.0]), tensor(&[2, 1, 2, 2], &KEYS), tensor(&[2, 1, 2, 2], &VALUES)],
        );
        // Scores ln 3 and 0: weights 3/4 and 1/4.
        for (found, expected) in out.concat().iter().zip([15.0, 25.0, 0.75, 0.25]) {
            assert!((found - expected).abs() < 1e-5, "{out:?}");
        }
    }

    #[test]
    fn cached_attention_covers_the_word_itself_and_unmasked_places() {
        let query_key_value = [1.0, 0.0, 1.0, 5.0, 100.0, 200.0];
        let inputs = |bias: [f32; 2]| {
            [
                tensor(&[1, 6], &query_key_value),
                tensor(&[2, 1, 2, 2], &KEYS),
                tensor(&[2, 1, 2, 2], &VALUES),
                tensor(&[2], &bias),
            ]
        };
        // The first word and the word itself score 1 each; the second word is masked.
        let out = run(Kind::Cached, &inputs([0.0, -1e9]));
        assert_eq!(out, [vec![55.0, 110.0], vec![1.0, 5.0], vec![100.0, 200.0]]);
        // Without earlier words, the word itself alone.
        assert_eq!(run(Kind::Cached, &inputs([-1e9, -1e9]))[0], [100.0, 200.0]);
    }
}

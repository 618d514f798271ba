//! Limits of a bundle's graphs, checked by shapes before anything is computed: constants of a few bytes may multiply to
//! a tensor of any size, which the optimiser would compute while the graph loads.

use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::konst::Const;
use tract_onnx::tract_hir::ops::source::Source;

/// Most nodes of a graph; the default preview model's graphs have some 150.
const NODES_MAX: usize = 4096;

/// Most values of all tensors of a graph together, weights included: 512 MiB as 32-bit numbers.
pub const VALUES_MAX: u64 = 1 << 27;

/// Checks the number of nodes and of values; `values_max` is [`VALUES_MAX`] but in tests.
///
/// # Errors
/// The graph is larger, its shapes are not static, or its operators do not fit together.
pub fn check_volume(model: &InferenceModel, values_max: u64) -> TractResult<()> {
    ensure!(
        model.nodes.len() <= NODES_MAX,
        "the graph has {} nodes, at most {NODES_MAX} are allowed",
        model.nodes.len()
    );
    let mut shapes = model.clone();
    for (place, node) in model.nodes.iter().enumerate() {
        let Some(constant) = node.op_as::<Const>() else { continue };
        // Without its value nothing is computed from a constant. Only the operand of Reshape that is a shape keeps it.
        let is_shape = |inlet: &InletId| {
            inlet.slot == 1 && model.nodes.get(inlet.node).is_some_and(|user| user.op.name() == "Reshape")
        };
        if node.outputs.iter().all(|output| !output.successors.is_empty() && output.successors.iter().all(is_shape)) {
            continue;
        }
        let tensor = constant.val();
        let blank = &mut shapes.nodes[place];
        blank.op = Box::new(Source::new());
        for output in &mut blank.outputs {
            output.fact = InferenceFact::dt_shape(tensor.datum_type(), tensor.shape());
        }
    }
    shapes.analyse(false)?;
    let mut values = 0u64;
    for node in &shapes.nodes {
        for output in &node.outputs {
            let shape = output.fact.shape.concretize();
            let shape = shape.with_context(|| format!("the shape of `{}` is not static", node.name))?;
            values = values.saturating_add(volume(&shape)?);
            ensure!(values <= values_max, "the graph's tensors have more than {values_max} values, at `{}`", node.name);
        }
    }
    Ok(())
}

fn volume(shape: &[TDim]) -> TractResult<u64> {
    shape.iter().try_fold(1u64, |volume, dim| Ok(volume.saturating_mul(u64::try_from(dim.to_usize()?)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::tract_hir::ops::array::Reshape;
    use tract_onnx::tract_hir::ops::matmul::MatMulInference;

    /// The product of a column and a row of `size` constants, reshaped to a list.
    fn outer_product(size: usize) -> InferenceModel {
        let mut model = InferenceModel::default();
        let ones = |shape: &[usize]| Arc::new(Tensor::zero::<f32>(shape).unwrap());
        let column = model.add_const("column", ones(&[size, 1])).unwrap();
        let row = model.add_const("row", ones(&[1, size])).unwrap();
        let product = model.wire_node("product", expand(MatMulInference::default()), &[column, row]).unwrap();
        let shape = model.add_const("shape", Arc::new(tensor1(&[-1i64]))).unwrap();
        let list = model.wire_node("list", expand(Reshape::new(false)), &[product[0], shape]).unwrap();
        model.select_output_outlets(&list).unwrap();
        model
    }

    #[test]
    fn a_graph_at_its_limit_is_accepted_and_beyond_it_refused() {
        // Column, row, product, shape and list.
        let values = 10 + 10 + 100 + 1 + 100;
        check_volume(&outer_product(10), values).unwrap();
        let error = check_volume(&outer_product(10), values - 1).unwrap_err();
        assert!(format!("{error:#}").contains("at `list`"), "{error:#}");
    }

    #[test]
    fn a_product_of_constants_that_fits_no_memory_is_refused_without_computing_it() {
        // The optimiser computes with constants of up to 4 MiB.
        let error = check_volume(&outer_product(1_000_000), VALUES_MAX).unwrap_err();
        assert!(format!("{error:#}").contains("at `product`"), "{error:#}");
    }
}

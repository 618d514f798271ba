//! The operators that a bundle's graphs may use. Any other operator is refused by its name.

use std::path::Path;
use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::data_resolver::ModelDataResolver;
use tract_onnx::model::{OnnxOpRegister, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::cnn::{Conv, PaddingSpec};
use tract_onnx::tract_hir::ops::matmul::MatMulInference;
use tract_onnx::tract_hir::ops::{activations, array, identity, math, nn};

use crate::attention::{Attention, Kind};
use crate::layer_norm::LayerNormalization;

type Built = TractResult<(Box<dyn InferenceOp>, Vec<String>)>;

/// A parser of ONNX graphs, opset 17, for these operators. The attentions are functions of the graph; the operators
/// here replace their bodies.
pub fn parser() -> Onnx {
    let mut operators = OnnxOpRegister::default();
    operators.insert("Add", |_, _| plain(math::Add.into_hir()));
    operators.insert("Mul", |_, _| plain(math::Mul.into_hir()));
    operators.insert("MatMul", |_, _| plain(expand(MatMulInference::default())));
    operators.insert("Relu", |_, _| plain(expand(activations::Clip::new(Some(0.0), None))));
    operators.insert("Sigmoid", |_, _| plain(nn::sigmoid().into_hir()));
    operators.insert("Identity", |_, _| plain(Box::<identity::Identity>::default()));
    operators.insert("Concat", |_, node| plain(expand(array::Concat::new(node.get_attr("axis")?))));
    operators.insert("Gather", |_, node| plain(expand(array::Gather::new(node.get_attr_opt("axis")?.unwrap_or(0)))));
    operators.insert("Reshape", |_, _| plain(expand(array::Reshape::new(false))));
    operators.insert("Transpose", |_, node| {
        let order: Option<Vec<usize>> = node.get_attr_opt_vec("perm")?;
        if let Some(order) = &order {
            ensure!((0..order.len()).all(|axis| order.contains(&axis)), "{order:?} is no order of axes");
        }
        plain(expand(array::PermuteAxes::new(order.map(Into::into))))
    });
    operators.insert("ReduceMean", |_, node| reduce(node, nn::Reducer::Mean));
    operators.insert("ReduceMax", |_, node| reduce(node, nn::Reducer::Max));
    operators.insert("Cast", cast);
    operators.insert("Conv", convolution);
    operators.insert("LayerNormalization", layer_normalization);
    operators.insert("CachedAttention", |_, node| plain(expand(Attention::of(Kind::Cached, node)?)));
    operators.insert("MemoryAttention", |_, node| plain(expand(Attention::of(Kind::Memory, node)?)));
    Onnx { op_register: operators, provider: Arc::new(NoFiles), ..Onnx::default() }
}

fn plain(op: Box<dyn InferenceOp>) -> Built {
    Ok((op, Vec::new()))
}

/// A bundle's graphs contain their weights: no external data is read.
struct NoFiles;

impl ModelDataResolver for NoFiles {
    fn read_bytes_from_path(&self, _: &mut Vec<u8>, path: &Path, _: usize, _: Option<usize>) -> TractResult<()> {
        bail!("the graph refers to the file {}; external data is not allowed", path.display())
    }
}

fn reduce(node: &NodeProto, reducer: nn::Reducer) -> Built {
    let keep = node.get_attr_opt("keepdims")?.unwrap_or(1i64) == 1;
    plain(expand(nn::Reduce::new(node.get_attr_opt_vec("axes")?, keep, reducer)))
}

/// Only casts to f32: weights are stored as bytes.
fn cast(_: &ParsingContext, node: &NodeProto) -> Built {
    let to: DatumType = node.get_attr("to")?;
    ensure!(to == f32::datum_type(), "a cast to {to:?}");
    plain(expand(CastToF32))
}

#[derive(Debug, Clone)]
struct CastToF32;

impl Expansion for CastToF32 {
    fn name(&self) -> StaticName {
        "Cast".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 1)?;
        check_output_arity(outputs, 1)?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].shape, &inputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, tract_onnx::tract_core::ops::cast::cast(f32::datum_type()), inputs)
    }
}

fn convolution(_: &ParsingContext, node: &NodeProto) -> Built {
    let pads: TVec<usize> = node.get_attr_opt_tvec("pads")?.unwrap_or_default();
    let (before, after) = pads.split_at(pads.len() / 2);
    let padding = if pads.is_empty() { PaddingSpec::Valid } else { PaddingSpec::Explicit(before.into(), after.into()) };
    let mut op = Conv::default().padding(padding);
    if let Some(shape) = node.get_attr_opt_tvec("kernel_shape")? {
        op = op.kernel_shape(shape);
    }
    if let Some(group) = node.get_attr_opt("group")? {
        op = op.group(group);
    }
    if let Some(strides) = node.get_attr_opt_tvec("strides")? {
        op = op.strides(strides);
    }
    if let Some(dilations) = node.get_attr_opt_tvec("dilations")? {
        op = op.dilations(dilations);
    }
    plain(expand(if node.input.len() == 3 { op.bias_input(2) } else { op }))
}

fn layer_normalization(_: &ParsingContext, node: &NodeProto) -> Built {
    ensure!(node.get_attr_opt("axis")?.unwrap_or(-1i64) == -1, "normalization over more than the last axis");
    ensure!(node.input.len() == 3 && node.output.len() == 1, "normalization without scale and offset");
    plain(expand(LayerNormalization { epsilon: node.get_attr_opt("epsilon")?.unwrap_or(1e-5) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::tensor_proto::DataType;
    use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
    use tract_onnx::pb::{
        GraphProto, ModelProto, OperatorSetIdProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
    };

    fn model_of(op: &str) -> ModelProto {
        let dim = vec![Dimension { value: Some(dimension::Value::DimValue(2)), ..Default::default() }];
        let shape = Some(TensorShapeProto { dim });
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
        let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        let value = |name: &str| ValueInfoProto { name: name.into(), r#type: Some(kind.clone()), ..Default::default() };
        let node = NodeProto {
            name: "only".into(),
            op_type: op.into(),
            input: vec!["in".into()],
            output: vec!["out".into()],
            ..Default::default()
        };
        let graph =
            GraphProto { node: vec![node], input: vec![value("in")], output: vec![value("out")], ..Default::default() };
        let opset_import = vec![OperatorSetIdProto { domain: String::new(), version: 17 }];
        ModelProto { ir_version: 8, opset_import, graph: Some(graph), ..Default::default() }
    }

    #[test]
    fn an_operator_beyond_the_list_is_refused_by_its_name() {
        let known = parser().parse(&model_of("Relu"), None).unwrap().model;
        assert!(known.nodes.iter().all(|n| !n.op.name().contains("Unimplemented")));
        let refused = parser().model_for_proto_model(&model_of("LSTM")).and_then(|m| m.into_optimized()).unwrap_err();
        assert!(format!("{refused:#}").contains("LSTM"), "{refused:#}");
    }
}

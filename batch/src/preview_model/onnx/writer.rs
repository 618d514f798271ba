//! Writes an ONNX file (opset 17, static shapes) node by node, with the protobuf types that tract reads.

use prost::Message;
use tch::{Kind, Tensor};
use tract_onnx::pb::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_proto::DataType,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

use crate::error::{Error, Result};
use crate::preview_model::model::frozen::{Quantised, quantised};

/// ONNX's intermediate representation of opset 17.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
/// Domain of the graphs' own functions.
const DOMAIN: &str = "d2r";

/// Largest rounding error of a quantised weight, relative to the weight's largest number.
const QUANTISATION_ERROR_MAX: f64 = 1e-6;

/// The name of a value in the graph.
pub type Name = String;

/// Value of a node's attribute.
#[derive(Debug, Clone)]
pub enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
    Float(f32),
    Floats(Vec<f32>),
    /// In a function: a reference to the calling node's attribute of this name, a list of integers. (protobuf 3 omits a single
    /// integer 0 from the file, and onnxruntime would miss it.)
    Reference(&'static str),
}

/// A function under construction: standard operators under one name, called by [`GraphWriter::call`]. A runtime inlines its body or
/// has an implementation of its own.
#[derive(Debug)]
pub struct FunctionWriter {
    function: FunctionProto,
}

impl FunctionWriter {
    /// A function with an empty body.
    pub fn new(name: &str, inputs: &[&str], outputs: &[&str], attributes: &[&str]) -> Self {
        let names = |of: &[&str]| of.iter().map(ToString::to_string).collect();
        Self {
            function: FunctionProto {
                name: Some(name.into()),
                domain: Some(DOMAIN.into()),
                input: names(inputs),
                output: names(outputs),
                attribute: names(attributes),
                opset_import: vec![opset("", OPSET)],
                ..FunctionProto::default()
            },
        }
    }

    /// Adds a node to the body.
    pub fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, Attribute)]) {
        self.function.node.push(node_proto(op, inputs, outputs, attributes));
    }

    /// Adds a constant to the body.
    pub fn constant(&mut self, name: &str, value: Attribute) {
        let kind = match value {
            Attribute::Int(_) => "value_int",
            Attribute::Ints(_) | Attribute::Reference(_) => "value_ints",
            Attribute::Float(_) => "value_float",
            Attribute::Floats(_) => "value_floats",
        };
        self.node("Constant", &[], &[name], &[(kind, value)]);
    }

    /// Adds a reshape to the body.
    pub fn reshape(&mut self, xs: &str, shape: &[i64], output: &str) {
        let name = format!("{output}_shape");
        self.constant(&name, Attribute::Ints(shape.to_vec()));
        self.node("Reshape", &[xs, &name], &[output], &[]);
    }
}

/// A graph under construction. Weights are constants; names must be unique.
#[derive(Debug, Default)]
pub struct GraphWriter {
    graph: GraphProto,
    functions: Vec<FunctionProto>,
}

impl GraphWriter {
    /// An empty graph.
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.into(), ..GraphProto::default() }, functions: Vec::new() }
    }

    /// Adds an input of the graph: f32 or i64.
    pub fn input(&mut self, name: &str, kind: DataType, shape: &[i64]) -> Name {
        self.graph.input.push(value_info(name, kind, shape));
        name.into()
    }

    /// Adds an output of the graph, f32: the value `from` as `name`.
    pub fn output(&mut self, name: &str, from: &Name, shape: &[i64]) {
        self.named("Identity", &[from], name, &[]);
        self.graph.output.push(value_info(name, DataType::Float, shape));
    }

    /// Adds a node with one output and a generated name.
    pub fn node(&mut self, op: &str, inputs: &[&Name], attributes: &[(&str, Attribute)]) -> Name {
        let name = format!("{}_{}", op.to_lowercase(), self.graph.node.len());
        self.named(op, inputs, &name, attributes)
    }

    fn named(&mut self, op: &str, inputs: &[&Name], name: &str, attributes: &[(&str, Attribute)]) -> Name {
        self.graph.node.push(node_proto(op, inputs, &[name], attributes));
        name.into()
    }

    /// Adds a function that nodes may call.
    pub fn function(&mut self, function: FunctionWriter) {
        self.functions.push(function.function);
    }

    /// Adds a call of a function; its outputs are `{name}_0` and so on.
    pub fn call<const OUTPUTS: usize>(
        &mut self,
        function: &str,
        inputs: &[&Name],
        name: &str,
        attributes: &[(&str, Attribute)],
    ) -> [Name; OUTPUTS] {
        let outputs: [Name; OUTPUTS] = std::array::from_fn(|i| format!("{name}_{i}"));
        let node = node_proto(function, inputs, &outputs, attributes);
        self.graph.node.push(NodeProto { domain: DOMAIN.into(), name: name.into(), ..node });
        outputs
    }

    /// Adds a constant from a tensor, f32.
    ///
    /// # Errors
    /// When libtorch fails to read it.
    pub fn numbers(&mut self, name: &str, tensor: &Tensor) -> Result<Name> {
        let flat = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous().reshape([-1]);
        let bytes = Vec::<f32>::try_from(flat)?.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(self.constant(name, DataType::Float, tensor.size(), bytes))
    }

    /// Adds a weight as 8-bit integers and one scale per index of `axis`, times `factor`. Runtimes dequantise it once, when they load
    /// the graph.
    ///
    /// # Errors
    /// [`Error::Internal`] when the weight was not frozen: its numbers are no multiples of a scale.
    pub fn weight(&mut self, name: &str, tensor: &Tensor, axis: i64, factor: f64) -> Result<Name> {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Float);
        let Quantised { values, scale } = quantised(&tensor, axis);
        let gap = f64::try_from((&values * &scale - &tensor).abs().max())?;
        if gap > QUANTISATION_ERROR_MAX * f64::try_from(tensor.abs().max())? {
            return Err(Error::Internal(format!(
                "the weight {name} was not frozen before export (rounding error {gap:e})"
            )));
        }
        let bytes = Vec::<i8>::try_from(values.to_kind(Kind::Int8).contiguous().reshape([-1]))?;
        let stored = format!("{name}.int8");
        self.constant(&stored, DataType::Int8, tensor.size(), bytes.iter().map(|v| *v as u8).collect());
        let scale = self.numbers(&format!("{name}.scale"), &(scale * factor))?;
        let values = format!("{name}.values");
        self.named("Cast", &[&stored], &values, &[("to", Attribute::Int(DataType::Float as i64))]);
        self.named("Mul", &[&values, &scale], name, &[]);
        Ok(name.into())
    }

    /// Adds a constant list of integers.
    pub fn integers(&mut self, values: &[i64]) -> Name {
        let name = format!("integers_{}", self.graph.initializer.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(&name, DataType::Int64, vec![values.len() as i64], bytes)
    }

    /// Adds a constant tensor of one value.
    pub fn filled(&mut self, value: f32, shape: &[i64]) -> Name {
        let name = format!("filled_{}", self.graph.initializer.len());
        let count = shape.iter().product::<i64>() as usize;
        let bytes = std::iter::repeat_n(value.to_le_bytes(), count).flatten().collect();
        self.constant(&name, DataType::Float, shape.to_vec(), bytes)
    }

    fn constant(&mut self, name: &str, kind: DataType, dims: Vec<i64>, raw_data: Vec<u8>) -> Name {
        let tensor =
            TensorProto { name: name.into(), dims, data_type: kind as i32, raw_data, ..TensorProto::default() };
        self.graph.initializer.push(tensor);
        name.into()
    }

    /// Adds a reshape.
    pub fn reshape(&mut self, xs: &Name, shape: &[i64]) -> Name {
        let shape = self.integers(shape);
        self.node("Reshape", &[xs, &shape], &[])
    }

    /// Adds a permutation of axes.
    pub fn transpose(&mut self, xs: &Name, order: &[i64]) -> Name {
        self.node("Transpose", &[xs], &[("perm", Attribute::Ints(order.to_vec()))])
    }

    /// The file's bytes; `properties` become its metadata.
    pub fn into_bytes(self, properties: &[(&str, &str)]) -> Vec<u8> {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto { key: (*key).into(), value: (*value).into() };
        let own = (!self.functions.is_empty()).then(|| opset(DOMAIN, 1));
        let model = ModelProto {
            ir_version: IR_VERSION,
            opset_import: std::iter::once(opset("", OPSET)).chain(own).collect(),
            functions: self.functions,
            producer_name: "d2r".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.graph),
            metadata_props: properties.iter().map(entry).collect(),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

fn attribute(name: &str, value: &Attribute) -> AttributeProto {
    let empty = AttributeProto { name: name.into(), ..AttributeProto::default() };
    match value {
        Attribute::Int(i) => AttributeProto { r#type: AttributeType::Int as i32, i: *i, ..empty },
        Attribute::Ints(ints) => AttributeProto { r#type: AttributeType::Ints as i32, ints: ints.clone(), ..empty },
        Attribute::Float(f) => AttributeProto { r#type: AttributeType::Float as i32, f: *f, ..empty },
        Attribute::Floats(all) => AttributeProto { r#type: AttributeType::Floats as i32, floats: all.clone(), ..empty },
        Attribute::Reference(name) => {
            AttributeProto { r#type: AttributeType::Ints as i32, ref_attr_name: (*name).into(), ..empty }
        }
    }
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: domain.into(), version }
}

fn node_proto(
    op: &str,
    inputs: &[impl AsRef<str>],
    outputs: &[impl AsRef<str>],
    attributes: &[(&str, Attribute)],
) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|i| i.as_ref().into()).collect(),
        output: outputs.iter().map(|o| o.as_ref().into()).collect(),
        name: outputs[0].as_ref().into(),
        op_type: op.into(),
        attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
        ..NodeProto::default()
    }
}

fn value_info(name: &str, kind: DataType, shape: &[i64]) -> ValueInfoProto {
    let dim = |d: &i64| Dimension { value: Some(dimension::Value::DimValue(*d)), ..Dimension::default() };
    let tensor = type_proto::Tensor {
        elem_type: kind as i32,
        shape: Some(TensorShapeProto { dim: shape.iter().map(dim).collect() }),
    };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: name.into(), r#type: Some(kind), ..ValueInfoProto::default() }
}

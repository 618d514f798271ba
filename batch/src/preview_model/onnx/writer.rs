//! Writes an ONNX file (opset 17, static shapes) node by node, in the protobuf types that tract reads.

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
use crate::preview_model::model::frozen::{Steps, steps};

/// ONNX' intermediate representation 8 goes with opset 17.
const IR_VERSION: i64 = 8;
const OPSET: i64 = 17;
/// Of the graphs' own functions.
const DOMAIN: &str = "d2r";

/// Of a weight's largest number, how far a multiple of a step may be off.
const EXACT: f64 = 1e-6;

/// The name of a value in the graph.
pub type Name = String;

/// An attribute's value.
#[derive(Debug, Clone)]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// Integers.
    Ints(Vec<i64>),
    /// A number.
    Float(f32),
    /// Numbers.
    Floats(Vec<f32>),
    /// In a function: what the node that calls it says under this name, integers. (A lone integer 0 would be left out of the
    /// file, as protobuf's third version does, and onnxruntime would miss it.)
    Given(&'static str),
}

/// A function under construction: standard operators under one name, called by [`GraphWriter::call`]. Every runtime
/// puts its body in its place, or has code of its own for it.
#[derive(Debug)]
pub struct FunctionWriter {
    function: FunctionProto,
}

impl FunctionWriter {
    /// Without a body.
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

    /// A node of the body that makes these values.
    pub fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, Attribute)]) {
        self.function.node.push(node_proto(op, inputs, outputs, attributes));
    }

    /// A constant of the body.
    pub fn constant(&mut self, name: &str, value: Attribute) {
        let kind = match value {
            Attribute::Int(_) => "value_int",
            Attribute::Ints(_) | Attribute::Given(_) => "value_ints",
            Attribute::Float(_) => "value_float",
            Attribute::Floats(_) => "value_floats",
        };
        self.node("Constant", &[], &[name], &[(kind, value)]);
    }

    /// A node that gives `xs` another shape.
    pub fn reshape(&mut self, xs: &str, shape: &[i64], output: &str) {
        let name = format!("{output}_shape");
        self.constant(&name, Attribute::Ints(shape.to_vec()));
        self.node("Reshape", &[xs, &name], &[output], &[]);
    }
}

/// A graph under construction. Weights are put in as constants; equal names must not be given twice.
#[derive(Debug, Default)]
pub struct GraphWriter {
    graph: GraphProto,
    functions: Vec<FunctionProto>,
}

impl GraphWriter {
    /// An empty graph of this name.
    pub fn new(name: &str) -> Self {
        Self { graph: GraphProto { name: name.into(), ..GraphProto::default() }, functions: Vec::new() }
    }

    /// An input of the graph: f32, or i64.
    pub fn input(&mut self, name: &str, kind: DataType, shape: &[i64]) -> Name {
        self.graph.input.push(value_info(name, kind, shape));
        name.into()
    }

    /// An output of the graph, f32: the value `from` under the name that readers know.
    pub fn output(&mut self, name: &str, from: &Name, shape: &[i64]) {
        self.named("Identity", &[from], name, &[]);
        self.graph.output.push(value_info(name, DataType::Float, shape));
    }

    /// A node with one output; its name is made up.
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

    /// A node that calls a function; its outputs are named after `name`.
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

    /// A constant from a tensor, f32.
    ///
    /// # Errors
    /// When libtorch refuses to read it.
    pub fn numbers(&mut self, name: &str, tensor: &Tensor) -> Result<Name> {
        let flat = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous().reshape([-1]);
        let bytes = Vec::<f32>::try_from(flat)?.iter().flat_map(|v| v.to_le_bytes()).collect();
        Ok(self.constant(name, DataType::Float, tensor.size(), bytes))
    }

    /// A weight as bytes: integers from -127 to 127 and a step for each place along `axis`, times `factor`. Readers
    /// multiply them out once, when they load the graph.
    ///
    /// # Errors
    /// [`Error::Internal`] when the weight was not frozen: its numbers are no multiples of a step.
    pub fn weight(&mut self, name: &str, tensor: &Tensor, axis: i64, factor: f64) -> Result<Name> {
        let tensor = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Float);
        let Steps { whole, step } = steps(&tensor, axis);
        let gap = f64::try_from((&whole * &step - &tensor).abs().max())?;
        if gap > EXACT * f64::try_from(tensor.abs().max())? {
            return Err(Error::Internal(format!(
                "the weight {name} was not frozen before it was written ({gap:e} off)"
            )));
        }
        let bytes = Vec::<i8>::try_from(whole.to_kind(Kind::Int8).contiguous().reshape([-1]))?;
        let stored = format!("{name}.int8");
        self.constant(&stored, DataType::Int8, tensor.size(), bytes.iter().map(|v| *v as u8).collect());
        let step = self.numbers(&format!("{name}.step"), &(step * factor))?;
        let whole = format!("{name}.whole");
        self.named("Cast", &[&stored], &whole, &[("to", Attribute::Int(DataType::Float as i64))]);
        self.named("Mul", &[&whole, &step], name, &[]);
        Ok(name.into())
    }

    /// A constant of integers.
    pub fn integers(&mut self, values: &[i64]) -> Name {
        let name = format!("integers_{}", self.graph.initializer.len());
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(&name, DataType::Int64, vec![values.len() as i64], bytes)
    }

    /// A constant number of this shape.
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

    /// `xs` in another shape.
    pub fn reshape(&mut self, xs: &Name, shape: &[i64]) -> Name {
        let shape = self.integers(shape);
        self.node("Reshape", &[xs, &shape], &[])
    }

    /// `xs` with its axes in another order.
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
        Attribute::Given(name) => {
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

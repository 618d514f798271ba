//! What must hold of a graph's names and weights before tract reads it: it takes them for granted and panics otherwise.

use std::collections::BTreeSet;

use tract_onnx::pb::{GraphProto, ModelProto};
use tract_onnx::tract_hir::internal::*;

/// Checks that every value is defined once and before it is used (the order that ONNX demands), and that the dimensions of
/// weights are not negative.
///
/// # Errors
/// The name that is not defined, or defined twice.
pub fn check_names(model: &ModelProto) -> TractResult<()> {
    let graph = model.graph.as_ref().context("the file holds no graph")?;
    let mut defined = BTreeSet::new();
    for weight in &graph.initializer {
        ensure!(weight.dims.iter().all(|dim| *dim >= 0), "the weight `{}` has a negative dimension", weight.name);
        define(&mut defined, &weight.name)?;
    }
    for input in graph.input.iter().filter(|input| !is_weight(graph, &input.name)) {
        define(&mut defined, &input.name)?;
    }
    for node in &graph.node {
        for input in node.input.iter().filter(|input| !input.is_empty()) {
            ensure!(defined.contains(&**input), "`{input}`, an input of {}, is not defined before it", node.op_type);
        }
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            define(&mut defined, output)?;
        }
    }
    for output in &graph.output {
        ensure!(defined.contains(&*output.name), "the output `{}` is not defined", output.name);
    }
    Ok(())
}

fn define<'a>(defined: &mut BTreeSet<&'a str>, name: &'a str) -> TractResult<()> {
    ensure!(defined.insert(name), "the value `{name}` is defined twice");
    Ok(())
}

/// Older files list their weights among the inputs too.
fn is_weight(graph: &GraphProto, name: &str) -> bool {
    graph.initializer.iter().any(|weight| weight.name == name)
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::{NodeProto, TensorProto, ValueInfoProto};

    use super::*;

    fn value(name: &str) -> ValueInfoProto {
        ValueInfoProto { name: name.into(), ..Default::default() }
    }

    fn node(input: &str, output: &str) -> NodeProto {
        let (input, output) = (vec![input.to_owned()], vec![output.to_owned()]);
        NodeProto { op_type: "Relu".into(), input, output, ..Default::default() }
    }

    fn problem(node: Vec<NodeProto>, output: &str) -> String {
        let (input, output) = (vec![value("x")], vec![value(output)]);
        let graph = GraphProto { node, input, output, ..Default::default() };
        let checked = check_names(&ModelProto { graph: Some(graph), ..Default::default() });
        checked.err().map_or_else(String::new, |e| e.to_string())
    }

    #[test]
    fn values_are_defined_once_and_before_their_use() {
        assert_eq!(problem(vec![node("x", "y"), node("y", "z")], "z"), "");
        assert!(problem(vec![node("y", "z"), node("x", "y")], "z").contains("`y`, an input of Relu"));
        assert!(problem(vec![node("x", "x")], "x").contains("`x` is defined twice"));
        assert!(problem(vec![node("x", "y"), node("x", "y")], "y").contains("`y` is defined twice"));
        assert!(problem(vec![node("x", "y")], "w").contains("output `w`"));
        assert!(check_names(&ModelProto::default()).is_err());
    }

    #[test]
    fn weights_have_sizes() {
        let weight = TensorProto { name: "w".into(), dims: vec![3, -1], ..Default::default() };
        let graph = GraphProto { initializer: vec![weight], ..Default::default() };
        let checked = check_names(&ModelProto { graph: Some(graph), ..Default::default() });
        assert!(checked.unwrap_err().to_string().contains("negative dimension"));
    }
}

//! What the browser page reads: cards, sample studies, graphs.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::ipc::writer::FileWriter;
use d2r_batch::preview_model::onnx::writer::GraphWriter;
use d2r_viewer::bundle::read_card;
use d2r_viewer::graph::{kernels, plan};
use d2r_viewer::sample_bundle::{COLUMNS, read_samples};
use tract_onnx::pb::tensor_proto::DataType;

use crate::Target;

pub const CARD_AND_SAMPLES: Target =
    Target { name: "card_and_samples", read: card_and_samples, seeds: card_and_sample_seeds, size_max: 8192 };
pub const ONNX: Target = Target { name: "onnx", read: graph, seeds: graph_seeds, size_max: 8192 };

/// A card is text that begins with a brace; anything else is a file of samples.
fn card_and_samples(bytes: &[u8]) -> String {
    if bytes.first() == Some(&b'{') {
        // The order of a card's maps is another one each time.
        let written = |card| serde_json::to_value(card).map(|value| value.to_string());
        return format!("{:?}", read_card(bytes).map(written));
    }
    format!("{:?}", read_samples(bytes))
}

fn graph(bytes: &[u8]) -> String {
    match plan(bytes) {
        Ok(plan) => format!("{} nodes {:?}", plan.model().nodes.len(), kernels(&plan)),
        Err(e) => e.to_string(),
    }
}

fn card_and_sample_seeds() -> Vec<Vec<u8>> {
    vec![include_bytes!("../../../../batch/models/preview/card.json").to_vec(), samples()]
}

/// Two sample studies.
fn samples() -> Vec<u8> {
    let text = || Arc::new(StringArray::from(vec!["the lungs are clear .", "no effusion ."])) as ArrayRef;
    let image = Arc::new(BinaryArray::from_vec(vec![b"one", b"other"])) as ArrayRef;
    let columns = COLUMNS.map(|name| (name, if name == "image" { Arc::clone(&image) } else { text() }));
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).expect("memory takes it");
    writer.write(&batch).and_then(|()| writer.finish()).expect("memory takes it");
    drop(writer);
    bytes
}

fn graph_seeds() -> Vec<Vec<u8>> {
    let mut small = GraphWriter::new("small");
    let x = small.input("x", DataType::Float, &[1, 4]);
    let weight = small.filled(0.5, &[4, 3]);
    let y = small.node("MatMul", &[&x, &weight], &[]);
    let y = small.node("Relu", &[&y], &[]);
    let y = small.reshape(&y, &[3, 1]);
    let y = small.transpose(&y, &[1, 0]);
    small.output("y", &y, &[1, 3]);
    vec![small.into_bytes(&[("license", "none")])]
}

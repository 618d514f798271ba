//! Parity with `tests/python/golden/d2rnet.py`: NAAF's similarity with explicit context vectors, and transformers' BERT.

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor, nn};

use crate::nn::parity_golden::{assert_close, fill, numbers, signed, values};
use crate::reporter::align::bert::{Bert, BertShape};
use crate::reporter::align::negative_aware::{Tokens, similarities};

fn golden() -> Value {
    serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/align/align.json"))).unwrap()
}

fn tokens(stream: u64, count: i64, lengths: [i64; 3]) -> Tokens {
    let columns = Tensor::arange(count, (Kind::Int64, Device::Cpu)).unsqueeze(0);
    let present = columns.lt_tensor(&Tensor::from_slice(&lengths).unsqueeze(1));
    Tokens::unit(&signed(stream, &[3, count, 6]), &present)
}

#[test]
fn batched_similarities_equal_those_with_explicit_context_vectors() {
    for boundary in [0.0, 0.3] {
        let ours =
            similarities(&tokens(21, 5, [5, 2, 1]), &tokens(22, 7, [7, 3, 1]), 20.0, &Tensor::from(boundary as f32));
        let expected = numbers(&golden()["scores"][format!("{boundary:.1}")]);
        assert_close(&values(&ours), &expected, 1e-5, "similarity");
    }
}

#[test]
fn the_similarity_has_a_finite_gradient_everywhere() {
    // Equal vectors, opposite vectors, a token without a match, a text without tokens.
    let vectors =
        Tensor::from_slice(&[1f32, 0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 1.0]).view([2, 2, 2]).set_requires_grad(true);
    let present = Tensor::from_slice(&[true, true, true, false]).view([2, 2]);
    let text = Tokens::unit(
        &Tensor::from_slice(&[-1f32, 0.0, 0.0, 0.0]).view([2, 1, 2]),
        &Tensor::from_slice(&[true, false]).view([2, 1]),
    );
    let ours = similarities(&Tokens::unit(&vectors, &present), &text, 20.0, &Tensor::from(0f32));
    assert_eq!(values(&ours.select(1, 1)), [0.0, 0.0]);
    ours.sum(Kind::Float).backward();
    assert!(values(&vectors.grad()).iter().all(|g| g.is_finite()));
}

#[test]
fn bert_is_transformers() {
    let vs = nn::VarStore::new(Device::Cpu);
    let shape = BertShape { token_count: 40, positions: 32, width: 16, layers: 2, heads: 4, d_ff: 24, dropout: 0.1 };
    let bert = Bert::new(&vs.root(), shape);
    fill(&vs, "", &json!({}));
    let ids = Tensor::from_slice(&[1i64, 5, 9, 39, 2, 1, 7, 2, 0, 0]).view([2, 5]);
    let states = bert.forward_t(&ids, &ids.gt(0), false);
    assert_close(&values(&states.get(0)), &numbers(&golden()["bert"]), 2e-5, "a whole row");
    assert_close(&values(&states.get(1).narrow(0, 0, 3)), &numbers(&golden()["bert_short"]), 2e-5, "a padded row");
}

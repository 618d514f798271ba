//! BLEU, ROUGE-L and CIDEr-D against the COCO caption evaluation.

use serde::Deserialize;

use crate::eval::text::bleu::{BleuCounts, bleu, bleu_counts, total};
use crate::eval::text::cider::cider;
use crate::eval::text::rouge::{rouge_l, rouge_l_one};

const EXACT: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    sets: Vec<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    hypotheses: Vec<String>,
    references: Vec<Vec<String>>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Expected {
    bleu: [f64; 4],
    rouge_l: f64,
    rouge_each: Vec<f64>,
    cider: f64,
}

fn sets() -> Vec<Set> {
    let golden: Golden =
        serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/eval/text_metrics.json")))
            .unwrap();
    golden.sets
}

fn assert_close(what: &str, found: f64, expected: f64) {
    assert!((found - expected).abs() <= EXACT, "{what}: {found}, expected {expected}");
}

#[test]
fn bleu_is_that_of_the_caption_evaluation() {
    for set in sets() {
        for (n, (found, expected)) in bleu(&set.hypotheses, &set.references).iter().zip(set.expected.bleu).enumerate() {
            assert_close(&format!("{} BLEU-{}", set.name, n + 1), *found, expected);
        }
    }
}

#[test]
fn rouge_is_that_of_the_caption_evaluation() {
    for set in sets() {
        assert_close(&set.name, rouge_l(&set.hypotheses, &set.references), set.expected.rouge_l);
        for ((h, r), expected) in set.hypotheses.iter().zip(&set.references).zip(&set.expected.rouge_each) {
            assert_close(h, rouge_l_one(h, r), *expected);
        }
    }
}

#[test]
fn cider_is_that_of_the_caption_evaluation() {
    for set in sets() {
        assert_close(&set.name, cider(&set.hypotheses, &set.references), set.expected.cider);
    }
}

#[test]
fn a_whitespace_tokeniser_for_rouge_would_be_noticed() {
    let squeezed = rouge_l_one("a b", &["a b".into()]);
    let doubled = rouge_l_one("a  b", &["a b".into()]);
    assert!(doubled < squeezed, "a double blank makes an empty word");
}

#[test]
fn empty_sets_score_nothing() {
    assert_eq!(bleu(&[], &[]), [0.0; 4]);
    assert_eq!(rouge_l(&[], &[]), 0.0);
    assert_eq!(cider(&[], &[]), 0.0);
    assert_eq!(bleu(&["a".into()], &[vec![]])[3], BleuCounts::of("a", &[]).score()[3]);
    assert_eq!(rouge_l_one("a", &[]), 0.0);
}

#[test]
fn weights_stand_for_repetition() {
    let hypotheses: Vec<String> = ["a b c d", "a b"].map(String::from).to_vec();
    let references = vec![vec!["a b c d e".to_owned()], vec!["b a".to_owned()]];
    let counts = bleu_counts(&hypotheses, &references);
    let repeated = [hypotheses.clone(), hypotheses[..1].to_vec()].concat();
    let repeated_references = [references.clone(), references[..1].to_vec()].concat();
    assert_eq!(total(&counts, Some(&[2, 1])).score(), bleu(&repeated, &repeated_references));
}

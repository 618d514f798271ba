//! CIDEr-D as the COCO caption evaluation computes it (arXiv:1411.5726): tf-idf weighted n-grams, n = 1..4, document
//! frequencies from the references of the evaluated set, clipped products, Gaussian length penalty (sigma 6,
//! length counted in bigrams), mean over n, times ten.

use std::collections::{BTreeMap, BTreeSet};

const SIGMA: f64 = 6.0;

type Gram<'a> = Vec<&'a str>;

fn gram_counts(text: &str) -> BTreeMap<Gram<'_>, f64> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut counts = BTreeMap::new();
    for n in 1..=4 {
        for gram in words.windows(n) {
            *counts.entry(gram.to_vec()).or_insert(0.0) += 1.0;
        }
    }
    counts
}

struct Weighted<'a> {
    weights: BTreeMap<Gram<'a>, f64>,
    norms: [f64; 4],
    bigrams: f64,
}

fn weigh<'a>(text: &'a str, frequency: &BTreeMap<Gram<'a>, f64>, documents: f64) -> Weighted<'a> {
    let mut out = Weighted { weights: BTreeMap::new(), norms: [0.0; 4], bigrams: 0.0 };
    for (gram, count) in gram_counts(text) {
        let seen = frequency.get(&gram).copied().unwrap_or(0.0).max(1.0);
        let weight = count * (documents.ln() - seen.ln());
        let n = gram.len() - 1;
        out.norms[n] += weight * weight;
        out.bigrams += if n == 1 { count } else { 0.0 };
        out.weights.insert(gram, weight);
    }
    out.norms = out.norms.map(f64::sqrt);
    out
}

fn similarity(own: &Weighted<'_>, other: &Weighted<'_>) -> f64 {
    let mut products = [0.0; 4];
    for (gram, weight) in &own.weights {
        let reference = other.weights.get(gram).copied().unwrap_or(0.0);
        products[gram.len() - 1] += weight.min(reference) * reference;
    }
    for (n, product) in products.iter_mut().enumerate() {
        let norm = own.norms[n] * other.norms[n];
        *product /= if norm == 0.0 { 1.0 } else { norm };
    }
    let delta = own.bigrams - other.bigrams;
    let penalty = (-(delta * delta) / (2.0 * SIGMA * SIGMA)).exp();
    products.iter().map(|p| p * penalty).sum::<f64>() / 4.0
}

/// CIDEr-D, 0 to 10; 0 for an empty set.
pub fn cider(hypotheses: &[String], references: &[Vec<String>]) -> f64 {
    let pairs: Vec<(&String, &Vec<String>)> = hypotheses.iter().zip(references).collect();
    let mut frequency: BTreeMap<Gram<'_>, f64> = BTreeMap::new();
    for (_, texts) in &pairs {
        let grams: BTreeSet<Gram<'_>> = texts.iter().flat_map(|t| gram_counts(t).into_keys()).collect();
        for gram in grams {
            *frequency.entry(gram).or_insert(0.0) += 1.0;
        }
    }
    let documents = pairs.len() as f64;
    let one = |(hypothesis, texts): &(&String, &Vec<String>)| {
        if texts.is_empty() {
            return 0.0;
        }
        let own = weigh(hypothesis, &frequency, documents);
        let sum: f64 = texts.iter().map(|t| similarity(&own, &weigh(t, &frequency, documents))).sum();
        10.0 * sum / texts.len() as f64
    };
    if pairs.is_empty() { 0.0 } else { pairs.iter().map(one).sum::<f64>() / documents }
}

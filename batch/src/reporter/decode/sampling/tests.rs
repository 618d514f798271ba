//! Sampled tokens against `tests/python/golden/r2gen_decoding.py`; samples depend on their keys alone.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::reporter::decode::beam_search::write_reports;
use crate::reporter::model::encoder_decoder::tests::random_model;

fn golden() -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/reporter/r2gen_decoding.safetensors");
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

#[test]
fn given_numbers_sample_the_same_tokens() {
    let golden = golden();
    let (log_probs, numbers) = (&golden["drawn.log_probs"], &golden["drawn.numbers"]);
    for (name, top_k, top_p, temperature) in
        [("all", 0, 1.0, 1.0), ("top_k", 5, 1.0, 1.0), ("top_p", 0, 0.7, 1.0), ("warm", 8, 0.9, 1.7)]
    {
        let scaled = log_probs.to_kind(Kind::Double) / temperature;
        let tokens = sample_at(&scaled, Sampling { top_k, top_p, seed: 0 }, numbers);
        assert_eq!(
            Vec::<i64>::try_from(tokens).unwrap(),
            Vec::<i64>::try_from(&golden[&format!("drawn.{name}")]).unwrap(),
            "{name}"
        );
    }
}

fn options(seed: u64, reports: usize) -> GenerationOptions {
    let method = Method::Sample(Sampling { top_k: 0, top_p: 0.95, seed });
    GenerationOptions { method, reports, ..GenerationOptions::beam(1, 10) }
}

#[test]
fn samples_depend_on_seed_image_and_report_alone() {
    let (_vs, model, encoded, present) = random_model(3, 3);
    let keys = [11, 12, 13, 14, 15];
    let of = |options: &GenerationOptions| write_reports(model.begin(&encoded, &present), options, &keys).unwrap();
    let three = of(&options(1, 3));
    assert_eq!(three, of(&options(1, 3)));
    assert_ne!(three, of(&options(2, 3)));
    assert!(three.iter().any(|r| r[0].tokens != r[1].tokens), "reports of one image differ");
    // The same for the image alone and with fewer reports.
    let row = |t: &Tensor| t.narrow(0, 3, 1);
    let alone = write_reports(model.begin(&row(&encoded), &row(&present)), &options(1, 2), &keys[3..4]).unwrap();
    for (a, b) in alone[0].iter().zip(&three[3]) {
        assert_eq!(a.tokens, b.tokens);
    }
}

#[test]
fn top_k_of_one_is_greedy_decoding() {
    let (_vs, model, encoded, present) = random_model(2, 0);
    let keys = [0, 1, 2, 3, 4];
    let one = Method::Sample(Sampling { top_k: 1, top_p: 1.0, seed: 9 });
    let of = |method: Method| {
        let options = GenerationOptions { method, ..GenerationOptions::beam(1, 10) };
        write_reports(model.begin(&encoded, &present), &options, &keys).unwrap()
    };
    let tokens = |all: Vec<Vec<Hypothesis>>| all.into_iter().flatten().map(|r| r.tokens).collect::<Vec<_>>();
    let greedy = tokens(of(Method::Greedy));
    assert_eq!(tokens(of(one)), greedy);
    assert_eq!(tokens(of(Method::Beam)), greedy);
}

#[test]
fn log_probabilities_that_are_not_finite_are_refused() {
    let (_vs, model, encoded, present) = random_model(2, 0);
    let broken = encoded.shallow_clone() * f64::NAN;
    let keys = [0, 1, 2, 3, 4];
    let refused = write_reports(model.begin(&broken, &present), &options(1, 2), &keys).unwrap_err().to_string();
    assert!(refused.contains("finite"), "{refused}");
}

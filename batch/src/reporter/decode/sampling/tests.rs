//! Drawn words against `tests/python/golden/r2gen_decoding.py`; draws that depend on nothing but their keys.

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
fn given_numbers_fall_on_the_same_words() {
    let golden = golden();
    let (log_probs, numbers) = (&golden["drawn.log_probs"], &golden["drawn.numbers"]);
    for (name, top_k, top_p, temperature) in
        [("all", 0, 1.0, 1.0), ("top_k", 5, 1.0, 1.0), ("top_p", 0, 0.7, 1.0), ("warm", 8, 0.9, 1.7)]
    {
        let scaled = log_probs.to_kind(Kind::Double) / temperature;
        let words = pick(&scaled, Sampling { top_k, top_p, seed: 0 }, numbers);
        assert_eq!(
            Vec::<i64>::try_from(words).unwrap(),
            Vec::<i64>::try_from(&golden[&format!("drawn.{name}")]).unwrap(),
            "{name}"
        );
    }
}

fn options(seed: u64, reports: usize) -> DecodeOptions {
    let method = Method::Sample(Sampling { top_k: 0, top_p: 0.95, seed });
    DecodeOptions { method, reports, ..DecodeOptions::beam(1, 10) }
}

#[test]
fn draws_depend_on_seed_image_and_report_alone() {
    let (_vs, model, encoded, present) = random_model(3, 3);
    let keys = [11, 12, 13, 14, 15];
    let of = |options: &DecodeOptions| write_reports(&model, model.begin(&encoded, &present), options, &keys).unwrap();
    let three = of(&options(1, 3));
    assert_eq!(three, of(&options(1, 3)));
    assert_ne!(three, of(&options(2, 3)));
    assert!(three.iter().any(|r| r[0].words != r[1].words), "reports of one image differ");
    // Alone, and with fewer reports, an image gets the same.
    let row = |t: &Tensor| t.narrow(0, 3, 1);
    let alone =
        write_reports(&model, model.begin(&row(&encoded), &row(&present)), &options(1, 2), &keys[3..4]).unwrap();
    for (a, b) in alone[0].iter().zip(&three[3]) {
        assert_eq!(a.words, b.words);
    }
}

#[test]
fn the_likeliest_word_alone_is_greedy_writing() {
    let (_vs, model, encoded, present) = random_model(2, 0);
    let keys = [0, 1, 2, 3, 4];
    let one = Method::Sample(Sampling { top_k: 1, top_p: 1.0, seed: 9 });
    let of = |method: Method| {
        let options = DecodeOptions { method, ..DecodeOptions::beam(1, 10) };
        write_reports(&model, model.begin(&encoded, &present), &options, &keys).unwrap()
    };
    let words = |all: Vec<Vec<Hypothesis>>| all.into_iter().flatten().map(|r| r.words).collect::<Vec<_>>();
    let greedy = words(of(Method::Greedy));
    assert_eq!(words(of(one)), greedy);
    assert_eq!(words(of(Method::Beam)), greedy);
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    let (_vs, model, encoded, present) = random_model(2, 0);
    let broken = encoded.shallow_clone() * f64::NAN;
    let keys = [0, 1, 2, 3, 4];
    let refused = write_reports(&model, model.begin(&broken, &present), &options(1, 2), &keys).unwrap_err().to_string();
    assert!(refused.contains("finite"), "{refused}");
}

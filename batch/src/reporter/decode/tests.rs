//! Generation options against `tests/python/golden/r2gen_decoding.py`: the published search from its equations, in double
//! precision.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor, nn};

use crate::reporter::decode::beam_search::write_reports;
use crate::reporter::decode::finished_reports::Hypothesis;
use crate::reporter::decode::generation_options::{GenerationOptions, LengthPenalty, Method, Sampling};
use crate::reporter::model::encoder_decoder::EncoderDecoder;
use crate::reporter::model::encoder_decoder::tests::{SUMS, golden_model, random_model, tokens};

const KEYS: [u64; 5] = [0, 1, 2, 3, 4];

fn golden() -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/reporter/r2gen_decoding.safetensors");
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

/// The golden model with `end` added to the logit of the end.
fn model(end: f64) -> (nn::VarStore, EncoderDecoder, Tensor, Tensor) {
    let (vs, model, _) = golden_model();
    {
        let _no_grad = tch::no_grad_guard();
        let mut bias = vs.variables()["encoder_decoder.logit.bias"].get(0);
        let _ = bias.g_add_scalar_(end);
    }
    let (tokens, present) = tokens();
    let encoded = model.encode(&tokens, &present, false);
    (vs, model, encoded, present)
}

fn reports_of(end: f64, options: &GenerationOptions) -> Vec<Vec<Hypothesis>> {
    let (_vs, model, encoded, present) = model(end);
    write_reports(model.begin(&encoded, &present), options, &KEYS[..2]).unwrap()
}

fn assert_golden(name: &str, reports: &[Vec<Hypothesis>]) {
    let golden = golden();
    let (ids, sums) = (&golden[&format!("{name}.ids")], golden.get(&format!("{name}.sums")));
    for (image, reports) in reports.iter().enumerate() {
        for (rank, report) in reports.iter().enumerate() {
            let of = |all: &Tensor| all.get(image as i64).get(rank as i64);
            let expected: Vec<i64> = Vec::try_from(of(ids)).unwrap();
            let expected: Vec<i64> = expected.into_iter().take_while(|id| *id > 0).collect();
            assert_eq!(report.tokens, expected, "{name}, image {image}, report {rank}");
            if let Some(sums) = sums {
                let expected = f64::try_from(of(sums)).unwrap();
                let gap = (f64::from(report.sum) - expected).abs();
                assert!(gap < SUMS, "{name}, image {image}, report {rank}: {} against {expected}", report.sum);
            }
        }
    }
}

const SEARCH_END: f64 = 1.2;

#[test]
fn diverse_beams_penalties_and_several_reports_equal_the_published_search() {
    let plain = GenerationOptions::beam(3, 12);
    let diverse = GenerationOptions { groups: 3, diversity: 0.5, reports: 9, ..GenerationOptions::beam(9, 12) };
    let reports = reports_of(SEARCH_END, &diverse);
    assert!(reports.iter().all(|r| r.len() == 9));
    assert_golden("diverse", &reports);
    for (name, length_penalty) in
        [("wu", LengthPenalty::Wu(2.0)), ("average", LengthPenalty::Average), ("three_best", LengthPenalty::None)]
    {
        let reports = reports_of(SEARCH_END, &GenerationOptions { length_penalty, reports: 3, ..plain.clone() });
        assert!(reports.iter().all(|r| r.len() == 3), "{name}");
        assert_golden(name, &reports);
    }
    // Without a diversity penalty all groups write the same.
    let same = reports_of(SEARCH_END, &GenerationOptions { diversity: 0.0, ..diverse });
    assert!(same.iter().all(|r| r[0].tokens == r[1].tokens && r[1].tokens == r[2].tokens));
}

#[test]
fn greedy_decoding_with_the_trigram_penalty_equals_the_published_one() {
    let options = GenerationOptions { method: Method::Greedy, trigram_penalty: 2.0, ..GenerationOptions::beam(1, 40) };
    let reports: Vec<Hypothesis> = reports_of(SEARCH_END - 1.2 - 4.0, &options).into_iter().flatten().collect();
    let expected = &golden()["trigrams.ids"];
    for (row, report) in reports.iter().enumerate() {
        let ids: Vec<i64> = Vec::try_from(expected.get(row as i64)).unwrap();
        let ids: Vec<i64> = ids.into_iter().take_while(|id| *id > 0).collect();
        assert_eq!(report.tokens, ids, "image {row}");
    }
    let free = reports_of(-4.0, &GenerationOptions { trigram_penalty: 0.0, ..options });
    assert_ne!(free[0][0].tokens, reports[0].tokens, "the penalty matters");
}

#[test]
fn minimum_length_and_banned_phrases_hold_for_every_method() {
    let (_vs, model, encoded, present) = random_model(4, 3);
    let long = GenerationOptions { min_words: 6, ..GenerationOptions::beam(3, 12) };
    let free = write_reports(model.begin(&encoded, &present), &long, &KEYS).unwrap();
    let phrase: Vec<i64> = free[0][0].tokens[..2].to_vec();
    let sampling = Sampling { top_k: 0, top_p: 1.0, seed: 5 };
    for method in [Method::Beam, Method::Greedy, Method::Sample(sampling)] {
        let options = GenerationOptions {
            method,
            min_words: 6,
            banned: vec![phrase.clone(), vec![7]],
            ..GenerationOptions::beam(3, 12)
        };
        for report in write_reports(model.begin(&encoded, &present), &options, &KEYS).unwrap().into_iter().flatten() {
            assert!(report.tokens.len() >= 6, "{method:?}: {:?}", report.tokens);
            assert!(!report.tokens.contains(&7) && report.tokens.windows(2).all(|w| w != phrase), "{method:?}");
            assert_eq!(report.tokens.len(), report.log_probs.len());
        }
    }
}

#[test]
fn log_probs_are_the_models_own() {
    let (_vs, model, encoded, present) = random_model(6, 3);
    let options = GenerationOptions { groups: 3, diversity: 2.0, reports: 3, ..GenerationOptions::beam(3, 12) };
    for (image, reports) in write_reports(model.begin(&encoded, &present), &options, &KEYS).unwrap().iter().enumerate()
    {
        for report in reports.iter().filter(|r| !r.tokens.is_empty()) {
            let inputs: Vec<i64> = std::iter::once(0).chain(report.tokens.iter().copied()).collect();
            let inputs = Tensor::from_slice(&inputs).unsqueeze(0);
            let row = |t: &Tensor| t.narrow(0, image as i64, 1);
            let log_probs = model.forward_t(&row(&encoded), &row(&present), &inputs, false).log_probs.get(0);
            let log_probs = log_probs.narrow(0, 0, report.tokens.len() as i64);
            let own = log_probs.gather(1, &Tensor::from_slice(&report.tokens).unsqueeze(1), false).squeeze_dim(1);
            let gap = (own - Tensor::from_slice(&report.log_probs)).abs().max().to_kind(Kind::Double);
            assert!(f64::try_from(gap.to_device(Device::Cpu)).unwrap() < 1e-4);
        }
    }
}

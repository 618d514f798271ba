//! Decoding options against `tests/python/golden/r2gen_decoding.py` (the published search from its equations, in double
//! precision), and stopping early against the whole loop.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor, nn};

use crate::reporter::decode::beam_search::write_reports;
use crate::reporter::decode::decode_options::{DecodeOptions, LengthPenalty, Method};
use crate::reporter::decode::finished_reports::Hypothesis;
use crate::reporter::model::encoder_decoder::EncoderDecoder;
use crate::reporter::model::encoder_decoder::tests::{SUMS, golden_model, random_model, tokens};

const KEYS: [u64; 5] = [0, 1, 2, 3, 4];

fn golden() -> BTreeMap<String, Tensor> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/reporter/r2gen_decoding.safetensors");
    Tensor::read_safetensors(path).unwrap().into_iter().collect()
}

/// The golden model with another likelihood of the end.
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

fn written(end: f64, options: &DecodeOptions) -> Vec<Vec<Hypothesis>> {
    let (_vs, model, encoded, present) = model(end);
    write_reports(&model, model.begin(&encoded, &present), options, &KEYS[..2]).unwrap()
}

fn assert_golden(name: &str, reports: &[Vec<Hypothesis>]) {
    let golden = golden();
    let (ids, sums) = (&golden[&format!("{name}.ids")], golden.get(&format!("{name}.sums")));
    for (image, reports) in reports.iter().enumerate() {
        for (rank, report) in reports.iter().enumerate() {
            let of = |all: &Tensor| all.get(image as i64).get(rank as i64);
            let expected: Vec<i64> = Vec::try_from(of(ids)).unwrap();
            let expected: Vec<i64> = expected.into_iter().take_while(|w| *w > 0).collect();
            assert_eq!(report.words, expected, "{name}, image {image}, report {rank}");
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
    let plain = DecodeOptions::beam(3, 12);
    let diverse = DecodeOptions { groups: 3, diversity: 0.5, reports: 9, ..DecodeOptions::beam(9, 12) };
    let reports = written(SEARCH_END, &diverse);
    assert!(reports.iter().all(|r| r.len() == 9));
    assert_golden("diverse", &reports);
    for (name, length_penalty) in
        [("wu", LengthPenalty::Wu(2.0)), ("average", LengthPenalty::Average), ("three_best", LengthPenalty::None)]
    {
        let reports = written(SEARCH_END, &DecodeOptions { length_penalty, reports: 3, ..plain.clone() });
        assert!(reports.iter().all(|r| r.len() == 3), "{name}");
        assert_golden(name, &reports);
    }
    // Groups that do not keep out of each other's way write the same.
    let same = written(SEARCH_END, &DecodeOptions { diversity: 0.0, ..diverse });
    assert!(same.iter().all(|r| r[0].words == r[1].words && r[1].words == r[2].words));
}

#[test]
fn greedy_writing_with_the_trigram_rule_equals_the_published_one() {
    let options = DecodeOptions { method: Method::Greedy, trigram_penalty: 2.0, ..DecodeOptions::beam(1, 40) };
    let reports: Vec<Hypothesis> = written(SEARCH_END - 1.2 - 4.0, &options).into_iter().flatten().collect();
    let expected = &golden()["trigrams.ids"];
    for (row, report) in reports.iter().enumerate() {
        let ids: Vec<i64> = Vec::try_from(expected.get(row as i64)).unwrap();
        let ids: Vec<i64> = ids.into_iter().take_while(|w| *w > 0).collect();
        assert_eq!(report.words, ids, "image {row}");
    }
    let free = written(-4.0, &DecodeOptions { trigram_penalty: 0.0, ..options });
    assert_ne!(free[0][0].words, reports[0].words, "the rule matters");
}

#[test]
fn stopping_early_changes_no_report_whatever_the_options() {
    for seed in 0..8 {
        let (_vs, model, encoded, present) = random_model(seed, if seed % 2 == 0 { 3 } else { 0 });
        for options in [
            DecodeOptions { reports: 3, ..DecodeOptions::beam(4, 12) },
            DecodeOptions { length_penalty: LengthPenalty::Average, ..DecodeOptions::beam(3, 12) },
            DecodeOptions { length_penalty: LengthPenalty::Wu(1.5), reports: 2, ..DecodeOptions::beam(3, 12) },
            DecodeOptions { groups: 2, reports: 4, ..DecodeOptions::beam(6, 12) },
            DecodeOptions { temperature: 1.7, min_words: 4, ..DecodeOptions::beam(3, 12) },
        ] {
            let of = |early_stop| {
                let options = DecodeOptions { early_stop, ..options.clone() };
                write_reports(&model, model.begin(&encoded, &present), &options, &KEYS).unwrap()
            };
            let words =
                |all: Vec<Vec<Hypothesis>>| -> Vec<Vec<i64>> { all.into_iter().flatten().map(|r| r.words).collect() };
            assert_eq!(words(of(true)), words(of(false)), "seed {seed}, {options:?}");
        }
    }
}

#[test]
fn minimum_length_and_banned_phrases_hold_for_every_method() {
    let (_vs, model, encoded, present) = random_model(4, 3);
    let long = DecodeOptions { min_words: 6, ..DecodeOptions::beam(3, 12) };
    let free = write_reports(&model, model.begin(&encoded, &present), &long, &KEYS).unwrap();
    let phrase: Vec<i64> = free[0][0].words[..2].to_vec();
    let sampling = crate::reporter::decode::decode_options::Sampling { top_k: 0, top_p: 1.0, seed: 5 };
    for method in [Method::Beam, Method::Greedy, Method::Sample(sampling)] {
        let options =
            DecodeOptions { method, min_words: 6, banned: vec![phrase.clone(), vec![7]], ..DecodeOptions::beam(3, 12) };
        for report in
            write_reports(&model, model.begin(&encoded, &present), &options, &KEYS).unwrap().into_iter().flatten()
        {
            assert!(report.words.len() >= 6, "{method:?}: {:?}", report.words);
            assert!(!report.words.contains(&7) && report.words.windows(2).all(|w| w != phrase), "{method:?}");
            assert_eq!(report.words.len(), report.log_probs.len());
        }
    }
}

#[test]
fn log_probs_are_the_models_own() {
    let (_vs, model, encoded, present) = random_model(6, 3);
    let options = DecodeOptions { groups: 3, diversity: 2.0, reports: 3, ..DecodeOptions::beam(3, 12) };
    for (image, reports) in
        write_reports(&model, model.begin(&encoded, &present), &options, &KEYS).unwrap().iter().enumerate()
    {
        for report in reports.iter().filter(|r| !r.words.is_empty()) {
            let inputs: Vec<i64> = std::iter::once(0).chain(report.words.iter().copied()).collect();
            let inputs = Tensor::from_slice(&inputs).unsqueeze(0);
            let row = |t: &Tensor| t.narrow(0, image as i64, 1);
            let said = model.forward_t(&row(&encoded), &row(&present), &inputs, false).log_probs.get(0);
            let said = said.narrow(0, 0, report.words.len() as i64);
            let own = said.gather(1, &Tensor::from_slice(&report.words).unsqueeze(1), false).squeeze_dim(1);
            let gap = (own - Tensor::from_slice(&report.log_probs)).abs().max().to_kind(Kind::Double);
            assert!(f64::try_from(gap.to_device(Device::Cpu)).unwrap() < 1e-4);
        }
    }
}

//! The published search by `tests/python/golden/r2gen.py`; early stopping against a search over all steps.

use super::*;
use crate::reporter::decode::generation_options::LengthPenalty;
use crate::reporter::model::encoder_decoder::tests::{SUMS, golden, golden_model, random_model, tokens};

fn options(beam_size: usize) -> GenerationOptions {
    GenerationOptions::beam(beam_size, 12)
}

fn run(seed: i64, slots: i64, options: &GenerationOptions) -> Vec<Hypothesis> {
    let (_vs, model, encoded, present) = random_model(seed, slots);
    beam_search(&model, &encoded, &present, options).unwrap()
}

/// The same search without early stopping: every image stays in the batch until the longest length.
fn search_all_steps(mut decoder: impl IncrementalDecoder, options: &GenerationOptions) -> Vec<Vec<Hypothesis>> {
    let _no_grad = tch::no_grad_guard();
    let (batch, device) = (decoder.images(), decoder.device());
    let mut beams = Beams::start(batch, options, device);
    let mut log_probs = decoder.step(&Tensor::full([batch], BOUNDARY, (Kind::Int64, device)));
    for _ in 1..options.max_words {
        let rows = beams.advance(&log_probs, options, false);
        log_probs = beams.step(&mut decoder, &rows, options);
    }
    let _ = beams.advance(&log_probs, options, true);
    let mut reports = vec![Vec::new(); batch as usize];
    beams.collect(options.reports, &mut reports, |_| true).unwrap();
    reports
}

#[test]
fn reports_equal_the_published_search() {
    let (_, model, _) = golden_model();
    let (tokens, present) = tokens();
    let encoded = model.encode(&tokens, &present, false);
    for (width, expected) in [(3, golden().beam3), (1, golden().greedy)] {
        let reports = beam_search(&model, &encoded, &present, &options(width)).unwrap();
        for (ours, golden) in reports.iter().zip(&expected) {
            assert_eq!(ours.tokens, golden.words, "beam {width}");
            assert!((f64::from(ours.sum) - golden.sum).abs() < SUMS, "{} against {}", ours.sum, golden.sum);
            assert_eq!(ours.ended, golden.words.len() < 12);
        }
    }
}

#[test]
fn early_stopping_changes_no_report() {
    let mut ended = 0;
    for seed in 0..20 {
        let (_vs, model, encoded, present) = random_model(seed, if seed % 2 == 0 { 3 } else { 0 });
        for width in [1, 2, 3, 5] {
            let early = beam_search(&model, &encoded, &present, &options(width)).unwrap();
            let full = search_all_steps(model.begin(&encoded, &present), &options(width));
            for (a, b) in early.iter().zip(full.iter().flatten()) {
                assert_eq!(a.tokens, b.tokens, "seed {seed}, beam {width}");
                assert!((a.sum - b.sum).abs() < 1e-5);
                ended += usize::from(a.ended);
            }
        }
    }
    assert!(ended > 20, "the models must end some reports for the test to mean something");
}

#[test]
fn early_stopping_changes_no_report_with_other_options() {
    for seed in 0..8 {
        let (_vs, model, encoded, present) = random_model(seed, if seed % 2 == 0 { 3 } else { 0 });
        for options in [
            GenerationOptions { reports: 3, ..options(4) },
            GenerationOptions { length_penalty: LengthPenalty::Average, ..options(3) },
            GenerationOptions { length_penalty: LengthPenalty::Wu(1.5), reports: 2, ..options(3) },
            GenerationOptions { groups: 2, reports: 4, ..options(6) },
            GenerationOptions { temperature: 1.7, min_words: 4, ..options(3) },
        ] {
            let early = write_reports(model.begin(&encoded, &present), &options, &[0, 1, 2, 3, 4]).unwrap();
            let full = search_all_steps(model.begin(&encoded, &present), &options);
            let tokens = |all: Vec<Vec<Hypothesis>>| all.into_iter().flatten().map(|r| r.tokens).collect::<Vec<_>>();
            assert_eq!(tokens(early), tokens(full), "seed {seed}, {options:?}");
        }
    }
}

#[test]
fn beam_one_is_greedy() {
    for seed in 0..5 {
        let (_vs, model, encoded, present) = random_model(seed, 3);
        let _no_grad = tch::no_grad_guard();
        let reports = beam_search(&model, &encoded, &present, &options(1)).unwrap();
        for (row, report) in reports.iter().enumerate() {
            let row_of = |t: &Tensor| t.narrow(0, row as i64, 1);
            let mut ids = vec![0i64];
            let mut sum = 0.0;
            loop {
                let prefix = Tensor::from_slice(&ids).unsqueeze(0);
                let out = model.forward_t(&row_of(&encoded), &row_of(&present), &prefix, false).log_probs.get(0);
                let (best, token) = out.get(-1).max_dim(0, false);
                sum += f32::try_from(best).unwrap();
                ids.push(i64::try_from(token).unwrap());
                if ids.last() == Some(&0) || ids.len() == 13 {
                    break;
                }
            }
            assert!((report.sum - sum).abs() < 1e-4);
            let tokens: Vec<i64> = ids.into_iter().filter(|&id| id > 0).collect();
            assert_eq!(report.tokens, tokens);
            assert_eq!(report.log_probs.len(), tokens.len());
        }
    }
}

#[test]
fn blocked_ngrams_and_banned_tokens_are_never_written() {
    for seed in 0..6 {
        let free = run(seed, 3, &options(2));
        let banned = free.iter().find_map(|r| r.tokens.first().copied()).unwrap_or(7);
        for n in [1, 2, 3] {
            let blocked = GenerationOptions { block_ngram: n, banned: vec![vec![banned]], ..options(2) };
            for report in run(seed, 3, &blocked) {
                assert!(!report.tokens.contains(&banned));
                let mut ngrams: Vec<&[i64]> = report.tokens.windows(n).collect();
                let all = ngrams.len();
                ngrams.sort_unstable();
                ngrams.dedup();
                assert_eq!(ngrams.len(), all, "{:?} repeats", report.tokens);
            }
        }
    }
}

#[test]
fn a_broken_model_is_an_error_and_no_images_are_no_reports() {
    let (vs, model, encoded, present) = random_model(3, 3);
    let none = encoded.narrow(0, 0, 0);
    assert!(beam_search(&model, &none, &present.narrow(0, 0, 0), &options(3)).unwrap().is_empty());
    let nan = &encoded * f64::NAN;
    let error = beam_search(&model, &nan, &present, &options(3)).unwrap_err();
    assert!(error.to_string().contains("the encoder's output is not finite"), "{error}");
    {
        let _no_grad = tch::no_grad_guard();
        let _ = vs.variables()["encoder_decoder.logit.weight"].get(4).fill_(f64::NAN);
    }
    let error = beam_search(&model, &encoded, &present, &options(3)).unwrap_err();
    assert!(error.to_string().contains("log-probability of word 1"), "{error}");
    let too_wide = run(1, 3, &GenerationOptions { beam_size: 80, ..options(1) });
    assert_eq!(too_wide.len(), 5);
}

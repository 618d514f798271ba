//! Generation options from the configuration: banned text becomes token ids.

use d2r_contracts::report_text::{mentions_prior, tokens};
use d2r_contracts::vocabulary::Vocabulary;

use crate::config::generate::{GenerateConfig, LengthPenalty as Penalty, Method as Choice};
use crate::context::Context;
use crate::error::Result;
use crate::reporter::batches::laterality_swap::LateralitySwap;
use crate::reporter::decode::generation_options::{GenerationOptions, LengthPenalty, Method, Sampling};

/// The configured generation options.
pub fn generation_options(ctx: &Context, vocabulary: &Vocabulary) -> GenerationOptions {
    options(&ctx.config.generate, ctx.config.run.seed, vocabulary)
}

/// For each token id, the boundary included, its laterality counterpart; `None` without flip test-time augmentation.
///
/// # Errors
/// [`crate::error::Error::Config`] when the vocabulary has a laterality word without its counterpart.
pub fn swapped_tokens(ctx: &Context, vocabulary: &Vocabulary) -> Result<Option<Vec<i64>>> {
    if !ctx.config.generate.flip_tta {
        return Ok(None);
    }
    let swap = LateralitySwap::new("generate.flip_tta", |word| vocabulary.id(word))?;
    Ok(Some(swap.table(vocabulary.len() as i64 + 1)))
}

fn options(config: &GenerateConfig, seed: u64, vocabulary: &Vocabulary) -> GenerationOptions {
    let GenerateConfig { beam_size, groups, diversity, reports, temperature, min_words, max_words, .. } = *config;
    GenerationOptions {
        method: match config.method {
            Choice::Beam => Method::Beam,
            Choice::Greedy => Method::Greedy,
            Choice::Sample => Method::Sample(Sampling { top_k: config.top_k, top_p: config.top_p, seed }),
        },
        beam_size,
        groups,
        diversity,
        length_penalty: match config.length_penalty {
            Penalty::None => LengthPenalty::None,
            Penalty::Wu => LengthPenalty::Wu(config.length_alpha),
            Penalty::Average => LengthPenalty::Average,
        },
        reports,
        temperature,
        min_words,
        max_words,
        block_ngram: config.block_ngram,
        banned: banned(config, vocabulary),
        trigram_penalty: config.trigram_penalty,
    }
}

/// Token sequences that are never written. A phrase with a word outside the vocabulary cannot be written anyway.
fn banned(config: &GenerateConfig, vocabulary: &Vocabulary) -> Vec<Vec<i64>> {
    let mut banned = Vec::new();
    if config.ban_unknown {
        banned.push(vec![vocabulary.unknown_id()]);
    }
    if config.ban_prior {
        let prior = vocabulary.words().iter().filter(|word| mentions_prior(word));
        banned.extend(prior.filter_map(|word| Some(vec![vocabulary.id(word)?])));
    }
    let phrase = |text: &String| -> Option<Vec<i64>> {
        tokens(&text.to_lowercase()).into_iter().map(|word| vocabulary.id(word)).collect()
    };
    banned.extend(config.banned.iter().filter_map(phrase).filter(|ids| !ids.is_empty()));
    banned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunConfig;
    use crate::config::resolve::PRESETS;

    fn generate(set: &[&str]) -> GenerateConfig {
        let set: Vec<String> = set.iter().map(|s| format!("generate.{s}")).collect();
        RunConfig::of("default", &set.iter().map(String::as_str).collect::<Vec<_>>()).generate
    }

    #[test]
    fn banned_text_becomes_token_ids() {
        let vocabulary = Vocabulary::build(["effusion is unchanged . no new lesion ."].into_iter(), 1);
        let id = |word: &str| vocabulary.id(word).unwrap();
        let banned = ["No lesion", "large heart"].map(String::from).to_vec();
        let config = GenerateConfig { banned, ..generate(&["ban_prior=true"]) };
        let mut banned = options(&config, 1, &vocabulary).banned;
        banned.sort();
        let mut expected =
            vec![vec![vocabulary.unknown_id()], vec![id("unchanged")], vec![id("new")], vec![id("no"), id("lesion")]];
        expected.sort();
        assert_eq!(banned, expected);
        let none = options(&generate(&["rules=r2gen"]), 1, &vocabulary).banned;
        assert!(none.is_empty());
    }

    #[test]
    fn methods_and_penalties_are_the_configured_ones() {
        let vocabulary = Vocabulary::build(["a ."].into_iter(), 1);
        let of = |set: &[&str]| options(&generate(set), 7, &vocabulary);
        assert_eq!(of(&[]).method, Method::Beam);
        let sampled = of(&["method=sample", "top_p=0.9", "top_k=5"]).method;
        assert_eq!(sampled, Method::Sample(Sampling { top_k: 5, top_p: 0.9, seed: 7 }));
        assert_eq!(of(&["length_penalty=wu"]).length_penalty, LengthPenalty::Wu(0.9));
        for (preset, _) in PRESETS {
            options(&RunConfig::of(preset, &[]).generate, 1, &vocabulary).check().unwrap();
        }
    }
}

//! Limits of the numbers of the configuration: outside of them a run would not end, or not mean anything. The phantom's
//! numbers have limits of their own, in `d2r_phantom::PhantomConfig`.

use toml::Value;

/// Key, smallest and largest value. The words of a key (`off`, `all`) have no limits.
const LIMITS: [(&str, f64, f64); 51] = [
    ("run.log_every", 1.0, 1e9),
    ("run.accumulate", 1.0, 4096.0),
    ("ingest.min_annotators", 1.0, 100.0),
    ("ingest.val_share", 0.0, 1.0),
    ("detector.model.input_size", 32.0, 4096.0),
    ("detector.train.labelled_share", 0.0, 1.0),
    ("detector.train.steps", 1.0, 1e9),
    ("detector.train.batch_size", 1.0, 4096.0),
    ("detector.train.lr", 0.0, 10.0),
    ("detector.train.warmup_steps", 0.0, 1e9),
    ("detector.train.clip_norm", 0.0, 1e9),
    ("detector.train.ema_keep_rate", 0.0, 1.0),
    ("detector.train.rare_share", 0.0, 1.0),
    ("detector.train.cache_mib", 0.0, 1e8),
    ("detector.train.eval_every", 1.0, 1e9),
    ("detector.train.save_every", 1.0, 1e9),
    ("semi.burn_in_steps", 0.0, 1e9),
    ("semi.unlabelled_batch_size", 1.0, 4096.0),
    ("semi.threshold", 0.0, 1.0),
    ("semi.ignore_min", 0.0, 1.0),
    ("semi.report_threshold", 0.0, 1.0),
    ("semi.guard_rails", 0.0, 1e6),
    ("semi.unlabelled_weight", 0.0, 1e6),
    ("semi.box_loss_weight", 0.0, 1e6),
    ("semi.ramp_steps", 0.0, 1e9),
    ("semi.ema_keep_rate", 0.0, 1.0),
    ("annotate.score_floor", 0.0, 1.0),
    ("annotate.threshold", 0.0, 1.0),
    ("annotate.batch_size", 1.0, 4096.0),
    ("report.model.input_size", 32.0, 4096.0),
    ("report.model.views", 1.0, 16.0),
    ("report.model.max_regions", 0.0, 100.0),
    ("report.align.lab_weight", 0.0, 1e6),
    ("report.align.gab_weight", 0.0, 1e6),
    ("report.train.epochs", 1.0, 1e6),
    ("report.train.batch_size", 1.0, 4096.0),
    ("report.train.lr_visual", 0.0, 10.0),
    ("report.train.lr", 0.0, 10.0),
    ("report.train.max_tokens", 2.0, 1024.0),
    ("report.train.laterality_weight", 0.0, 1e6),
    ("report.train.grounding_weight", 0.0, 1e6),
    ("generate.beam_size", 1.0, 64.0),
    ("generate.groups", 1.0, 64.0),
    ("generate.reports", 1.0, 64.0),
    ("generate.temperature", 1e-6, 1e6),
    ("generate.top_p", 0.0, 1.0),
    ("generate.max_words", 1.0, 1023.0),
    ("generate.batch_size", 1.0, 4096.0),
    ("preview.epochs", 1.0, 1e6),
    ("preview.batch_size", 1.0, 4096.0),
    ("preview.lr", 0.0, 10.0),
];

/// What is wrong with a value, if anything.
pub fn violation(key: &str, value: &Value) -> Option<String> {
    let number = match value {
        Value::Integer(n) => *n as f64,
        Value::Float(x) => *x,
        _ => return None,
    };
    if !number.is_finite() {
        return Some(format!("{value} is not a finite number"));
    }
    let (_, least, most) = LIMITS.iter().find(|(name, ..)| *name == key)?;
    let outside = !(*least..=*most).contains(&number);
    outside.then(|| format!("{value} is outside {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resolve::PRESETS;
    use crate::config::{Layers, resolve};

    #[test]
    fn limits_belong_to_keys_and_hold_for_all_presets() {
        let resolved = resolve(&Layers::default()).unwrap();
        for (key, least, most) in LIMITS {
            assert!(resolved.origin.contains_key(key) && least < most, "{key}");
        }
        for (name, _) in PRESETS {
            let layers = Layers { preset: Some(name.to_owned()), ..Layers::default() };
            assert!(resolve(&layers).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_number_that_no_run_can_use_is_refused_with_its_layer() {
        for pair in
            ["report.train.batch_size=0", "generate.beam_size=100000000", "detector.train.lr=nan", "semi.threshold=2.0"]
        {
            let error = resolve(&Layers { set: vec![pair.to_owned()], ..Layers::default() }).unwrap_err();
            let (key, _) = pair.split_once('=').unwrap();
            assert_eq!(error.exit().code(), 78, "{pair}");
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}

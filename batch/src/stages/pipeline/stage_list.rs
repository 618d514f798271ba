//! The stages of a pipeline in order, and how much of the time is left.

/// Share of the wall time of each stage, as in the preset `demo` on two cores.
const SHARES: [(&str, f64); 10] = [
    ("phantom", 0.08),
    ("ingest", 0.01),
    ("audit", 0.01),
    ("train-detector", 0.45),
    ("annotate", 0.05),
    ("train-reporter", 0.36),
    ("report", 0.02),
    ("evaluate-detector", 0.005),
    ("evaluate-reports", 0.01),
    ("validate", 0.005),
];

fn share(stage: &str) -> f64 {
    let kind = SHARES.iter().find(|(name, _)| *name == stage);
    let kind = kind.or_else(|| SHARES.iter().find(|(name, _)| stage.starts_with(&format!("{name}-"))));
    kind.map_or(0.0, |(_, share)| *share)
}

/// The line at the start of a stage: its number, its name, and the time left by the shares of the stages that were run
/// in this process. `stages`: all of the pipeline; `ran`: those run so far, with their seconds; stages that were done
/// before do not count.
pub fn line(name: &str, stages: &[String], ran: &[(String, f64)]) -> String {
    let at = stages.iter().position(|stage| stage == name).unwrap_or_default();
    let (shares, seconds) = ran.iter().fold((0.0, 0.0), |(sh, s), (stage, wall)| (sh + share(stage), s + wall));
    let left: f64 = stages[at..].iter().map(|stage| share(stage)).sum();
    // Less than the drawing of phantoms says nothing.
    let time =
        if shares < 0.05 { String::new() } else { format!(", about {} left", duration(seconds * left / shares)) };
    format!("stage {} of {}: {name}{time}", at + 1, stages.len())
}

/// Seconds in the unit that a person would use.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::{SHARES, line, share};

    #[test]
    fn the_time_left_follows_from_the_stages_that_ran() {
        let stages = ["phantom", "ingest-vindr", "train-detector", "train-reporter"].map(str::to_owned);
        assert_eq!(line("phantom", &stages, &[]), "stage 1 of 4: phantom");
        let drawn = [("phantom".to_owned(), 80.0)];
        assert_eq!(line("train-detector", &stages, &drawn), "stage 3 of 4: train-detector, about 14 min left");
        let trained = [("phantom".to_owned(), 8.0), ("train-detector".to_owned(), 45.0)];
        assert_eq!(line("train-reporter", &stages, &trained), "stage 4 of 4: train-reporter, about 36 s left");
    }

    #[test]
    fn every_kind_of_stage_has_a_share() {
        let sum: f64 = SHARES.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
        assert_eq!((share("ingest-mimic"), share("evaluate-reports")), (0.01, 0.01));
    }
}

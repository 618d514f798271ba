//! The stages of the pipeline in order, and how much of the time is left.

/// Name and share of the wall time of each stage; the shares are those of the preset `demo` on two cores.
pub const STAGES: [(&str, f64); 12] = [
    ("phantom", 0.053),
    ("ingest-vindr", 0.005),
    ("ingest-mimic", 0.005),
    ("ingest-iu_xray", 0.001),
    ("audit", 0.001),
    ("train-detector", 0.270),
    ("annotate", 0.016),
    ("train-reporter", 0.630),
    ("report", 0.010),
    ("evaluate-detector", 0.004),
    ("evaluate-reports", 0.004),
    ("validate", 0.001),
];

/// The line at the start of a stage: its number, its name, and the time left by the shares of the stages that were run
/// in this process. `ran` holds these stages and their seconds; stages that were done before do not count.
pub fn line(name: &str, ran: &[(String, f64)]) -> String {
    let at = STAGES.iter().position(|(stage, _)| *stage == name).unwrap_or_default();
    let share = |stage: &str| STAGES.iter().find(|(s, _)| *s == stage).map_or(0.0, |(_, share)| *share);
    let (shares, seconds) = ran.iter().fold((0.0, 0.0), |(sh, s), (stage, wall)| (sh + share(stage), s + wall));
    let left: f64 = STAGES[at..].iter().map(|(_, share)| share).sum();
    // Less than the drawing of phantoms says nothing.
    let time =
        if shares < 0.05 { String::new() } else { format!(", about {} left", duration(seconds * left / shares)) };
    format!("stage {} of {}: {name}{time}", at + 1, STAGES.len())
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
    use super::{STAGES, line};

    #[test]
    fn the_time_left_follows_from_the_stages_that_ran() {
        assert_eq!(line("phantom", &[]), "stage 1 of 12: phantom");
        let drawn = [("phantom".to_owned(), 53.0)];
        assert_eq!(line("train-detector", &drawn), "stage 6 of 12: train-detector, about 16 min left");
        let trained = [("phantom".to_owned(), 5.3), ("train-detector".to_owned(), 27.0)];
        assert_eq!(line("evaluate-reports", &trained), "stage 11 of 12: evaluate-reports, about 0 s left");
    }

    #[test]
    fn the_shares_are_those_of_a_whole() {
        let sum: f64 = STAGES.iter().map(|(_, share)| share).sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}

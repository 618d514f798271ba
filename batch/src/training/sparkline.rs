//! A course of values as one line of block characters, for the progress line.

/// Characters at most.
const WIDTH: usize = 12;
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The values from first to last, each character the mean of neighbours; the lowest mean is `▁`, the highest `█`.
/// Values that are not finite are left out; fewer than two give an empty text, equal ones the lowest line.
pub fn sparkline(values: impl Iterator<Item = f64>) -> String {
    let values: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    if values.len() < 2 {
        return String::new();
    }
    let columns = values.len().min(WIDTH);
    let means: Vec<f64> = (0..columns)
        .map(|column| {
            let part = &values[column * values.len() / columns..(column + 1) * values.len() / columns];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let range = means.iter().copied().fold(f64::NEG_INFINITY, f64::max) - low;
    let level = |mean: f64| {
        let share = if range > 0.0 { (mean - low) / range } else { 0.0 };
        LEVELS[((share * LEVELS.len() as f64) as usize).min(LEVELS.len() - 1)]
    };
    means.into_iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use super::sparkline;

    #[test]
    fn a_course_goes_from_its_lowest_to_its_highest_value() {
        assert_eq!(sparkline((0..8).map(f64::from)), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline([3.0, 1.0, 2.0].into_iter()), "█▁▅");
    }

    #[test]
    fn long_courses_are_averaged_and_short_ones_are_empty() {
        assert_eq!(sparkline((0..1200).map(f64::from)).chars().count(), 12);
        assert_eq!(sparkline([1.0, f64::NAN].into_iter()), "");
        assert_eq!(sparkline([2.0, 2.0, 2.0].into_iter()), "▁▁▁");
    }
}

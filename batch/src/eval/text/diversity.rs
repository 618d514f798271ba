//! Diversity of generated reports: a model that has collapsed writes one report for everybody and still scores well
//! where most studies are normal. Texts in, shares out; an empty set gives `None`.

use std::collections::BTreeMap;

/// How different a set of reports is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diversity {
    /// Number of reports.
    pub n: usize,
    /// Distinct reports / reports.
    pub distinct_share: f64,
    /// Reports equal to the most frequent one / reports.
    pub most_frequent_share: f64,
    /// Distinct pairs of neighbouring words / all pairs.
    pub distinct_2: f64,
    /// Mean number of words per report.
    pub mean_words: f64,
}

impl Diversity {
    /// Of a set of reports; `None` when it is empty.
    pub fn of<'a>(reports: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        let (mut n, mut words) = (0usize, 0usize);
        for report in reports {
            n += 1;
            *times.entry(report).or_default() += 1;
            let tokens: Vec<&str> = report.split_whitespace().collect();
            words += tokens.len();
            for pair in tokens.windows(2) {
                *pairs.entry((pair[0], pair[1])).or_default() += 1;
            }
        }
        let share = |part: usize, whole: usize| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        (n > 0).then(|| Self {
            n,
            distinct_share: share(times.len(), n),
            most_frequent_share: share(times.values().copied().max().unwrap_or(0), n),
            distinct_2: share(pairs.len(), pairs.values().sum()),
            mean_words: share(words, n),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collapsed_set_is_noticed() {
        let varied = Diversity::of(["a b c", "a b", "c d e f", "a b c"]).unwrap();
        assert_eq!((varied.distinct_share, varied.most_frequent_share, varied.mean_words), (0.75, 0.5, 3.0));
        assert_eq!(varied.distinct_2, 5.0 / 8.0);
        let collapsed = Diversity::of(["a b c"; 10]).unwrap();
        assert_eq!((collapsed.distinct_share, collapsed.most_frequent_share), (0.1, 1.0));
    }

    #[test]
    fn empty_sets_and_empty_reports_are_ordinary() {
        assert_eq!(Diversity::of([]), None);
        let one = Diversity::of([""]).unwrap();
        assert_eq!((one.distinct_share, one.distinct_2, one.mean_words), (1.0, 0.0, 0.0));
    }
}

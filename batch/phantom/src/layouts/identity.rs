//! Names of what a phantom holds: ids in the shape of the real datasets, and splits by subject. All of them follow
//! from the seed and a position, none from chance at writing time.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use crate::layouts::output_folder::hex;

fn digest(seed: u64, purpose: &str, index: u64) -> [u8; 32] {
    Sha256::digest(format!("{purpose}/{seed}/{index}")).into()
}

/// The random stream of one thing: the same seed, purpose and index give the same numbers.
pub fn stream(seed: u64, purpose: &str, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(digest(seed, purpose, index))
}

/// VinDr-CXR: 32 hexadecimal digits.
pub fn hex_id(seed: u64, purpose: &str, index: u64) -> String {
    hex(&digest(seed, purpose, index)[..16])
}

/// RSNA: a UUID's groups of hexadecimal digits.
pub fn uuid(seed: u64, purpose: &str, index: u64) -> String {
    let d = hex_id(seed, purpose, index);
    [&d[..8], &d[8..12], &d[12..16], &d[16..20], &d[20..]].join("-")
}

/// MIMIC-CXR: five groups of eight hexadecimal digits.
pub fn dicom_id(seed: u64, purpose: &str, index: u64) -> String {
    let digits = hex(&digest(seed, purpose, index)[..20]);
    let groups: Vec<&str> = (0..5).map(|i| &digits[i * 8..i * 8 + 8]).collect();
    groups.join("-")
}

/// MIMIC-CXR: the number of a subject, 10000000 to 19999999; different for different indices below ten million.
pub fn subject_number(seed: u64, index: u64) -> u64 {
    10_000_000 + scattered(seed, "subject", index)
}

/// MIMIC-CXR: the number of a study, 50000000 to 59999999; different for different indices below ten million.
pub fn study_number(seed: u64, index: u64) -> u64 {
    50_000_000 + scattered(seed, "study", index)
}

/// A number below ten million. Stepping by a unit of the ring visits every number once.
fn scattered(seed: u64, purpose: &str, index: u64) -> u64 {
    const NUMBERS: u64 = 10_000_000;
    const STEP: u64 = 6_180_339; // odd and no multiple of five
    let start = digest(seed, purpose, 0).iter().take(7).fold(0u64, |n, byte| n << 8 | u64::from(*byte)) % NUMBERS;
    (start + (index % NUMBERS) * STEP) % NUMBERS
}

/// A split of a dataset with reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Split {
    /// Training.
    Train,
    /// Validation.
    Val,
    /// Test.
    Test,
}

impl Split {
    /// The split's name in the lake.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// Gives subjects to splits one after another, each to the split that lacks most of its share.
#[derive(Debug)]
pub struct SplitShares {
    wanted: [f64; 3],
    given: [f64; 3],
}

impl SplitShares {
    /// Shares of validation and test; the rest is training.
    pub fn new(val: f64, test: f64) -> Self {
        Self { wanted: [1.0 - val - test, val, test], given: [0.0; 3] }
    }

    /// The split of the next subject, which has `studies` studies.
    pub fn next(&mut self, studies: usize) -> Split {
        let total = self.given.iter().sum::<f64>() + studies as f64;
        let splits = [Split::Train, Split::Val, Split::Test];
        let lack = |i: usize| self.wanted[i] * total - self.given[i];
        // The first of equals: training.
        let most = (0..3).fold(0, |best, i| if lack(i) > lack(best) { i } else { best });
        self.given[most] += studies as f64;
        splits[most]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_do_not_repeat_and_stay_in_range() {
        let studies: BTreeSet<u64> = (0..20_000).map(|i| study_number(9223, i)).collect();
        assert_eq!(studies.len(), 20_000);
        assert!(studies.iter().all(|n| (50_000_000..60_000_000).contains(n)));
        assert!((0..1000).map(|i| subject_number(1, i)).all(|n| (10_000_000..20_000_000).contains(&n)));
        assert_ne!(study_number(1, 0), study_number(2, 0));
    }

    #[test]
    fn ids_have_the_datasets_shapes() {
        let image = hex_id(1, "film", 2);
        assert!(image.len() == 32 && image.chars().all(|c| c.is_ascii_hexdigit()), "{image}");
        let dicom = dicom_id(1, "film", 2);
        assert!(dicom.len() == 44 && dicom.split('-').all(|g| g.len() == 8), "{dicom}");
        assert_ne!(dicom, dicom_id(1, "film", 3));
    }

    #[test]
    fn splits_get_their_shares_even_in_small_sets() {
        let mut shares = SplitShares::new(0.1, 0.15);
        let mut given = [0usize; 3];
        for subject in 0..20 {
            let studies = 1 + usize::from(subject % 4 == 3);
            given[shares.next(studies) as usize] += studies;
        }
        assert_eq!(given.iter().sum::<usize>(), 25);
        assert!(given[1] >= 2 && given[2] >= 3 && given[0] >= 17, "{given:?}");
    }

    #[test]
    fn a_share_of_nothing_stays_empty() {
        let mut shares = SplitShares::new(0.0, 0.0);
        assert!((0..50).all(|_| shares.next(1) == Split::Train));
    }
}

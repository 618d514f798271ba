//! Copies of one exposure among the audited images, whatever their scale, crop, format and brightness.

use std::collections::{BTreeMap, HashMap};

use d2r_contracts::decode::ImageDecodeOptions;
use d2r_contracts::picture::copy_search::{Comparison, CopySearch, Picture, Suspect};
use d2r_contracts::picture::hash_index::Scratch;
use rayon::prelude::*;

use crate::audit::images::Images;
use crate::audit::issue::Issue;
use crate::audit::kind::Kind;
use crate::audit::leakage::kind_of_pair;
use crate::audit::pictures::read;
use crate::error::Result;
use crate::progress::Task;
use crate::stop::StopFlag;

/// Pictures searched, or pairs compared, between two checks of the stop flag.
const CHUNK: usize = 256;

/// Pairs of copies. Files with the same bytes are searched once: they are duplicates, which the tables show.
///
/// # Errors
/// [`crate::error::Error::Stopped`] on a signal.
pub fn issues(
    images: &Images,
    kept: Vec<(usize, Picture)>,
    options: &ImageDecodeOptions,
    task: &Task,
    stop: &StopFlag,
) -> Result<Vec<Issue>> {
    let search = CopySearch::new(without_identical_files(images, kept));
    let mut pairs: BTreeMap<[usize; 2], Suspect> = BTreeMap::new();
    let numbers: Vec<usize> = (0..search.len()).collect();
    for chunk in numbers.chunks(CHUNK) {
        stop.check()?;
        let suspects: Vec<Vec<Suspect>> = chunk
            .par_iter()
            .map_init(Scratch::default, |scratch, &number| {
                let found = search.suspects(number, scratch);
                task.advance(1);
                found
            })
            .collect();
        for suspect in suspects.into_iter().flatten() {
            let mut pair = suspect.images;
            pair.sort_unstable();
            let best = pairs.entry(pair).or_insert(suspect);
            if suspect.similarity > best.similarity {
                *best = suspect;
            }
        }
    }
    let suspects: Vec<Suspect> = pairs.into_values().collect();
    let mut found = Vec::new();
    for chunk in suspects.chunks(CHUNK) {
        stop.check()?;
        let compared: Vec<Option<Issue>> = chunk.par_iter().map(|suspect| compare(images, suspect, options)).collect();
        found.extend(compared.into_iter().flatten());
    }
    Ok(found)
}

fn without_identical_files(images: &Images, kept: Vec<(usize, Picture)>) -> Vec<(usize, Picture)> {
    let mut owners: HashMap<&str, usize> = HashMap::new();
    let mut is_first = |number: usize| {
        let digest = images.get(number).row.sha256.as_deref();
        digest.is_none_or(|digest| *owners.entry(digest).or_insert(number) == number)
    };
    kept.into_iter().filter(|(number, _)| is_first(*number)).collect()
}

/// The issue of a suspected pair that larger pictures confirm. A file that cannot be read again is no copy.
fn compare(images: &Images, suspect: &Suspect, options: &ImageDecodeOptions) -> Option<Issue> {
    let [first, second] = suspect.images.map(|number| images.get(number));
    let (a, b) = (read(images, first, options).ok()?, read(images, second, options).ok()?);
    let comparison = Comparison::of(&a, &b, suspect);
    comparison.is_copy().then(|| Issue {
        other: Some(second.subject()),
        similarity: Some(comparison.similarity),
        region: Some(comparison.region.to_array()),
        ..Issue::new(
            kind_of_pair(&first, &second, [Kind::NearDuplicateImage, Kind::NearDuplicateInTwoSplits]),
            first.subject(),
        )
    })
}

//! Patients and files in two splits, and files that are there twice, by the tables alone.
//!
//! Patient ids are a dataset's own. Two datasets use the same ids when they have files in common and each of these
//! belongs to the same patient in both.

use std::collections::{BTreeMap, BTreeSet};

use crate::audit::images::{AuditedImage, Images, subject};
use crate::audit::issue::Issue;
use crate::audit::kind::Kind;
use crate::lake::Partition;

/// Issues of patients and of identical files, within each dataset and between datasets.
pub fn issues(images: &Images) -> Vec<Issue> {
    let files = identical_files(images);
    let mut found: Vec<Issue> = files.iter().flat_map(|group| duplicates(group)).collect();
    found.extend(patients(images, &same_ids(&files)));
    found
}

/// Images whose files have the same bytes, test before train before val, then by dataset and id.
fn identical_files(images: &Images) -> Vec<Vec<AuditedImage<'_>>> {
    let mut by_digest: BTreeMap<&str, Vec<AuditedImage<'_>>> = BTreeMap::new();
    for image in images.iter() {
        if let Some(digest) = &image.row.sha256 {
            by_digest.entry(digest).or_default().push(image);
        }
    }
    let mut groups: Vec<Vec<AuditedImage<'_>>> = by_digest.into_values().filter(|group| group.len() > 1).collect();
    for group in &mut groups {
        group.sort_by_key(|i| (&i.partition.split, &i.partition.dataset, &i.row.image_id));
    }
    groups
}

/// Each further image of a group with the first one.
fn duplicates(group: &[AuditedImage<'_>]) -> Vec<Issue> {
    let Some((first, others)) = group.split_first() else { return Vec::new() };
    let issue = |other: &AuditedImage<'_>| Issue {
        other: Some(other.subject()),
        detail: first.row.sha256.as_ref().map(|digest| format!("sha256 {digest}")),
        ..Issue::new(kind_of_pair(first, other, [Kind::DuplicateImage, Kind::ImageInTwoSplits]), first.subject())
    };
    others.iter().map(issue).collect()
}

/// The first kind for images of one split, the second for those of two.
pub fn kind_of_pair(a: &AuditedImage<'_>, b: &AuditedImage<'_>, [within, between]: [Kind; 2]) -> Kind {
    if a.partition.split == b.partition.split { within } else { between }
}

/// Pairs of datasets, in order, that use the same patient ids.
fn same_ids<'a>(files: &[Vec<AuditedImage<'a>>]) -> BTreeSet<[&'a str; 2]> {
    let mut agree: BTreeMap<[&str; 2], bool> = BTreeMap::new();
    for group in files {
        for (i, a) in group.iter().enumerate() {
            for b in &group[i + 1..] {
                let mut pair = [a.partition.dataset.as_str(), b.partition.dataset.as_str()];
                pair.sort_unstable();
                if pair[0] != pair[1] {
                    *agree.entry(pair).or_insert(true) &= a.row.subject_id == b.row.subject_id;
                }
            }
        }
    }
    agree.into_iter().filter_map(|(pair, agree)| agree.then_some(pair)).collect()
}

/// Each patient of two splits, once for each pair of partitions.
fn patients(images: &Images, same_ids: &BTreeSet<[&str; 2]>) -> Vec<Issue> {
    let mut partitions: BTreeMap<&str, BTreeSet<&Partition>> = BTreeMap::new();
    for image in images.iter() {
        partitions.entry(&image.row.subject_id).or_default().insert(image.partition);
    }
    let mut found = Vec::new();
    for (patient, partitions) in partitions {
        let partitions: Vec<&Partition> = partitions.into_iter().collect();
        for (i, a) in partitions.iter().enumerate() {
            for b in &partitions[i + 1..] {
                let shared = a.dataset == b.dataset || same_ids.contains(&[a.dataset.as_str(), b.dataset.as_str()]);
                if shared && a.split != b.split {
                    let other = Some(subject(b, patient));
                    found.push(Issue { other, ..Issue::new(Kind::PatientInTwoSplits, subject(a, patient)) });
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::images::Images;
    use crate::lake::store::tests::{lake, provenance};
    use crate::lake::{Lake, Shard};
    use crate::test_fixtures;
    use d2r_contracts::tables::ImageRow;

    fn image(id: &str, patient: &str, sha256: &str) -> ImageRow {
        ImageRow { subject_id: patient.into(), sha256: Some(sha256.into()), ..test_fixtures::image(id) }
    }

    fn write(lake: &Lake, dataset: &str, split: &str, rows: Vec<ImageRow>) {
        lake.write(&Partition::new(dataset, split), Shard::default(), rows, &provenance("t")).unwrap();
    }

    fn found(lake: &Lake, datasets: &[&str]) -> Vec<String> {
        let datasets: Vec<String> = datasets.iter().map(|d| (*d).to_owned()).collect();
        let mut issues = issues(&Images::read(lake, &datasets).unwrap());
        Issue::sort(&mut issues);
        issues.iter().map(Issue::line).collect()
    }

    #[test]
    fn patients_and_files_of_two_splits_are_found() {
        let (_folder, lake) = lake();
        write(&lake, "d", "train", vec![image("a", "p1", "s1"), image("b", "p2", "s2"), image("c", "p2", "s2")]);
        write(&lake, "d", "test", vec![image("d", "p1", "s4"), image("e", "p5", "s1")]);
        let expected = [
            "patient_in_two_splits d/test p1 and d/train p1",
            "image_in_two_splits d/test e and d/train a",
            "duplicate_image d/train b and d/train c",
        ];
        assert_eq!(found(&lake, &[]), expected);
    }

    #[test]
    fn a_file_that_is_in_train_of_one_dataset_and_test_of_another_is_a_leak() {
        let (_folder, lake) = lake();
        write(&lake, "one", "train", vec![image("a", "p1", "s1"), image("b", "p2", "s2")]);
        write(&lake, "two", "test", vec![image("x", "q1", "s1"), image("y", "p2", "s9")]);
        write(&lake, "two", "train", vec![image("z", "q3", "s2")]);
        let expected =
            ["image_in_two_splits two/test x and one/train a", "duplicate_image one/train b and two/train z"];
        // The common files belong to other patients: `p2` of one dataset is not `p2` of the other.
        assert_eq!(found(&lake, &[]), expected);
        assert!(found(&lake, &["one"]).is_empty());
    }

    #[test]
    fn datasets_that_share_files_and_patients_share_ids() {
        let (_folder, lake) = lake();
        write(&lake, "all", "train", vec![image("a", "p1", "s1"), image("b", "p2", "s2")]);
        write(&lake, "some", "train", vec![image("a", "p1", "s1")]);
        write(&lake, "some", "test", vec![image("c", "p2", "s3")]);
        let expected =
            ["patient_in_two_splits all/train p2 and some/test p2", "duplicate_image all/train a and some/train a"];
        assert_eq!(found(&lake, &[]), expected);
    }

    #[test]
    fn an_unknown_dataset_is_an_error_and_an_empty_lake_has_no_issue() {
        let (_folder, lake) = lake();
        assert!(found(&lake, &[]).is_empty());
        let error = Images::read(&lake, &["nowhere".to_owned()]).unwrap_err();
        assert!(error.to_string().contains("nowhere"), "{error}");
    }
}

//! One issue that an audit found.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::audit::kind::Kind;

/// What an issue is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Subject {
    pub dataset: String,
    pub split: String,
    /// Id of the patient, image, box or study, or name of the label.
    pub id: String,
}

/// A defect of the data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Issue {
    pub kind: Kind,
    #[serde(flatten)]
    pub subject: Subject,
    /// The image, where the subject is a box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The other one of a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other: Option<Subject>,
    /// Correlation of the fine structure of two copies, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<f32>,
    /// Edges in original pixels: the box, or where the other image of a pair of copies lies in this one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<[f32; 4]>,
    /// Numbers, or the reason; never report text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Issue {
    /// An issue about one thing.
    pub fn new(kind: Kind, subject: Subject) -> Self {
        Self { kind, subject, image_id: None, other: None, similarity: None, region: None, detail: None }
    }

    /// Sorts by kind, then by subject.
    pub fn sort(issues: &mut [Self]) {
        issues.sort_by(|a, b| (a.kind, &a.subject, &a.other).cmp(&(b.kind, &b.subject, &b.other)));
    }

    /// In one line.
    #[cfg(test)]
    pub fn line(&self) -> String {
        let Subject { dataset, split, id } = &self.subject;
        let other = |o: &Subject| format!(" and {}/{} {}", o.dataset, o.split, o.id);
        format!("{} {dataset}/{split} {id}{}", self.kind.name(), self.other.as_ref().map(other).unwrap_or_default())
    }
}

/// Number of issues of each kind and dataset.
pub fn counts(issues: &[Issue]) -> BTreeMap<(Kind, &str), usize> {
    let mut counts = BTreeMap::new();
    for issue in issues {
        *counts.entry((issue.kind, issue.subject.dataset.as_str())).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issue_is_written_without_what_it_lacks() {
        let subject = |id: &str| Subject { dataset: "d".into(), split: "train".into(), id: id.into() };
        let plain = Issue::new(Kind::EmptyReport, subject("s1"));
        let text = serde_json::to_string(&plain).unwrap();
        assert_eq!(text, r#"{"kind":"empty_report","dataset":"d","split":"train","id":"s1"}"#);
        let pair = Issue { other: Some(subject("b")), ..Issue::new(Kind::DuplicateImage, subject("a")) };
        assert_eq!(pair.line(), "duplicate_image d/train a and d/train b");
        assert_eq!(counts(&[pair]), [((Kind::DuplicateImage, "d"), 1)].into());
    }
}

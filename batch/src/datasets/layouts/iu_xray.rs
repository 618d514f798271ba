//! IU X-Ray as R2Gen distributes it: `annotation.json` and `images/<study>/<n>.png`, one to several views a study,
//! without patient ids, boxes or projections.

use std::path::Path;

use d2r_contracts::report_text::CleaningRules;

use super::annotation_json;
use crate::datasets::listing::{ListOptions, Listing};
use crate::error::Result;

/// Lists an IU X-Ray folder.
///
/// # Errors
/// Those of [`annotation_json::list`].
pub fn list(root: &Path, options: &ListOptions) -> Result<Listing> {
    annotation_json::list(root, "iu-xray", CleaningRules::IuXray, options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datasets::label_sets::LabelChoice;
    use crate::datasets::listing::Split;

    #[test]
    fn studies_have_one_to_several_views() {
        let dir = tempfile::tempdir().unwrap();
        for (study, n) in [("CXR1", 2), ("CXR2", 1), ("CXR3", 3)] {
            std::fs::create_dir_all(dir.path().join("images").join(study)).unwrap();
            for k in 0..n {
                std::fs::write(dir.path().join(format!("images/{study}/{k}.png")), b"png").unwrap();
            }
        }
        let json = r#"{"train": [{"id": "CXR1", "report": "a .", "image_path": ["CXR1/0.png", "CXR1/1.png"], "split": "train"}],
            "val": [{"id": "CXR2", "report": "b .", "image_path": ["CXR2/0.png"]}],
            "test": [{"id": "CXR3", "report": "c .", "image_path": ["CXR3/0.png", "CXR3/1.png", "CXR3/2.png"]}]}"#;
        std::fs::write(dir.path().join("annotation.json"), json).unwrap();
        let options =
            ListOptions { seed: 1, val_share: 0.1, frontal_only: true, labels_only: false, labels: LabelChoice::Vindr };
        let listing = list(dir.path(), &options).unwrap();
        assert_eq!(listing.failures, []);
        let ids: Vec<_> = listing.images.iter().map(|i| (i.image_id.as_str(), i.split)).collect();
        let expected = [
            ("CXR1_0", Split::Train),
            ("CXR1_1", Split::Train),
            ("CXR2", Split::Val),
            ("CXR3_0", Split::Test),
            ("CXR3_1", Split::Test),
            ("CXR3_2", Split::Test),
        ];
        assert_eq!(ids, expected);
        assert_eq!(listing.images[1].path, "images/CXR1/1.png");
        assert_eq!(listing.studies.len(), 3);
        assert!(matches!(listing.cleaning, CleaningRules::IuXray));
    }
}

//! Settings of a phantom.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How reports and annotators' boxes relate to what is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reporting {
    /// Reports name everything drawn in words that the labeler knows; annotators differ little.
    Exact,
    /// Reports omit, hedge and deny, and vary in words and sections; annotators disagree by class ([`crate::rates`]).
    Realistic,
}

/// How many images are drawn, and how. Shares lie between 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhantomConfig {
    /// Size of the square images, pixels, 64 to 4096.
    pub size: u32,
    /// Images with annotators' boxes (VinDr-CXR layouts).
    pub labelled_images: u32,
    /// Studies with reports (MIMIC-CXR-JPG layout).
    pub report_studies: u32,
    /// Two-view studies with reports (IU X-Ray layout).
    pub two_view_studies: u32,
    /// Share of normal studies.
    pub normal_share: f64,
    /// Share of lateral images among the studies with reports.
    pub lateral_share: f64,
    /// Share of the labelled images, and of the studies, in the validation split.
    pub val_share: f64,
    /// Share in the test split.
    pub test_share: f64,
    /// How reports and annotators' boxes relate to what is drawn.
    pub reports: Reporting,
}

impl PhantomConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    /// [`Error::Settings`] with the setting that is out of range.
    pub fn check(&self) -> Result<()> {
        let shares = [self.normal_share, self.lateral_share, self.val_share, self.test_share];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) || self.val_share + self.test_share > 1.0 {
            return Err(Error::Settings {
                key: "phantom".into(),
                problem: "shares lie between 0 and 1, and val_share and test_share leave something for training".into(),
            });
        }
        if !(64..=4096).contains(&self.size) {
            return Err(Error::Settings {
                key: "phantom.size".into(),
                problem: format!("{} pixels; images have 64 to 4096", self.size),
            });
        }
        Ok(())
    }

    /// Settings for unit tests: small images, 200 of each kind.
    #[cfg(test)]
    pub(crate) fn of_tests() -> Self {
        Self {
            size: 64,
            labelled_images: 200,
            report_studies: 200,
            two_view_studies: 40,
            normal_share: 0.3,
            lateral_share: 0.1,
            val_share: 0.1,
            test_share: 0.15,
            reports: Reporting::Exact,
        }
    }
}

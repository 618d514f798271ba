//! The kinds of issues that an audit finds, in words.

use serde::{Serialize, Serializer};

/// A kind of issue; the order is that of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    PatientInTwoSplits,
    ImageInTwoSplits,
    NearDuplicateInTwoSplits,
    DuplicateImage,
    NearDuplicateImage,
    BoxOutside,
    BoxLeftOut,
    BoxDegenerate,
    BoxTwice,
    LabelShare,
    EmptyReport,
    PriorMention,
    ImageTiny,
    ImageElongated,
    BurnedInText,
    ImageConstant,
    ImageLowContrast,
    ImageWideBorder,
    ImageInverted,
    ImageUnreadable,
}

/// How a kind is written and what it means.
struct Words {
    kind: Kind,
    /// In figures and files.
    name: &'static str,
    /// On the page.
    title: &'static str,
    /// What is found, in a sentence.
    rule: &'static str,
    /// What to do about it.
    remedy: &'static str,
}

const fn words(kind: Kind, name: &'static str, title: &'static str, rule: &'static str, remedy: &'static str) -> Words {
    Words { kind, name, title, rule, remedy }
}

const WORDS: [Words; 20] = [
    words(
        Kind::PatientInTwoSplits,
        "patient_in_two_splits",
        "Patients in two splits",
        "A patient has images in two splits of a dataset, or of two datasets that use the same patient ids.",
        "Split by patient and ingest again.",
    ),
    words(
        Kind::ImageInTwoSplits,
        "image_in_two_splits",
        "Files in two splits",
        "The same bytes are in two splits, of one dataset or of two.",
        "Remove one of the files, or split by patient and ingest again.",
    ),
    words(
        Kind::NearDuplicateInTwoSplits,
        "near_duplicate_in_two_splits",
        "Copies in two splits",
        "Two images of different splits are copies of one exposure: another scale, crop, format or brightness.",
        "Remove one of the images, or put both into one split.",
    ),
    words(
        Kind::DuplicateImage,
        "duplicate_image",
        "Duplicate files",
        "The same bytes are there twice in one split.",
        "Remove one of the files; a set with many duplicates weighs some patients more than others.",
    ),
    words(
        Kind::NearDuplicateImage,
        "near_duplicate_image",
        "Copies in one split",
        "Two images of one split are copies of one exposure: another scale, crop, format or brightness.",
        "Remove one of the images; keep the one with more pixels.",
    ),
    words(
        Kind::BoxOutside,
        "box_outside",
        "Boxes outside the image",
        "A box reaches beyond its image.",
        "Compare the image's size with the one that the boxes were drawn on.",
    ),
    words(
        Kind::BoxLeftOut,
        "box_left_out",
        "Boxes left out at ingest",
        "Ingest left out boxes of the image because they lie outside of it: the file may not belong to the labels.",
        "Find the files that the labels were made for, and ingest these.",
    ),
    words(
        Kind::BoxDegenerate,
        "box_degenerate",
        "Degenerate boxes",
        "A box is less than one pixel wide or high, or has an edge that is no number.",
        "Remove the box from the label file.",
    ),
    words(
        Kind::BoxTwice,
        "box_twice",
        "Boxes there twice",
        "One annotator, fusion or model has two boxes of the same class with the same edges in an image.",
        "Remove one of the boxes from the label file.",
    ),
    words(
        Kind::LabelShare,
        "label_share",
        "Label shares unlike the published ones",
        "The share of a label is less than half or more than twice the published one; see the table of labels.",
        "Check that the label files are complete and that labels have not been exchanged; a chosen subset may differ.",
    ),
    words(
        Kind::EmptyReport,
        "empty_report",
        "Empty reports",
        "A report has no word.",
        "Leave the study out, or choose the other section with --set ingest.section.",
    ),
    words(
        Kind::PriorMention,
        "prior_mention",
        "Reports that compare",
        "A report mentions an earlier examination, which a model of one study cannot know.",
        "Nothing, or clean the reports; generation can ban the words (generate.ban_prior).",
    ),
    words(
        Kind::ImageTiny,
        "image_tiny",
        "Tiny images",
        "The shorter edge has less than 224 pixels.",
        "Find the originals; an enlarged image has no detail.",
    ),
    words(
        Kind::ImageElongated,
        "image_elongated",
        "Elongated images",
        "One edge is more than twice as long as the other.",
        "See what it shows: limbs, strips and parts of screens have such shapes.",
    ),
    words(
        Kind::BurnedInText,
        "burned_in_text",
        "Burned-in text",
        "The DICOM header says that text is burned into the pixels; names may be legible.",
        "See whether a name is legible before the images are passed on.",
    ),
    words(
        Kind::ImageConstant,
        "image_constant",
        "Constant images",
        "95 % of the pixels or more have nearly one grey level: black, white or grey.",
        "Leave the image out.",
    ),
    words(
        Kind::ImageLowContrast,
        "image_low_contrast",
        "Images of low contrast",
        "Less than 64 grey levels lie between the 1st and the 99th percentile.",
        "Check how the file was converted: a window may have been left out.",
    ),
    words(
        Kind::ImageWideBorder,
        "image_wide_border",
        "Wide borders",
        "A uniform border covers more than a quarter of the area.",
        "Crop the border; the lungs have fewer pixels at a model's input than they could have.",
    ),
    words(
        Kind::ImageInverted,
        "image_inverted",
        "Inverted images",
        "Air is bright and bones are dark, by the low frequencies that frontal chest radiographs share.",
        "Invert the file's grey levels, or leave the image out.",
    ),
    words(
        Kind::ImageUnreadable,
        "image_unreadable",
        "Unreadable images",
        "The file of an image cannot be read.",
        "Restore the file and ingest the dataset again.",
    ),
];

impl Kind {
    /// Every kind in the order of the page.
    pub fn all() -> impl Iterator<Item = Self> {
        WORDS.iter().map(|w| w.kind)
    }

    fn words(self) -> &'static Words {
        WORDS.iter().find(|w| w.kind == self).expect("a test finds every kind in the list")
    }

    /// In figures and files, for instance `box_outside`.
    pub fn name(self) -> &'static str {
        self.words().name
    }

    /// On the page.
    pub fn title(self) -> &'static str {
        self.words().title
    }

    /// What is found, in a sentence.
    pub fn rule(self) -> &'static str {
        self.words().rule
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        self.words().remedy
    }

    /// Whether it mixes training and test data.
    pub fn is_leak(self) -> bool {
        matches!(self, Self::PatientInTwoSplits | Self::ImageInTwoSplits | Self::NearDuplicateInTwoSplits)
    }

    /// Whether the pictures must be read to find it.
    pub fn needs_pictures(self) -> bool {
        matches!(
            self,
            Self::NearDuplicateInTwoSplits
                | Self::NearDuplicateImage
                | Self::ImageConstant
                | Self::ImageLowContrast
                | Self::ImageWideBorder
                | Self::ImageInverted
                | Self::ImageUnreadable
        )
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_words_in_order() {
        let all: Vec<Kind> = Kind::all().collect();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(all.last(), Some(&Kind::ImageUnreadable), "the last kind of the list");
        assert_eq!(all.len(), Kind::ImageUnreadable as usize + 1);
    }
}

//! The projection of a radiograph: PA, AP or lateral (DICOM View Position, 0018,5101).

/// Direction of the beam.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// Postero-anterior.
    Pa,
    /// Antero-posterior.
    Ap,
    /// Left or right lateral.
    Lateral,
    /// Not stated, or another one.
    Unknown,
}

impl Projection {
    /// The word in column `view` of the `images` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pa => "PA",
            Self::Ap => "AP",
            Self::Lateral => "LATERAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The projection that a DICOM ViewPosition (or a dataset's column of that kind) names.
    pub fn parse(word: &str) -> Self {
        match word.trim().to_ascii_uppercase().as_str() {
            "PA" => Self::Pa,
            "AP" | "AP AXIAL" => Self::Ap,
            "LATERAL" | "LL" | "RL" | "LLD" | "RLD" => Self::Lateral,
            _ => Self::Unknown,
        }
    }

    /// True for PA and AP.
    pub fn is_frontal(self) -> bool {
        matches!(self, Self::Pa | Self::Ap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_dicom_and_of_datasets() {
        assert_eq!(Projection::parse(" pa "), Projection::Pa);
        assert_eq!(Projection::parse("LL"), Projection::Lateral);
        assert_eq!(Projection::parse(""), Projection::Unknown);
        assert!(Projection::Ap.is_frontal() && !Projection::Unknown.is_frontal());
    }
}

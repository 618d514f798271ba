//! Writers of the real datasets' file layouts.

pub mod annotation_json;
pub mod chestx_det;
pub mod identity;
pub mod iu_xray;
pub mod mimic;
pub mod nih;
pub mod openi;
pub mod output_folder;
pub mod rsna;
pub mod table_file;
pub mod vindr;

use crate::catalogue::Catalogue;
use crate::error::Result;
use output_folder::OutputFolder;

/// A file layout that phantoms are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layout {
    /// VinDr-CXR, PhysioNet's.
    Vindr,
    /// VinDr-CXR, Kaggle's.
    VindrKaggle,
    /// MIMIC-CXR-JPG.
    Mimic,
    /// `annotation.json` of R2Gen.
    Annotation,
    /// IU X-Ray of R2Gen.
    IuXray,
    /// NIH ChestX-ray14.
    Nih,
    /// RSNA Pneumonia Detection Challenge.
    Rsna,
    /// ChestX-Det.
    ChestxDet,
    /// Open-i's Indiana University collection.
    Openi,
}

impl Layout {
    /// All layouts, in order.
    pub const ALL: [Self; 9] = [
        Self::Vindr,
        Self::VindrKaggle,
        Self::Mimic,
        Self::Annotation,
        Self::IuXray,
        Self::Nih,
        Self::Rsna,
        Self::ChestxDet,
        Self::Openi,
    ];

    /// Those that are written when none is named.
    pub const USUAL: [Self; 5] = [Self::Vindr, Self::VindrKaggle, Self::Mimic, Self::Annotation, Self::IuXray];

    /// The layout's folder, and its dataset in the truth tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vindr => "vindr",
            Self::VindrKaggle => "vindr_kaggle",
            Self::Mimic => "mimic",
            Self::Annotation => "annotation",
            Self::IuXray => "iu_xray",
            Self::Nih => "nih",
            Self::Rsna => "rsna",
            Self::ChestxDet => "chestx_det",
            Self::Openi => "openi",
        }
    }
}

/// Draws every image of the catalogue and writes each of its layouts below `folder`, in a folder of the layout's name.
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, catalogue: &Catalogue, seed: u64) -> Result<()> {
    for &layout in catalogue.layouts() {
        let name = layout.name();
        folder.observer().layout(name);
        match layout {
            Layout::Vindr => vindr::write_physionet(folder, name, &catalogue.vindr, seed)?,
            Layout::VindrKaggle => vindr::write_kaggle(folder, name, &catalogue.vindr_kaggle, seed)?,
            Layout::Mimic => mimic::write(folder, name, &catalogue.mimic, seed)?,
            Layout::Annotation => annotation_json::write(folder, name, &catalogue.annotation)?,
            Layout::IuXray => iu_xray::write(folder, name, &catalogue.iu_xray)?,
            Layout::Nih => nih::write(folder, name, &catalogue.nih)?,
            Layout::Rsna => rsna::write(folder, name, &catalogue.rsna)?,
            Layout::ChestxDet => chestx_det::write(folder, name, &catalogue.chestx_det)?,
            Layout::Openi => openi::write(folder, name, &catalogue.openi)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Writers of the real datasets' file layouts.

pub mod annotation_json;
pub mod identity;
pub mod iu_xray;
pub mod mimic;
pub mod output_folder;
pub mod table_file;
pub mod vindr;

use crate::catalogue::Catalogue;
use crate::error::Result;
use output_folder::OutputFolder;

/// Draws every image of the catalogue and writes all layouts below `folder`: `vindr`, `vindr_kaggle`, `mimic`,
/// `annotation`, `iu_xray`.
///
/// # Errors
/// Those of [`OutputFolder::put`].
pub fn write(folder: &OutputFolder, catalogue: &Catalogue, seed: u64) -> Result<()> {
    folder.observer().layout("VinDr-CXR layouts");
    vindr::write_physionet(folder, "vindr", &catalogue.vindr, seed)?;
    vindr::write_kaggle(folder, "vindr_kaggle", &catalogue.vindr_kaggle, seed)?;
    folder.observer().layout("MIMIC-CXR-JPG layout");
    mimic::write(folder, "mimic", &catalogue.mimic, seed)?;
    folder.observer().layout("R2Gen and IU X-Ray layouts");
    annotation_json::write(folder, "annotation", &catalogue.annotation)?;
    iu_xray::write(folder, "iu_xray", &catalogue.iu_xray)
}

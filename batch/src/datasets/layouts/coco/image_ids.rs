//! The image ids of a COCO file, for files about the same images that are compared with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::document::Image;
use crate::datasets::label_files::json_file::{Section, read_json};
use crate::error::{Error, Result};

/// Integer ids by file name.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageIds {
    file: PathBuf,
    by_name: BTreeMap<String, i64>,
}

/// The images of a COCO file alone.
#[derive(Deserialize)]
struct Images {
    #[serde(default)]
    images: Section<Image>,
}

impl ImageIds {
    /// The ids of a file's images.
    ///
    /// # Errors
    /// [`Error::InputMissing`] without the file; [`Error::BadData`] for a file without a list of images, and for an id
    /// that is no integer.
    pub fn read(file: &Path) -> Result<Self> {
        let wrong = |problem: String| Error::bad_data(file.display(), problem);
        let Images { images: Section::List(images) } = read_json(file, "a COCO detection file")? else {
            return Err(wrong("not a COCO detection file: `images` is no list".into()));
        };
        let id = |image: Image| match image.id.parse() {
            Ok(id) => Ok((normal(&image.file_name), id)),
            Err(_) => Err(wrong(format!("image id {} is no integer", image.id))),
        };
        let by_name = images.into_iter().flatten().map(id).collect::<Result<_>>()?;
        Ok(Self { file: file.to_path_buf(), by_name })
    }

    /// The id of an image by its path below the dataset's folder, of which the file may name the end alone.
    ///
    /// # Errors
    /// [`Error::BadData`] for an image that is not in the file.
    pub fn of(&self, path: &str) -> Result<i64> {
        let starts = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1));
        let mut ends = starts.map(|start| &path[start..]);
        ends.find_map(|end| self.by_name.get(end)).copied().ok_or_else(|| {
            let problem = format!("image {path} is not among its {} images", self.by_name.len());
            Error::bad_data(self.file.display(), problem)
        })
    }
}

/// A file name with `/`, without `./` at its beginning.
fn normal(name: &str) -> String {
    name.replace('\\', "/").trim_start_matches("./").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_found_by_the_end_of_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("instances.json");
        let json = r#"{"images": [{"id": 7, "file_name": "a.png"}, {"id": "9", "file_name": ".\\val\\a.png"}]}"#;
        std::fs::write(&file, json).unwrap();
        let ids = ImageIds::read(&file).unwrap();
        assert_eq!(ids.of("images/a.png").unwrap(), 7);
        assert_eq!(ids.of("val/a.png").unwrap(), 9, "the longest name that fits");
        assert!(ids.of("images/xa.png").unwrap_err().to_string().contains("is not among its 2 images"));
        std::fs::write(&file, r#"{"images": [{"id": "x7", "file_name": "a.png"}]}"#).unwrap();
        assert!(ImageIds::read(&file).unwrap_err().to_string().contains("x7 is no integer"));
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(ImageIds::read(&file).unwrap_err().exit().code(), 65);
    }
}

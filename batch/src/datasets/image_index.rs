//! The image files of a dataset by name: tables name files, and the copies at hand may be in several folders and of
//! another format.

use std::collections::BTreeMap;
use std::path::Path;

use crate::datasets::file_name::{image_id_of, is_no_data};
use crate::datasets::listing::relative;
use crate::datasets::source::image_files;
use crate::error::{Error, Result};

/// Paths relative to the root, by file name without a known extension.
#[derive(Debug, Clone, Default)]
pub struct ImageIndex(BTreeMap<String, String>);

impl ImageIndex {
    /// The images of those folders of the root whose name passes; of the root itself where none does. One name with two
    /// files keeps the first by path.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn of(root: &Path, is_image_folder: impl Fn(&str) -> bool) -> Result<Self> {
        let entries = std::fs::read_dir(root).map_err(|e| Error::io("list", root, e))?;
        let mut folders: Vec<_> = entries
            .flatten()
            .filter(|e| !is_no_data(&e.file_name()) && is_image_folder(&e.file_name().to_string_lossy()))
            .map(|e| e.path())
            .filter(|p| p.is_dir())
            .collect();
        folders.sort();
        if folders.is_empty() {
            folders.push(root.to_path_buf());
        }
        let mut index = Self::default();
        for folder in folders {
            for path in image_files(&folder)?.files {
                let Some(path) = relative(root, &path) else { continue };
                index.0.entry(image_id_of(&path).to_owned()).or_insert(path);
            }
        }
        Ok(index)
    }

    /// The path of a file by its name, whatever its extension.
    pub fn find(&self, name: &str) -> Option<&str> {
        self.0.get(image_id_of(name)).map(String::as_str)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and paths, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, path)| (name.as_str(), path.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_by_name_in_all_image_folders() {
        let dir = tempfile::tempdir().unwrap();
        for path in ["images_001/images/a.png", "images_002/images/b.jpg", "other/c.png", "__MACOSX/images/._a.png"] {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let index = ImageIndex::of(dir.path(), |name| name.starts_with("images")).unwrap();
        assert_eq!(index.find("a.png"), Some("images_001/images/a.png"));
        assert_eq!(index.find("b.png"), Some("images_002/images/b.jpg"), "the copy may be of another format");
        assert_eq!(index.find("c.png"), None);
        let all = ImageIndex::of(dir.path(), |name| name == "nowhere").unwrap();
        assert_eq!(all.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c"], "the whole root");
    }
}

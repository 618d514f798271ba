//! Names of files: which endings are cut from an image's name, which entries of a folder are no data, and paths that
//! label files name.

/// File names that are taken for radiographs, whatever their first bytes; in order of preference.
pub const EXTENSIONS: [&str; 5] = ["dicom", "dcm", "png", "jpg", "jpeg"];

/// The place of a name's extension in [`EXTENSIONS`], whatever its case; `None` for any other ending.
pub fn image_extension(name: &str) -> Option<usize> {
    let (stem, extension) = name.rsplit_once('.')?;
    let known = |known: &str| extension.eq_ignore_ascii_case(known);
    EXTENSIONS.iter().position(|e| known(e)).filter(|_| !stem.is_empty() && !stem.ends_with('/'))
}

/// A file's name or path without a known image extension. Every other ending belongs to the name: PACS exports are
/// named by UID (`1.2.840.113.7`).
pub fn without_extension(name: &str) -> &str {
    match image_extension(name) {
        Some(_) => name.rsplit_once('.').map_or(name, |(stem, _)| stem),
        None => name,
    }
}

/// The id of an image that a table names by id, file name or path. A number that went through a data frame
/// (`36200.0`) is itself.
pub fn image_id_of(name: &str) -> &str {
    let name = name.trim();
    let id = without_extension(name.rsplit(['/', '\\']).next().unwrap_or(name));
    match id.strip_suffix(".0") {
        Some(number) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => number,
        _ => id,
    }
}

/// Entries that programs leave beside the data: hidden files and folders (macOS's `._x` and `.DS_Store` among them)
/// and the resource forks of macOS archives.
pub fn is_no_data(name: &std::ffi::OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with('.') || name == "__MACOSX"
}

/// A path that a label file names, relative to `folder` (itself relative to the dataset's root, empty for the root),
/// as a path relative to the root, with `/`. Backslashes separate folders, as on Windows. `None` for an absolute path and
/// for one that leaves the root.
pub fn below_root(folder: &str, path: &str) -> Option<String> {
    let path = path.trim().replace('\\', "/");
    let drive = path.as_bytes().get(1) == Some(&b':') && path.as_bytes()[0].is_ascii_alphabetic();
    if path.is_empty() || path.starts_with('/') || drive || path.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_extensions_are_cut() {
        for (name, stem) in [
            ("a.png", "a"),
            ("A.JPG", "A"),
            ("x/1.2.840.113.7", "x/1.2.840.113.7"),
            ("1.2.840.113.8.dcm", "1.2.840.113.8"),
            ("a.b.png", "a.b"),
            ("a", "a"),
            (".png", ".png"),
            ("x/.png", "x/.png"),
            ("a.tif", "a.tif"),
            ("png", "png"),
            ("", ""),
        ] {
            assert_eq!(without_extension(name), stem, "{name}");
        }
        assert_eq!(image_id_of(" train\\x.dicom "), "x");
        assert_eq!(image_id_of("a/b/1.2.3"), "1.2.3");
        assert_eq!(image_id_of("36200.0"), "36200");
        assert_eq!(image_id_of("1.2.0"), "1.2.0");
    }

    #[test]
    fn paths_of_label_files_stay_below_the_root() {
        let ok = |folder: &str, path: &str| below_root(folder, path);
        assert_eq!(ok("", "images\\a.png").as_deref(), Some("images/a.png"));
        assert_eq!(ok("annotations", "..\\images\\a.png").as_deref(), Some("images/a.png"));
        assert_eq!(ok("images", "./a.png").as_deref(), Some("images/a.png"));
        for (folder, path) in [
            ("", "../a.png"),
            ("images", "..\\..\\a.png"),
            ("", "/etc/hostname"),
            ("", "\\\\server\\share\\a.png"),
            ("", "C:\\a.png"),
            ("", "a/../../b.png"),
            ("", ""),
            ("", "."),
        ] {
            assert_eq!(ok(folder, path), None, "{folder} {path}");
        }
    }

    #[test]
    fn what_programs_leave_behind_is_no_data() {
        for name in ["._a.png", ".DS_Store", "__MACOSX", ".hidden"] {
            assert!(is_no_data(name.as_ref()), "{name}");
        }
        assert!(!is_no_data("a.png".as_ref()) && !is_no_data("_a.png".as_ref()));
    }
}

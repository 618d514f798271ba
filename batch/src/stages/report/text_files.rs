//! Reports outside Parquet, for people: `reports/<image>.txt`, one file per report, and `reports.jsonl`, one row of the
//! table per line. They are made from the tables of all shards once these are complete, and follow them: texts of images
//! that are gone are removed.

use std::collections::BTreeSet;
use std::path::Path;

use d2r_contracts::report_text::readable;
use d2r_contracts::rows::Row;
use d2r_contracts::tables::GeneratedReportRow;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::lake::{Lake, Partition, atomic_file, digest};
use crate::training::model_card::NOTICE;

/// Longest readable part of a file name, bytes.
const NAME_MAX: usize = 100;
/// Hexadecimal digits of the digest that tells names apart.
const DIGITS: usize = 12;

/// Writes the texts of a folder's reports below `out`; `false` while no shards, or not all of them, are put together.
///
/// # Errors
/// When the tables cannot be read, or a file cannot be written.
pub fn write(out: &Path, lake: &Lake, partition: &Partition) -> Result<bool> {
    if lake.parts(GeneratedReportRow::TABLE, partition)?.is_empty() {
        return Ok(false);
    }
    let reports = || lake.rows_in_order::<GeneratedReportRow>(partition, 0, u64::MAX);
    let folder = out.join("reports");
    atomic_file::create_folders(&folder)?;
    let mut names = BTreeSet::new();
    for report in reports()? {
        names.insert(mark(&file_of_report(&report?.report_id)));
    }
    remove_others(&folder, &names)?;
    let path = out.join("reports.jsonl");
    atomic_file::write(&path, |lines| {
        for report in reports()? {
            let report = report?;
            let (path_of_text, text) = (folder.join(file_of_report(&report.report_id)), text_of(&report));
            if std::fs::read_to_string(&path_of_text).ok().as_ref() != Some(&text) {
                put(&path_of_text, &text)?;
            }
            let line = serde_json::to_string(&report).map_err(|e| Error::Internal(e.to_string()))? + "\n";
            lines.write_all(line.as_bytes()).map_err(|e| Error::io("write", &path, e))?;
        }
        Ok(())
    })?;
    Ok(true)
}

fn text_of(report: &GeneratedReportRow) -> String {
    format!("{}\n\n{NOTICE}\n", readable(&report.text))
}

/// A file's name in few bytes.
fn mark(name: &str) -> [u8; 16] {
    let mut mark = [0; 16];
    mark.copy_from_slice(&Sha256::digest(name)[..16]);
    mark
}

fn put(path: &Path, text: &str) -> Result<()> {
    atomic_file::write(path, |w| w.write_all(text.as_bytes()).map_err(|e| Error::io("write", path, e)))?;
    Ok(())
}

/// Removes texts that earlier runs wrote and that belong to no report now. Files of others stay.
fn remove_others(folder: &Path, names: &BTreeSet<[u8; 16]>) -> Result<()> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io("list", folder, e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io("list", folder, e))?.path();
        let kept = path.file_name().and_then(|n| n.to_str()).is_some_and(|name| names.contains(&mark(name)));
        let ours = || std::fs::read_to_string(&path).is_ok_and(|text| text.trim_end().ends_with(NOTICE));
        if !kept && path.extension().is_some_and(|e| e == "txt") && ours() {
            atomic_file::remove(&path)?;
        }
    }
    Ok(())
}

/// The file of a report. Different reports never share a name.
fn file_of_report(report_id: &str) -> String {
    match report_id.strip_suffix("-r").filter(|image| is_plain(image)) {
        Some(image) => format!("{image}.txt"),
        None => with_digest(report_id, "txt"),
    }
}

/// The file about an image: its id where that is a plain name, else a readable beginning and a digest. Different images never
/// share a name.
pub fn file_of_image(image_id: &str, extension: &str) -> String {
    if is_plain(image_id) { format!("{image_id}.{extension}") } else { with_digest(image_id, extension) }
}

fn with_digest(id: &str, extension: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '_' };
    let readable: String = id.trim_end_matches("-r").chars().map(safe).take(NAME_MAX).collect();
    let digest = digest::sha256_hex(id.as_bytes());
    format!("{}-{}.{extension}", readable.trim_start_matches('.'), &digest[..DIGITS])
}

/// Whether an image's id is a file name as it is, and none that this module makes for another report.
fn is_plain(image: &str) -> bool {
    let safe = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    let of_digest = image.rsplit_once('-').is_some_and(|(_, end)| {
        end.len() == DIGITS && end.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    });
    !image.is_empty() && !image.starts_with('.') && image.len() <= NAME_MAX && image.bytes().all(safe) && !of_digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_reports_have_different_files() {
        assert_eq!(file_of_report("s1-r"), "s1.txt");
        let long = "a/".repeat(200);
        let ids = ["a/b-r", "a_b-r", "a\\b-r", "x-r", "x-r1", "x-r1-r", "ä-r", "..-r", "-r", &long, "s 1-r"];
        let mut names: Vec<String> = ids.iter().map(|id| file_of_report(id)).collect();
        // A name made of a digest is no plain name of another image.
        let made = format!("{}-r", names[0].trim_end_matches(".txt"));
        names.push(file_of_report(&made));
        assert!(names.iter().all(|n| n.len() <= 130 && !n.contains('/') && !n.starts_with('.')), "{names:?}");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), ids.len() + 1, "{names:?}");
    }

    #[test]
    fn different_images_have_different_files() {
        let names: Vec<String> = ["a_b", "a/b", "a\\b"].iter().map(|id| file_of_image(id, "svg")).collect();
        assert_eq!(names[0], "a_b.svg");
        assert!(names[1].starts_with("a_b-") && names[1] != names[2], "{names:?}");
    }

    #[test]
    fn texts_of_images_that_are_gone_are_removed_and_other_files_stay() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["kept.txt", "gone.txt"] {
            std::fs::write(folder.path().join(name), format!("text\n\n{NOTICE}\n")).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        remove_others(folder.path(), &[mark("kept.txt")].into()).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["kept.txt", "notes.txt"]);
    }
}

//! Reports outside Parquet: `reports/<image>.txt`, one file per report, and `reports.jsonl`, one line per report.

use std::path::Path;

use d2r_contracts::tables::GeneratedReportRow;

use crate::error::{Error, Result};
use crate::lake::atomic_file;
use crate::training::model_card::NOTICE;

/// Writes the files into the folder `out`.
pub fn write_text_files(out: &Path, reports: &[GeneratedReportRow]) -> Result<()> {
    let write = |path: &Path, text: &str| {
        atomic_file::write(path, |w| w.write_all(text.as_bytes()).map_err(|e| Error::io("write", path, e)))
    };
    let folder = out.join("reports");
    atomic_file::create_folders(&folder)?;
    let mut lines = String::new();
    for report in reports {
        // `<image>.txt`; `<image>-r1.txt` and so on for further reports.
        let name = report.report_id.strip_suffix("-r").unwrap_or(&report.report_id);
        let name = format!("{}.txt", name.replace(['/', '\\'], "_"));
        write(&folder.join(name), &format!("{}\n\n{NOTICE}\n", report.text))?;
        lines.push_str(&serde_json::to_string(report).map_err(|e| Error::Internal(e.to_string()))?);
        lines.push('\n');
    }
    write(&out.join("reports.jsonl"), &lines)?;
    Ok(())
}

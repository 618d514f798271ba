//! What people and machines read on stdout and stderr.

use std::io::Write;
use std::path::Path;

use crate::context::StageResult;
use crate::error::{Error, Result};
use crate::lake::atomic_file;

use crate::cli::flags::{ManifestFlag, OutputFlags};

/// Writes lines to stdout; a closed pipe is no error.
///
/// # Errors
/// When stdout cannot be written for another reason.
pub fn lines(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("write", "stdout", e)),
        _ => Ok(()),
    }
}

/// Prints a stage's result as a table (with the command that comes next) or as JSON and, with `--manifest-out`, writes
/// the manifest.
///
/// # Errors
/// When stdout or the manifest cannot be written.
pub fn result(output: OutputFlags, manifest: &ManifestFlag, result: &StageResult, next: Option<&str>) -> Result<()> {
    let json = serde_json::to_string(result).map_err(|e| Error::Internal(e.to_string()))?;
    if output.json {
        lines(&json)?;
    } else if !output.quiet {
        lines(&table(result, next))?;
    }
    if let Some(path) = &manifest.manifest_out {
        write_manifest(path, &json)?;
        if !output.json {
            lines(&json)?;
        }
    }
    Ok(())
}

fn write_manifest(path: &Path, json: &str) -> Result<()> {
    atomic_file::write(path, |w| writeln!(w, "{json}").map_err(|e| Error::io("write", path, e)))?;
    Ok(())
}

/// The result as a person reads it.
fn table(result: &StageResult, next: Option<&str>) -> String {
    let how = if result.cached { "already done".to_owned() } else { format!("done in {:.1} s", result.wall_s) };
    let made = made(result).map(|made| format!(", {made}")).unwrap_or_default();
    let mut text = format!("{}: {how}{made}\n", result.stage);
    for (name, rows) in &result.rows {
        text.push_str(&format!("  {name:<28} {rows:>10} rows\n"));
    }
    for (name, value) in &result.figures {
        // Adding 0 turns what would be printed as -0 into 0.
        let rounded = (value * 1e4).round() / 1e4 + 0.0;
        // Counts are whole; so is a share of 0 or 1.
        let decimals = if value.fract() == 0.0 { 0 } else { 4 };
        text.push_str(&format!("  {name:<28} {rounded:>10.decimals$}\n"));
    }
    if let Some(next) = next {
        text.push_str(&format!("next: {next}\n"));
    }
    text
}

/// The file that was made, or the number of files.
fn made(result: &StageResult) -> Option<String> {
    match &result.files[..] {
        [] => None,
        [file] => Some(format!("made {}", file.path.display())),
        files => {
            let model = files.iter().find(|f| f.path.ends_with("best/model.safetensors"));
            let names = model.map_or_else(|| format!("{} files", files.len()), |f| f.path.display().to_string());
            Some(format!("made {names}"))
        }
    }
}

/// The folder of the run whose best weights are among a stage's files.
pub fn run_folder(result: &StageResult) -> Option<std::path::PathBuf> {
    let weights = result.files.iter().find(|f| f.path.ends_with("best/model.safetensors"))?;
    Some(weights.path.parent()?.parent()?.to_path_buf())
}

/// Prints an error to stderr, once.
pub fn error(e: &Error, json: bool) {
    let code = e.exit().code();
    let text = if json {
        serde_json::json!({ "error": e.chain(), "exit": code }).to_string()
    } else {
        format!("error: {}", e.chain())
    };
    // With stderr closed the exit code is all that is left.
    let _ = writeln!(std::io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_whole_and_other_figures_have_four_decimals() {
        let figures = [("files", 22.0), ("share", 0.123_4), ("zero", -0.0), ("small", -0.000_01)];
        let figures = figures.map(|(name, value)| (name.to_owned(), value)).into();
        let result = StageResult { stage: "audit".into(), figures, ..StageResult::default() };
        let text = table(&result, None);
        let values: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
        assert_eq!(values, ["22", "0.1234", "0.0000", "0"], "{text}");
    }
}

//! Lays configuration layers over each other: default, preset, file, environment, `--set`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::RunConfig;
use crate::error::{Error, Result};

const DEFAULT: &str = include_str!("../../presets/default.toml");

/// The presets that are compiled in, by name.
pub const PRESETS: [(&str, &str); 10] = [
    ("tiny", include_str!("../../presets/tiny.toml")),
    ("demo", include_str!("../../presets/demo.toml")),
    ("vindr_mimic", include_str!("../../presets/vindr_mimic.toml")),
    ("semi_bench", include_str!("../../presets/semi_bench.toml")),
    ("report_bench", include_str!("../../presets/report_bench.toml")),
    ("student_bench", include_str!("../../presets/student_bench.toml")),
    ("r2gen_compat", include_str!("../../presets/r2gen_compat.toml")),
    ("iu_xray", include_str!("../../presets/iu_xray.toml")),
    ("utv2_rcnn", include_str!("../../presets/utv2_rcnn.toml")),
    ("utv2_fcos", include_str!("../../presets/utv2_fcos.toml")),
];

/// What the user asked for.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// A compiled-in preset.
    pub preset: Option<String>,
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables (`D2R_SECTION__KEY`), as name and value.
    pub environment: Vec<(String, String)>,
    /// `key=value` pairs from the command line.
    pub set: Vec<String>,
}

/// The configuration and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration.
    pub config: RunConfig,
    /// Dotted key to the name of the layer that set it.
    pub origin: BTreeMap<String, String>,
    /// All values, in the default's order.
    pub table: Table,
}

impl Resolved {
    /// Dotted key, value and origin of every key, in the default's order.
    pub fn entries(&self) -> Vec<(String, Value, String)> {
        leaves(&self.table)
            .into_iter()
            .filter_map(|key| {
                let value = key.split('.').try_fold(None, |at: Option<&Value>, part| {
                    Some(Some(match at {
                        None => self.table.get(part)?,
                        Some(value) => value.get(part)?,
                    }))
                })??;
                let origin = self.origin.get(&key).cloned().unwrap_or_default();
                Some((key.clone(), value.clone(), origin))
            })
            .collect()
    }

    /// The configuration as TOML text.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.table).expect("a table that was read from TOML is TOML")
    }
}

/// Resolves the layers, later ones over earlier ones.
///
/// # Errors
/// [`Error::Config`] with the layer's name for an unknown preset, a key that the default does not have, or a
/// value of another type; [`Error::InputMissing`] when the file is not there.
pub fn resolve(layers: &Layers) -> Result<Resolved> {
    let mut table = parse("default.toml", DEFAULT)?;
    let mut origin = BTreeMap::new();
    for key in leaves(&table) {
        origin.insert(key, "default".to_owned());
    }
    if let Some(name) = &layers.preset {
        overlay(&mut table, &mut origin, &format!("preset {name}"), parse(name, preset(name)?)?)?;
    }
    if let Some(path) = &layers.file {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let layer = path.display().to_string();
        overlay(&mut table, &mut origin, &layer, parse(&layer, &text)?)?;
    }
    for (name, value) in &layers.environment {
        let Some(key) = environment_key(name) else { continue };
        overlay(&mut table, &mut origin, &format!("environment {name}"), single(&key, value))?;
    }
    for pair in &layers.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| Error::Config {
            place: format!("--set {pair}"),
            problem: "expected key=value, for instance detector.train.lr=0.01".into(),
        })?;
        overlay(&mut table, &mut origin, &format!("--set {key}"), single(key.trim(), value.trim()))?;
    }
    let config = RunConfig::deserialize_from(&table)?;
    Ok(Resolved { config, origin, table })
}

/// The variables that [`resolve`] reads: `D2R_` and a section with double underscores, nothing else of ours.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars().filter(|(name, _)| environment_key(name).is_some()).collect()
}

/// `D2R_DETECTOR__TRAIN__LR` to `detector.train.lr`; `None` for other variables.
fn environment_key(name: &str) -> Option<String> {
    let rest = name.strip_prefix("D2R_")?;
    rest.contains("__").then(|| rest.to_ascii_lowercase().replace("__", "."))
}

fn preset(name: &str) -> Result<&'static str> {
    if name == "default" {
        return Ok("");
    }
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text).ok_or_else(|| Error::Config {
        place: format!("--preset {name}"),
        problem: format!("no such preset; there are default, {}", PRESETS.map(|(n, _)| n).join(", ")),
    })
}

fn parse(layer: &str, text: &str) -> Result<Table> {
    text.parse::<Table>().map_err(|e| Error::Config { place: layer.to_owned(), problem: e.to_string() })
}

/// A table that holds one value; text that is no TOML value is a string.
fn single(key: &str, value: &str) -> Table {
    let value = format!("v = {value}")
        .parse::<Table>()
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(value.to_owned()));
    let mut parts: Vec<&str> = key.split('.').collect();
    let mut table = Table::new();
    table.insert(parts.pop().unwrap_or_default().to_owned(), value);
    while let Some(part) = parts.pop() {
        let mut outer = Table::new();
        outer.insert(part.to_owned(), Value::Table(table));
        table = outer;
    }
    table
}

fn overlay(base: &mut Table, origin: &mut BTreeMap<String, String>, layer: &str, over: Table) -> Result<()> {
    let known = leaves(base);
    merge(base, origin, layer, over, "", &known)
}

fn merge(
    base: &mut Table,
    origin: &mut BTreeMap<String, String>,
    layer: &str,
    over: Table,
    prefix: &str,
    known: &[String],
) -> Result<()> {
    for (name, value) in over {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match (base.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(more)) => merge(inner, origin, layer, more, &key, known)?,
            (None, _) => return Err(unknown(layer, &key, known)),
            (Some(old), new) => {
                *old = fit(old, new).ok_or_else(|| Error::Config {
                    place: layer.to_owned(),
                    problem: format!("`{key}` must be {}, like its default {old}", old.type_str()),
                })?;
                origin.insert(key, layer.to_owned());
            }
        }
    }
    Ok(())
}

/// `new` in the type of `old`: an integer may stand for a float, nothing else changes type.
fn fit(old: &Value, new: Value) -> Option<Value> {
    match (old, &new) {
        (Value::Float(_), Value::Integer(i)) => Some(Value::Float(*i as f64)),
        _ if old.same_type(&new) && !new.is_table() => Some(new),
        _ => None,
    }
}

fn unknown(layer: &str, key: &str, known: &[String]) -> Error {
    let mut near: Vec<(f64, &String)> = known.iter().map(|k| (strsim::jaro_winkler(k, key), k)).collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    let hint = match near.first() {
        Some((likeness, k)) if *likeness > 0.8 => format!("; did you mean `{k}`?"),
        _ => "; `d2r config show` lists all keys".to_owned(),
    };
    Error::Config { place: layer.to_owned(), problem: format!("unknown key `{key}`{hint}") }
}

/// Dotted keys of all values that are not tables.
fn leaves(table: &Table) -> Vec<String> {
    let mut keys = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => keys.extend(leaves(inner).into_iter().map(|k| format!("{name}.{k}"))),
            _ => keys.push(name.clone()),
        }
    }
    keys
}

impl RunConfig {
    fn deserialize_from(table: &Table) -> Result<Self> {
        Value::Table(table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| Error::Config { place: "configuration".into(), problem: e.to_string() })
    }

    /// Reads a resolved configuration, as saved in a run directory.
    ///
    /// # Errors
    /// [`Error::Config`] when a key is missing, unknown or of another type.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        Self::deserialize_from(&parse(&path.display().to_string(), &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(set: &[&str]) -> Result<Resolved> {
        resolve(&Layers { set: set.iter().map(|s| (*s).to_owned()).collect(), ..Layers::default() })
    }

    #[test]
    fn every_preset_resolves() {
        for (name, _) in PRESETS {
            let layers = Layers { preset: Some(name.into()), ..Layers::default() };
            resolve(&layers).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }

    #[test]
    fn later_layers_win_and_say_so() {
        let layers = Layers {
            preset: Some("tiny".into()),
            environment: vec![("D2R_DETECTOR__TRAIN__STEPS".into(), "7".into())],
            set: vec!["run.seed=1".into()],
            ..Layers::default()
        };
        let r = resolve(&layers).unwrap();
        assert_eq!((r.config.detector.train.steps, r.config.run.seed), (7, 1));
        assert_eq!(r.origin["detector.train.steps"], "environment D2R_DETECTOR__TRAIN__STEPS");
        assert_eq!(r.origin["phantom.size"], "preset tiny");
        assert_eq!(r.origin["detector.train.momentum"], "default");
    }

    #[test]
    fn a_misspelt_key_is_refused_with_a_suggestion() {
        let error = with(&["detector.model.nms_iuo_max=0.5"]).unwrap_err();
        assert_eq!(error.exit().code(), 78);
        assert!(error.to_string().contains("did you mean `detector.model.nms_iou_max`?"), "{error}");
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert!(with(&["detector.train.steps=many"]).is_err());
        assert!(with(&["detector.train=3"]).is_err());
        assert_eq!(with(&["detector.train.lr=1"]).unwrap().config.detector.train.lr, 1.0);
    }

    #[test]
    fn the_resolved_file_reads_back_equal() {
        let r = with(&["run.seed=5"]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, r.to_toml()).unwrap();
        assert_eq!(RunConfig::read(&path).unwrap(), r.config);
    }
}

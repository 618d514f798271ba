//! Lays configuration layers over each other: default, preset, file, environment, `--set`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::{Table, Value};

use super::settings::Settings;
use super::{RunConfig, limits};
use crate::error::{Error, Result};

const DEFAULT: &str = include_str!("../../presets/default.toml");

const D2RNET_DETECTOR: &str = include_str!("../../presets/d2rnet_detector.toml");
const D2RNET: &str = include_str!("../../presets/d2rnet.toml");

/// The presets that are compiled in, by name: TOML texts, later ones laid over earlier ones.
pub const PRESETS: [(&str, &[&str]); 9] = [
    ("tiny", &[include_str!("../../presets/tiny.toml")]),
    ("demo", &[include_str!("../../presets/demo.toml")]),
    ("d2rnet_detector", &[D2RNET_DETECTOR]),
    ("d2rnet", &[D2RNET_DETECTOR, D2RNET]),
    ("d2r", &[D2RNET_DETECTOR, D2RNET, include_str!("../../presets/d2r.toml")]),
    ("r2gen_mimic", &[include_str!("../../presets/r2gen_mimic.toml")]),
    ("r2gen_iu", &[include_str!("../../presets/r2gen_iu.toml")]),
    ("utv2_coco_rcnn", &[include_str!("../../presets/utv2_coco_rcnn.toml")]),
    ("utv2_coco_fcos", &[include_str!("../../presets/utv2_coco_fcos.toml")]),
];

/// The layers of configuration that the user gives.
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
    /// The complete values.
    pub config: RunConfig,
    /// The keys that they follow from.
    pub settings: Settings,
    /// Dotted key to the name of the layer that set it.
    pub origin: BTreeMap<String, String>,
}

impl Resolved {
    /// Dotted key, value and origin of every key, in alphabetical order.
    pub fn entries(&self) -> Vec<(String, Value, String)> {
        let entry = |(key, value): (String, Value)| {
            let origin = self.origin.get(&key).cloned().unwrap_or_default();
            (key, value, origin)
        };
        leaves(&self.settings.table()).into_iter().map(entry).collect()
    }

    /// All keys as TOML text: a file for `--config`.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.settings).expect("settings that were read from TOML are TOML")
    }
}

/// Resolves the layers, later ones over earlier ones.
///
/// # Errors
/// [`Error::Config`] with the layer's name for an unknown preset, a key that the default does not have, or a
/// value that does not fit; [`Error::InputMissing`] when the file is not there.
pub fn resolve(layers: &Layers) -> Result<Resolved> {
    let mut overlay = Overlay::of_default()?;
    if let Some(name) = &layers.preset {
        for text in preset(name)? {
            overlay.layer(&format!("preset {name}"), parse(name, text)?)?;
        }
    }
    if let Some(path) = &layers.file {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let layer = path.display().to_string();
        overlay.layer(&layer, parse(&layer, &text)?)?;
    }
    for (name, value) in &layers.environment {
        let Some(key) = environment_key(name) else { continue };
        overlay.layer(&format!("environment {name}"), single(&key, value))?;
    }
    for pair in &layers.set {
        let (key, value) = pair.split_once('=').ok_or_else(|| Error::Config {
            place: format!("--set {pair}"),
            problem: "expected key=value, for instance detector.train.lr=0.01".into(),
        })?;
        overlay.layer(&format!("--set {key}"), single(key.trim(), value.trim()))?;
    }
    Ok(Resolved { config: overlay.settings.run_config(), settings: overlay.settings, origin: overlay.origin })
}

/// The variables that [`resolve`] reads: `D2R_` and a section with double underscores.
pub fn environment() -> Vec<(String, String)> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    std::env::vars_os().map(|(n, v)| (text(n), text(v))).filter(|(name, _)| environment_key(name).is_some()).collect()
}

/// `D2R_DETECTOR__TRAIN__LR` to `detector.train.lr`; `None` for other variables.
fn environment_key(name: &str) -> Option<String> {
    let rest = name.strip_prefix("D2R_")?;
    rest.contains("__").then(|| rest.to_ascii_lowercase().replace("__", "."))
}

fn preset(name: &str) -> Result<&'static [&'static str]> {
    if name == "default" {
        return Ok(&[]);
    }
    PRESETS.iter().find(|(n, _)| *n == name).map(|(_, texts)| *texts).ok_or_else(|| Error::Config {
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

/// Settings under construction.
struct Overlay {
    settings: Settings,
    /// The same as a table.
    table: Table,
    /// Every key with its default.
    defaults: BTreeMap<String, Value>,
    origin: BTreeMap<String, String>,
}

impl Overlay {
    fn of_default() -> Result<Self> {
        let table = parse("default.toml", DEFAULT)?;
        let settings = Settings::from_table(&table)
            .map_err(|e| Error::Config { place: "default.toml".into(), problem: e.to_string() })?;
        let defaults: BTreeMap<String, Value> = leaves(&table).into_iter().collect();
        let origin = defaults.keys().map(|key| (key.clone(), "default".to_owned())).collect();
        Ok(Self { settings, table, defaults, origin })
    }

    /// Lays one layer over the others, key by key, so that an error names its key.
    fn layer(&mut self, layer: &str, over: Table) -> Result<()> {
        for (key, value) in leaves(&over) {
            let wrong = |problem: String| Error::Config { place: layer.to_owned(), problem };
            let Some(default) = self.defaults.get(&key) else { return Err(wrong(self.unknown(&key))) };
            if let Some(problem) = limits::violation(&key, &value) {
                return Err(wrong(format!("`{key}`: {problem}; its default is {default}")));
            }
            let read = |value: Value| {
                let mut table = self.table.clone();
                insert(&mut table, &key, value);
                Settings::from_table(&table)
            };
            let settings = read(value.clone()).map_err(|e| {
                // A key with named values says their names of a text only.
                let of_text = || read(Value::String(value.to_string())).err();
                let named = (default.is_str() && !value.is_str()).then(of_text).flatten();
                wrong(format!("`{key}`: {}; its default is {default}", plain(named.unwrap_or(e).message())))
            })?;
            self.settings = settings;
            // Serialised again, so that an integer given for a float becomes one.
            self.table = self.settings.table();
            self.origin.insert(key, layer.to_owned());
        }
        Ok(())
    }

    fn unknown(&self, key: &str) -> String {
        let section = format!("{key}.");
        if self.defaults.keys().any(|known| known.starts_with(&section)) {
            return format!("`{key}` is a section, not a key");
        }
        let likeness = |known: &&String| strsim::jaro_winkler(known, key);
        let nearest = self.defaults.keys().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        match nearest.filter(|known| likeness(known) > 0.8) {
            Some(known) => format!("unknown key `{key}`; did you mean `{known}`?"),
            None => format!("unknown key `{key}`; `d2r config show` lists all keys"),
        }
    }
}

/// An error's message without the names of Rust's types.
fn plain(message: &str) -> String {
    let integers = ["i64", "u64", "i32", "u32", "usize"];
    let message =
        integers.iter().fold(message.to_owned(), |m, t| m.replace(&format!("expected {t}"), "expected an integer"));
    message
        .replace("expected f64", "expected a number")
        .replace("unknown variant", "unknown value")
        .trim_end()
        .to_owned()
}

/// Sets a value of a table that has its key.
fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        Some((section, rest)) => {
            if let Some(Value::Table(inner)) = table.get_mut(section) {
                insert(inner, rest, value);
            }
        }
        None => {
            table.insert(key.to_owned(), value);
        }
    }
}

/// Dotted keys and values of all that is not a table.
fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => found.extend(leaves(inner).into_iter().map(|(k, v)| (format!("{name}.{k}"), v))),
            _ => found.push((name.clone(), value.clone())),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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
    fn every_bench_preset_resolves() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/bench/presets");
        let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(!files.is_empty());
        for file in files {
            resolve(&Layers { file: Some(file), ..Layers::default() }).unwrap();
        }
    }

    #[test]
    fn keys_stay_few() {
        let keys = with(&[]).unwrap().entries().len();
        assert!(keys <= 112, "{keys} keys: give the new one a named value of another key, or a constant");
    }

    #[test]
    fn the_default_names_every_key_once_and_with_a_comment() {
        let resolved = with(&[]).unwrap();
        assert_eq!(resolved.settings.table(), DEFAULT.parse::<Table>().unwrap());
        let lines: Vec<&str> = DEFAULT.lines().collect();
        for (i, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ") && !line.starts_with('#')) {
            assert!(lines[i - 1].starts_with("# "), "no comment above `{line}`");
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
        assert_eq!(r.origin["detector.train.lr"], "default");
    }

    #[test]
    fn a_misspelt_key_is_refused_with_a_suggestion() {
        let error = with(&["detector.train.warmpu_steps=5"]).unwrap_err();
        assert_eq!(error.exit().code(), 78);
        assert!(error.to_string().contains("did you mean `detector.train.warmup_steps`?"), "{error}");
        assert!(with(&["detector.train=3"]).unwrap_err().to_string().contains("is a section"));
        assert!(with(&["detector.train.lr.x=3"]).unwrap_err().to_string().contains("unknown key"));
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused_with_what_does() {
        for (set, wanted) in [
            ("detector.train.steps=many", "`detector.train.steps`: invalid type: string \"many\", expected an integer"),
            ("detector.train.steps=1.5", "expected an integer"),
            ("detector.model.network=huge", "`resnet50`"),
            ("report.model.regions=true", "unknown value `true`, expected one of `off`, `crops`, `crops_and_boxes`"),
            ("detector.train.clip_norm=0", "a number above 0 or \"off\"; its default is 10.0"),
            ("run.threads=off", "a number above 0 or \"all\""),
            ("detector.train.schedule=linear", "\"cosine\" or a list of steps"),
        ] {
            let error = with(&[set]).unwrap_err().to_string();
            assert!(error.contains(wanted), "{set}: {error}");
        }
        assert_eq!(with(&["detector.train.lr=1"]).unwrap().config.detector.train.lr, 1.0);
        assert_eq!(with(&["detector.train.clip_norm=off"]).unwrap().config.detector.train.clip_norm, 0.0);
        assert_eq!(with(&["detector.train.schedule=[5, 9]"]).unwrap().config.detector.train.milestones, [5, 9]);
    }

    #[test]
    fn the_saved_file_gives_the_same_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        for (name, _) in PRESETS {
            let layers = Layers { preset: Some(name.into()), set: vec!["run.seed=5".into()], ..Layers::default() };
            let saved = resolve(&layers).unwrap();
            std::fs::write(&path, saved.to_toml()).unwrap();
            let again = resolve(&Layers { file: Some(path.clone()), ..Layers::default() }).unwrap();
            assert_eq!((again.settings, again.config), (saved.settings, saved.config), "{name}");
        }
    }
}

//! JSON label files as other tools write them: a byte order mark, ids and numbers as text, `null` for what is not known.
//! The elements of a list are parsed one by one, so that a wrong one costs only itself.

use std::marker::PhantomData;
use std::path::Path;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::datasets::label_files::size_limits::{JSON_BYTES_MAX, read_file};
use crate::datasets::label_files::text_encoding::utf8;
use crate::error::{Error, Result};

/// Reads a JSON file. `what` completes "not ...", for instance "a COCO detection file".
///
/// # Errors
/// [`Error::InputMissing`] without the file, [`Error::BadData`] when it is not JSON of that shape.
pub fn read_json<T: DeserializeOwned>(path: &Path, what: &str) -> Result<T> {
    let bytes = read_file(path, JSON_BYTES_MAX)?;
    let text = utf8(&bytes).map_err(|e| Error::bad_data(path.display(), e))?;
    serde_json::from_slice(&text)
        .or_else(|e| finite(&text).map_or(Err(e), |text| serde_json::from_slice(&text)))
        .map_err(|e| Error::bad_data(path.display(), format!("not {what} ({})", without_values(&e.to_string()))))
}

/// A message of the parser without the text that it repeats: `invalid type: string "..", expected ..` may hold a report.
fn without_values(message: &str) -> String {
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => format!("{}...{}", &message[..=first], &message[last..]),
        _ => message.to_owned(),
    }
}

/// The text with `null` for the words `NaN` and `Infinity`, which Python writes and JSON does not have; `None` when there
/// is none of them.
fn finite(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut quoted, mut found) = (0, false, false);
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let word = [&b"NaN"[..], b"-Infinity", b"Infinity"].into_iter().find(|w| !quoted && rest.starts_with(w));
        if let Some(word) = word {
            out.extend(b"null");
            at += word.len();
            found = true;
            continue;
        }
        out.push(byte);
        at += 1;
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                out.extend(text.get(at));
                at += 1;
            }
            _ => {}
        }
    }
    found.then_some(out)
}

/// An element of a list that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadEntry {
    /// The element's own id, where it has one.
    pub id: Option<String>,
    /// The field that is wrong, and what is needed.
    pub problem: String,
}

/// What an element of a list becomes.
pub trait Entry: Sized {
    /// Parses one element.
    ///
    /// # Errors
    /// The problem, which names the field.
    fn parse(fields: &Fields) -> Result<Self, String>;
}

/// A list of a document, element by element, or what stands in its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Section<T> {
    /// The key is not there.
    #[default]
    Absent,
    Null,
    List(Vec<Result<T, BadEntry>>),
    /// Another kind of value.
    Other(&'static str),
}

impl<T> Section<T> {
    /// The elements; none where there is no list. `Err` names what stands in the list's place.
    ///
    /// # Errors
    /// When the value is neither a list nor `null`.
    pub fn into_list(self) -> Result<Option<Vec<Result<T, BadEntry>>>, &'static str> {
        match self {
            Self::Absent | Self::Null => Ok(None),
            Self::List(list) => Ok(Some(list)),
            Self::Other(kind) => Err(kind),
        }
    }
}

impl<'de, T: Entry> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor(PhantomData))
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Entry> Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        // Each element is dropped as soon as it is parsed: polygons are longer than all that is kept.
        while let Some(value) = seq.next_element::<Value>()? {
            list.push(match &value {
                Value::Object(map) => {
                    let fields = Fields(map);
                    T::parse(&fields).map_err(|problem| BadEntry { id: fields.id("id").ok().flatten(), problem })
                }
                other => Err(BadEntry { id: None, problem: format!("is {}; an object is needed", kind(other)) }),
            });
        }
        Ok(Section::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
        Ok(Section::Other("an object"))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Section::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Section::Other("a truth value"))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Section::Other("a number"))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Section::Other("a number"))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Section::Other("a number"))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Section::Other("text"))
    }
}

/// The fields of an object.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a Map<String, Value>);

impl Fields<'_> {
    /// A field's value; `None` when it is absent or `null`.
    pub fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|v| !v.is_null())
    }

    /// An id: text, or a whole number as its digits, so that `1`, `1.0` and `"1"` are one id.
    ///
    /// # Errors
    /// For any other kind.
    pub fn id(&self, field: &str) -> Result<Option<String>, String> {
        match self.get(field) {
            None => Ok(None),
            Some(Value::Number(n)) => Ok(Some(digits(n))),
            Some(Value::String(text)) => Ok(Some(whole(text.trim()))),
            Some(other) => Err(self.wrong(field, other, "a number or text")),
        }
    }

    /// As [`Self::id`], where the field is needed.
    ///
    /// # Errors
    /// When it is absent, empty or of another kind.
    pub fn needed_id(&self, field: &str) -> Result<String, String> {
        self.id(field)?.filter(|id| !id.is_empty()).ok_or_else(|| self.missing(field, "a number or text"))
    }

    /// Text; a number as its digits.
    ///
    /// # Errors
    /// When it is absent, empty or of another kind.
    pub fn needed_text(&self, field: &str) -> Result<String, String> {
        match self.get(field) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
            Some(Value::Number(n)) => Ok(digits(n)),
            None | Some(Value::String(_)) => Err(self.missing(field, "text")),
            Some(other) => Err(self.wrong(field, other, "text")),
        }
    }

    /// A finite number, or text that is one.
    ///
    /// # Errors
    /// For any other kind.
    pub fn number(&self, field: &str) -> Result<Option<f64>, String> {
        self.get(field).map(|v| number(v).ok_or_else(|| self.wrong(field, v, "a number"))).transpose()
    }

    /// Four finite numbers, or texts that are numbers.
    ///
    /// # Errors
    /// For any other kind or number of values.
    pub fn four_numbers(&self, field: &str) -> Result<Option<[f32; 4]>, String> {
        self.get(field)
            .map(|v| four_numbers(v).ok_or_else(|| self.wrong(field, v, "a list of four numbers")))
            .transpose()
    }

    fn missing(&self, field: &str, needed: &str) -> String {
        let state = match self.0.get(field) {
            None => "absent",
            Some(Value::Null) => "null",
            Some(_) => "empty",
        };
        format!("`{field}` is {state}; {needed} is needed")
    }

    fn wrong(&self, field: &str, value: &Value, needed: &str) -> String {
        format!("`{field}` is {}; {needed} is needed", kind(value))
    }
}

/// A finite number, or text that is one.
pub fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(n) => n.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|v: &f64| v.is_finite())
}

/// Four finite numbers, or texts that are numbers.
pub fn four_numbers(value: &Value) -> Option<[f32; 4]> {
    let list = value.as_array()?.iter().map(|v| number(v).map(|v| v as f32)).collect::<Option<Vec<f32>>>()?;
    list.try_into().ok()
}

/// Whether a value of any kind stands for true: `1`, `true`, `"1"`, `"true"`.
pub fn is_true(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(b)) => *b,
        Some(Value::String(text)) => !matches!(text.trim().to_ascii_lowercase().as_str(), "" | "0" | "false" | "no"),
        Some(other) => number(other).is_none_or(|n| n != 0.0),
    }
}

/// What a value is, in words.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// A number as an id: a whole one without its fraction.
fn digits(n: &serde_json::Number) -> String {
    match n.as_f64() {
        Some(v) if n.is_f64() && v.fract() == 0.0 && v.abs() < 9e15 => format!("{v:.0}"),
        _ => n.to_string(),
    }
}

/// `"1.0"` is the id 1 through a data frame; any other text is itself.
fn whole(text: &str) -> String {
    match text.split_once('.') {
        Some((number, zeros))
            if !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
                && !zeros.is_empty()
                && zeros.bytes().all(|b| b == b'0') =>
        {
            number.to_owned()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;

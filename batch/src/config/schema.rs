//! A JSON Schema of the configuration, derived from the default's values: editors then complete and check
//! configuration files.

use serde_json::{Value, json};
use toml::Table;

use super::settings::KEYS_WITH_A_WORD;

/// The schema of files that may be laid over the default.
pub fn json_schema(default: &Table) -> Value {
    let mut schema = object(default, "");
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("D2R configuration");
    schema
}

fn object(table: &Table, section: &str) -> Value {
    let property = |(name, v): (&String, &toml::Value)| {
        let key = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
        (name.clone(), value(v, &key))
    };
    let properties: serde_json::Map<String, Value> = table.iter().map(property).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn value(value: &toml::Value, key: &str) -> Value {
    let (kind, default) = match value {
        toml::Value::Table(t) => return object(t, key),
        toml::Value::String(s) => ("string", json!(s)),
        toml::Value::Integer(i) => ("integer", json!(i)),
        toml::Value::Float(f) => ("number", json!(f)),
        toml::Value::Boolean(b) => ("boolean", json!(b)),
        toml::Value::Array(_) => ("array", Value::Null),
        toml::Value::Datetime(d) => ("string", json!(d.to_string())),
    };
    match KEYS_WITH_A_WORD.iter().find(|(k, ..)| *k == key) {
        Some((_, word, other)) => json!({ "anyOf": [{ "const": word }, { "type": other }], "default": default }),
        None => json!({ "type": kind, "default": default }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layers, resolve};

    fn accepts(key: &str, value: &str) -> bool {
        resolve(&Layers { set: vec![format!("{key}={value}")], ..Layers::default() }).is_ok()
    }

    #[test]
    fn the_schema_knows_every_key_and_refuses_others() {
        let table = "[a]\nx = 1\ny = 0.5\nz = true\n[run]\nthreads = \"all\"".parse().unwrap();
        let schema = json_schema(&table);
        let a = &schema["properties"]["a"];
        assert_eq!(a["properties"]["x"]["type"], "integer");
        assert_eq!(a["properties"]["y"]["type"], "number");
        assert_eq!(a["additionalProperties"], false);
        let threads = &schema["properties"]["run"]["properties"]["threads"];
        assert_eq!(threads["anyOf"], json!([{ "const": "all" }, { "type": "integer" }]));
    }

    #[test]
    fn keys_with_a_word_are_those_that_accept_two_forms() {
        for (key, default, _) in resolve(&Layers::default()).unwrap().entries() {
            let words =
                ["all", "off", "cosine", "by_class"].into_iter().filter(|word| accepts(&key, word)).collect::<Vec<_>>();
            let number = accepts(&key, "1");
            let array = accepts(&key, "[]");
            let listed = KEYS_WITH_A_WORD.iter().find(|(k, ..)| *k == key);
            match listed {
                Some((_, word, "array")) => assert!(words == [*word] && array && !number, "{key}"),
                Some((_, word, kind)) => {
                    assert!(words == [*word] && number && !array, "{key}");
                    assert_eq!(*kind == "number", accepts(&key, "0.5"), "{key}");
                }
                None => assert!(words.is_empty() || !number && !array && default.is_str(), "{key}"),
            }
        }
    }
}

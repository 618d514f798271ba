//! A JSON Schema of the configuration, derived from the default's values: editors then complete and check
//! configuration files.

use serde_json::{Value, json};
use toml::Table;

/// The schema of files that may be laid over the default.
pub fn json_schema(default: &Table) -> Value {
    let mut schema = object(default);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("D2R configuration");
    schema
}

fn object(table: &Table) -> Value {
    let properties: serde_json::Map<String, Value> = table.iter().map(|(k, v)| (k.clone(), value(v))).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn value(value: &toml::Value) -> Value {
    let (kind, default) = match value {
        toml::Value::Table(t) => return object(t),
        toml::Value::String(s) => ("string", json!(s)),
        toml::Value::Integer(i) => ("integer", json!(i)),
        toml::Value::Float(f) => ("number", json!(f)),
        toml::Value::Boolean(b) => ("boolean", json!(b)),
        toml::Value::Array(_) => ("array", Value::Null),
        toml::Value::Datetime(d) => ("string", json!(d.to_string())),
    };
    json!({ "type": kind, "default": default })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_schema_knows_every_key_and_refuses_others() {
        let table = "[a]\nx = 1\ny = 0.5\nz = true".parse().unwrap();
        let schema = super::json_schema(&table);
        let a = &schema["properties"]["a"];
        assert_eq!(a["properties"]["x"]["type"], "integer");
        assert_eq!(a["properties"]["y"]["type"], "number");
        assert_eq!(a["additionalProperties"], false);
    }
}

//! Parses contract files to [`TableContract`]: the part of the Open Data Contract Standard 3.2 that the tables use.
//! Unknown keys are errors, so that a misspelt rule is never silently ignored.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::{ColumnContract, ColumnType, ContractError, ForeignKey, TableContract};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    id: String,
    name: String,
    version: String,
    #[serde(rename = "status")]
    _status: IgnoredAny,
    #[serde(rename = "description")]
    _description: IgnoredAny,
    #[serde(rename = "servers")]
    _servers: IgnoredAny,
    schema: Vec<Schema>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Schema {
    name: String,
    description: String,
    #[serde(default)]
    custom_properties: Vec<Custom>,
    #[serde(default)]
    relationships: Vec<TableRelationship>,
    #[serde(default, rename = "quality")]
    _quality: Option<IgnoredAny>,
    properties: Vec<Property>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableRelationship {
    #[serde(rename = "type")]
    kind: String,
    from: Vec<String>,
    to: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ColumnRelationship {
    #[serde(rename = "type")]
    kind: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Property {
    name: String,
    description: String,
    logical_type: String,
    #[serde(default)]
    logical_type_options: Options,
    required: bool,
    #[serde(default)]
    primary_key: bool,
    primary_key_position: Option<usize>,
    #[serde(default)]
    partitioned: bool,
    partition_key_position: Option<usize>,
    #[serde(default, rename = "enum")]
    allowed: Vec<Allowed>,
    classification: Option<String>,
    #[serde(default)]
    relationships: Vec<ColumnRelationship>,
    custom_properties: Vec<Custom>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Options {
    minimum: Option<f64>,
    maximum: Option<f64>,
    min_length: Option<usize>,
    pattern: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    value: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Custom {
    property: String,
    value: CustomValue,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CustomValue {
    Flag(bool),
    Text(String),
}

/// Parses and checks one contract.
pub(crate) fn parse(text: &str) -> Result<TableContract, ContractError> {
    let document: Document = serde_saphyr::from_str(text).map_err(|e| ContractError::Syntax(e.to_string()))?;
    let table = document.name.clone();
    let fail = |problem: String| ContractError::Inconsistent { table: table.clone(), problem };
    if document.kind != "DataContract" || !document.api_version.starts_with("v3.") {
        return Err(fail(format!("kind {} {} is not DataContract v3", document.kind, document.api_version)));
    }
    let [schema] = <[Schema; 1]>::try_from(document.schema)
        .map_err(|s| fail(format!("{} schemas; one table a contract", s.len())))?;
    if schema.name != table {
        return Err(fail(format!("the schema is named {}", schema.name)));
    }
    let mut foreign_keys = Vec::new();
    for relationship in &schema.relationships {
        let (from, to) = (columns_of(&relationship.from), columns_of(&relationship.to));
        let (Some((from, columns)), Some((to, referenced))) = (from, to) else {
            return Err(fail("`from` and `to` of a relationship need `table.column` names of one table each".into()));
        };
        if from != table || columns.len() != referenced.len() || relationship.kind != "foreignKey" {
            return Err(fail(format!(
                "relationship {:?} to {:?} is not a foreign key of this table",
                relationship.from, relationship.to
            )));
        }
        foreign_keys.push(ForeignKey { columns, table: to, referenced });
    }
    let mut columns: Vec<ColumnContract> = Vec::new();
    let mut partitions = Vec::new();
    let mut key = Vec::new();
    for property in schema.properties {
        for relationship in &property.relationships {
            match relationship.to.split_once('.') {
                Some((to, column)) if relationship.kind == "foreignKey" => foreign_keys.push(ForeignKey {
                    columns: vec![property.name.clone()],
                    table: to.to_owned(),
                    referenced: vec![column.to_owned()],
                }),
                _ => {
                    return Err(fail(format!(
                        "column {}: relationship to `{}` is not a foreign key",
                        property.name, relationship.to
                    )));
                }
            }
        }
        if property.primary_key {
            key.push((property.primary_key_position, property.name.clone()));
        }
        let place = property.partitioned.then_some(property.partition_key_position);
        let column = column(property).map_err(&fail)?;
        if columns.iter().chain(partitions.iter().map(|(_, c)| c)).any(|c: &ColumnContract| c.name == column.name) {
            return Err(fail(format!("column {} occurs twice", column.name)));
        }
        match place {
            Some(position) => partitions.push((position, column)),
            None => columns.push(column),
        }
    }
    key.sort();
    partitions.sort_by_key(|(position, _)| *position);
    let counted = |positions: Vec<Option<usize>>| positions.iter().enumerate().all(|(i, p)| *p == Some(i + 1));
    if key.is_empty()
        || !counted(key.iter().map(|(p, _)| *p).collect())
        || !counted(partitions.iter().map(|(p, _)| *p).collect())
    {
        return Err(fail("key and partition positions count from 1".into()));
    }
    let box_convention = text_property(&schema.custom_properties, "boxConvention");
    if box_convention.is_none() && columns.iter().any(|c| c.name == "x_min") {
        return Err(fail("boxes without a boxConvention".into()));
    }
    Ok(TableContract {
        id: document.id,
        version: document.version,
        description: schema.description,
        key: key.into_iter().map(|(_, name)| name).collect(),
        partitions: partitions.into_iter().map(|(_, column)| column).collect(),
        columns,
        foreign_keys,
        box_convention,
        name: table,
    })
}

fn column(property: Property) -> Result<ColumnContract, String> {
    let name = property.name;
    let arrow =
        text_property(&property.custom_properties, "arrowType").ok_or(format!("column {name}: no arrowType"))?;
    let column_type = ColumnType::parse(&arrow).ok_or(format!("column {name}: unknown arrowType {arrow}"))?;
    if column_type.logical() != property.logical_type {
        return Err(format!("column {name}: logicalType {} does not match arrowType {arrow}", property.logical_type));
    }
    let options = property.logical_type_options;
    let (is_text, is_number) =
        (column_type == ColumnType::Utf8, !matches!(column_type, ColumnType::Utf8 | ColumnType::Bool));
    if !is_text && (options.pattern.is_some() || options.min_length.is_some() || !property.allowed.is_empty()) {
        return Err(format!("column {name}: enum, pattern and minLength are for text"));
    }
    if !is_number && (options.minimum.is_some() || options.maximum.is_some()) {
        return Err(format!("column {name}: minimum and maximum are for numbers"));
    }
    if let (Some(low), Some(high)) = (options.minimum, options.maximum)
        && low > high
    {
        return Err(format!("column {name}: minimum {low} is above maximum {high}"));
    }
    let known = ["arrowType", "unit", "measurement"];
    if let Some(custom) = property.custom_properties.iter().find(|c| !known.contains(&c.property.as_str())) {
        return Err(format!("column {name}: unknown customProperty {}", custom.property));
    }
    let measurement = property
        .custom_properties
        .iter()
        .any(|c| c.property == "measurement" && matches!(c.value, CustomValue::Flag(true)));
    if measurement && property.primary_key {
        return Err(format!("column {name}: a measurement cannot be a key"));
    }
    Ok(ColumnContract {
        description: property.description,
        column_type,
        required: property.required,
        values: property.allowed.into_iter().map(|a| a.value).collect(),
        minimum: options.minimum,
        maximum: options.maximum,
        min_length: options.min_length,
        pattern: options.pattern,
        unit: text_property(&property.custom_properties, "unit"),
        measurement,
        restricted: property.classification.as_deref() == Some("restricted"),
        name,
    })
}

fn text_property(custom: &[Custom], name: &str) -> Option<String> {
    custom.iter().find(|c| c.property == name).and_then(|c| match &c.value {
        CustomValue::Text(text) => Some(text.clone()),
        CustomValue::Flag(_) => None,
    })
}

/// `[t.a, t.b]` as `(t, [a, b])`; `None` when empty or of several tables.
fn columns_of(names: &[String]) -> Option<(String, Vec<String>)> {
    let pairs: Vec<(&str, &str)> = names.iter().map(|n| n.split_once('.')).collect::<Option<_>>()?;
    let table = pairs.first()?.0;
    pairs
        .iter()
        .all(|(t, _)| *t == table)
        .then(|| (table.to_owned(), pairs.iter().map(|(_, c)| (*c).to_owned()).collect()))
}

//! The tables' contracts (Open Data Contract Standard), compiled in and parsed once.

use std::sync::OnceLock;

use serde::Deserialize;

/// The contract files, by table.
pub const SOURCES: [(&str, &str); 14] = [
    ("images", include_str!("../tables/images.odcs.yaml")),
    ("lesions", include_str!("../tables/lesions.odcs.yaml")),
    ("reports", include_str!("../tables/reports.odcs.yaml")),
    ("generated_reports", include_str!("../tables/generated_reports.odcs.yaml")),
    ("report_sentences", include_str!("../tables/report_sentences.odcs.yaml")),
    ("sentence_boxes", include_str!("../tables/sentence_boxes.odcs.yaml")),
    ("findings", include_str!("../tables/findings.odcs.yaml")),
    ("metrics", include_str!("../tables/metrics.odcs.yaml")),
    ("train_log", include_str!("../tables/train_log.odcs.yaml")),
    ("timings", include_str!("../tables/timings.odcs.yaml")),
    ("failures", include_str!("../tables/failures.odcs.yaml")),
    ("truth_lesions", include_str!("../tables/truth_lesions.odcs.yaml")),
    ("truth_links", include_str!("../tables/truth_links.odcs.yaml")),
    ("truth_findings", include_str!("../tables/truth_findings.odcs.yaml")),
];

/// What a table promises.
#[derive(Debug, Clone, PartialEq)]
pub struct TableContract {
    /// `urn:d2r:<table>`.
    pub id: String,
    /// The table.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// The columns of its files, in order; partition columns stand in folder names.
    pub columns: Vec<ColumnContract>,
    /// Columns of the primary key, in order.
    pub key: Vec<String>,
    /// Columns that stand in folder names, in order.
    pub partitions: Vec<String>,
}

/// What a column promises.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnContract {
    /// Its name.
    pub name: String,
    /// Its meaning.
    pub description: String,
    /// Arrow type: `utf8`, `bool`, `int32`, `int64`, `float32` or `float64`.
    pub arrow_type: String,
    /// Never null.
    pub required: bool,
    /// The only values allowed; empty when all are.
    pub values: Vec<String>,
    /// Smallest value allowed.
    pub minimum: Option<f64>,
    /// Largest value allowed.
    pub maximum: Option<f64>,
    /// `table.column` that every value occurs in.
    pub refers_to: Option<String>,
    /// A wall-clock measurement, outside the content digest.
    pub measurement: bool,
}

/// A contract that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("contract {name}: {problem}")]
pub struct ContractError {
    /// The contract's name or file.
    pub name: String,
    /// What is wrong.
    pub problem: String,
}

#[derive(Debug, Deserialize)]
struct File {
    id: String,
    version: String,
    kind: String,
    schema: Vec<Schema>,
}

#[derive(Debug, Deserialize)]
struct Schema {
    name: String,
    properties: Vec<Property>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Property {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    primary_key: bool,
    #[serde(default)]
    primary_key_position: i64,
    #[serde(default)]
    partitioned: bool,
    #[serde(default)]
    logical_type_options: Range,
    #[serde(default)]
    quality: Vec<Quality>,
    #[serde(default)]
    relationships: Vec<Relationship>,
    #[serde(default)]
    custom_properties: Vec<CustomProperty>,
}

#[derive(Debug, Default, Deserialize)]
struct Range {
    minimum: Option<f64>,
    maximum: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Quality {
    arguments: Option<Arguments>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Arguments {
    #[serde(default)]
    valid_values: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Relationship {
    to: String,
}

#[derive(Debug, Deserialize)]
struct CustomProperty {
    property: String,
    value: Scalar,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Flag(bool),
    Text(String),
}

/// Parses one contract file.
///
/// # Errors
/// [`ContractError`] for text that is no contract of one table, a column without an Arrow type, or a table without a
/// primary key.
pub fn parse(name: &str, yaml: &str) -> Result<TableContract, ContractError> {
    let bad = |problem: String| ContractError { name: name.to_owned(), problem };
    let file: File = serde_saphyr::from_str(yaml).map_err(|e| bad(e.to_string()))?;
    if file.kind != "DataContract" {
        return Err(bad(format!("kind is `{}`, expected DataContract", file.kind)));
    }
    let [schema] = <[Schema; 1]>::try_from(file.schema).map_err(|s| bad(format!("{} tables, expected one", s.len())))?;
    if schema.name != name {
        return Err(bad(format!("speaks of table `{}`", schema.name)));
    }
    let mut keyed: Vec<(i64, String)> = Vec::new();
    let (mut columns, mut partitions) = (Vec::new(), Vec::new());
    for p in schema.properties {
        if p.partitioned {
            partitions.push(p.name);
            continue;
        }
        if p.primary_key {
            keyed.push((p.primary_key_position, p.name.clone()));
        }
        columns.push(column(p).map_err(bad)?);
    }
    keyed.sort();
    if keyed.is_empty() {
        return Err(bad("no primary key".into()));
    }
    let key = keyed.into_iter().map(|(_, k)| k).collect();
    Ok(TableContract { id: file.id, name: name.to_owned(), version: file.version, columns, key, partitions })
}

fn column(p: Property) -> Result<ColumnContract, String> {
    let custom = |key: &str| p.custom_properties.iter().find(|c| c.property == key).map(|c| &c.value);
    let arrow_type = match custom("arrowType") {
        Some(Scalar::Text(t)) if ["utf8", "bool", "int32", "int64", "float32", "float64"].contains(&t.as_str()) => t,
        Some(other) => return Err(format!("column `{}`: unknown arrowType {other:?}", p.name)),
        None => return Err(format!("column `{}`: no arrowType", p.name)),
    };
    Ok(ColumnContract {
        arrow_type: arrow_type.clone(),
        measurement: matches!(custom("measurement"), Some(Scalar::Flag(true))),
        values: p.quality.iter().filter_map(|q| q.arguments.as_ref()).flat_map(|a| a.valid_values.clone()).collect(),
        minimum: p.logical_type_options.minimum,
        maximum: p.logical_type_options.maximum,
        refers_to: p.relationships.first().map(|r| r.to.clone()),
        required: p.required,
        description: p.description,
        name: p.name,
    })
}

/// All contracts, in the order of [`SOURCES`].
///
/// # Panics
/// When a contract that is compiled in is broken: a defect of ours, which a test would have shown.
pub fn contracts() -> &'static [TableContract] {
    static PARSED: OnceLock<Vec<TableContract>> = OnceLock::new();
    PARSED.get_or_init(|| {
        SOURCES.iter().map(|(name, yaml)| parse(name, yaml).unwrap_or_else(|e| panic!("{e}"))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Row;
    use crate::tables::*;

    fn agrees<R: Row>() {
        let contract = contracts().iter().find(|c| c.name == R::TABLE).unwrap_or_else(|| panic!("{}", R::TABLE));
        let schema = R::schema();
        let ours: Vec<(String, String, bool)> = schema
            .fields()
            .iter()
            .map(|f| (f.name().clone(), f.data_type().to_string().to_lowercase(), !f.is_nullable()))
            .collect();
        let theirs: Vec<(String, String, bool)> = contract
            .columns
            .iter()
            .map(|c| (c.name.clone(), c.arrow_type.replace("bool", "boolean"), c.required))
            .collect();
        assert_eq!(ours, theirs, "{}", R::TABLE);
        assert_eq!(contract.key, R::KEY, "{}", R::TABLE);
        assert_eq!(contract.partitions, ["dataset", "split"], "{}", R::TABLE);
    }

    #[test]
    fn rows_and_contracts_agree() {
        agrees::<ImageRow>();
        agrees::<LesionRow>();
        agrees::<ReportRow>();
        agrees::<GeneratedReportRow>();
        agrees::<ReportSentenceRow>();
        agrees::<SentenceBoxRow>();
        agrees::<FindingRow>();
        agrees::<MetricRow>();
        agrees::<TrainLogRow>();
        agrees::<TimingRow>();
        agrees::<FailureRow>();
        agrees::<TruthLesionRow>();
        agrees::<TruthLinkRow>();
        agrees::<TruthFindingRow>();
        assert_eq!(contracts().len(), 14);
    }

    #[test]
    fn references_name_columns_that_exist() {
        for contract in contracts() {
            for to in contract.columns.iter().filter_map(|c| c.refers_to.as_ref()) {
                let (table, column) = to.split_once('.').unwrap();
                let target = contracts().iter().find(|c| c.name == table).unwrap_or_else(|| panic!("{to}"));
                assert!(target.columns.iter().any(|c| c.name == column), "{to}");
            }
        }
    }

    #[test]
    fn enumerations_are_the_label_sets() {
        let values = |table: &str, column: &str| {
            let contract = contracts().iter().find(|c| c.name == table).unwrap();
            contract.columns.iter().find(|c| c.name == column).unwrap().values.clone()
        };
        assert_eq!(values("lesions", "class_name"), crate::labels::LESION_CLASSES);
        assert_eq!(values("findings", "label"), crate::labels::FINDING_LABELS);
    }

    #[test]
    fn broken_contracts_are_refused_for_their_reason() {
        let good = SOURCES[0].1;
        let cases = [
            (good.replace("kind: DataContract", "kind: DataProduct"), "kind is `DataProduct`"),
            (good.replace("  - name: images", "  - name: pictures"), "speaks of table `pictures`"),
            (good.replace("primaryKey: true", "primaryKey: false"), "no primary key"),
            (good.replace("arrowType, value: int32", "arrowType, value: int7"), "unknown arrowType"),
            (good.replace("property: arrowType", "property: arrow"), "no arrowType"),
            ("schema: [".to_owned(), "contract images"),
        ];
        for (yaml, reason) in cases {
            let error = parse("images", &yaml).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}

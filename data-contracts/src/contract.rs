//! The tables' contracts: the Open Data Contract Standard files under `tables/`, compiled in and parsed.
//!
//! A contract defines a table's columns, their types and values, its key and its foreign keys. Writer and validator use
//! [`TableContract::of`].

mod yaml;

use std::sync::LazyLock;

use yaml::parse;

/// The contract files, by table, in the order in which a pipeline fills them.
pub const SOURCES: [(&str, &str); 16] = [
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
    ("truth_mentions", include_str!("../tables/truth_mentions.odcs.yaml")),
    ("truth_statements", include_str!("../tables/truth_statements.odcs.yaml")),
];

/// A contract that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// Not YAML, or outside the supported part of the standard.
    #[error("contract: {0}")]
    Syntax(String),
    /// Well-formed and inconsistent.
    #[error("contract {table}: {problem}")]
    Inconsistent {
        /// Name of the contract.
        table: String,
        /// What is wrong.
        problem: String,
    },
}

/// A column's type, by its Arrow name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// UTF-8 text.
    Utf8,
    /// True or false.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// 32-bit float.
    Float32,
    /// 64-bit float.
    Float64,
}

impl ColumnType {
    /// The type of an `arrowType` property; `None` for a name that no table uses.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "utf8" => Self::Utf8,
            "bool" => Self::Bool,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float32" => Self::Float32,
            "float64" => Self::Float64,
            _ => return None,
        })
    }

    /// The standard's `logicalType` of this type.
    pub fn logical(self) -> &'static str {
        match self {
            Self::Utf8 => "string",
            Self::Bool => "boolean",
            Self::Int32 | Self::Int64 => "integer",
            Self::Float32 | Self::Float64 => "number",
        }
    }

    /// The Arrow type of the files.
    pub fn arrow(self) -> arrow::datatypes::DataType {
        use arrow::datatypes::DataType;
        match self {
            Self::Utf8 => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
        }
    }
}

/// Contract of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnContract {
    /// Name in the files.
    pub name: String,
    /// Description of its values.
    pub description: String,
    /// Type in the files.
    pub column_type: ColumnType,
    /// Whether nulls are forbidden.
    pub required: bool,
    /// The values it may take; empty when any will do.
    pub values: Vec<String>,
    /// The smallest number allowed.
    pub minimum: Option<f64>,
    /// The largest number allowed.
    pub maximum: Option<f64>,
    /// The shortest text allowed, characters.
    pub min_length: Option<usize>,
    /// A regular expression that the text matches.
    pub pattern: Option<String>,
    /// Unit, where it has one.
    pub unit: Option<String>,
    /// A wall-clock measurement: outside the content digest.
    pub measurement: bool,
    /// Free text about a person: never in logs or messages.
    pub restricted: bool,
}

/// Columns whose values occur in columns of another table of the same partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignKey {
    /// The referencing columns.
    pub columns: Vec<String>,
    /// The referenced table.
    pub table: String,
    /// The referenced columns, in the same order.
    pub referenced: Vec<String>,
}

/// Contract of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableContract {
    /// URN of the contract.
    pub id: String,
    /// Name of the table and of its folder.
    pub name: String,
    /// Semantic version.
    pub version: String,
    /// Description of the table.
    pub description: String,
    /// The files' columns, in order.
    pub columns: Vec<ColumnContract>,
    /// The partition columns, which are in folder names, in order.
    pub partitions: Vec<ColumnContract>,
    /// The key's columns, in order.
    pub key: Vec<String>,
    /// References to other tables.
    pub foreign_keys: Vec<ForeignKey>,
    /// Convention of box coordinates; `None` for a table without boxes.
    pub box_convention: Option<String>,
}

impl TableContract {
    /// Parses one contract.
    ///
    /// # Errors
    /// When the text is not YAML, uses an unknown key, or is inconsistent.
    pub fn from_yaml(text: &str) -> Result<Self, ContractError> {
        parse(text)
    }

    /// The contract of a table of version 1; `None` for an unknown table.
    pub fn of(table: &str) -> Option<&'static Self> {
        contracts().iter().find(|c| c.name == table)
    }

    /// A column by name.
    pub fn column(&self, name: &str) -> Option<&ColumnContract> {
        self.columns.iter().find(|c| c.name == name)
    }
}

/// All contracts, in the order of [`SOURCES`].
pub fn contracts() -> &'static [TableContract] {
    static PARSED: LazyLock<Vec<TableContract>> = LazyLock::new(|| {
        let parsed: Result<Vec<_>, _> = SOURCES.iter().map(|(_, text)| parse(text)).collect();
        // The texts are compiled in and a test parses each.
        parsed.expect("the compiled-in contracts parse")
    });
    &PARSED
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Row;
    use crate::tables::*;

    fn holds<R: Row>() {
        let contract = TableContract::of(R::TABLE).unwrap_or_else(|| panic!("no contract for {}", R::TABLE));
        let ours: Vec<_> =
            R::schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone(), f.is_nullable())).collect();
        let theirs: Vec<_> =
            contract.columns.iter().map(|c| (c.name.clone(), c.column_type.arrow(), !c.required)).collect();
        assert_eq!(ours, theirs, "columns of {}", R::TABLE);
        assert_eq!(contract.key, R::KEY, "key of {}", R::TABLE);
        let partitions: Vec<_> = contract.partitions.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(partitions, ["dataset", "split"], "partitions of {}", R::TABLE);
    }

    #[test]
    fn every_table_has_the_columns_of_its_contract() {
        holds::<ImageRow>();
        holds::<LesionRow>();
        holds::<ReportRow>();
        holds::<GeneratedReportRow>();
        holds::<ReportSentenceRow>();
        holds::<SentenceBoxRow>();
        holds::<FindingRow>();
        holds::<MetricRow>();
        holds::<TrainLogRow>();
        holds::<TimingRow>();
        holds::<FailureRow>();
        holds::<TruthLesionRow>();
        holds::<TruthLinkRow>();
        holds::<TruthFindingRow>();
        holds::<TruthMentionRow>();
        holds::<TruthStatementRow>();
        assert_eq!(contracts().len(), 16);
    }

    #[test]
    fn a_contract_is_named_after_its_file() {
        for ((file, _), contract) in SOURCES.iter().zip(contracts()) {
            assert_eq!(*file, contract.name);
            assert_eq!(contract.id, format!("urn:d2r:{file}"));
        }
    }

    #[test]
    fn foreign_keys_reference_existing_columns() {
        let mut found = Vec::new();
        for contract in contracts() {
            for key in &contract.foreign_keys {
                let other = TableContract::of(&key.table).unwrap();
                for (ours, theirs) in key.columns.iter().zip(&key.referenced) {
                    let ours = contract.column(ours).unwrap();
                    assert_eq!(
                        ours.column_type,
                        other.column(theirs).unwrap().column_type,
                        "{} {}",
                        contract.name,
                        ours.name
                    );
                }
                found.push(format!("{}->{}", contract.name, key.table));
            }
        }
        assert_eq!(
            found,
            [
                "lesions->images",
                "generated_reports->images",
                "report_sentences->generated_reports",
                "sentence_boxes->report_sentences",
                "sentence_boxes->lesions",
                "truth_links->truth_lesions",
                "truth_mentions->truth_lesions"
            ]
        );
    }

    #[test]
    fn enumerations_are_the_label_sets() {
        let values =
            |table: &str, column: &str| TableContract::of(table).unwrap().column(column).unwrap().values.clone();
        assert!(values("lesions", "class_name").is_empty(), "any label set");
        assert_eq!(values("truth_lesions", "class_name"), crate::labels::LESION_CLASSES);
        assert_eq!(values("findings", "label"), crate::labels::CHEXPERT_LABELS);
        assert_eq!(values("truth_findings", "label"), crate::labels::CHEXPERT_LABELS);
        assert_eq!(values("truth_statements", "label"), crate::labels::CHEXPERT_LABELS[..13]);
        for state in values("findings", "state") {
            assert!(crate::labels::LabelState::parse(&state).is_some(), "{state}");
        }
    }

    #[test]
    fn measurements_are_the_time_columns() {
        let marked: Vec<String> = contracts()
            .iter()
            .flat_map(|t| t.columns.iter().filter(|c| c.measurement).map(|c| format!("{}.{}", t.name, c.name)))
            .collect();
        assert_eq!(
            marked,
            [
                "train_log.images_per_s",
                "train_log.waiting_share",
                "timings.read_ms",
                "timings.decode_ms",
                "timings.model_ms",
                "timings.write_ms",
                "timings.waiting_ms"
            ]
        );
    }

    #[test]
    fn report_text_is_restricted() {
        let restricted: Vec<String> = contracts()
            .iter()
            .flat_map(|t| t.columns.iter().filter(|c| c.restricted).map(|c| format!("{}.{}", t.name, c.name)))
            .collect();
        assert_eq!(
            restricted,
            ["reports.text", "reports.text_clean", "generated_reports.text", "report_sentences.text"]
        );
    }
}

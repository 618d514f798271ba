//! Where a lake's files break their contracts.

use std::collections::BTreeMap;

use serde::Serialize;

/// Violations kept per rule and file.
const PER_RULE: usize = 20;

/// A place in a file that breaks the table's contract.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    pub table: String,
    /// `part`, `schema`, `metadata`, `null`, `value`, `range`, `order`, `key`, `reference`, `geometry`,
    /// `models`, `shard`, `run` or `unowned`.
    pub rule: &'static str,
    /// The file, relative to the lake; the partition where the rule spans files.
    pub file: String,
    /// The row in the file, counted from 0.
    pub row: Option<usize>,
    pub column: Option<String>,
    /// What is wrong.
    pub problem: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.table, self.file)?;
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        write!(f, ": {} ({})", self.problem, self.rule)
    }
}

/// Where a violation is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Location<'a> {
    pub table: &'a str,
    pub file: &'a str,
    pub row: Option<usize>,
    pub column: Option<&'a str>,
}

impl<'a> Location<'a> {
    pub(crate) fn file(table: &'a str, file: &'a str) -> Self {
        Self { table, file, row: None, column: None }
    }

    pub(crate) fn row(table: &'a str, file: &'a str, row: usize) -> Self {
        Self { row: Some(row), ..Self::file(table, file) }
    }
}

/// Collects violations, a few per rule and file.
#[derive(Debug, Default)]
pub(crate) struct Violations {
    found: Vec<Violation>,
    counts: BTreeMap<(String, &'static str), usize>,
}

impl Violations {
    pub(crate) fn add(&mut self, at: Location, rule: &'static str, problem: String) {
        let count = self.counts.entry((at.file.to_owned(), rule)).or_default();
        *count += 1;
        if *count <= PER_RULE {
            let (row, column) = (at.row, at.column.map(str::to_owned));
            self.found.push(Violation { table: at.table.into(), rule, file: at.file.into(), row, column, problem });
        }
    }

    pub(crate) fn into_sorted(mut self) -> Vec<Violation> {
        self.found.sort();
        self.found
    }
}

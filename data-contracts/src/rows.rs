//! Conversion between typed rows and Arrow record batches.
//!
//! A table's row is a plain struct declared with [`table_row!`](crate::table_row); the columns' names, types and
//! nullability follow from the fields, and a test compares them with the table's contract.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
};
use arrow::datatypes::{DataType, Field, Schema};

/// A record batch that does not have the table's columns.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A column of the contract is absent.
    #[error("table {table}: column `{column}` is missing")]
    MissingColumn { table: &'static str, column: &'static str },
    /// A column has another type than the contract's.
    #[error("table {table}: column `{column}` is {found}, expected {expected}")]
    WrongType {
        table: &'static str,
        column: &'static str,
        /// The contract's type.
        expected: String,
        /// The file's type.
        found: String,
    },
    /// A null in a column that the contract requires.
    #[error("table {table}: column `{column}` is null in row {row}")]
    UnexpectedNull {
        table: &'static str,
        column: &'static str,
        /// Row index in the batch.
        row: usize,
    },
}

/// One row of a table.
pub trait Row: Sized + Clone + Send + 'static {
    /// The table's name, as in its contract and its folder.
    const TABLE: &'static str;
    /// The key's columns, in order; rows are sorted by them and unique in them.
    const KEY: &'static [&'static str];
    /// The Arrow schema of the table's files.
    fn schema() -> Arc<Schema>;
    /// Rows to columns.
    fn to_batch(rows: &[Self]) -> RecordBatch;
    /// Columns to rows; columns that the row does not have are ignored.
    fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>, RowError>;
    /// Order by key.
    fn key_cmp(&self, other: &Self) -> Ordering;
}

/// A value of a column.
pub trait Cell: Sized + Clone {
    /// The column's Arrow type.
    fn data_type() -> DataType;
    /// Whether the column may hold nulls.
    const NULLABLE: bool;
    /// A column of these values.
    fn column(values: Vec<Self>) -> ArrayRef;
    /// The value at `row` of a column of the right type; `None` for a null where none is allowed.
    fn read(column: &dyn Array, row: usize) -> Option<Self>;
}

macro_rules! cell {
    ($ty:ty, $array:ty, $data_type:expr, $get:expr) => {
        impl Cell for $ty {
            fn data_type() -> DataType {
                $data_type
            }
            const NULLABLE: bool = false;
            fn column(values: Vec<Self>) -> ArrayRef {
                Arc::new(<$array>::from(values))
            }
            fn read(column: &dyn Array, row: usize) -> Option<Self> {
                <Option<$ty> as Cell>::read(column, row).flatten()
            }
        }
        impl Cell for Option<$ty> {
            fn data_type() -> DataType {
                $data_type
            }
            const NULLABLE: bool = true;
            fn column(values: Vec<Self>) -> ArrayRef {
                Arc::new(<$array>::from(values))
            }
            fn read(column: &dyn Array, row: usize) -> Option<Self> {
                let typed = column.as_any().downcast_ref::<$array>()?;
                let get: fn(&$array, usize) -> $ty = $get;
                Some((!typed.is_null(row)).then(|| get(typed, row)))
            }
        }
    };
}
cell!(String, StringArray, DataType::Utf8, |a, i| a.value(i).to_owned());
cell!(bool, BooleanArray, DataType::Boolean, |a, i| a.value(i));
cell!(i32, Int32Array, DataType::Int32, |a, i| a.value(i));
cell!(i64, Int64Array, DataType::Int64, |a, i| a.value(i));
cell!(f32, Float32Array, DataType::Float32, |a, i| a.value(i));
cell!(f64, Float64Array, DataType::Float64, |a, i| a.value(i));

/// One column's field; used by [`table_row!`](crate::table_row).
pub fn field<C: Cell>(name: &str) -> Field {
    Field::new(name, C::data_type(), C::NULLABLE)
}

/// One column's values; used by [`table_row!`](crate::table_row).
pub fn read_column<C: Cell>(batch: &RecordBatch, table: &'static str, name: &'static str) -> Result<Vec<C>, RowError> {
    let column = match batch.column_by_name(name) {
        Some(column) => Arc::clone(column),
        // A file of an earlier minor version: columns added since then are optional.
        None if C::NULLABLE => arrow::array::new_null_array(&C::data_type(), batch.num_rows()),
        None => return Err(RowError::MissingColumn { table, column: name }),
    };
    if column.data_type() != &C::data_type() {
        return Err(RowError::WrongType {
            table,
            column: name,
            expected: C::data_type().to_string(),
            found: column.data_type().to_string(),
        });
    }
    (0..column.len())
        .map(|row| C::read(&column, row).ok_or(RowError::UnexpectedNull { table, column: name, row }))
        .collect()
}

/// Declares a row struct and its [`Row`] implementation.
#[macro_export]
macro_rules! table_row {
    ($(#[$meta:meta])* $name:ident, table $table:literal, key [$($key:ident),+],
     { $($(#[$field_meta:meta])* $field:ident: $ty:ty),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty),+ }

        impl $crate::rows::Row for $name {
            const TABLE: &'static str = $table;
            const KEY: &'static [&'static str] = &[$(stringify!($key)),+];
            fn schema() -> std::sync::Arc<arrow::datatypes::Schema> {
                std::sync::Arc::new(arrow::datatypes::Schema::new(vec![
                    $($crate::rows::field::<$ty>(stringify!($field))),+
                ]))
            }
            fn to_batch(rows: &[Self]) -> arrow::array::RecordBatch {
                let columns: Vec<arrow::array::ArrayRef> = vec![
                    $(<$ty as $crate::rows::Cell>::column(rows.iter().map(|r| r.$field.clone()).collect())),+
                ];
                arrow::array::RecordBatch::try_new(Self::schema(), columns)
                    .expect("columns come from the same rows and types as the schema")
            }
            fn from_batch(batch: &arrow::array::RecordBatch) -> Result<Vec<Self>, $crate::rows::RowError> {
                $(let mut $field = $crate::rows::read_column::<$ty>(batch, $table, stringify!($field))?.into_iter();)+
                Ok((0..batch.num_rows())
                    .map(|_| Self { $($field: $field.next().expect("a column has a value for every row")),+ })
                    .collect())
            }
            fn key_cmp(&self, other: &Self) -> std::cmp::Ordering {
                std::cmp::Ordering::Equal$(.then_with(|| self.$key.cmp(&other.$key)))+
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::{FailureRow, LesionRow};

    fn lesion(id: &str, n_readers: Option<i32>) -> LesionRow {
        LesionRow {
            image_id: "i".into(),
            box_id: id.into(),
            class_name: "Cardiomegaly".into(),
            class_id: 3,
            x_min: 1.0,
            y_min: 2.0,
            x_max: 3.0,
            y_max: 4.0,
            score: 1.0,
            source: "fused".into(),
            reader_id: None,
            n_readers,
            std_x_min: None,
            std_y_min: None,
            std_x_max: None,
            std_y_max: None,
            student_iou: None,
            accepted: true,
            threshold: None,
            model_sha256: None,
        }
    }

    #[test]
    fn rows_survive_the_round_trip() {
        let rows = vec![lesion("a", Some(2)), lesion("b", None)];
        let batch = LesionRow::to_batch(&rows);
        assert_eq!(LesionRow::from_batch(&batch).unwrap(), rows);
        assert_eq!(LesionRow::to_batch(&[]).num_rows(), 0);
    }

    #[test]
    fn another_tables_batch_is_refused_by_name() {
        let batch = FailureRow::to_batch(&[]);
        let error = LesionRow::from_batch(&batch).unwrap_err();
        assert_eq!(error, RowError::MissingColumn { table: "lesions", column: "box_id" });
    }
}

"""Reads every table of a lake as an analyst would: Polars scans the table's folder, DuckDB globs its files.

Usage: lake_scan.py LAKE. Prints one line per table; exits 1 when the two disagree or a table cannot be read.
"""

import sys
from pathlib import Path

import duckdb
import polars as pl


def main() -> int:
    tables = sorted(p for p in Path(sys.argv[1], "v1").iterdir() if p.is_dir())
    if not tables:
        print(f"{sys.argv[1]} holds no table")
        return 1
    wrong = 0
    for folder in tables:
        frame = pl.scan_parquet(folder, hive_partitioning=True).collect()
        query = f"select count(*), count(dataset), count(split) from read_parquet('{folder}/**/*.parquet', hive_partitioning = true)"
        counts = duckdb.sql(query).fetchone()
        keys = {"dataset", "split"} <= set(frame.columns)
        fine = keys and counts == (frame.height,) * 3
        wrong += not fine
        print(f"{folder.name:<20} polars {frame.height:>7}  duckdb {counts[0]:>7}  {'ok' if fine else 'DIFFERENT'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

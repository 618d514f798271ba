"""Writes contract and columns of every table into `dags/d2r_airflow/columns.json`, from `data-contracts/tables`.

Needs PyYAML: run it with `.venv-airflow/bin/python scripts/airflow_columns.py` when a contract changes.
"""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = ROOT / "dags/d2r_airflow/columns.json"


def columns() -> str:
    """The file's text: for each table its contract (id and version) and the Arrow type of each column."""
    tables = {}
    for path in sorted((ROOT / "data-contracts/tables").glob("*.odcs.yaml")):
        contract = yaml.safe_load(path.read_text())
        (schema,) = contract["schema"]
        types = {column["name"]: arrow_type(column) for column in schema["properties"]}
        tables[contract["name"]] = {"contract": f"{contract['id']} {contract['version']}", "columns": types}
    return json.dumps(tables, indent=1) + "\n"


def arrow_type(column: dict) -> str:
    """The Arrow type that a column's contract states."""
    return next(p["value"] for p in column["customProperties"] if p["property"] == "arrowType")


if __name__ == "__main__":
    COLUMNS.write_text(columns())

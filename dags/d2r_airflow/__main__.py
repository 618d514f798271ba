"""`python -m d2r_airflow` prints the folder of the DAG files, for a DAG bundle; `pools.json` lies in it."""

from pathlib import Path

HERE = Path(__file__).resolve().parent


def dag_folder() -> Path:
    """Inside an installed package, else the folder beside it in the repository."""
    inside = HERE / "dag_files"
    return inside if inside.is_dir() else HERE.parent


if __name__ == "__main__":
    print(dag_folder())  # noqa: T201

"""Tests without a scheduler: an Airflow home of their own, the DAG folder importable, the built command where there is one."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HOME = tempfile.mkdtemp(prefix="d2r-airflow-unit-")
os.environ.update(AIRFLOW_HOME=HOME, AIRFLOW__CORE__LOAD_EXAMPLES="False", AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"))
for name in [n for n in os.environ if n.startswith("D2R_") and n != "D2R_BIN"]:
    del os.environ[name]
sys.path.insert(0, str(ROOT / "dags"))

import pytest  # noqa: E402


def pytest_sessionfinish():
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def d2r() -> str:
    """The built command."""
    binary = shutil.which(os.environ.get("D2R_BIN", "d2r"))
    if binary is None:
        pytest.skip("the d2r command is not built (set D2R_BIN)")
    return binary


@pytest.fixture(scope="session")
def dagbag():
    """All DAGs, loaded as the DAG processor loads them."""
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(ROOT / "dags")
